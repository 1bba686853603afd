"""What climbs and search are tried on."""

from __future__ import annotations

import torch


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def stroke() -> torch.Tensor:
    """Kernel of a hand that moves and turns, 9 x 11 px."""
    kernel = torch.zeros(9, 11)
    for place, (row, column) in enumerate([(2, 2), (3, 3), (4, 4), (4, 5), (4, 6), (5, 7), (6, 7)]):
        kernel[row, column] = 1.0 + 0.3 * place
    return kernel / kernel.sum()
