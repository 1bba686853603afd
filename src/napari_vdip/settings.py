"""Options from a settings file: a report that a run wrote, or a part of one. Standard library only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_vdip.errors import InvalidInput, InvalidOption
from napari_vdip.options import Options

if TYPE_CHECKING:
    import os

_BY_IMAGE = ("rgb", "channel_axis")  # the image's file decides about them where nobody else does


@dataclass(frozen=True)
class Settings:
    """What a settings file says.

    Attributes
    ----------
    values : dict
        Options by name; those that are arrays as names of files.
    given : frozenset of str
        Those that somebody chose, as far as the file tells.
    """

    values: dict[str, Any]
    given: frozenset[str]


def load(path: str | os.PathLike[str]) -> Settings:
    """Read a settings file.

    Parameters
    ----------
    path : path-like
        JSON: a report (``<stem>_report.json``, whose ``options`` are taken), or an object of options.

    Raises
    ------
    InvalidInput
        If there is no such file, it is no JSON object, or an array is told by its shape alone.
    InvalidOption
        If a name or value is not allowed.
    """
    path = Path(path)
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidInput(f"{path} does not exist; expected a settings file, such as a report") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{path} cannot be read as JSON: {error}; expected a report or its options"
        ) from error
    values = told.get("options", told) if isinstance(told, dict) else told
    if not isinstance(values, dict):
        raise InvalidInput(
            f"{path} holds {type(values).__name__}; expected a report, or an object of options such as "
            '{"preset": "fast"}'
        )
    for name in ("kernel", "mask"):
        value = values.get(name)
        if value is not None and (not isinstance(value, str) or value.startswith("array of shape")):
            raise InvalidInput(
                f"{path} tells of the {name} that it is {value!r:.60}; expected the name of its file"
            )
    try:
        chosen = set(Options.from_keywords(**values).chosen())
    except InvalidOption as error:
        raise InvalidOption(f"{path}: {error}") from None
    if "noise" not in chosen:  # another kind of image is to choose it anew
        values = {name: value for name, value in values.items() if name != "noise"}
    if "given" in told and "options" in told:
        given = told["given"] if isinstance(told["given"], list) else []
        chosen -= {name for name in _BY_IMAGE if name not in given}
        values = {name: value for name, value in values.items() if name not in _BY_IMAGE or name in chosen}
    return Settings(values, frozenset(chosen))
