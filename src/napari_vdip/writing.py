"""Files and folders that appear whole or not at all. Standard library only."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CUT_SHORT = re.compile(r"\d+ requested and \d+ written")


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; it takes the place of `path` if all went well.

    What was written is on the disk, not only on its way to it, before it takes that place: after a
    loss of power there is the old file or the new one, whole.
    """
    path = Path(path)
    # of this process alone, on any machine
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
        _sync_folder(path.parent)
    except OSError as error:
        # numpy counts items where the system has no room for them, and does not say why.
        if error.errno is None and _CUT_SHORT.fullmatch(str(error)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def settle(part: Path, path: Path) -> None:
    """Let a folder take the place of `path`, folder or nothing, when all of it is on the disk.

    Both are on one file system. A loss of power leaves the old one, the new one or, between two renamings,
    none.
    """
    for folder, _, names in os.walk(part):
        for name in names:
            with open(os.path.join(folder, name), "rb+") as file:
                os.fsync(file.fileno())
        _sync_folder(Path(folder))
    old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")
    if path.exists():
        os.replace(path, old)
    os.replace(part, path)
    _sync_folder(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
