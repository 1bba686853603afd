"""The uncertainty made readable: shown as it is or relative to the image, and a mask of doubtful pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QFormLayout, QLabel, QPushButton, QVBoxLayout, QWidget
from superqt.utils import create_worker

from napari_vdip import trust
from napari_vdip._napari import family, layers

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari
    from napari.layers import Layer

HIDDEN, ABSOLUTE, RELATIVE = "hidden", "absolute", "relative (%)"


class UncertaintyView(QWidget):
    """Choice of how the uncertainty is shown, and the button for the mask.

    Both act on the fit of the selected layer, else on the preferred one, else on the topmost.

    Parameters
    ----------
    viewer : napari.viewer.Viewer

    Attributes
    ----------
    shown : QComboBox
        "hidden", "absolute" or "relative (%)".
    percent : QDoubleSpinBox
        Largest uncertainty that is trusted.
    of : QComboBox
        What the percentage is of.
    mark : QPushButton
    words : QLabel
        Which fit is meant, and what was marked.
    preferred : dict or None
        Report of the fit that the other views show.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self.preferred: dict[str, Any] | None = None
        self._suggested_for: dict[str, Any] | None = None
        self.shown = QComboBox()
        self.shown.addItems([HIDDEN, ABSOLUTE, RELATIVE])
        self.shown.setToolTip(
            "absolute: one standard deviation in the image's intensities. relative: in percent of the "
            "pixel's own value."
        )
        self.percent = QDoubleSpinBox()
        self.percent.setRange(0.1, 1000.0)
        self.percent.setDecimals(1)
        self.percent.setSuffix(" %")
        self.percent.setToolTip("Pixels are marked whose standard deviation is more than this share.")
        self.of = QComboBox()
        self.of.addItems(list(trust.DOUBTFUL))
        self.of.setToolTip(
            "The image's range, from its 0.5th to its 99.5th percentile: for pictures, whose dark parts are "
            "no less certain. Suggested after a run with Gaussian noise, at 5 %.\n"
            "The pixel's value: for counts above a background of 0; at 20 % a value stands 5 standard "
            "deviations above nothing. Suggested after a run with Poisson noise."
        )
        self.of.currentTextChanged.connect(self._suggest)
        self._suggest(self.of.currentText())
        self.mark = QPushButton("Mark pixels not to be trusted")
        self.mark.setToolTip("Add a Labels layer: 1 where the uncertainty is above the limit, else 0.")
        self.words = QLabel()
        self.words.setWordWrap(True)
        form = QFormLayout()
        form.addRow("uncertainty layer", self.shown)
        form.addRow("doubtful above", self.percent)
        form.addRow("of", self.of)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self.mark)
        layout.addWidget(self.words)
        self.shown.activated.connect(self._show)
        self.mark.clicked.connect(self._mark)

    def _suggest(self, of: str) -> None:
        self.percent.setValue(trust.DOUBTFUL[of])

    def _found(self) -> dict[str, Layer]:
        return family.in_view(self._viewer, self.preferred)

    def refresh(self) -> None:
        """Say which fit is meant, and how its uncertainty is shown."""
        found = self._found()
        there = "uncertainty" in found and "deblurred" in found
        for widget in (self.shown, self.percent, self.of, self.mark):
            widget.setEnabled(there)
        if not there:
            self.words.setText("No uncertainty yet: it comes at the end of a run (not with method dip).")
            return
        report = found["deblurred"].metadata[layers.METADATA_KEY]
        if report is not self._suggested_for:  # what is chosen for this fit stays
            self._suggested_for = report
            self.of.setCurrentText(trust.suited(report.get("noise", "gaussian")))
        visible = [role for role in ("relative", "uncertainty") if role in found and found[role].visible]
        name = {"relative": RELATIVE, "uncertainty": ABSOLUTE}[visible[0]] if visible else HIDDEN
        self.shown.setCurrentText(name)
        self.words.setText(
            f"of {found['deblurred'].name}; with it selected, the status bar shows value ± std"
        )

    def _show(self, _index: int) -> None:
        found, choice = self._found(), self.shown.currentText()
        if "uncertainty" not in found or "deblurred" not in found:
            return
        if choice == RELATIVE and "relative" not in found:
            self._compute(trust.relative, found, self._add_relative)
        if "relative" in found:
            found["relative"].visible = choice == RELATIVE
        found["uncertainty"].visible = choice == ABSOLUTE

    def _mark(self) -> None:
        found, percent, of = self._found(), self.percent.value(), self.of.currentText()
        if "uncertainty" in found and "deblurred" in found:
            limit = f"{percent:g}\N{NO-BREAK SPACE}% of {of}"
            self._compute(
                lambda image, std: trust.doubtful(image, std, percent, of),
                found,
                lambda marked, found: self._add_mask(marked, found, limit),
            )

    def _compute(
        self,
        function: Callable[[Any, Any], Any],
        found: dict[str, Layer],
        then: Callable[[Any, dict[str, Layer]], None],
    ) -> None:
        """Compute from image and uncertainty in a thread: a stack takes seconds; add what comes out."""
        image, std = found["deblurred"].data, found["uncertainty"].data
        self.setEnabled(False)
        worker = create_worker(function, image, std, _start_thread=False)
        worker.returned.connect(lambda made: then(made, found))
        worker.finished.connect(lambda: self.setEnabled(True))
        worker.start()

    def _add_relative(self, share: Any, found: dict[str, Layer]) -> None:
        self._viewer.add_image(share, **layers.relative_keywords(share, found["uncertainty"]))
        found["uncertainty"].visible = False
        self._select(found["deblurred"])

    def _add_mask(self, marked: Any, found: dict[str, Layer], limit: str) -> None:
        self._viewer.add_labels(marked.astype("uint8"), **layers.mask_keywords(found["uncertainty"]))
        self._select(found["deblurred"])
        self.words.setText(
            f"{marked.mean():.1%} of the pixels of {found['deblurred'].name} are marked: their standard "
            f"deviation is more than {limit}"
        )

    def _select(self, layer: Layer) -> None:
        if layer in self._viewer.layers:
            self._viewer.layers.selection.active = layer
