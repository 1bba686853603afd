"""The form: `Options` as magicgui widgets, and back. What an option is stands in `Options` alone."""

from __future__ import annotations

import dataclasses
import types
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from magicgui.widgets import CheckBox, ComboBox, FloatSpinBox, LineEdit, SpinBox
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QAbstractSpinBox, QComboBox, QCompleter

from napari_vdip.errors import InvalidOption
from napari_vdip.options import Options, choices_of, type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from magicgui.widgets.bases import ValueWidget

    Choices = Callable[[Any], Iterable[Any]]

# Kinds of layers that can be given where an option takes an array.
LAYER_KINDS: dict[str, tuple[str, ...]] = {"kernel": ("Image",), "mask": ("Labels", "Image")}

# What "not given" is called where None is a choice.
_NOT_GIVEN = {
    "method": "preset",
    "noise": "by kind of image",
    "kernel_family": "by kind of image",
    "iterations": "preset",
    "threads": "auto",
    "tile": "by memory",
    "kernel_grid": "one kernel",
    "channel_axis": "none",
    "fried_parameter": "looked for",
    "pixel_size": "of the layer",
}

# Known from the layer, not asked.
_FROM_LAYER = ("rgb",)

_TYPICAL_SIZES = ("auto", "11", "15", "21", "31", "41", "61", "81")


class LayerBox(ComboBox):
    """Choice of a layer. It holds on to its layer when that is renamed."""

    null_string = "none"

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        # A long name is cut in the box, not given the width of the viewer.
        self.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.native.setMinimumContentsLength(12)

    def reset_choices(self, *_: Any) -> None:
        """Offer the layers that are there now."""
        chosen = self.get_value()
        super().reset_choices()
        # Choices are matched by their text, which a rename changes.
        if chosen is not None and chosen in self.choices:
            self.value = chosen


class OptionalChoice(ComboBox):
    """Choice among values of which one stands for None."""

    def __init__(self, *, none_text: str, **keywords: Any) -> None:
        self.null_string = none_text
        super().__init__(nullable=True, **keywords)


class OptionalInt(FloatSpinBox):
    """Whole number from 1 on; 0 stands for None and shows as a word.

    Made of the box for floats: the one for integers cannot show a word.
    """

    def __init__(self, *, none_text: str, value: int | None = None, **keywords: Any) -> None:
        super().__init__(value=value or 0, min=0, step=1, **keywords)
        self.native.setDecimals(0)
        self.native.setSpecialValueText(none_text)

    def get_value(self) -> Any:
        """Return the number, or None for 0."""
        return int(super().get_value()) or None

    def set_value(self, value: Any) -> None:
        """Show a number; None as 0."""
        super().set_value(value or 0)


class OptionalFloat(FloatSpinBox):
    """Number above 0; 0 stands for None and shows as a word."""

    def __init__(self, *, none_text: str, value: float | None = None, **keywords: Any) -> None:
        super().__init__(value=value or 0, min=0, step=0.1, **keywords)
        self.native.setDecimals(4)
        self.native.setStepType(QAbstractSpinBox.StepType.AdaptiveDecimalStepType)
        self.native.setSpecialValueText(none_text)

    def get_value(self) -> Any:
        """Return the number, or None for 0."""
        return float(super().get_value()) or None

    def set_value(self, value: Any) -> None:
        """Show a number; None as 0."""
        super().set_value(value or 0)


