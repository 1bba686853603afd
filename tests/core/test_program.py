"""The loop: Adam and schedule as published, the losses of each stage, the laws of a run."""

from __future__ import annotations

import naive
import pytest
import torch

from napari_vdip.core import objective
from napari_vdip.core.blur import blur_direct, crop
from napari_vdip.core.prior import NATURAL
from napari_vdip.core.program import Plan, Program

PLAN = Plan(
    image_channels=1,
    height=16,
    width=18,
    kernel_height=5,
    kernel_width=3,
    by_fft=False,
    bfloat16=False,
    channels=4,
    skip_channels=2,
    outer_channels=0,
    levels=2,
    nonlocal_from=2,
    prior="sparse",
    variational=True,
    bound_weight=0.1,
    centre_weight=0.0,
    ridge=3e-4,
    sparse=NATURAL,
    shares=(0.5, 0.3, 1.0),
    hold_kernel=False,
    image_rate=1e-2,
    kernel_rate=1e-3,
    cosine=False,
    prefit=2,
    bound=4,
    ssim=6,
    profile=0,
    polish=0,
)
PROFILE = PLAN._replace(bound=0, ssim=0, profile=10, cosine=True, centre_weight=0.01)
POLISH = PROFILE._replace(profile=2, polish=8)


def started(plan=PLAN, seed=0, dead=False, smooth=False):
    program = Program(plan)
    generator = torch.Generator().manual_seed(1)
    y = torch.rand(plan.image_channels, plan.height, plan.width, generator=generator)
    if smooth:
        y = torch.nn.functional.avg_pool2d(y, 5, 1, 2)
    weight = torch.ones_like(y)
    if dead:
        weight[:, 4:8, 5:9] = 0
    flat = torch.full((plan.kernel_height, plan.kernel_width), 1.0)
    program.start(y, weight, torch.tensor(1e-4), flat / flat.numel(), torch.tensor(seed))
    return program


def run(plan=PLAN, steps=12, **keywords):
    program = started(plan, **keywords)
    program.run(steps)
    return program


EVERY_WAY = pytest.mark.parametrize(
    "plan",
    [
        PLAN,
        PROFILE,
        PLAN._replace(prior="extreme", bound_weight=1e-4),
        PLAN._replace(prior="none"),
        PLAN._replace(prior="none", variational=False),
        PROFILE._replace(prior="extreme"),
        PROFILE._replace(image_channels=3, by_fft=True),
        POLISH,
        POLISH._replace(image_channels=3),
        POLISH._replace(climb=4, last_climb=2, polish=2),
        POLISH._replace(climb=4, last_climb=2, polish=2, image_channels=3),
        POLISH._replace(patches=2),
        POLISH._replace(patches=2, image_channels=3),
        PROFILE._replace(bfloat16=True, channels=16, skip_channels=16),
        PROFILE._replace(outer_channels=2),
    ],
    ids=[
        "sparse",
        "profile",
        "extreme",
        "std",
        "dip",
        "profile extreme",
        "profile rgb fft",
        "polish",
        "polish rgb",
        "search",
        "search rgb",
        "patches",
        "patches rgb",
        "bfloat16",
        "narrow",
    ],
)


@EVERY_WAY
def test_laws_of_a_run(plan):
    program = run(plan)
    assert program.done == 12
    assert (program.kernel >= 0).all()
    assert program.kernel.sum().item() == pytest.approx(1, abs=1e-5)
    assert program.mean.shape == (plan.image_channels, 20, 20)
    for part in (program.mean, program.std, program.log, program.image_theta, program.kernel_theta):
        assert torch.isfinite(part).all()
    assert (program.log[:, 0] != 0).all()


@EVERY_WAY
def test_ten_steps_are_five_and_five(plan):
    whole, halves = run(plan, 10), run(plan, 5)
    halves.run(5)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, halves.state_dict()[name]), name


def test_seed_decides():
    assert torch.equal(run(seed=3).mean, run(seed=3).mean)
    assert not torch.equal(run(seed=3).mean, run(seed=4).mean)


def test_start_forgets_the_last_fit():
    program, fresh = run(seed=7), started(seed=0)
    again = started(seed=0)
    program.start(fresh.y, fresh.weight, fresh.noise_var, fresh.prior_kernel, fresh.seed)
    for each in (program, again):
        each.run(12)
    for name, value in program.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_schedule_ends():
    program = run(steps=1000)
    assert program.done == program.steps == 12


