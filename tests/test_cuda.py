"""The fit on an NVIDIA GPU: what the processor says, side by side, and nothing left behind."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve, gaussian_filter

from napari_vdip import Options, deblur, plan
from napari_vdip.core.compile import EagerRunner, GraphRunner, run_together
from napari_vdip.core.program import Program
from napari_vdip.errors import OutOfMemory

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device: run it where there is one"
)

SIZE, K = 72, 7
GPU = torch.device("cuda")


@pytest.fixture(scope="module", autouse=True)
def exact():
    """No TF32: its 10 bits would hide an error."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def blurred(size=SIZE):
    """Discs of several sizes under a slanted streak, little noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    sharp = np.full((size, size), 0.2)
    for _ in range(size * size // 260):
        at, radius = rng.random(2) * size, 2 + rng.random() * size / 12
        sharp[(y - at[0]) ** 2 + (x - at[1]) ** 2 < radius**2] = rng.random()
    kernel = gaussian_filter(np.eye(K), 0.7)
    image = convolve(sharp, kernel / kernel.sum(), mode="reflect")
    return sharp, (1000 * (image + rng.normal(0, 0.002, image.shape))).astype(np.float32)


def program(preset, done, device, seed=0):
    """Program of a preset, at a stage or a few steps before it; ``climbs``, ``last climb``: of the search."""
    climb, last = {"climbs": (60, 60), "last climb": (0, 60)}.get(preset, (0, 0))
    preset = "fast" if last else preset
    options = Options(preset=preset, precision="float32")
    setting = plan.Setting(options, torch.device("cpu"), "off", (K, K), "", None)
    made = Program(plan.plan_of(setting, 1, SIZE, SIZE)._replace(climb=climb, last_climb=last)).to(device)
    image = torch.tensor(blurred()[1] / 1100.0)[None]
    values = (
        image,
        torch.ones_like(image),
        torch.tensor(4e-6),
        torch.full((K, K), 1 / K**2),
        torch.tensor(seed),
    )
    made.start(*(value.to(device) for value in values))
    made.done = done
    made.clock.fill_(done)
    return made


STAGES = pytest.mark.parametrize(
    ("preset", "done"),
    [
        ("fast", 0),
        ("fast", 60),
        ("climbs", 160),
        ("last climb", 160),
        ("fast", 160),
        ("fast", 186),
        ("paper", 0),
        ("paper", 600),
        ("paper", 2600),
    ],
    ids=[
        "pre-fit",
        "fit",
        "climbs",
        "last climb",
        "polish",
        "patches",
        "published pre-fit",
        "published bound",
        "published SSIM",
    ],
)


@STAGES
def test_a_step_is_that_of_the_processor(preset, done):
    """One step only: the next ones magnify the last digit, as another order of sums does on one device."""
    here, there = EagerRunner(program(preset, done, "cpu")), GraphRunner(program(preset, done, GPU))
    here.run(1)
    there.run(1)
    for name in ("mean", "std", "kernel"):
        found, expected = getattr(there.program, name).cpu(), getattr(here.program, name)
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-5, msg=name)
    # Adam scales every gradient to the same size, also one that is zero but for rounding.
    moved = (there.program.image_theta.cpu() - here.program.image_theta).abs()
    assert moved.mean() < 0.01 * here.program.rates[0]


def test_the_polish_is_that_of_the_processor():
    here, there = (program("fast", 160, device) for device in ("cpu", GPU))
    EagerRunner(here).run(2)
    for name, value in here.state_dict().items():
        there.state_dict()[name].copy_(value)
    there.done = here.done
    EagerRunner(here).run(8)
    GraphRunner(there).run(8)  # the last one is replayed
    for name in ("mean", "std", "kernel"):
        found, expected = getattr(there, name).cpu(), getattr(here, name)
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-3, msg=name)


@STAGES
@pytest.mark.parametrize("count", [1, 3])
def test_a_replayed_step_is_the_step(preset, done, count):
    """Side by side too. Only the order in which gradients are summed may make a difference."""
    eager = [EagerRunner(program(preset, done, GPU, seed)) for seed in range(count)]
    graphs = [GraphRunner(program(preset, done, GPU, seed)) for seed in range(count)]
    for _ in range(GraphRunner.warm_up + 2):
        for one, other in zip(eager, graphs, strict=True):
            for name, value in one.program.state_dict().items():
                other.program.state_dict()[name].copy_(value)
            one.run(1)
        run_together(graphs, 1)
        for one, other in zip(eager, graphs, strict=True):
            assert one.program.done == other.program.done
            for name in ("mean", "std", "kernel", "log"):
                torch.testing.assert_close(
                    getattr(other.program, name), getattr(one.program, name), rtol=1e-3, atol=2e-4, msg=name
                )


@pytest.mark.parametrize("options", [{}, {"preset": "best", "iterations": 200}], ids=["fast", "best"])
def test_a_whole_fit_is_sharp_and_gives_the_memory_back(options):
    sharp, image = blurred(128)
    result = deblur(image, kernel_size=9, device="cuda", **{"preset": "fast", **options})
    inner = (slice(12, -12),) * 2

    def error(found):
        return np.sqrt(np.mean((found[inner] - 1000 * sharp[inner]) ** 2))

    assert error(result.image) < 0.6 * error(image)
    assert result.report["compile"] == "cuda graph"
    assert result.report["device"].startswith("cuda")
    assert torch.cuda.memory_reserved() < 100e6


@pytest.mark.parametrize("kind", ["fluorescence", "astronomy"])
def test_families_are_found_on_the_gpu(kind):
    result = deblur(blurred()[1], kernel_size=7, device="cuda", preset="fast", kind=kind, iterations=40)
    assert np.isfinite(result.image).all()
    assert np.isfinite(result.uncertainty).all()


def test_two_fits_at_once():
    """In two threads, as two widgets do: one records its step while the other one works."""
    image, found, errors = blurred()[1], {}, []

    def fit(seed):
        try:
            found[seed] = deblur(image, kernel_size=7, device="cuda", preset="fast", seed=seed, iterations=60)
        except Exception as error:  # told by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=fit, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not errors
    assert sorted(found) == [0, 1, 2]
    assert all(np.isfinite(result.image).all() for result in found.values())


def test_out_of_memory_is_told_and_holds_nothing():
    image = np.tile(blurred(256)[1], (4, 4))
    torch.cuda.set_per_process_memory_fraction(0.5e9 / torch.cuda.get_device_properties(0).total_memory)
    try:
        with pytest.raises(OutOfMemory, match="1024 x 1024 px does not fit"):
            deblur(image, kernel_size=9, device="cuda", preset="fast", method="dip")
        assert torch.cuda.memory_reserved() < 100e6
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert np.isfinite(
        deblur(blurred()[1], kernel_size=7, device="cuda", preset="fast", iterations=20).image
    ).all()
