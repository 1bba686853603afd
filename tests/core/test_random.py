"""Counter-based random numbers: their distribution, and that they depend on seed and stream alone."""

from __future__ import annotations

import pytest
import torch

from napari_vdip.core.random import normal, uniform


def at(draw, seed, stream, count=10**5):
    return draw(count, torch.tensor(seed), torch.tensor(stream))


def test_uniform():
    numbers = at(uniform, 1, 2)
    assert numbers.dtype == torch.float32
    assert 0 < numbers.min() < 1e-4
    assert 1 - 1e-4 < numbers.max() < 1
    counts = torch.histc(numbers, 100, 0, 1)
    chi2 = ((counts - 1000) ** 2 / 1000).sum()
    assert 60 < chi2 < 150  # 99 degrees of freedom


def test_normal():
    numbers = at(normal, 1, 2)
    assert numbers.mean().item() == pytest.approx(0, abs=0.015)
    assert numbers.std().item() == pytest.approx(1, abs=0.01)
    assert (numbers**4).mean().item() == pytest.approx(3, abs=0.15)
    assert (numbers.abs() < 1).double().mean().item() == pytest.approx(0.6827, abs=0.006)


@pytest.mark.parametrize("draw", [uniform, normal])
@pytest.mark.parametrize("other", [(1, 3), (2, 2), (2, 1), (1, 10**6), (2**31 - 1, 2)])
def test_other_seed_or_stream_is_independent(draw, other):
    first, second = at(draw, 1, 2), at(draw, *other)
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 0.015
    assert torch.equal(first, at(draw, 1, 2))


def test_neighbours_are_independent():
    numbers = at(uniform, 0, 0)
    for lag in (1, 2, 3, 64):
        assert abs(torch.corrcoef(torch.stack([numbers[lag:], numbers[:-lag]]))[0, 1]) < 0.015


@pytest.mark.parametrize("count", [1, 2, 7])
def test_any_count(count):
    assert at(normal, 0, 0, count).shape == (count,)
    assert torch.isfinite(at(normal, 0, 0, count)).all()


def test_global_generator_is_not_touched():
    before = torch.get_rng_state()
    at(normal, 0, 0)
    assert torch.equal(torch.get_rng_state(), before)