def test_stages_follow_one_another():
    program, stages = started(PLAN._replace(profile=3)), []
    for _ in range(15):
        stages.append(program.stage())
        program.run(1)
    assert stages == [0] * 2 + [1] * 4 + [2] * 6 + [3] * 3


def test_adam_and_the_published_rates():
    """Halved at 2/5, 3/5 and 4/5 of the steps after the pre-fit."""
    plan = PLAN._replace(prefit=0, bound=8, ssim=12)
    program = started(plan)
    generator = torch.Generator().manual_seed(2)
    image = [torch.randn(program.image_theta.shape, generator=generator) for _ in range(20)]
    kernel = [torch.randn(program.kernel_theta.shape, generator=generator) for _ in range(20)]
    image_start, kernel_start = program.image_theta.clone(), program.kernel_theta.clone()
    for image_grad, kernel_grad in zip(image, kernel, strict=True):
        program.adam(image_grad, kernel_grad)
    decay = [naive.published_decay(step, 20) for step in range(20)]
    assert decay[7:9] == [1, 0.5]
    expected = naive.adam(image_start, image, [1e-2 * d for d in decay])
    torch.testing.assert_close(program.image_theta, expected, rtol=1e-4, atol=1e-6)
    expected = naive.adam(kernel_start, kernel, [1e-3 * d for d in decay])
    torch.testing.assert_close(program.kernel_theta, expected, rtol=1e-4, atol=1e-6)


def test_the_search_looks_at_colours_in_grey_and_shows_them_in_colour():
    program = run(POLISH._replace(climb=4, last_climb=2, polish=2, image_channels=3), 9)
    assert program.stage() == 7
    assert program.search.latent.size(1) == 1
    torch.testing.assert_close(program.grey[0], program.y.mean(0))
    assert program.grey_contrast < program.contrast  # random colours even each other out
    shown, networks = program.mean, program.search.generated
    torch.testing.assert_close(shown.mean(0), program.search.image(0)[0])
    torch.testing.assert_close(shown - shown.mean(0), networks - networks.mean(0))
    assert not torch.equal(shown[0], shown[1])


def test_what_one_colour_has_lost_tells_the_search_nothing():
    program = started(POLISH._replace(image_channels=3))
    weight = program.weight.clone()
    weight[1, 3, 4] = 0.0
    program.start(program.y.clone(), weight, program.noise_var, program.prior_kernel, program.seed)
    assert program.grey_weight[0, 3, 4] == 0.0
    assert torch.count_nonzero(program.grey_weight == 0.0) == 1


def test_a_colour_that_has_lost_too_much_does_not_count_in_grey():
    program = started(POLISH._replace(image_channels=3, climb=4, last_climb=2, polish=2))
    weight = program.weight.clone()
    weight[1], weight[2, 0, 0] = 0.0, 0.0
    program.start(program.y.clone(), weight, program.noise_var, program.prior_kernel, program.seed)
    assert torch.equal(program.grey[0], program.y[0])
    assert torch.equal(program.grey_weight[0], weight[0])
    program.run(12)
    assert torch.isfinite(program.mean).all()


def test_a_step_with_nan_in_its_gradient_is_skipped():
    program = run(steps=4)
    before = {name: value.clone() for name, value in program.state_dict().items()}
    grad = torch.zeros_like(program.image_theta)
    grad[3] = float("nan")
    program.adam(grad, torch.zeros_like(program.kernel_theta))
    changed = {name for name, value in program.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"clock"}


def outputs(program):
    return program.image_generator(program.image_theta, program.noise), program.kernel_generator(
        program.kernel_theta, program.kernel_noise, program.logits
    )


def test_prefit_loss():
    program = started()
    (mean, std), kernel = outputs(program)
    program.run(1)
    inside = crop(mean, 5, 3)
    expected = ((inside - program.y) ** 2).mean() + (std**2).mean() + ((kernel - 1 / 15) ** 2).mean()
    torch.testing.assert_close(program.log[0, 0], expected.detach())


