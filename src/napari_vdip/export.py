"""The loop as a TorchScript archive that runs where this package is not installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_vdip.core import compile
from napari_vdip.core.program import Program
from napari_vdip.errors import InvalidInput, InvalidOption
from napari_vdip.files import atomic
from napari_vdip.placement import device_of, way_of
from napari_vdip.plan import Setting, plan_of

if TYPE_CHECKING:
    import os

    from napari_vdip.options import Options


def save_program(
    path: str | os.PathLike[str], shape: tuple[int, int], options: Options, channels: int = 1
) -> None:
    """Write the loop for images of one size as a TorchScript archive.

    The archive, loaded with ``torch.jit.load``, has ``start(y, weight, noise_var, kernel,
    seed)``, ``run(n)``, and the tensors ``mean``, ``std``, ``kernel`` and ``log``. It is started on
    flat data, so that ``run`` works at once; ``start`` gives it an image.

    Parameters
    ----------
    path : path
        File to write.
    shape : tuple of int
        Height and width of the blurred image.
    options : Options
        ``kernel_size`` must be given in numbers.
    channels : int
        1, or 3 for colours that share the kernel.

    Raises
    ------
    InvalidOption, InvalidInput
        If the kernel size is not a number, or sizes do not fit each other.
    VdipError
        If this Python has no TorchScript.
    """
    if options.kernel_size == "auto":
        raise InvalidOption("export needs kernel_size in numbers: there is no image to estimate it from")
    size = options.kernel_size if isinstance(options.kernel_size, tuple) else (options.kernel_size,) * 2
    if size[0] > shape[0] or size[1] > shape[1] or min(shape) < 8 or channels not in (1, 3):
        raise InvalidInput(
            f"cannot export for {channels} channel(s) of {shape[0]} x {shape[1]} px with a kernel of "
            f"{size[0]} x {size[1]} px; expected 1 or 3 channels, 8 px or more either way, and a kernel "
            "that is no larger than the image"
        )
    setting = Setting(options, device_of(options.device), way_of("script"), size, "given", None)
    program = Program(plan_of(setting, channels, *shape)).to(setting.device)
    scripted = compile.script(program)
    y = torch.full_like(program.y, 0.5)
    kernel = torch.full_like(program.kernel, 1.0 / program.kernel.numel())
    seed = torch.as_tensor(np.int64(options.seed), device=setting.device)
    scripted.start(y, torch.ones_like(y), torch.full_like(program.noise_var, 1e-4), kernel, seed)
    with atomic(Path(path)) as part:
        compile.save(scripted, str(part))
