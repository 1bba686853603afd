"""Random numbers as a pure function of (seed, stream, counter): no generator, no global state.

The same integers on every device, storable in a TorchScript archive and replayable in a CUDA
graph, which `torch.Generator` is not. The integer mixer has the form xor-shift, multiply, twice
(Wellons, "Prospecting for hash functions", 2018: constants of `lowbias32`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def mix(value: Tensor) -> Tensor:
    """Scramble 32-bit integers held in int64; wrap-around keeps the low 32 bits right."""
    value = ((value ^ (value >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    value = ((value ^ (value >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return value ^ (value >> 16)


def uniform(count: int, seed: Tensor, stream: Tensor) -> Tensor:
    """Draw float32 numbers in (0, 1).

    Parameters
    ----------
    count : int
        How many.
    seed, stream : Tensor, int64, ()
        The numbers are a function of these two and of the position alone.

    Returns
    -------
    Tensor, float32, (count,)
    """
    index = torch.arange(count, device=seed.device, dtype=torch.int64)
    key = mix((mix(seed & 0xFFFFFFFF) + stream * 0x9E3779B9) & 0xFFFFFFFF)
    # 24 bits, so that the float32 is exact and never 0 or 1.
    return ((mix(mix(index) ^ key) >> 8).to(torch.float32) + 0.5) * (1.0 / 16777216.0)


def normal(count: int, seed: Tensor, stream: Tensor) -> Tensor:
    """Draw float32 standard normal numbers (Box and Muller, 1958), shape (count,)."""
    half = (count + 1) // 2
    numbers = uniform(2 * half, seed, stream)
    radius = torch.sqrt(-2.0 * torch.log(numbers[:half]))
    angle = 2.0 * math.pi * numbers[half:]
    return torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)])[:count]
