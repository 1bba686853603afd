"""What is the same for every slice of a stack, and the constants of a program that follow from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_vdip import family, pace
from napari_vdip.core.prior import Sparse
from napari_vdip.core.program import Plan
from napari_vdip.errors import InvalidOption
from napari_vdip.options import KINDS, PRESETS, Options
from napari_vdip.placement import precision_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt
    import torch

    from napari_vdip.core.compile import Way
    from napari_vdip.onnxfit import providers

    FloatArray = npt.NDArray[np.float32]

SHOWN_EVERY = 0.5  # s: more often a result would only cost time to be read out
# From this kernel size on the FFT is the faster way, most of all backwards (docs/benchmarks/levin.md).
_FFT_FROM = 5


@dataclass(frozen=True)
class Setting:
    """What is the same for every slice: chosen once, before anything is computed.

    Attributes
    ----------
    device : torch.device
        Where torch does its part; the processor where ONNX Runtime does the steps.
    kernel_size : tuple of int
        Height and width.
    kernel_size_reason : str
        Why this size.
    kernel : ndarray or None, (Kh, Kw)
        Known kernel, sums to 1.
    kernel_numbers : dict of Number
        What describes the kernel of a family, by name; empty where it is free or given.
    kernel_source : str
        What told it.
    kernel_moved : tuple of ndarray, (Kh, Kw) each
        Kernels of this family one standard deviation away, see `family.Found`.
    keep_network : bool
        Whether a result keeps its network, to be saved as a model.
    near : ndarray or None, (Kh, Kw)
        Kernel found elsewhere, by a fit of another slice or of a crop: no networks, only the polish.
    follow : bool
        Whether the polish moves `near` towards what this image says; off: it is held.
    kernel_only : bool
        Whether the image does not count: with a kernel of a family, no networks are fitted then.
    first, beginning : ndarray or None, (Kh, Kw)
        Kernel that smaller images have told: where the fit starts, and where a climb of its search begins.
    contrast : float or None
        Contrast of the frame of which this image is a tile, as `contrast_of` tells it; None: its own.
    steepness : float or None
        With `near`: scale of the prior in units of the contrast; None: what `sharpness` tells of this image.
    place : Place or None
        Where ONNX Runtime does the steps; None: torch does them.
    """

    options: Options
    device: torch.device
    way: Way
    kernel_size: tuple[int, int]
    kernel_size_reason: str
    kernel: FloatArray | None
    kernel_numbers: Mapping[str, family.Number] = field(default_factory=dict)
    kernel_source: str = ""
    kernel_moved: tuple[FloatArray, ...] = ()
    keep_network: bool = False
    near: FloatArray | None = None
    follow: bool = False
    kernel_only: bool = False
    first: FloatArray | None = None
    beginning: FloatArray | None = None
    contrast: float | None = None
    steepness: float | None = None
    place: providers.Place | None = None

    @property
    def device_name(self) -> str:
        """Name of the device that does the steps, see `device_named`."""
        return str(self.device) if self.place is None else self.place.name


def plan_of(setting: Setting, channels: int, height: int, width: int) -> Plan:
    """All constants of a program for an image of this size."""
    options = setting.options
    preset = PRESETS[options.preset]
    method = options.method_used
    kernel_height, kernel_width = setting.kernel_size
    prefit, total, polish = preset.schedule(options.iterations, method)
    share = total / preset.iterations
    bound, gap = round(share * preset.bound_steps), round(share * preset.ssim_steps)
    if preset.profile_steps == 0:
        gap = total - bound
    climb, last_climb = pace.climbs_of(options)
    shorter = min(height + kernel_height, width + kernel_width) - 1
    plan = Plan(
        image_channels=channels,
        height=height,
        width=width,
        kernel_height=kernel_height,
        kernel_width=kernel_width,
        by_fft=max(setting.kernel_size) >= _FFT_FROM,
        bfloat16=precision_of(options, setting.device_name) == "bfloat16",
        channels=preset.channels,
        skip_channels=preset.skip_channels,
        outer_channels=preset.outer_channels,
        # Reflection needs 2 px at the last scale, and so does the pooling of a non-local block.
        levels=max(1, min(preset.levels, math.floor(math.log2(shorter)) - 1)),
        nonlocal_from=preset.nonlocal_from,
        prior=method if method in ("sparse", "extreme") else "none",
        variational=method != "dip",
        bound_weight=1e-4 if method == "extreme" else 0.1,
        centre_weight=preset.centre_weight,
        ridge=preset.ridge,
        sparse=Sparse(*KINDS[options.kind].sparse),
        shares=_shares(setting, climb > 0, (height, width)),
        hold_kernel=setting.kernel is not None and (options.kernel_fixed or options.family_used != "free"),
        image_rate=preset.image_rate,
        kernel_rate=preset.kernel_rate,
        cosine=preset.decay == "cosine",
        prefit=prefit,
        bound=bound,
        ssim=gap,
        profile=total - bound - gap - polish,
        polish=polish,
        climb=climb,
        last_climb=last_climb,
        glass=KINDS[options.kind].glass or 1.0,
        patches=_patches(options, polish),
    )
    if setting.near is None:
        return plan
    weight = KINDS[options.kind].weight_alone
    # The networks are never asked: the smallest ones take the least memory.
    return plan._replace(
        channels=1,
        skip_channels=1,
        outer_channels=0,
        levels=1,
        nonlocal_from=0,
        shares=KINDS[options.kind].shares,
        sparse=plan.sparse if weight is None else plan.sparse._replace(weight=weight),
        hold_kernel=not setting.follow,
        prefit=0,
        bound=0,
        ssim=0,
        profile=0,
        climb=0,
        last_climb=0,
        polish=polish_steps(options),
        patches=_patches(options, polish_steps(options)),
    )


def _patches(options: Options, polish: int) -> int:
    """Count the last steps of a polish that look at patches; a short one has too few to spare."""
    return min(KINDS[options.kind].patches, polish // 8)


def _shares(setting: Setting, likeliest: bool, shape: tuple[int, int]) -> tuple[float, float, float]:
    """How much each variance counts with a kernel of this size, the likeliest one or not."""
    kind = KINDS[setting.options.kind]
    if not likeliest:
        return kind.shares
    return kind.shares_large if pace.begins_small(setting.kernel_size, shape) else kind.shares_likeliest


def polish_steps(options: Options) -> int:
    """Count the steps of a polish with a kernel from elsewhere: as after a fit, but not shortened with it."""
    return min(PRESETS[options.preset].polish_steps, options.iterations or 1_000_000)


def check_polished(options: Options, asked: str) -> None:
    """Raise InvalidOption unless there is a polish."""
    if not options.polishes:
        raise InvalidOption(
            f"{asked} needs a method and a preset with a polish; preset={options.preset!r} with "
            f"method={options.method_used!r} has none; use preset='balanced' with method='sparse'"
        )


def steps_of(plan: Plan, setting: Setting) -> int:
    """Count the steps of all starts, and the other kernels at the end."""
    start = plan.prefit + plan.bound + plan.ssim + plan.profile + plan.climb + plan.last_climb + plan.polish
    return starts_of(plan.polish, setting) * start + draws_of(plan.polish, setting)


def starts_of(polish: int, setting: Setting) -> int:
    """How many fits a preset makes of one image."""
    return PRESETS[setting.options.preset].starts if polish > 0 and setting.near is None else 1


def draws_of(polish: int, setting: Setting) -> int:
    """Count the other kernels to be tried at the end: of one found in this image, by a fit with a polish."""
    wanted = setting.options.kernel_draws
    if polish == 0:
        return 0
    if setting.kernel_moved:
        return min(wanted, len(setting.kernel_moved))
    return wanted if setting.kernel is None and setting.near is None else 0
