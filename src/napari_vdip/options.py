"""The options, each declared once, and the presets. Standard library only.

The Python function, the command line and the form in napari are all built from the
fields of `Options`; `Preset` holds the constants of the method that one word chooses, `Kind`
what the kind of image chooses.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import operator
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin

from napari_vdip.errors import InvalidOption

PresetName = Literal["fast", "balanced", "best", "paper"]
KernelFamily = Literal["free", "gaussian", "moffat", "pupil"]
KindName = Literal["photograph", "fluorescence", "astronomy"]
Method = Literal["sparse", "extreme", "std", "dip"]
Noise = Literal["gaussian", "poisson"]
Group = Literal["image", "kernel", "instrument", "fit", "stack", "machine"]


def _option(
    default: Any,
    help: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    odd: bool = False,
    advanced: bool = False,
    group: Group = "fit",
) -> Any:
    """Declare an option: its default, what API, command line and form tell about it, and its page."""
    metadata = {"help": help, "unit": unit, "low": low, "high": high, "odd": odd, "advanced": advanced}
    return field(default=default, metadata={**metadata, "group": group})


@dataclass(frozen=True, eq=False)
class Options:
    """All that can be chosen about a deblurring. Every field is a keyword of `deblur`.

    Raises
    ------
    InvalidOption
        If a value is not of its type, out of its bounds, or not among its choices.
    """

    kernel_size: int | tuple[int, int] | Literal["auto"] = _option(
        "auto",
        "Size of the blur kernel (PSF): odd, and a little larger than the blur itself; one number, "
        "or height and width. auto: estimated from the image.",
        unit="px",
        low=3,
        odd=True,
        group="kernel",
    )
    preset: PresetName = _option(
        "balanced",
        "fast: a look at what is possible. balanced: the default. best: several starts, of which the "
        "mean is taken. paper: the published schedule with its 5,500 steps, for comparison.",
    )
    kind: KindName = _option(
        "photograph",
        "What the image shows; it chooses what is not given. photograph: a free kernel, gaussian noise. "
        "fluorescence: a gaussian kernel, poisson noise. astronomy: a moffat kernel, poisson noise.",
        group="image",
    )
    method: Method | None = _option(
        None,
        "sparse, extreme: the two priors of VDIP. std: variational without a prior. dip: a plain fit "
        "without uncertainty, the baseline. Not given: what the preset says.",
        advanced=True,
    )
    noise: Noise | None = _option(
        None,
        "gaussian: the same noise everywhere. poisson: noise that grows with brightness, as in "
        "photon-limited images. Not given: what the kind of image says.",
        advanced=True,
        group="image",
    )
    kernel_family: KernelFamily | None = _option(
        None,
        "Shape of the unknown kernel. free: any. gaussian: elliptic. moffat: a star behind air. pupil: a "
        "lens with defocus and astigmatism. Not given: pupil with an instrument, else what the kind of image "
        "says.",
        advanced=True,
        group="kernel",
    )
    numerical_aperture: float | None = _option(
        None,
        "Of the microscope. With wavelength and pixel size it fixes the cutoff of a pupil; only defocus and "
        "astigmatism are then looked for.",
        low=0.01,
        high=1.7,
        advanced=True,
        group="instrument",
    )
    aperture_diameter: float | None = _option(
        None,
        "Of the telescope. With wavelength and pixel size it fixes the cutoff of a pupil; seeing, defocus "
        "and astigmatism are then looked for.",
        unit="m",
        low=0.01,
        high=100,
        advanced=True,
        group="instrument",
    )
    central_obstruction: float | None = _option(
        None,
        "Diameter of the telescope's secondary mirror as a share of the aperture's.",
        low=0.01,
        high=0.95,
        advanced=True,
        group="instrument",
    )
    fried_parameter: float | None = _option(
        None,
        "r0 of a long exposure through air, at this wavelength. Not given: looked for.",
        unit="cm",
        low=0.5,
        high=100_000,
        advanced=True,
        group="instrument",
    )
    wavelength: float | None = _option(
        None,
        "Of the light that made the image: of the emission, of the filter.",
        unit="nm",
        low=10,
        high=1_000_000,
        advanced=True,
        group="instrument",
    )
    pixel_size: float | None = _option(
        None,
        "On the specimen in um with a numerical aperture, on the sky in arcsec with an aperture diameter. "
        "Not given: as the file or the layer tells it.",
        unit="um, arcsec",
        low=1e-4,
        high=10_000,
        advanced=True,
        group="instrument",
    )
    kernel: Any = _option(
        None,
        "A known kernel (PSF), a 2-D array (in the shell: a TIFF file). It fixes kernel_size.",
        advanced=True,
        group="kernel",
    )
    kernel_fixed: bool = _option(
        True,
        "With a known kernel: hold it as it is. Off: only start from it.",
        advanced=True,
        group="kernel",
    )
    kernel_draws: int = _option(
        4,
        "Other kernels that the image allows, for the kernel's own share of the uncertainty: directions of a "
        "family's numbers, or a free kernel refitted to drawn data. 0: the uncertainty takes the kernel for "
        "known.",
        low=0,
        high=1000,
        advanced=True,
    )
    kernel_mode: Literal["each", "shared", "warm"] = _option(
        "each",
        "Stacks. each: every slice gets a kernel of its own. shared: one kernel from the slices that tell "
        "most; much faster. warm: each slice starts from its neighbour's kernel, which may drift; as fast.",
        advanced=True,
        group="stack",
    )
    kernel_grid: int | tuple[int, int] | None = _option(
        None,
        "A blur that varies over the field: so many kernels down and across (one number, or two), each "
        "from its part of the frame, interpolated between. Not given (0 in the form): one kernel.",
        low=1,
        high=64,
        advanced=True,
    )
    tile: int | None = _option(
        None,
        "Side of the tiles in which a large frame is deblurred, with one kernel from its most telling part. "
        "Not given (0 in the form): from 1024 x 1024 px on, as memory allows.",
        unit="px",
        low=64,
        high=1_000_000,
        advanced=True,
        group="stack",
    )
    device: str = _option(
        "auto",
        "auto (a GPU if torch finds one), cpu, cuda, cuda:1, mps. In ONNX Runtime: onnx:cpu, onnx:dml, "
        "onnx:cuda, onnx:openvino, onnx:rocm, onnx:coreml.",
        advanced=True,
        group="machine",
    )
    compile: Literal["auto", "script", "off", "onnx"] = _option(
        "auto",
        "script: the loop runs as one TorchScript program. off: the same modules run from Python. "
        "onnx: ONNX Runtime does the steps, for GPUs that torch does not know; needs the extra onnx. "
        "auto: script where this Python and torch have it, onnx with a device onnx:...",
        advanced=True,
        group="machine",
    )
    precision: Literal["auto", "float32", "bfloat16"] = _option(
        "auto",
        "Of the numbers inside the image's network. bfloat16: 16 bits, faster on some processors. "
        "auto: bfloat16 on these, float32 elsewhere, on a GPU and with preset paper.",
        advanced=True,
        group="machine",
    )
    seed: int = _option(
        0,
        "Start of the random numbers: the same seed gives the same result on the same processor with as many "
        "threads, and one as good on a GPU.",
        low=0,
        high=2**31 - 1,
        advanced=True,
    )
    iterations: int | None = _option(
        None,
        "Steps after the pre-fit. Not given (0 in the form): what the preset says.",
        unit="steps",
        low=1,
        high=1_000_000,
        advanced=True,
    )
    threads: int | None = _option(
        None,
        "Processor threads of the fit at the most; a small image takes fewer. Not given (0 in the form): all "
        "cores; in napari one less.",
        low=1,
        high=1024,
        advanced=True,
        group="machine",
    )
    mask: Any = _option(
        None,
        "Boolean array of the image's height and width, or of its whole shape (in the shell: a TIFF "
        "file). True: the pixel takes no part in the fit.",
        advanced=True,
        group="image",
    )
    defects: bool = _option(
        True,
        "Find saturated pixels, cosmic rays, hot and dead pixels; they take no part in the fit, and the "
        "report tells how many there are.",
        advanced=True,
        group="image",
    )
    rgb: bool = _option(
        False,
        "The last axis holds the colours (3, or 4 with alpha); they share one kernel.",
        group="image",
    )
    channel_axis: int | None = _option(
        None,
        "Axis that holds channels; each channel is deblurred on its own, as a slice is.",
        low=-32,
        high=31,
        group="stack",
    )

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            object.__setattr__(self, item.name, _plain(getattr(self, item.name)))
            _check(item.name, getattr(self, item.name), type_of(item.name), item.metadata)
        if self.noise is None:
            object.__setattr__(self, "noise", KINDS[self.kind].noise)
        if self.rgb and self.channel_axis is not None:
            raise InvalidOption(
                "rgb=True and channel_axis were both given; use rgb for colours that share one kernel, "
                "channel_axis for channels with a kernel each"
            )

    @classmethod
    def from_keywords(cls, base: Options | None = None, /, **keywords: Any) -> Options:
        """Make options from keywords, on top of other options.

        Parameters
        ----------
        base : Options, optional
            What holds where no keyword is given; the defaults if None.
        **keywords
            Values by the names of the fields.

        Raises
        ------
        InvalidOption
            If a keyword is no option (the nearest name is told) or a value is not allowed.
        """
        known = [item.name for item in dataclasses.fields(cls)]
        for name in keywords:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
                raise InvalidOption(
                    f"unknown option {name!r}; did you mean {near!r}? known: {', '.join(known)}"
                )
        base = base or cls()
        if base.noise == KINDS[base.kind].noise:  # as the kind chose it: another kind chooses anew
            keywords.setdefault("noise", None)
        return dataclasses.replace(base, **keywords)

    def chosen(self) -> dict[str, Any]:
        """Values by name that are neither the default nor what the kind of image chooses."""
        usual = vars(Options(kind=self.kind)) | {"kind": Options().kind}
        return {
            name: value
            for name, value in vars(self).items()
            if value is not usual[name] and (hasattr(value, "shape") or value != usual[name])
        }

    @property
    def method_used(self) -> Method:
        """The method given, else the one of the image kind, else the preset's."""
        return self.method or KINDS[self.kind].method or PRESETS[self.preset].method

    @property
    def family_used(self) -> KernelFamily:
        """The kernel family given, else that of instrument or image kind; free for a known kernel."""
        if self.kernel is not None:
            return "free"
        instrument = self.numerical_aperture is not None or self.aperture_diameter is not None
        return self.kernel_family or ("pupil" if instrument else KINDS[self.kind].kernel_family)

    @property
    def polishes(self) -> bool:
        """Whether method and preset have a polish: with it, a kernel from elsewhere can be applied."""
        return self.method_used in ("sparse", "extreme") and PRESETS[self.preset].polish_steps > 0

    def as_dict(self) -> dict[str, Any]:
        """Values by name, JSON-ready; of an array only its shape is told."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {
            name: f"array of shape {tuple(value.shape)}" if hasattr(value, "shape") else value
            for name, value in values.items()
        }


@dataclass(frozen=True)
class Preset:
    """The constants of the method (METHOD and its sources in docs/explanation).

    Attributes
    ----------
    channels, skip_channels : int
        Width of the image generator's main path and of its skip branches.
    outer_channels : int
        Width of its main path at full size, see `core.generators.ImageGenerator`; 0: the same.
    levels : int
        Scales of the image generator; a small image gets fewer.
    nonlocal_from : int
        First scale (from 1) with a non-local block; 0: none.
    prefit_steps : dict
        Most steps of the pre-fit for each method.
    bound_steps, ssim_steps, profile_steps, climb_steps, last_climb_steps, polish_steps : int
        Steps with the published bound (one sample a step), with the published ``1 - SSIM``, with
        the profile objective, of three climbs to the likeliest kernel, of the one that is taken, and with the
        convex problems for the image, and the kernel where it was not searched, at the end.
    image_rate, kernel_rate : float
        Adam's rates.
    decay : {"halving", "cosine"}
        How the rates fall; over the part of the schedule after the pre-fit.
    centre_weight : float
        Weight of the kernel's squared distance from the centre in px^2; 0 as published.
    ridge : float
        Of the kernel's least squares in the polish: the less it is, the better the image has to be.
    starts : int
        Fits from different random numbers, each with its polish, whose images and kernels are averaged.
    bfloat16 : bool
        Whether the image's network works on numbers of 16 bits where the processor has units for them.
    """

    channels: int
    skip_channels: int
    outer_channels: int
    levels: int
    nonlocal_from: int
    prefit_steps: dict[str, int]
    bound_steps: int
    ssim_steps: int
    profile_steps: int
    climb_steps: int
    last_climb_steps: int
    polish_steps: int
    image_rate: float
    kernel_rate: float
    decay: Literal["halving", "cosine"]
    centre_weight: float
    ridge: float = 1e-4
    method: Method = "sparse"
    starts: int = 1
    bfloat16: bool = True

    @property
    def iterations(self) -> int:
        """Steps of a start after the pre-fit."""
        return self.bound_steps + self.ssim_steps + self.profile_steps + self.polish_steps

    def schedule(self, iterations: int | None, method: Method) -> tuple[int, int, int]:
        """Count the steps of a start: those of its pre-fit, all after it, and those of them that polish.

        A short run has no longer a pre-fit than what comes after it and is polished in proportion; a
        method without a prior has nothing to polish with.
        """
        total = self.iterations if iterations is None else iterations
        polish = min(self.polish_steps, total // 4) if method in ("sparse", "extreme") else 0
        return min(self.prefit_steps[method], total), total, polish


@dataclass(frozen=True)
class Kind:
    """What a kind of image says where the user says nothing.

    Attributes
    ----------
    noise : {"gaussian", "poisson"}
        How the noise depends on brightness.
    kernel_family : {"free", "gaussian", "moffat", "pupil"}
        Shape of the kernel.
    method : str or None
        The method; None: the preset's.
    own_error : float
        Share of its light to which a pixel of noise "poisson" is trusted: a star between pixels is no sharp
        image, and a detector near its limit is not linear. Else one bright star decides alone.
    sparse : (int, float, float)
        What the polish takes for sparse: order of the differences, weight and exponent, see `core.prior`.
    glass : float or None
        Std in px of the blur that sharp images have of their own, by optics and pixels; with it a free kernel
        is looked for by its evidence, see `core.search`. None: not known, no search.
    weight_alone : float or None
        Weight of it where no network is fitted, as with a kernel from elsewhere; None: the same.
    patches : int
        How many steps at the end of the polish hold the image to patches of few cosines, see `core.patches`;
        a star is no such patch.
    shares : (float, float, float)
        How much the posterior's variance counts in the one told, the squared difference between the
        networks' image and the polished one, and the variance that other kernels make; found on images with a
        known truth (docs/explanation/research.md).
    shares_likeliest : (float, float, float)
        The same where the kernel is the likeliest one, which fits the image better than any other.
    shares_large : (float, float, float)
        The same for a large one, of which more is left in the image: there both images differ by as much as
        the one that is told errs.
    """

    noise: Noise
    kernel_family: KernelFamily
    method: Method | None = None
    own_error: float = 0.0
    sparse: tuple[int, float, float] = (1, 1.6, 0.8)
    glass: float | None = None
    weight_alone: float | None = None
    patches: int = 2
    shares: tuple[float, float, float] = (0.5, 0.3, 1.0)
    shares_likeliest: tuple[float, float, float] = (0.32, 0.08, 1.55)
    shares_large: tuple[float, float, float] = (0.35, 0.5, 1.7)


KINDS: dict[str, Kind] = {
    "photograph": Kind(noise="gaussian", kernel_family="free", glass=0.7),
    "fluorescence": Kind(
        noise="poisson",
        kernel_family="gaussian",
        sparse=(2, 0.6, 0.8),
        weight_alone=0.4,
        shares=(0.55, 0.27, 1.0),
    ),
    "astronomy": Kind(
        noise="poisson", kernel_family="moffat", own_error=0.02, patches=0, shares=(0.1, 0.1, 1.0)
    ),
}

_BALANCED = Preset(
    channels=32,
    skip_channels=16,
    outer_channels=16,
    levels=5,
    nonlocal_from=0,
    prefit_steps={"sparse": 30, "extreme": 30, "std": 30, "dip": 30},
    bound_steps=0,
    ssim_steps=0,
    profile_steps=400,
    climb_steps=64,
    last_climb_steps=48,
    polish_steps=28,
    image_rate=5e-3,
    kernel_rate=1e-3,
    decay="cosine",
    centre_weight=1e-2,
)
PRESETS: dict[str, Preset] = {
    "fast": dataclasses.replace(
        _BALANCED, profile_steps=130, climb_steps=40, last_climb_steps=30, ridge=3e-4
    ),
    "balanced": _BALANCED,
    "best": dataclasses.replace(_BALANCED, starts=5),
    "paper": Preset(
        channels=128,
        skip_channels=16,
        outer_channels=0,
        levels=5,
        nonlocal_from=3,
        prefit_steps={"sparse": 500, "extreme": 5, "std": 500, "dip": 500},
        bound_steps=2000,
        ssim_steps=3000,
        profile_steps=0,
        climb_steps=0,
        last_climb_steps=0,
        polish_steps=0,
        image_rate=1e-2,
        kernel_rate=1e-4,
        decay="halving",
        centre_weight=0.0,
        bfloat16=False,
    ),
}


def type_of(name: str) -> Any:
    """Type of an option, as declared in `Options`."""
    return _types()[name]


@functools.cache
def _types() -> dict[str, Any]:
    return typing.get_type_hints(Options)


def choices_of(kind: Any) -> tuple[Any, ...]:
    """Literal values that a declared type admits, those in a union with it included."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(value for part in get_args(kind) for value in choices_of(part))
    return ()


