"""The kernel's share of the uncertainty: other kernels that the data allow, and what they do to the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from napari_vdip.core.kernel_spread import KernelSpread
from napari_vdip.core.objective import gaussian_filter

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]


def kernel_std(
    program: Any, moved: Sequence[FloatArray], draws: int, seed: int
) -> Generator[int, None, FloatArray]:
    """Find the standard deviation of a polished image that comes from its kernel.

    Parameters
    ----------
    program : Program
        At its end.
    moved : sequence of ndarray, (Kh, Kw)
        Kernels one standard deviation away, in independent directions; empty: the kernel is free, and
        others are fitted to data drawn from the model.
    draws : int
        How many directions, or drawn data, are taken; of directions no more than there are.
    seed : int
        Of the drawn data.

    Yields
    ------
    int
        How many are done; after the last one it returns.

    Returns
    -------
    ndarray, (c, h, w)
        On the canvas.
    """
    with torch.no_grad():
        spread = KernelSpread(program)
        if moved:
            for number, kernel in enumerate(moved[:draws]):
                if number > 0:
                    yield number
                spread.add(torch.as_tensor(kernel, device=spread.y.device), 1.0)
        else:
            random = torch.Generator().manual_seed(seed)
            still = spread.drawn(None)
            for number in range(draws):
                if number > 0:
                    yield number
                noise = torch.randn(spread.y.shape, generator=random).to(spread.y.device)
                other = (spread.kernel + spread.drawn(noise) - still).clamp_min(0.0)
                spread.add(other / other.sum(), 1.0 / draws)
        # Where a change happens to cross zero another kernel's would not.
        variance = program.shares[2] * gaussian_filter(spread.total)
        std: FloatArray = variance.sqrt().cpu().numpy()
    return std
