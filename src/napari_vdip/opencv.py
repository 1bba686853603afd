"""The one place that imports OpenCV. Import this module late: only where ``cv2`` is about to be used.

``opencv-python`` points Qt at its own plugins and fonts when it is imported. A viewer
opened afterwards would load them instead of its own, so both variables are put back.
"""

from __future__ import annotations

import os

_QT_VARIABLES = ("QT_QPA_PLATFORM_PLUGIN_PATH", "QT_QPA_FONTDIR")
_before = {name: os.environ.get(name) for name in _QT_VARIABLES}

import cv2  # noqa: E402  (the variables are looked at before)

for _name, _value in _before.items():
    if _value is None:
        os.environ.pop(_name, None)
    else:
        os.environ[_name] = _value

__all__ = ["cv2"]
