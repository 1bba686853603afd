"""Two sample images whose sharp image and kernel are known, made anew at each call: numpy and a photograph.

Both follow ``blurred = kernel * sharp + noise`` with the kernel moved over a canvas larger than
the image, so that nothing is invented beyond its borders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from napari_vdip.errors import InvalidInput

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

SampleName = Literal["microscopy", "photograph"]
NAMES: tuple[SampleName, ...] = get_args(SampleName)

_SIDE = 256

# Centre (y, x), half axes and angle of the nuclei, in pixels of the canvas and radians.
_NUCLEI = (
    (62, 70, 33, 24, 0.5),
    (170, 55, 30, 25, 1.9),
    (95, 185, 35, 26, 2.6),
    (212, 160, 32, 22, 0.1),
    (190, 262, 28, 24, 1.2),
)


@dataclass(frozen=True, eq=False)
class Sample:
    """A blurred image and the truth about it.

    Attributes
    ----------
    name : str
        "microscopy" or "photograph".
    blurred : ndarray, (256, 256)
        uint16 counts, or uint8 grey levels.
    sharp : ndarray of float32, (256, 256)
        The scene without blur and noise, in the units of `blurred`.
    kernel : ndarray of float32, (K, K)
        Sums to 1; its centre of mass is its middle.
    pixel_size : float
        Length of a pixel's side in `unit`.
    unit : str
        "um", or "pixel" where no length is known.
    description : str
        One sentence for people.
    """

    name: SampleName
    blurred: npt.NDArray[Any]
    sharp: npt.NDArray[np.float32]
    kernel: npt.NDArray[np.float32]
    pixel_size: float
    unit: str
    description: str


def load(name: str) -> Sample:
    """Make a sample; the same one at each call.

    Parameters
    ----------
    name : {"microscopy", "photograph"}
        Which one.

    Raises
    ------
    InvalidInput
        If there is no sample of this name.
    """
    if name == "microscopy":
        return _microscopy()
    if name == "photograph":
        return _photograph()
    raise InvalidInput(f"there is no sample {name!r}; expected one of {', '.join(NAMES)}")


def convolve_valid(canvas: Array, kernel: Array) -> Array:
    """Convolve where the kernel lies wholly on the canvas.

    Parameters
    ----------
    canvas : ndarray, (H, W)
    kernel : ndarray, (h, w)

    Returns
    -------
    ndarray, (H - h + 1, W - w + 1)
    """
    views = np.lib.stride_tricks.sliding_window_view(canvas, kernel.shape)  # (H - h + 1, W - w + 1, h, w)
    blurred: Array = np.einsum("yxhw,hw->yx", views, kernel[::-1, ::-1], optimize=True)
    return blurred


# Microscopy: drawn


def _microscopy() -> Sample:
    """Draw a widefield fluorescence image of cells: nuclei, filaments, puncta."""
    rng = np.random.default_rng(20220)
    kernel = _widefield_psf(11)
    margin = kernel.shape[0] // 2
    side = _SIDE + 2 * margin
    scene = 100.0 + 4.0 * (_nuclei(rng, side) + _filaments(rng, side) + _puncta(rng, side))
    light = convolve_valid(scene, kernel)
    counts = rng.poisson(light - 100.0) + rng.normal(100.0, 2.0, light.shape)  # offset and noise of a camera
    return Sample(
        name="microscopy",
        blurred=np.clip(np.rint(counts), 0, 65535).astype(np.uint16),
        sharp=scene[margin:-margin, margin:-margin].astype(np.float32),
        kernel=kernel.astype(np.float32),
        pixel_size=0.1,
        unit="um",
        description=(
            "Drawn nuclei, filaments and puncta as a slightly defocused widefield microscope sees them: "
            "NA 0.8, 520 nm, 0.1 um pixels, Poisson noise over an offset of 100 counts."
        ),
    )


def _widefield_psf(size: int) -> Array:
    """Point spread function of a circular pupil with defocus and a little astigmatism, (size, size)."""
    cutoff = 0.8 / 0.52 * 0.1  # NA / wavelength * pixel, in cycles a pixel: 0.15, sampled finely enough
    n = 256
    frequency = np.fft.fftfreq(n)
    fy, fx = np.meshgrid(frequency / cutoff, frequency / cutoff, indexing="ij")
    square = fy**2 + fx**2
    phase = 2 * np.pi * (0.28 * square + 0.09 * (fx**2 - fy**2) + 0.05 * 2 * fx * fy)  # in waves
    pupil = np.where(square <= 1, np.exp(1j * phase), 0)
    psf = np.abs(np.fft.fftshift(np.fft.fft2(pupil))) ** 2  # (n, n), brightest near n // 2
    half = size // 2
    window: Array = psf[n // 2 - half :, n // 2 - half :][:size, :size]
    window = (
        window + window[::-1, ::-1]
    )  # even aberrations: the PSF is its own mirror image, so its centre is exact
    window /= window.sum()
    return window


def _nuclei(rng: np.random.Generator, side: int) -> Array:
    """Elliptic nuclei with a soft rim and chromatin texture."""
    y, x = np.mgrid[:side, :side].astype(np.float64)
    texture = _smooth_noise(rng, side, 2.2) * 0.28 + _smooth_noise(rng, side, 5.0) * 0.18
    image = np.zeros((side, side))
    for cy, cx, long, short, angle in _NUCLEI:
        along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        radius = np.sqrt((along / long) ** 2 + (across / short) ** 2)
        inside = 1 / (1 + np.exp((radius - 1) * 40))
        image += inside * np.clip(1 + texture, 0.3, None) * rng.uniform(330, 470)
    return image


def _filaments(rng: np.random.Generator, side: int) -> Array:
    """Filaments that run from the nuclei outwards and bend, 1.5 px wide."""
    image = np.zeros((side, side))
    for cy, cx, *_ in _NUCLEI:
        for _ in range(13):
            steps = int(rng.uniform(180, 420))
            away = rng.uniform(0, 2 * np.pi)
            bend = rng.normal(0, 0.003) + np.cumsum(rng.normal(0, 0.0006, steps))
            heading = away + rng.normal(0, 0.5) + np.cumsum(bend)
            start = np.array([cy + 20 * np.sin(away), cx + 20 * np.cos(away)])
            path = start + 0.5 * np.cumsum(np.stack([np.sin(heading), np.cos(heading)], axis=1), axis=0)
            fade = np.minimum(1, np.minimum(np.arange(steps), np.arange(steps)[::-1]) / 60)
            _splat(image, path, fade * rng.uniform(200, 620))
    return _gaussian(image, 0.65)


def _puncta(rng: np.random.Generator, side: int) -> Array:
    """Vesicles: bright spots of about 2 px."""
    image = np.zeros((side, side))
    _splat(image, rng.uniform(4, side - 5, (90, 2)), rng.uniform(1500, 7000, 90))
    return _gaussian(image, 0.75)


def _splat(image: Array, points: Array, light: Array) -> None:
    """Add points, (n, 2) in y and x, to the four pixels around each; this keeps their centre of mass."""
    height, width = image.shape
    whole = np.floor(points).astype(int)
    part = points - whole
    for dy in (0, 1):
        for dx in (0, 1):
            y, x = whole[:, 0] + dy, whole[:, 1] + dx
            share = np.abs(1 - dy - part[:, 0]) * np.abs(1 - dx - part[:, 1]) * light
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            np.add.at(image, (y[inside], x[inside]), share[inside])


def _gaussian(image: Array, sigma: float) -> Array:
    """Blur with a Gaussian, borders wrapped."""
    fy, fx = (np.fft.fftfreq(n) for n in image.shape)
    transfer = np.exp(-2 * (np.pi * sigma) ** 2 * (fy[:, None] ** 2 + fx**2))
    smooth: Array = np.fft.ifft2(np.fft.fft2(image) * transfer).real
    return smooth.clip(0)


def _smooth_noise(rng: np.random.Generator, side: int, sigma: float) -> Array:
    """Noise of unit variance and of a grain of `sigma` px."""
    fy = np.fft.fftfreq(side)
    transfer = np.exp(-2 * (np.pi * sigma) ** 2 * (fy[:, None] ** 2 + fy**2))
    noise: Array = np.fft.ifft2(np.fft.fft2(rng.normal(size=(side, side))) * transfer).real
    noise /= noise.std()
    return noise


# Photograph: comes with scikit-image


def _photograph() -> Sample:
    """Blur a photograph as an unsteady hand does."""
    from skimage import data

    rng = np.random.default_rng(20221)
    kernel = _hand_shake(17)
    margin = kernel.shape[0] // 2
    side = _SIDE + 2 * margin
    photograph = data.camera().astype(np.float64)  # type: ignore[no-untyped-call]
    canvas = photograph[60:, 100:][:side, :side]
    light = convolve_valid(canvas, kernel)
    levels = light + rng.normal(0, 1.5, light.shape)
    return Sample(
        name="photograph",
        blurred=np.clip(np.rint(levels), 0, 255).astype(np.uint8),
        sharp=canvas[margin:-margin, margin:-margin].astype(np.float32),
        kernel=kernel.astype(np.float32),
        pixel_size=1.0,
        unit="pixel",
        description="A photographer at work (CC0, from scikit-image), blurred by a hand that shook.",
    )


def _hand_shake(size: int) -> Array:
    """Trace of a hand that shook, (size, size), its centre of mass in the middle."""
    t = np.linspace(0, 1, 4000)
    y = 4.6 * np.sin(3.9 * t - 0.4) - 1.2 * t
    x = 10.5 * t + 0.9 * np.sin(9.0 * t)
    speed = np.hypot(np.gradient(y), np.gradient(x))
    dwell = speed * (0.7 + np.exp(-(((t - 0.35) / 0.2) ** 2)))  # even light, but where the hand was slow
    path = np.stack([y, x], axis=1)
    path += size // 2 - np.average(path, axis=0, weights=dwell)
    kernel: Array = np.zeros((size, size))
    _splat(kernel, path, dwell)
    kernel /= kernel.sum()
    return kernel
