"""Buttons for what a report says to try: each changes the form and runs again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


class Advice(QWidget):
    """A button for each remedy of a report; none without.

    Parameters
    ----------
    apply : callable
        Called with the options to change when a button is pressed.

    Attributes
    ----------
    buttons : list of QPushButton
        Those that are shown now.
    """

    def __init__(self, apply: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__()
        self._apply = apply
        self.buttons: list[QPushButton] = []
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(5, 0, 0, 0)
        self.setVisible(False)

    def show_findings(self, findings: Iterable[Mapping[str, Any]]) -> None:
        """Offer the remedies of a report's findings, each once though many slices may have it."""
        self.clear()
        remedies: list[Mapping[str, Any]] = []
        for finding in findings:
            if finding["remedy"] and finding["remedy"] not in remedies:
                remedies.append(finding["remedy"])
        for remedy in remedies[:3]:
            button = QPushButton(in_words(remedy))
            button.setToolTip("Change the form accordingly and run again.")
            button.clicked.connect(lambda _=False, remedy=remedy: self._apply(remedy))
            self._layout.addWidget(button)
            self.buttons.append(button)
        self.setVisible(bool(self.buttons))

    def clear(self) -> None:
        """Offer nothing."""
        for button in self.buttons:
            self._layout.removeWidget(button)
            button.deleteLater()
        self.buttons = []
        self.setVisible(False)


def in_words(remedy: Mapping[str, Any]) -> str:
    """Say what a button does."""
    parts = [
        f"the preset's own {name}" if value is None else f"{name.replace('_', ' ')} {value}"
        for name, value in remedy.items()
    ]
    return f"Run again with {', '.join(parts)}"
