"""The buttons under the form: which there are, what they say, and when they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from magicgui.widgets import PushButton
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QHBoxLayout

if TYPE_CHECKING:
    from qtpy.QtWidgets import QVBoxLayout


@dataclass(frozen=True)
class Offers:
    """What can be done now.

    Attributes
    ----------
    image : bool
        An image is chosen.
    running, stopping : bool
        A fit is at work; it has been asked to stop.
    paused : bool
        A fit was stopped and can go on.
    undo, redo : bool
        The last run can be undone, or done again.
    kernel_for_image, kernel_for_slices : bool
        There is a kernel from a part of an image that can be used for the rest of it.
    kept : bool
        There are slices of an earlier run that can be gone on with.
    """

    image: bool = False
    running: bool = False
    stopping: bool = False
    paused: bool = False
    undo: bool = False
    redo: bool = False
    kernel_for_image: bool = False
    kernel_for_slices: bool = False
    kept: bool = False


class Buttons:
    """Run and Stop in one place, Continue beside them, Undo, and what can be done with a kernel.

    Parameters
    ----------
    resume_job : PushButton
        Goes on with what is kept on the disk; its text is made elsewhere.
    """

    def __init__(self, resume_job: PushButton) -> None:
        self.resume_job = resume_job
        self.run = PushButton(
            name="run", text="Run", tooltip="Deblur the image; the result is shown while it sharpens."
        )
        self.stop = PushButton(
            name="stop",
            text="Stop",
            tooltip="Stop and keep what has been reached; Continue goes on from there.",
        )
        self.resume = PushButton(
            name="resume",
            text="Continue",
            tooltip="Go on where the run was stopped: the result is that of a run without a stop. It "
            "waits in memory until the next run, or until this dock is closed.",
        )
        self.undo = PushButton(
            name="undo",
            text="Undo",
            tooltip="Set the layers to what they were before the last run, and back.",
        )
        self.apply_kernel = PushButton(
            name="apply_kernel",
            text="Apply this kernel to the whole image",
            tooltip="Deblur the whole image with the kernel found in the region, held as it is.",
        )
        self.all_slices = PushButton(
            name="all_slices",
            text="Use this kernel for all slices and channels",
            tooltip="Deblur all slices and channels with the kernel found in one, held as it is.",
        )
        self.all = [self.run, self.stop, self.resume, self.undo]
        self.all += [self.resume_job, self.apply_kernel, self.all_slices]
        self._once = _NoDoubleClick(self.stop.native)
        self.stop.native.installEventFilter(self._once)

    def arrange(self, layout: QVBoxLayout) -> None:
        """Put the buttons at the end of a layout that holds them already, one under another."""
        for button in self.all:
            layout.removeWidget(button.native)
        row = QHBoxLayout()
        row.setContentsMargins(5, 0, 0, 0)  # where magicgui's labels begin
        for button in (self.run, self.stop, self.resume, self.undo):
            row.addWidget(button.native)
        layout.addLayout(row)
        for button in (self.resume_job, self.apply_kernel, self.all_slices):
            row = QHBoxLayout()
            row.setContentsMargins(5, 0, 0, 0)
            row.addWidget(button.native)
            layout.addLayout(row)

    def show(self, offers: Offers) -> None:
        """Show the buttons that apply."""
        idle = not offers.running
        self.run.enabled = idle and offers.image
        self.stop.enabled = offers.running and not offers.stopping
        self.run.visible, self.stop.visible = idle, offers.running
        self.undo.text = "Redo" if offers.redo else "Undo"
        for button, offered in (
            (self.resume, offers.paused),
            (self.undo, offers.undo or offers.redo),
            (self.resume_job, offers.kept),
            (self.apply_kernel, offers.kernel_for_image),
            (self.all_slices, offers.kernel_for_slices),
        ):
            button.visible = button.enabled = idle and offered


class _NoDoubleClick(QObject):
    """Swallows double clicks: the second click on Run finds Stop in its place."""

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """Watch a button."""
        return bool(event.type() == QEvent.Type.MouseButtonDblClick)
