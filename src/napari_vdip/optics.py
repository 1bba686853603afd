"""Microscopes and telescopes whose numbers are known: their limits, and the kernels that they can have.

What the instrument decides (the cutoff frequency, a central obstruction) is held; aberrations and
air are for `family` to find. Lengths are told in the units of the field, here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_vdip.errors import InvalidOption

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_vdip.options import Options
    from napari_vdip.psf import PixelSize

    Floats = npt.NDArray[np.float64]

_ACROSS = 128  # samples over a pupil's diameter: enough for aberrations up to 4 waves
_FINEST = 6  # samples a pixel, either way; a pupil whose cutoff lies above 3 cycles/px is soft by seeing
_ARCSEC = math.pi / 648_000  # rad
_COARSEST = 2.0  # cycles/px; a microscope with coarser pixels has lost more than half of its resolution
_SAME = 0.01  # sides of a pixel that differ by less are taken for equal

OF_MICROSCOPE = ("numerical_aperture",)
OF_TELESCOPE = ("aperture_diameter", "central_obstruction", "fried_parameter")
OF_BOTH = ("wavelength", "pixel_size")


@dataclass(frozen=True)
class Optics:
    """An instrument on the pixels of an image.

    Attributes
    ----------
    cutoff : float
        Highest frequency that it passes, in cycles/px.
    obstruction : float
        Diameter of the shadow in the middle of the aperture, as a share of the aperture's.
    seeing : float or None
        Fried parameter over the wavelength, in cycles/px; infinite without air, None: to be found.
    pixel : float
        Side of a pixel in um (microscope) or arcsec (telescope).
    wavelength : float
        In nm.
    telescope : bool
    """

    cutoff: float
    obstruction: float
    seeing: float | None
    pixel: float
    wavelength: float
    telescope: bool

    def fried_parameter(self, seeing: float) -> float:
        """Fried parameter in cm from one in cycles/px."""
        return 100 * seeing * self.wavelength * 1e-9 / (self.pixel * _ARCSEC)

    def seeing_width(self, seeing: float) -> float:
        """Full width at half maximum of a long exposure through air, in arcsec."""
        return 0.976 / seeing * self.pixel


def given(options: Options) -> list[str]:
    """Name the numbers of an instrument that are given."""
    names = (*OF_MICROSCOPE, *OF_TELESCOPE, *OF_BOTH)
    return [name for name in names if getattr(options, name) is not None]


def of_options(options: Options, kernel_size: tuple[int, int]) -> Optics | None:
    """Take the instrument from the options; None where nothing of it is given.

    Parameters
    ----------
    options : Options
    kernel_size : (int, int)
        Height and width of the kernel's window in px.

    Raises
    ------
    InvalidOption
        If numbers are missing, contradict each other, or make no sense together.
    """
    names = given(options)
    if not names:
        return None
    if options.kernel is not None:
        raise InvalidOption(
            f"a known kernel and {_listed(names)} were both given; leave out the kernel to have one found "
            "for this instrument, or leave out the instrument"
        )
    if options.family_used != "pupil":
        raise InvalidOption(
            f"{_listed(names)} describe a pupil, but kernel_family={options.family_used!r}; use "
            "kernel_family='pupil', or leave them out"
        )
    _check_one_instrument(options, names)
    missing = [name for name in OF_BOTH if getattr(options, name) is None]
    if missing:
        raise InvalidOption(
            f"{_listed(names)} need {_listed(missing)} as well"
            + ("; the image does not tell the size of its pixels" if "pixel_size" in missing else "")
        )
    optics = _telescope(options) if options.numerical_aperture is None else _microscope(options)
    _check_window(optics, kernel_size)
    return optics


def with_pixel_size(options: Options, size: PixelSize) -> Options:
    """Take the pixel size from the image where an instrument is given without one.

    Parameters
    ----------
    options : Options
    size : PixelSize
        As the file or the layer tells it.

    Raises
    ------
    InvalidOption
        If the pixels are not square, or are not measured as this instrument's are.
    """
    names = given(options)
    if options.pixel_size is not None or not size.known or not set(names) & {*OF_MICROSCOPE, *OF_TELESCOPE}:
        return options
    height, width = abs(size.height), abs(size.width)
    if abs(height - width) > _SAME * max(height, width):
        raise InvalidOption(
            f"the image's pixels are {height:g} x {width:g} {size.unit}; an instrument ({_listed(names)}) "
            "needs square ones: resample the image, or leave the instrument out"
        )
    unit = "um" if options.numerical_aperture is not None else "arcsec"
    return dataclasses.replace(options, pixel_size=height * _conversion(size.unit, unit))


def draw(
    size: tuple[int, int],
    cutoff: float,
    waves: tuple[float, float, float],
    obstruction: float = 0.0,
    seeing: float = math.inf,
    place: tuple[float, float] = (0.0, 0.0),
) -> Floats:
    """Draw the image of a point on square pixels that collect light over their whole area.

    The transfer function is the autocorrelation of the pupil, times that of a long exposure through
    turbulent air, ``exp(-3.44 (f / seeing)^(5/3))`` (Fried, J. Opt. Soc. Am. 56, 1966).

    Parameters
    ----------
    size : (int, int)
        Height and width of the window in px; odd.
    cutoff : float
        In cycles/px.
    waves : (float, float, float)
        Defocus, oblique and vertical astigmatism: Zernike terms 4, 5 and 6 in Noll's order
        (J. Opt. Soc. Am. 66, 1976), root mean square over the whole disc, in waves.
    obstruction : float
        As a share of the diameter.
    seeing : float
        In cycles/px.
    place : (float, float)
        Row and column of the point from the middle of the window, in px.

    Returns
    -------
    ndarray, (Kh, Kw)
        Nowhere negative, sums to 1, its own mirror image around the point.
    """
    from scipy.ndimage import map_coordinates  # type: ignore[import-untyped]

    fine = min(max(math.ceil(2 * min(cutoff, 2.1 * seeing)), 1), _FINEST)
    side = 2 * max(32, *size)
    down = np.fft.fftfreq(side * fine)[:, None] * fine
    across = np.fft.rfftfreq(side * fine)[None] * fine
    frequency = np.hypot(down, across)
    places = np.broadcast_arrays(_ACROSS * (1 + down / cutoff), _ACROSS * (1 + across / cutoff))
    transfer = map_coordinates(_autocorrelation(waves, obstruction), places, order=1, cval=0.0)
    transfer *= np.sinc(down) * np.sinc(across) * np.exp(-3.44 * (frequency / seeing) ** (5 / 3))
    if place != (0.0, 0.0):
        transfer = transfer * np.exp(-2j * np.pi * (down * place[0] + across * place[1]))
    image = np.fft.fftshift(np.fft.irfft2(transfer, (side * fine,) * 2)[::fine, ::fine])
    top, left = (side // 2 - n // 2 for n in size)
    window = np.maximum(image[top : top + size[0], left : left + size[1]], 0.0)
    return np.asarray(window / window.sum(), dtype=np.float64)


def _autocorrelation(waves: tuple[float, float, float], obstruction: float) -> Floats:
    """Overlap of a pupil with itself, moved by up to its diameter either way; 1 where it is not moved."""
    radius, shapes = _disc()
    edge = np.clip((1 - radius) * _ACROSS / 2 + 0.5, 0, 1)  # soft: the rim lies between samples
    edge = edge - np.clip((obstruction - radius) * _ACROSS / 2 + 0.5, 0, 1) * (obstruction > 0)
    phase = np.tensordot(waves, shapes, 1)
    spectrum = np.fft.fft2(edge * np.exp(2j * np.pi * phase), (2 * _ACROSS,) * 2)
    overlap = np.fft.fftshift(np.fft.ifft2(np.abs(spectrum) ** 2).real)  # real, as these terms are even
    return np.asarray(overlap / overlap.max(), dtype=np.float64)


@functools.cache
def _disc() -> tuple[Floats, Floats]:
    """Radius at the samples of a pupil, (n, n), and the Zernike terms 4, 5 and 6 there, (3, n, n)."""
    place = (np.arange(_ACROSS) + 0.5) * 2 / _ACROSS - 1
    y, x = place[:, None], place[None]
    square = x**2 + y**2
    shapes = (math.sqrt(3) * (2 * square - 1), math.sqrt(6) * 2 * x * y, math.sqrt(6) * (x**2 - y**2))
    return np.sqrt(square), np.stack(np.broadcast_arrays(*shapes))


def _microscope(options: Options) -> Optics:
    """Make the optics of a microscope; all of it is given.

    Raises
    ------
    InvalidOption
        If the pixels are too coarse for it.
    """
    aperture, wavelength, pixel = options.numerical_aperture, options.wavelength, options.pixel_size
    assert aperture is not None and wavelength is not None and pixel is not None
    cutoff = 2 * aperture * pixel * 1000 / wavelength
    if cutoff > _COARSEST:
        raise InvalidOption(
            f"pixels of {pixel:g} um are {cutoff / 0.5:.1f} times too coarse for numerical_aperture="
            f"{aperture:g} at wavelength={wavelength:g} nm, which need {wavelength / aperture / 4000:.3g} "
            "um; pixel_size is that on the specimen: the camera's divided by the magnification"
        )
    return Optics(cutoff, 0.0, math.inf, pixel, wavelength, telescope=False)


def _telescope(options: Options) -> Optics:
    """Make the optics of a telescope; all of it but the air is given."""
    diameter, wavelength, pixel = options.aperture_diameter, options.wavelength, options.pixel_size
    assert diameter is not None and wavelength is not None and pixel is not None
    per_metre = pixel * _ARCSEC / (wavelength * 1e-9)
    fried = options.fried_parameter
    seeing = None if fried is None else fried / 100 * per_metre
    return Optics(
        diameter * per_metre, options.central_obstruction or 0.0, seeing, pixel, wavelength, telescope=True
    )


def _check_one_instrument(options: Options, names: list[str]) -> None:
    """Raise InvalidOption unless the numbers are those of one microscope or one telescope."""
    microscope = [name for name in names if name in OF_MICROSCOPE]
    telescope = [name for name in names if name in OF_TELESCOPE]
    if microscope and telescope:
        raise InvalidOption(
            f"{_listed(microscope)} is of a microscope, {_listed(telescope)} of a telescope; give those of "
            "one"
        )
    if not microscope and options.aperture_diameter is None:
        raise InvalidOption(
            f"{_listed(names)} alone say{'s' if len(names) == 1 else ''} too little of an instrument; give "
            "numerical_aperture for a microscope, aperture_diameter for a telescope"
        )


def _check_window(optics: Optics, size: tuple[int, int]) -> None:
    """Raise InvalidOption if the sharpest image of a point is wider than the kernel's window."""
    air = 0.0 if optics.seeing is None else 0.976 / optics.seeing
    width = math.hypot(1.03 / optics.cutoff, air)
    if width > min(size):
        what = "seeing" if air > 1.03 / optics.cutoff else "diffraction"
        raise InvalidOption(
            f"{what} alone blurs by {width:.0f} px, more than kernel_size={min(size)}; check wavelength "
            f"(nm), pixel_size ({'arcsec' if optics.telescope else 'um'})"
            f"{' and fried_parameter (cm)' if air else ''}, or take a larger kernel_size"
        )


def _conversion(unit: str, wanted: str) -> float:
    """Tell how many of the wanted unit make one of the image's."""
    import pint

    registry = pint.get_application_registry()  # type: ignore[no-untyped-call]
    try:
        return float(registry.Quantity(1.0, unit).to(wanted).magnitude)
    except (pint.PintError, AttributeError, ValueError) as error:  # all three for units of the wrong sort
        instrument = "microscope" if wanted == "um" else "telescope"
        raise InvalidOption(
            f"the image's pixels are measured in {unit!r}, those of a {instrument} in {wanted}; give "
            "pixel_size, or the numbers of the instrument that took the image"
        ) from error


def _listed(names: list[str]) -> str:
    """Join names: ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
