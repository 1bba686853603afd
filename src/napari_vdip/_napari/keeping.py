"""Where finished slices are kept, and the button that goes on with them later. Layout and words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.types import FileDialogMode
from magicgui.widgets import FileEdit, PushButton

from napari_vdip._napari import memory
from napari_vdip.jobs import sheet

if TYPE_CHECKING:
    from magicgui.widgets.bases import ValueWidget
    from napari.layers import Layer


class Keeping:
    """Choice of a folder, and Resume.

    Parameters
    ----------
    image : ValueWidget
        Choice of the image layer.
    """

    def __init__(self, image: ValueWidget[Any]) -> None:
        self._image = image
        self.folder = FileEdit(
            name="job_folder",
            label="keep slices in",
            mode=FileDialogMode.EXISTING_DIRECTORY,
            nullable=True,
            value=memory.folder(),
            tooltip="Folder in which every finished slice of a stack is put on the disk at once. After a "
            "crash, or in a later session, Resume goes on with them. Empty: the results are in memory only.",
        )
        self.folder.choose_btn.text = "..."  # its own text leaves no room for the folder
        self.resume = PushButton(
            name="resume_job",
            text="Resume",
            tooltip="Go on with the slices that are kept; those that are finished are not deblurred again. "
            "The settings must be those of the first run.",
        )

    def chosen(self) -> Path | None:
        """Folder that is chosen."""
        text = str(self.folder.line_edit.value).strip()
        return Path(text).expanduser() if text else None

    def keep(self, resume: bool, threads: int | None) -> sheet.Keep | None:
        """Say where the next run keeps its slices; None if nowhere. The choice is remembered."""
        folder = self.chosen()
        memory.keep_folder(folder)
        return None if folder is None else sheet.Keep(folder, resume, threads)

    def look(self) -> bool:
        """Say on the button how much is there of the chosen image; whether there is anything."""
        image: Layer | None = self._image.value
        folder = self.chosen()
        found = None
        if image is not None and folder is not None:
            found = sheet.kept(sheet.job_folder(folder, image.name))
        if found is None or found[0] == 0:
            return False
        self.resume.text = f"Resume: {found[0]:,} of {found[1]:,} slices are kept"
        return True
