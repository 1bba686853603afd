"""A dock widget that is usable on a small screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QScrollBar, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from qtpy.QtWidgets import QLayout


def make_scrollable(widget: QWidget) -> QScrollArea:
    """Put all that is in a widget into a scroll area within it.

    magicgui's own scrollable container is of no use here: napari docks what is within its scroll
    area, without the area.

    Parameters
    ----------
    widget : QWidget
        With a layout of its own; the layout is kept, as magicgui goes on adding to it.

    Returns
    -------
    QScrollArea
    """
    inner = QWidget()
    layout: QLayout | None = widget.layout()
    inner.setLayout(layout)
    if isinstance(layout, QVBoxLayout):
        layout.addStretch()
    area = QScrollArea()
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidgetResizable(True)
    area.setWidget(inner)
    bar = QScrollBar()
    area.setVerticalScrollBar(bar)
    area.setMinimumWidth(inner.minimumSizeHint().width() + bar.sizeHint().width())
    outer = QVBoxLayout(widget)
    outer.setContentsMargins(0, 0, 0, 0)
    outer.addWidget(area)
    return area
