"""What the plugin remembers from one session to the next, in napari's own plugin settings.

They are declared in the manifest (``configurations``) and live beside napari's settings, in
``napari-vdip.yaml``; napari shows them in its preferences. They hold numbers and texts only, so
that what belongs together is kept as JSON. A napari without plugin settings (before 0.9)
remembers nothing. Whatever is found there is checked: another version may have written it.
"""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_vdip._napari import form
from napari_vdip.errors import InvalidOption
from napari_vdip.options import Options

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLUGIN = "napari-vdip"
_FOLDER = "job_folder"  # beside the options of the last run
_logger = logging.getLogger(__name__)


def names() -> list[str]:
    """Options that are remembered: all in the form but layers and axes, which belong to an image."""
    bound = (*form.LAYER_KINDS, "channel_axis")
    return [item.name for item in form.fields() if item.name not in bound]


def last() -> dict[str, Any]:
    """Values of the last run by option; those that are no longer allowed are left out."""
    settings = _settings()
    found = _read(settings.last) if settings is not None and settings.remember else {}
    values = {}
    for name in names():
        if name in found:
            try:
                values[name] = getattr(Options.from_keywords(**{name: found[name]}), name)
            except InvalidOption:
                continue
    return values


def keep(values: Mapping[str, Any]) -> None:
    """Remember the values of a run, by option."""
    settings = _settings()
    if settings is not None and settings.remember:
        kept = {name: values[name] for name in names() if name in values}
        _write(settings, "last", _read(settings.last) | kept)


def folder() -> Path | None:
    """Folder in which the last run kept its slices, if it is still there."""
    settings = _settings()
    found = _read(settings.last).get(_FOLDER) if settings is not None and settings.remember else None
    return Path(found) if isinstance(found, str) and Path(found).is_dir() else None


def keep_folder(path: Path | None) -> None:
    """Remember where a run keeps its slices."""
    settings = _settings()
    if settings is not None and settings.remember:
        _write(settings, "last", _read(settings.last) | {_FOLDER: None if path is None else str(path)})


def speeds() -> dict[str, float]:
    """Seconds for a step and a pixel of the fits so far, as `napari_vdip.pace` names them."""
    settings = _settings()
    found = {} if settings is None else _read(settings.speeds)
    return {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, int | float) and math.isfinite(value) and value > 0
    }


def learn(measured: Mapping[str, float]) -> None:
    """Remember the speed of a fit, with half of the weight: a busy machine is no rule."""
    settings = _settings()
    if settings is None or not measured:
        return
    known = speeds()
    new = {name: float(f"{(value + known.get(name, value)) / 2:.3g}") for name, value in measured.items()}
    _write(settings, "speeds", known | new)


def _settings() -> Any:
    """Return the plugin's settings, or None where napari has none for it."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return None
    try:
        return get_plugin_settings(_PLUGIN).form
    except (KeyError, AttributeError):  # the plugin is not registered, or with another manifest
        return None


def _write(settings: Any, name: str, values: dict[str, Any]) -> None:
    """Store values as JSON; napari saves them at once, which a run does not fail for."""
    try:
        setattr(settings, name, json.dumps(values))
    except OSError as error:
        _logger.warning("the settings of napari-vdip could not be saved: %s", error)


def _read(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