@pytest.mark.parametrize(("done", "share"), [(0, 0.1), (1999, 0.01), (1000, 0.01)])
def test_bound_of_one_sample_averages_to_the_closed_form(done, share):
    """Over many draws the published bound is its expectation; b falls tenfold every 1000 steps."""
    program = started(PLAN._replace(prefit=0, bound=2000, ssim=3000))
    (mean, std), kernel = outputs(program)
    mean, std, kernel = mean.detach(), 0.3 * std.detach(), kernel.detach()
    residual = blur_direct(mean, kernel) - program.y
    losses = []
    program.clock.fill_(done)
    for seed in range(600):
        program.seed.fill_(seed)
        losses.append(program.bound_loss(mean, std, kernel, residual).double())
    losses = torch.stack(losses)
    spread = objective.data_spread(kernel, 16, 18, 2)
    likelihood = objective.data_term(residual, mean.numel()) - (std**2 * spread).mean()
    divergence = objective.entropy(std) + objective.sparse_prior(mean, std) + objective.kernel_term(kernel)
    error = losses.std() / len(losses) ** 0.5
    assert abs(losses.mean() + likelihood + share * divergence) < 4 * error
    assert error < 0.1 * abs(share * divergence)


def test_ssim_stage_is_one_minus_ssim():
    program = run(steps=6)
    (mean, _), kernel = outputs(program)
    program.run(1)
    expected = 1 - naive.ssim(blur_direct(mean, kernel).detach().double(), program.y.double())
    torch.testing.assert_close(program.log[6, 0].double(), expected, rtol=1e-4, atol=1e-6)


def test_std_settles_where_the_bound_is_highest():
    """Entropy, expected data term and half the sparse prior have no slope in the variance there."""
    program = started(PROFILE)
    program.run(6)
    misfit = torch.tensor(0.05)
    for _ in range(300):
        program.improve_std(misfit)
    mean, var = program.mean.double(), program.var.double().requires_grad_(True)
    spread = objective.data_spread(program.kernel, 16, 18, 0).double()
    pairs = (mean.size(1) - 1) * (mean.size(2) - 1) * mean.size(0)
    bound = (
        0.5 * var.log().sum()
        - (var * spread).sum() / 0.05**2
        - 0.5 * (12 * var).sum()
        + 0.5 * pairs * objective.sparse_prior(mean, var.sqrt())
    )
    (slope,) = torch.autograd.grad(bound, var)
    torch.testing.assert_close(slope * var.detach(), torch.zeros_like(slope), rtol=0, atol=1e-3)
    assert (program.std >= program.var.sqrt() - 1e-6).all()
    assert program.std.max() <= 12**-0.5 + 1e-6