class KernelSizeEdit(LineEdit):
    """Text ``auto``, ``31`` or ``31, 21``; a click offers typical sizes."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        completer = QCompleter(list(_TYPICAL_SIZES), self.native)
        completer.setCompletionMode(QCompleter.CompletionMode.UnfilteredPopupCompletion)
        completer.setMaxVisibleItems(len(_TYPICAL_SIZES))
        self.native.setCompleter(completer)
        self.native.setPlaceholderText("auto")
        self.native.installEventFilter(_OfferOnClick(self.native))

    def get_value(self) -> Any:
        """Return "auto", a number, or (height, width).

        Raises
        ------
        InvalidOption
            If the text is none of these.
        """
        return parse_kernel_size(super().get_value())

    def set_value(self, value: Any) -> None:
        """Show "auto", a number, or (height, width)."""
        super().set_value(", ".join(map(str, value)) if isinstance(value, tuple) else value)


class _OfferOnClick(QObject):
    """Opens the list of suggestions of a line edit when it is clicked."""

    def eventFilter(self, edit: Any, event: Any) -> bool:
        """Watch a line edit; never swallow an event."""
        if event.type() == QEvent.Type.MouseButtonRelease and event.button() == Qt.MouseButton.LeftButton:
            edit.completer().complete()
        return False


def parse_kernel_size(text: str) -> int | tuple[int, int] | Literal["auto"]:
    """Read a kernel size as people write it.

    Parameters
    ----------
    text : str
        ``auto`` or nothing, a number, or height and width with a comma, a blank or an x between.

    Raises
    ------
    InvalidOption
        If the text is none of these.
    """
    words = text.lower().replace(",", " ").replace("x", " ").split()
    if words in ([], ["auto"]):
        return "auto"
    if len(words) > 2 or not all(word.isdecimal() for word in words):
        raise InvalidOption(
            f"kernel_size={text!r} is not allowed; write auto, an odd number such as 31, or height and "
            "width such as 31, 21"
        )
    sizes = [int(word) for word in words]
    return sizes[0] if len(sizes) == 1 else (sizes[0], sizes[1])


def fields() -> list[dataclasses.Field[Any]]:
    """Options that the form asks for, in their order: not those known from the layer or without a choice."""
    return [
        item
        for item in dataclasses.fields(Options)
        if item.name not in _FROM_LAYER
        and not (_is_literal(item.name) and len(choices_of(type_of(item.name))) == 1)
    ]


def widget_of(item: dataclasses.Field[Any], choices: Mapping[str, Choices]) -> ValueWidget[Any]:
    """Make the widget of an option.

    Parameters
    ----------
    item : dataclasses.Field
        Field of `Options`.
    choices : mapping
        For options that are chosen from what is open (layers, axes): what to offer, as magicgui
        takes it: a function of the widget.

    Returns
    -------
    ValueWidget
        Named as the option, holding its default.
    """
    name, kind, unit = item.name, type_of(item.name), item.metadata["unit"]
    default: Any = item.default
    common = {
        "name": name,
        "label": name.replace("_", " ") + (f" ({unit})" if unit else ""),
        "tooltip": item.metadata["help"],
    }
    none_text = _NOT_GIVEN.get(name, "none")
    if name in LAYER_KINDS:
        return LayerBox(choices=choices[name], nullable=True, **common)
    if name in choices:
        return OptionalChoice(choices=choices[name], none_text=none_text, **common)
    if name == "kernel_size":
        return KernelSizeEdit(value=default, **common)
    if _is_optional(kind) and choices_of(kind):
        return OptionalChoice(choices=choices_of(kind), none_text=none_text, **common)
    if float in get_args(kind):
        return OptionalFloat(value=default, max=item.metadata["high"], none_text=none_text, **common)
    if _is_optional(kind):
        return OptionalInt(value=default, max=item.metadata["high"], none_text=none_text, **common)
    if _is_literal(name):
        return ComboBox(value=default, choices=choices_of(kind), **common)
    if kind is bool:
        return CheckBox(value=default, **common)
    if kind is int:
        return SpinBox(value=default, min=item.metadata["low"], max=item.metadata["high"], **common)
    return LineEdit(value=default, **common)


def _is_literal(name: str) -> bool:
    return get_origin(type_of(name)) is Literal


def _is_optional(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType) and types.NoneType in get_args(kind)
