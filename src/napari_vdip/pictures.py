"""PNG and JPEG files in, as they are stored, at their whole depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip.errors import InvalidInput
from napari_vdip.imagefile import ImageFile

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    from PIL import Image

    Array = npt.NDArray[Any]


def read_picture(path: Path, kind: str) -> ImageFile:
    """Read a PNG or JPEG file."""
    from PIL import Image

    with Image.open(path) as picture:
        dots = picture.info.get("dpi")
        data = _deep_png(path) if kind == "png" else None
        if data is None:
            data = _pixels(picture)
    rgb = data.ndim == 3
    known = dots is not None and min(dots) > 0
    return ImageFile(
        path=path,
        kind="png" if kind == "png" else "jpeg",
        data=data,
        axes="YXS" if rgb else "YX",
        rgb=rgb,
        resolution=(float(dots[0]), float(dots[1])) if dots and known else None,
        resolution_unit="INCH" if known else "NONE",
    )


def _pixels(picture: Image.Image) -> Array:
    """Pixels of a picture of at most 8 bits, or of grey 16 bits, as (Y, X) or (Y, X, 3 or 4)."""
    mode = picture.mode
    if mode in ("P", "PA"):
        picture = picture.convert("RGBA" if mode == "PA" or "transparency" in picture.info else "RGB")
        data = np.asarray(picture)
        grey = (data[..., :1] == data[..., :3]).all()  # a palette of greys is a grey image
        return data[..., 0].copy() if grey else data
    if mode == "1":
        return np.asarray(picture).astype(np.uint8) * np.uint8(255)
    if mode == "LA":  # nothing can be deblurred in the transparency of a grey image
        return np.asarray(picture)[..., 0].copy()
    if mode == "CMYK":
        return np.asarray(picture.convert("RGB"))
    data = np.asarray(picture)
    return data.astype(np.uint16) if mode == "I" else data  # "I": 16-bit grey in older Pillow


def _deep_png(path: Path) -> Array | None:
    """Pixels of a 16-bit PNG with colours or alpha, which Pillow would cut to 8 bits; None for others."""
    with path.open("rb") as file:
        header = file.read(26)
    depth, colour_type = header[24:26]
    if depth != 16 or colour_type == 0:
        return None
    data = decode_by_opencv(path)
    return data[..., 0].copy() if colour_type == 4 else data  # 4: grey with transparency


def decode_by_opencv(path: Path) -> Array:
    """Decode a file with OpenCV, unconverted, colours in the order R, G, B (and alpha).

    Raises
    ------
    InvalidInput
        If OpenCV cannot decode it.
    """
    from napari_vdip.opencv import cv2

    # by its bytes, for cv2.imread fails on names beyond ASCII under Windows
    data = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if data is None:
        raise InvalidInput(f"{path} cannot be read: OpenCV does not decode it; save it as uncompressed TIFF")
    if data.ndim == 3:
        data = data[..., [2, 1, 0, 3][: data.shape[-1]]]
    return np.ascontiguousarray(data)