def test_std_is_that_of_deconvolved_noise():
    """With the kernel and the noise known and no image prior, it is the exact posterior std."""
    program = started(PROFILE._replace(prior="none", hold_kernel=True))
    kernel = torch.zeros_like(program.kernel)
    kernel[1:4, 1] = torch.tensor([0.2, 0.6, 0.2])
    program.kernel.copy_(kernel)
    program.noise_var.fill_(0.02**2)
    program.improve_std(torch.tensor(0.0))
    rows, columns = program.std.shape[1:]
    blurring = torch.fft.fft2(kernel.double(), s=(rows, columns)).abs().square()
    exact = (1 / (blurring / 0.02**2 + 12)).mean().sqrt()
    centre = program.std[0, rows // 2, columns // 2].double()
    torch.testing.assert_close(centre, exact, rtol=0.02, atol=0)


def test_dropped_pixels_have_no_say_in_the_misfit():
    program = started(PROFILE, dead=True)
    program.run(2)
    (mean, _), kernel = outputs(program)
    program.run(1)
    residual = (blur_direct(mean, kernel).detach() - program.y)[program.weight > 0]
    expected = (residual.square().sum() / program.y.numel()).sqrt()
    torch.testing.assert_close(program.log[2, 1], expected)


def test_dropped_pixels_get_no_gradient():
    """What the image shows where nothing is known does not change the objective."""
    program = started(PROFILE._replace(hold_kernel=True), dead=True)
    program.run(2)
    (mean, _), kernel = outputs(program)
    program.run(1)
    blurred = torch.where(program.weight > 0, blur_direct(mean, kernel).detach(), program.y)
    gap = 1 - naive.ssim(blurred.double(), program.y.double())
    off_centre = 0.01 * objective.centre_distance(program.kernel)
    # The variances of SSIM are differences of float32 numbers: 1e-4 is their rounding.
    torch.testing.assert_close(
        program.log[2, 0].double(), (gap.log() + off_centre).double(), rtol=0, atol=2e-4
    )


def test_held_kernel_stays():
    program = run(PROFILE._replace(hold_kernel=True))
    assert torch.equal(program.kernel, program.prior_kernel)


def test_a_fit_lowers_its_misfit():
    program = run(PROFILE._replace(profile=60), steps=62)
    assert program.log[-1, 1] < 0.7 * program.log[2, 1]


def test_the_polish_follows_the_data_better():
    """On an image that is blurred indeed, with a kernel that is known."""
    program = started(POLISH._replace(height=32, width=36, profile=30, hold_kernel=True), smooth=True)
    program.run(32)
    fitted = program.log[31, 1].item()
    program.run(8)
    assert program.done == program.steps
    assert program.log[-1, 1] < 0.7 * fitted
    assert torch.equal(program.kernel, program.prior_kernel)


def test_the_polish_moves_the_kernel_in_the_middle_and_the_image_elsewhere():
    program = started(POLISH)
    stages = []
    for _ in range(program.steps):
        stages.append(program.stage())
        program.run(1)
    assert stages == [0, 0, 3, 3, 4, 4, 4, 4, 5, 4, 4, 4]
    changes = program.log[-8:, 2]
    assert changes[4] > 0
    assert (changes[1:4] == 0).all()
    assert (changes[5:] == 0).all()


def test_the_last_steps_of_the_polish_look_at_patches():
    program = started(POLISH._replace(patches=2))
    stages = []
    for _ in range(program.steps):
        stages.append(program.stage())
        program.run(1)
    assert stages == [0, 0, 3, 3, 4, 4, 4, 4, 5, 4, 8, 8]
    assert (program.log[-2:, 2] == 0).all()


def test_patches_take_grain_away_that_differences_leave():
    """A roof of two slopes, blurred, with noise; the kernel is known and no network's image in the way."""
    y, x = torch.meshgrid(torch.arange(68.0), torch.arange(74.0), indexing="ij")
    truth = torch.where(y + 0.4 * x > 50.0, 0.8 - 0.005 * x, 0.1 + 0.003 * y)[None]
    kernel = torch.tensor([[0.2], [0.3], [0.2], [0.2], [0.1]]).repeat(1, 3) / 3
    noise = 0.01 * torch.randn(1, 64, 72, generator=torch.Generator().manual_seed(0))
    errors, apart = [], []
    for patches in (0, 2):
        plan = POLISH._replace(height=64, width=72, prefit=0, profile=0, polish=10, hold_kernel=True)
        program = Program(plan._replace(patches=patches))
        data = blur_direct(truth, kernel) + noise
        program.start(data, torch.ones_like(data), torch.tensor(1e-4), kernel, torch.tensor(0))
        program.guess_error = 3.0
        program.mean.copy_(torch.nn.functional.pad(data, [1, 1, 2, 2], mode="replicate"))
        program.run(10)
        flat = (y + 0.4 * x - 50.0).abs() > 8.0
        errors.append(((program.mean - truth) * flat)[:, 8:-8, 8:-8].square().mean().sqrt())
        apart.append((blur_direct(program.mean, kernel) - data).square().mean().sqrt())
    assert errors[1] < 0.8 * errors[0]
    assert apart[1] < 1.1 * 0.01


def test_doubt_of_two_opinions_is_in_the_std():
    """Where the networks and the polish differ, the std knows."""
    program = run(POLISH)
    apart = objective.gaussian_filter((program.mean - program.generated).square()).sqrt()
    assert apart.max() > 1e-3
    assert (program.std >= (0.3**0.5 * apart).clamp_max(12**-0.5) - 1e-6).all()


def test_dropped_pixels_have_no_say_in_the_polish():
    programs = []
    for value in (0.1, 0.9):
        program = started(POLISH._replace(profile=0, polish=5, hold_kernel=True), dead=True)
        program.run(2)
        program.y[:, 4:8, 5:9] = value
        program.mean.fill_(0.5)
        program.run(5)
        programs.append(program)
    torch.testing.assert_close(programs[0].mean, programs[1].mean)