def _plain(value: Any) -> Any:
    """Turn numpy's numbers into Python's and a list of numbers into a tuple."""
    if isinstance(value, list | tuple):
        return tuple(_plain(part) for part in value)
    if getattr(getattr(value, "dtype", None), "kind", "") == "f" and value.shape == ():
        return float(value)
    if isinstance(value, bool) or (hasattr(value, "shape") and value.shape != ()):
        return value
    try:
        return operator.index(value)
    except TypeError:
        return value


def _check(name: str, value: Any, kind: Any, bounds: typing.Mapping[str, Any]) -> None:
    """Raise InvalidOption unless the value fits the declared type and bounds."""
    if not _fits(value, kind):
        raise InvalidOption(f"{name}={value!r} is not allowed; expected {_describe(kind)}")
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        low, high = bounds["low"], bounds["high"]
        if (low is not None and not number >= low) or (high is not None and not number <= high):
            limit = f"at least {low}" if high is None else f"from {low} to {high}"
            raise InvalidOption(
                f"{name}={value!r} is out of bounds; expected {limit} {bounds['unit']}".rstrip()
            )
        if bounds["odd"] and number % 2 == 0:
            raise InvalidOption(f"{name}={value!r} is even; expected an odd number, such as {number + 1}")


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a declared type; True and False are no integers."""
    if kind is Any:
        return True
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return isinstance(value, str) and value in parts
    if origin is tuple:
        return isinstance(value, tuple) and len(value) == len(parts) and all(map(_fits, value, parts))
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool)
    return isinstance(value, kind)


def _describe(kind: Any) -> str:
    """Name a declared type as a person would."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(part) for part in parts)
    if origin is Literal:
        return " or ".join(repr(part) for part in parts)
    if origin is tuple:
        return f"({', '.join(_describe(part) for part in parts)})"
    names = {types.NoneType: "nothing", int: "a whole number", float: "a number"}
    return names.get(kind) or str(kind.__name__)
