"""The form: every option has its field, and what it shows is what `Options` gets."""

from __future__ import annotations

import dataclasses

import pytest

from napari_vdip._napari import form
from napari_vdip.errors import InvalidOption
from napari_vdip.options import Options

NOT_ASKED = {"rgb"}


@pytest.fixture
def widgets(qapp):
    choices = {name: (lambda _widget: []) for name in ("kernel", "mask", "channel_axis")}
    return {item.name: form.widget_of(item, choices) for item in form.fields()}


def test_there_is_a_field_for_each_option(widgets):
    assert set(widgets) == {item.name for item in dataclasses.fields(Options)} - NOT_ASKED
    for item in form.fields():
        widget = widgets[item.name]
        assert widget.name == item.name
        assert widget.tooltip == item.metadata["help"]
        assert item.metadata["unit"] in widget.label


def test_untouched_fields_are_the_defaults(widgets):
    values = {name: widget.value for name, widget in widgets.items()}
    assert Options.from_keywords(**values).as_dict() == Options().as_dict()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kernel_size", 31),
        ("kernel_size", (31, 21)),
        ("kernel_size", "auto"),
        ("preset", "paper"),
        ("method", "dip"),
        ("method", None),
        ("noise", "poisson"),
        ("kernel_fixed", False),
        ("device", "cuda:1"),
        ("compile", "off"),
        ("kernel_mode", "warm"),
        ("tile", 512),
        ("tile", None),
        ("seed", 2**31 - 1),
        ("iterations", 1_000_000),
        ("iterations", None),
        ("threads", 3),
    ],
)
def test_values_come_back_as_they_were_put_in(widgets, name, value):
    widgets[name].value = value
    assert widgets[name].value == value
    assert getattr(Options.from_keywords(**{name: widgets[name].value}), name) == value


def test_not_given_shows_as_a_word(widgets):
    assert widgets["iterations"].native.text() == "preset"
    assert widgets["threads"].native.text() == "auto"
    assert widgets["method"].current_choice == "preset"
    widgets["iterations"].value = 250
    assert widgets["iterations"].native.text() == "250"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("auto", "auto"),
        (" AUTO ", "auto"),
        ("", "auto"),
        ("31", 31),
        ("31, 21", (31, 21)),
        ("31x21", (31, 21)),
        ("31 21", (31, 21)),
    ],
)
def test_kernel_sizes_are_read_as_people_write_them(text, size):
    assert form.parse_kernel_size(text) == size


@pytest.mark.parametrize("text", ["large", "1, 2, 3", "3.5", "-5", "auto 3"])
def test_what_is_no_kernel_size_is_refused(text):
    with pytest.raises(InvalidOption, match="write auto, an odd number such as 31"):
        form.parse_kernel_size(text)


def test_a_click_offers_typical_kernel_sizes(widgets, qtbot):
    from qtpy.QtCore import Qt

    edit = widgets["kernel_size"].native
    qtbot.addWidget(edit)
    edit.show()
    qtbot.mouseClick(edit, Qt.MouseButton.LeftButton)
    assert edit.completer().popup().isVisible()
    assert edit.completer().completionCount() > 3
