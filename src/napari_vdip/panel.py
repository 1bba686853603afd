"""The demo's panel: before, after, kernel and uncertainty beside the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_vdip.result import Result

    Array = npt.NDArray[Any]

_TILE = 440  # px, side of a picture
_GAP = 24
_TITLE = 40
_BAR = 16
_PAPER, _INK, _FAINT = "#ffffff", "#1b1b1b", "#6a6a6a"
# Nine colours from dark violet over orange to light yellow, evenly spaced in lightness.
_COLOURS = np.array(
    [
        (5, 4, 20),
        (38, 14, 82),
        (84, 16, 109),
        (130, 32, 106),
        (176, 50, 90),
        (218, 80, 64),
        (244, 124, 28),
        (250, 182, 36),
        (250, 250, 160),
    ],
    dtype=np.float64,
)


class Known(Protocol):
    """A blurred image whose truth is known: a sample, or a case of a benchmark."""

    @property
    def blurred(self) -> Array:
        """(H, W)."""

    @property
    def sharp(self) -> Array:
        """(H, W), in the units of `blurred`."""

    @property
    def kernel(self) -> Array | None:
        """(Kh, Kw), or None where it is not known."""


def draw(sample: Known, result: Result, gain: tuple[float, float]) -> Image.Image:
    """Draw the panel.

    Parameters
    ----------
    sample : Known
        With the truth.
    result : Result
        Of the sample's blurred image.
    gain : (float, float)
        PSNR of the blurred and of the deblurred image, in dB.

    Returns
    -------
    PIL.Image.Image
        RGB, three columns and two rows.
    """
    low, high = np.percentile(sample.sharp, (0.1, 99.8))

    def picture(data: Array) -> Image.Image:
        return _grey(np.clip((data.astype(np.float64) - low) / (high - low), 0, 1), Image.Resampling.BICUBIC)

    def kernel(data: Array | None) -> Image.Image:
        if data is None:
            return _empty("not known")
        return _grey(np.clip(data / data.max(), 0, 1) ** 0.6, Image.Resampling.NEAREST)

    size = " x ".join(str(n) for n in result.kernel.shape)
    tiles = [
        ("Blurred", f"PSNR {gain[0]:.1f} dB", picture(sample.blurred)),
        ("Deblurred", f"PSNR {gain[1]:.1f} dB", picture(result.image)),
        ("Known sharp image", "the truth", picture(sample.sharp)),
        ("Kernel found", f"{size} px", kernel(result.kernel)),
        ("Known kernel", "the truth" if sample.kernel is not None else "", kernel(sample.kernel)),
        ("Uncertainty", "one standard deviation", _uncertainty(result.uncertainty)),
    ]
    columns, rows = 3, 2
    cell_w, cell_h = _TILE + _GAP, _TITLE + _TILE + _GAP
    sheet = Image.new("RGB", (_GAP + columns * cell_w, _GAP // 2 + rows * cell_h), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, (title, note, tile) in enumerate(tiles):
        left = _GAP + number % columns * cell_w
        top = _GAP // 2 + number // columns * cell_h
        pen.text((left, top + _TITLE - 10), title, fill=_INK, font=ImageFont.load_default(24), anchor="ls")
        pen.text(
            (left + _TILE, top + _TITLE - 10), note, fill=_FAINT, font=ImageFont.load_default(18), anchor="rs"
        )
        sheet.paste(tile, (left, top + _TITLE))
    return sheet


def _grey(values: Array, way: Image.Resampling) -> Image.Image:
    """Picture of the size of a tile from values between 0 and 1."""
    return _fitted(Image.fromarray(np.rint(values * 255).astype(np.uint8)), way).convert("RGB")


def _fitted(picture: Image.Image, way: Image.Resampling, side: int = _TILE) -> Image.Image:
    """Scale a picture into a square of a tile's side, its shape kept, black around it."""
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    square = Image.new(picture.mode, (side, side))
    square.paste(picture.resize(size, way), ((side - size[0]) // 2, (side - size[1]) // 2))
    return square


def _empty(reason: str) -> Image.Image:
    """Tile that tells why it shows nothing."""
    tile = Image.new("RGB", (_TILE, _TILE), _PAPER)
    place = (_TILE / 2, _TILE / 2)
    ImageDraw.Draw(tile).text(place, reason, fill=_FAINT, font=ImageFont.load_default(17), anchor="mm")
    return tile


def _uncertainty(values: Array) -> Image.Image:
    """Colour picture of the uncertainty over a scale with its numbers."""
    known = values[np.isfinite(values)]
    if known.size == 0:
        return _empty("none with this method")
    font = ImageFont.load_default(17)
    tile = Image.new("RGB", (_TILE, _TILE), _PAPER)
    pen = ImageDraw.Draw(tile)
    low, high = (float(value) for value in np.percentile(known, (1, 99)))
    share = np.nan_to_num((values - low) / max(high - low, 1e-12)).clip(0, 1)
    side = _TILE - _BAR - 32
    picture = _fitted(Image.fromarray(_colour(share)), Image.Resampling.BICUBIC, side)
    tile.paste(picture, ((_TILE - side) // 2, 0))
    ramp = _colour(np.tile(np.linspace(0, 1, side), (_BAR, 1)))
    tile.paste(Image.fromarray(ramp), ((_TILE - side) // 2, side + 6))
    bottom = side + 6 + _BAR + 3
    for x, value, anchor in (((_TILE - side) // 2, low, "la"), ((_TILE + side) // 2, high, "ra")):
        pen.text((x, bottom), f"{value:.3g}", fill=_INK, font=font, anchor=anchor)
    return tile


def _colour(share: Array) -> npt.NDArray[np.uint8]:
    """Colours of values between 0 and 1: (..., 3) uint8."""
    stops = np.linspace(0, 1, len(_COLOURS))
    return np.stack([np.interp(share, stops, _COLOURS[:, i]) for i in range(3)], axis=-1).astype(np.uint8)
