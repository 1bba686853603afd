"""The layers of a run while it goes on and at its end. Nothing is computed here.

The viewer belongs to the user. A run sets data, place and report of its layers, and their
contrast as long as nobody else does; it finds its layers again whatever they are called, and one
that was deleted stays away while the run goes on. The result that is handed out at the end
is complete again: what took minutes to find is not lost by one key too many.
"""

from __future__ import annotations

import functools
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from qtpy.QtCore import Qt, QTimer

from napari_vdip._napari import layers, saving, undo
from napari_vdip._napari.rhythm import Rhythm

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari
    from napari.layers import Layer

    from napari_vdip.result import Progress, Result

_BETWEEN = 100  # ms between two new layers: each halts the window for some 50 ms
_AGAIN = 25  # ms until what was selected is so again: that changes the list and the controls once more
_UNSEEN = 50  # ms that a new layer is there before it is drawn: both at once would halt the window for longer


class Preview:
    """Layers of one run.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where they are.
    source : Source
        Record of the layer that is deblurred.
    last : Preview, optional
        An earlier run whose layers, where they still are, take the new contents.

    Attributes
    ----------
    change : Change
        What the run did to the viewer.
    """

    def __init__(
        self, viewer: napari.viewer.Viewer, source: layers.Source, last: Preview | None = None
    ) -> None:
        self._viewer, self._source = viewer, source
        self.change = undo.Change(viewer)
        # Weak: a layer that the user deletes takes no memory.
        self._layers: dict[str, weakref.ref[Layer]] = {}
        self._names: dict[str, str] = {}  # that a run gave; another one is the user's
        self._limits: dict[str, tuple[float, float]] = {}  # contrast that a run set; alike
        if last is not None:
            self._names, self._limits = dict(last._names), dict(last._limits)
        self._taken_over = {} if last is None else {role: last.layer(role) for role in layers.ROLES}
        self._active = _bare(viewer.layers.selection.active)
        self._pending: Result | None = None
        self._built: dict[str, Layer] = {}  # on their way into the viewer
        self._rhythm = Rhythm()
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._showing = False
        self._timer.timeout.connect(self._show_pending)

    def layer(self, role: str) -> Layer | None:
        """Layer of a role ("deblurred", "kernel", "uncertainty") if it is in the viewer, else None."""
        layer = self._layers[role]() if role in self._layers else None
        there = layer is not None and layer in self._viewer.layers and not self.change.removes(layer)
        return layer if there else None

    def offer(self, progress: Progress) -> None:
        """Show a snapshot now, or as soon as it is time.

        The pre-fit of the first slice is left out: it begins with a grey plane, which would cover
        the image.
        """
        if progress.stage.startswith("pre-fit") and progress.slice_index == 0 and not self._layers:
            return
        self._pending = progress.result
        if self._showing:  # napari handled events while it took in the last one
            return
        # A first layer comes in a turn of its own: the first bar has the whole window drawn, too.
        wait = self._rhythm.wait() if self._layers else _BETWEEN / 1000
        if wait <= 0:
            self._show_pending()
        elif not self._timer.isActive():
            self._timer.start(int(1000 * wait) + 1)

    def stop(self) -> None:
        """Show nothing more; the layers stay as they are."""
        self._timer.stop()
        self._pending = None
        self._built.clear()

    def finish(self, result: Result) -> None:
        """Show what is handed out at the end or at a halt, layers that were deleted included."""
        self.stop()
        made = dict(zip(layers.ROLES, layers.from_result(result, self._source), strict=False))
        missing = {role: made[role] for role in made if self.layer(role) is None}
        for role, (data, keywords, _) in made.items():
            layer = self.layer(role)
            if layer is not None:
                self._renew(layer, data, result)
                if role != "deblurred":  # its contrast was set once, from the image's
                    self._adjust(role, layer, keywords["contrast_limits"])
        again = self._begin(missing)
        if again is not None:
            again()
        for role in [role for role in self._taken_over if role not in made]:
            # The run before had it and this one has not: it would belong to no image in view.
            layer = self._taken_over.pop(role)
            if layer is not None and layer in self._viewer.layers:
                self.change.will_change(layer)
                self._viewer.layers.remove(layer)
        saving.remember(self.layer("deblurred"), result)

    def _show_pending(self) -> None:
        self._timer.stop()
        result, self._pending = self._pending, None
        if result is None:
            return
        self._showing = True
        self._rhythm.begin()
        try:
            made = layers.data_of(result, self._source)
            missing = [role for role in made if role not in self._layers]
            waits = bool(missing) and not self._opens(missing[0], result)
            if not missing:
                self._renew_all(made, result)
        finally:
            self._showing = False
        if waits or missing[1:]:
            self._pending = self._pending or result
            self._timer.start(0 if waits else _BETWEEN)
        elif self._pending is not None:
            self._timer.start(int(1000 * max(self._rhythm.wait(), 0)) + 1)

    def _renew_all(self, made: dict[str, Any], result: Result) -> None:
        """Put newer data into the layers that are still there."""
        for role, data in made.items():
            layer = self.layer(role)
            if layer is not None:
                self._renew(layer, data, result)
                if role == "kernel":  # it sharpens by orders of magnitude: its peak is always white
                    self._adjust(role, layer, (0.0, layers.peak(data)))

    def _opens(self, role: str, result: Result) -> bool:
        """Begin with a layer; False: it has only been built, and comes into the viewer in the next turn."""
        made = dict(zip(layers.ROLES, layers.from_result(result, self._source), strict=False))
        low, high = self._source.contrast_limits
        if np.isfinite((low, high)).all() and low < high:
            made["deblurred"][1]["contrast_limits"] = (low, high)  # steady from the first step on
        data, keywords, _ = made[role]
        if role not in self._built and not self._fits(self._taken_over.get(role), keywords):
            self._built[role] = Image(data, **keywords)
            return False
        again = self._begin({role: made[role]}, unseen=True)
        if again is not None:
            QTimer.singleShot(_AGAIN, again)
        return True

    def _begin(self, made: dict[str, layers.LayerTuple], unseen: bool = False) -> Callable[[], None] | None:
        """Add layers, or take over those of the run before, and select the image once.

        With ``unseen`` a new layer is drawn only a moment later. napari selects every new layer: where
        the user has turned to something else, what comes back is to be called, which selects that again.
        """
        selection = self._viewer.layers.selection
        active, selected = _bare(selection.active), {_bare(layer) for layer in selection}
        first = not self._layers
        for role, (data, keywords, _) in made.items():
            before = self._taken_over.pop(role, None)
            if self._fits(before, keywords):
                layer = before
                self.change.will_change(layer)
                self._replace(role, layer, data, keywords)
            else:
                layer = self._built.pop(role, None) or Image(data, **keywords)
                drawn = layer.visible
                layer.visible = drawn and not unseen
                self._viewer.add_layer(layer)
                if unseen and drawn:
                    QTimer.singleShot(_UNSEEN, functools.partial(self._reveal, role))
                self.change.will_add(layer)
                self._names[role] = layer.name
                self._limits[role] = tuple(layer.contrast_limits)
            self._layers[role] = weakref.ref(layer)
        if first and active is self._active:
            selection.active = self.layer("deblurred")
            return None
        newest = _bare(selection.active)
        return lambda: self._select_again(active, selected, newest)

    def _reveal(self, role: str) -> None:
        """Draw a layer that came in unseen."""
        layer = self.layer(role)
        if layer is not None:
            layer.visible = True

    def _select_again(self, active: Layer | None, selected: set[Layer], newest: Layer | None) -> None:
        """Select what was selected before, unless the user was quicker."""
        there = self._viewer.layers
        if _bare(there.selection.active) is newest:
            if selected != {active}:
                there.selection = [layer for layer in selected if layer in there]
            if active is None or active in there:
                there.selection.active = active

    def _fits(self, layer: Layer | None, keywords: dict[str, Any]) -> bool:
        """Whether a layer of the run before is still there and can hold the new data."""
        if layer is None or layer not in self._viewer.layers:
            return False
        return bool(layer.rgb == keywords["rgb"] and layer.ndim == len(keywords["scale"]))

    def _replace(self, role: str, layer: Layer, data: Any, keywords: dict[str, Any]) -> None:
        """Give a layer of the run before new contents; the name and contrast that the user chose stay."""
        layer.data = data
        undo.place(layer, {key: keywords[key] for key in self._source.geometry})
        layer.metadata[layers.METADATA_KEY] = keywords["metadata"][layers.METADATA_KEY]
        if layer.name == self._names[role] and not layer.name.startswith(keywords["name"]):
            layer.name = keywords["name"]
            self._names[role] = layer.name
        self._adjust(role, layer, keywords["contrast_limits"])

    def _renew(self, layer: Layer, data: Any, result: Result) -> None:
        """Put newer data into a layer."""
        layer.metadata[layers.METADATA_KEY] = result.report
        if layer.data.shape == data.shape and np.may_share_memory(layer.data, data):
            layer.refresh(extent=False)  # a stack is filled in place: only the plane in view is drawn
        else:
            layer.data = data

    def _adjust(self, role: str, layer: Layer, limits: tuple[float, float]) -> None:
        """Set the contrast, unless the user has."""
        if tuple(layer.contrast_limits) == self._limits[role] != limits:
            layer.contrast_limits = limits
            self._limits[role] = tuple(layer.contrast_limits)


def _bare(layer: Any) -> Any:
    """Layer without the proxy that plugins get from a viewer: each of these is another object."""
    return getattr(layer, "__wrapped__", layer)
