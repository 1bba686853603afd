"""The steps of the fit in ONNX Runtime: the same step as in torch, a fit as good, and each refusal."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import torch
import torch.nn.functional as F

from napari_vdip import Options, about, cli, deblur, devices, pace
from napari_vdip.core.program import Program
from napari_vdip.errors import DeviceUnavailable, InvalidOption, OutOfMemory, VdipError
from napari_vdip.onnxfit import providers, rewrite, runner
from napari_vdip.onnxfit.providers import place_of
from napari_vdip.onnxfit.runner import OnnxRunner
from napari_vdip.onnxfit.trace import CHANGED, NEW, trace
from napari_vdip.options import PRESETS
from napari_vdip.placement import device_named, placed
from napari_vdip.plan import Setting, plan_of
from napari_vdip.stack import fit

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

SETTING = Setting(
    Options(preset="fast", kernel_size=(5, 3), precision="float32"),
    torch.device("cpu"),
    "off",
    (5, 3),
    "given",
    None,
)
PLAN = plan_of(SETTING, 1, 16, 18)._replace(
    channels=4,
    skip_channels=2,
    outer_channels=0,
    levels=2,
    prefit=3,
    profile=12,
    climb=0,
    last_climb=0,
    polish=0,
)
EVERY_PLAN = pytest.mark.parametrize(
    "plan",
    [
        PLAN,
        PLAN._replace(prefit=0),
        PLAN._replace(image_channels=3, prefit=0, by_fft=False),
        PLAN._replace(prior="extreme", prefit=0),
        PLAN._replace(prior="none", variational=False, prefit=0),
        PLAN._replace(hold_kernel=True, centre_weight=0.0, prefit=0),
        # An image that no level halves evenly, and a kernel as large as it.
        PLAN._replace(height=13, width=11, kernel_height=13, kernel_width=11, levels=3, prefit=0),
    ],
    ids=["pre-fit", "sparse", "colours", "extreme", "dip", "held kernel", "odd sizes"],
)
QUICK = {"kernel_size": 5, "preset": "fast", "iterations": 4, "threads": 1, "kernel_draws": 0}
HERE = place_of("onnx:cpu", "auto")


@pytest.fixture(scope="module", autouse=True)
def remembered():
    """Keep all sessions: the tests share some plans."""
    kept = functools.cache(runner._built.__wrapped__)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "_built", kept)
        yield


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Leave out the thousands of records in which torch tells of its tracing: pytest would keep them all."""
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "disabled", True)


def begin(loop, dead=True):
    """Start a program on a smooth random image, of which some pixels take no part."""
    program = loop.program
    random = torch.Generator().manual_seed(1)
    y = F.avg_pool2d(torch.rand(program.y.shape, generator=random), 5, 1, 2)
    weight = torch.ones_like(y)
    weight[:, 4:8, 5:9] = 0.0 if dead else 1.0
    kernel = torch.full_like(program.kernel, 1.0 / program.kernel.numel())
    program.start(y, weight, torch.tensor(1e-4), kernel, torch.tensor(3))
    return loop


def values(program):
    return {name: value.numpy().copy() for name, value in program.named_buffers(recurse=False)}


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


class TestRewrites:
    """Operators written in simpler ones give what torch's own give, in float64."""

    def check(self, results, expected):
        for result, wanted in zip(results, expected, strict=True):
            torch.testing.assert_close(result, wanted, rtol=1e-10, atol=1e-10)

    def given(self, *shapes):
        random = torch.Generator().manual_seed(0)
        return [torch.randn(s, generator=random, dtype=torch.float64, requires_grad=True) for s in shapes]

    @pytest.mark.parametrize(
        ("shape", "size", "stride"),
        [((12, 15), 3, 1), ((13, 16), 3, 2), ((12, 11), 3, 2), ((12, 16), 3, 2), ((9, 7), 1, 1)],
    )
    def test_convolution(self, shape, size, stride):
        x, weight, bias = self.given((1, 5, *shape), (4, 5, size, size), (4,))
        y = F.conv2d(x, weight, bias, stride=stride)
        grad = torch.randn_like(y)
        rest = ([stride] * 2, [0, 0], [1, 1], False, [0, 0], 1)
        found = rewrite.convolution_backward(grad, x, weight, None, *rest, [True] * 3)
        self.check(found, torch.autograd.grad(y, (x, weight, bias), grad))

    @pytest.mark.parametrize(("shape", "kernel"), [((12, 15), (5, 3)), ((9, 8), (3, 7)), ((9, 9), (9, 9))])
    def test_blur(self, shape, kernel):
        x, weight = self.given((3, 1, *shape), (1, 1, *kernel))
        y = F.conv2d(x, weight)
        grad = torch.randn_like(y)
        rest = ([1, 1], [0, 0], [1, 1], False, [0, 0], 1)
        found = rewrite.convolution_backward(grad, x, weight, None, *rest, [True, True, False])
        self.check(found[:2], torch.autograd.grad(y, (x, weight), grad))
        self.check([rewrite.convolution(x, weight, None, *rest)], [y])

    def test_batch_norm(self):
        x, gain, shift = self.given((1, 5, 7, 6), (5,), (5,))
        y = F.batch_norm(x, None, None, gain, shift, training=True, eps=1e-5)
        grad = torch.randn_like(y)
        found, mean, scale = rewrite.batch_norm(x, gain, shift, None, None, True, 0.1, 1e-5)
        self.check([found], [y])
        back = rewrite.batch_norm_backward(grad, x, gain, None, None, mean, scale, True, 1e-5, [True] * 3)
        self.check(back, torch.autograd.grad(y, (x, gain, shift), grad))

    @pytest.mark.parametrize("shape", [(5, 4), (1, 2), (1, 1)])
    def test_doubling(self, shape):
        (x,) = self.given((1, 3, *shape))
        y = F.interpolate(x, scale_factor=[2.0, 2.0], mode="bilinear")
        grad = torch.randn_like(y)
        found = rewrite.upsample_backward(grad, list(y.shape[2:]), list(x.shape), False, 2.0, 2.0)
        self.check([found], torch.autograd.grad(y, x, grad))

    @pytest.mark.parametrize(("shape", "pad"), [((5, 4), 1), ((2, 3), 1), ((6, 5), 2), ((4, 3), 2)])
    def test_reflection(self, shape, pad):
        (x,) = self.given((1, 3, *shape))
        y = F.pad(x, [pad] * 4, mode="reflect")
        grad = torch.randn_like(y)
        self.check([rewrite.reflection_backward(grad, x, [pad] * 4)], torch.autograd.grad(y, x, grad))


@EVERY_PLAN
def test_a_step_from_the_same_state_is_the_same(plan):
    """One by one: over many, rounding grows in any two ways to add up (docs/explanation/onnx-step.md)."""
    there, here = begin(OnnxRunner(plan, HERE)), begin(OnnxRunner(plan, HERE))
    for _ in range(6):
        there.run(1)
        here.program.run(1)
        for name, expected in values(here.program).items():
            # Adam moves a weight whose gradient is rounding alone by its rate, in either direction.
            allowed = 2 * max(plan.image_rate, plan.kernel_rate) if name.endswith("theta") else 0.0
            error = np.abs(getattr(there.program, name).numpy() - expected).max()
            assert error <= allowed + 1e-4 * np.abs(expected).max(), name
        there.program.load_state_dict(here.program.state_dict())
    assert there.program.done == here.program.done == 6


@pytest.mark.parametrize("outer", [0, 2, 16])
def test_fifty_steps_in_float64_agree(outer):
    """The graph itself, by the evaluator of the package onnx: providers have no convolution in float64."""
    from onnx.reference import ReferenceEvaluator

    from napari_vdip.onnxfit.graph import model_of

    plan = PLAN._replace(prefit=0, profile=60, outer_channels=outer)
    program = begin(OnnxRunner(plan, HERE)).program.double()
    model = model_of(trace(plan, 3, torch.float64))
    names = [item.name for item in model.graph.input]
    evaluator, held = ReferenceEvaluator(model), values(program)
    for _ in range(50):
        new = evaluator.run([NEW + name for name in CHANGED], {name: held[name] for name in names})
        held.update(zip(CHANGED, new, strict=True))
    program.run(50)
    for name in ("mean", "std", "kernel"):
        np.testing.assert_allclose(
            held[name], getattr(program, name).numpy(), rtol=0, atol=1e-8, err_msg=name
        )


def test_ten_steps_are_five_and_five_across_the_stages():
    whole, halves = begin(OnnxRunner(PLAN, HERE)), begin(OnnxRunner(PLAN, HERE))
    whole.run(10)
    for _ in range(2):
        halves.run(5)
    assert whole.program.done == halves.program.done == 10
    same(values(halves.program), values(whole.program))


def test_no_more_steps_than_the_schedule_has_and_the_polish_follows():
    plan = PLAN._replace(profile=4, polish=8)
    loop = begin(OnnxRunner(plan, HERE))
    loop.run(7)
    expected = Program(plan)
    expected.load_state_dict(loop.program.state_dict())
    expected.done = 7
    loop.run(100)
    expected.run(100)
    assert loop.program.done == plan.prefit + 4 + 8
    same(values(loop.program), values(expected))


def test_a_gradient_with_nan_changes_no_weight():
    loop = begin(OnnxRunner(PLAN._replace(prefit=0), HERE))
    loop.run(2)
    before = values(loop.program)
    loop.program.noise[0, 3, 3] = float("nan")
    loop.run(1)
    after = values(loop.program)
    for name in ("image_theta", "image_first", "image_second", "kernel_theta", "adam_clock"):
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    assert after["clock"] == before["clock"] + 1


def counted(monkeypatch):
    """Stages that are traced from now on."""
    built = []

    def counting(plan, stage):
        built.append(stage)
        return trace(plan, stage)

    monkeypatch.setattr(runner, "trace", counting)
    return built


def test_one_session_serves_all_fits_of_a_plan(monkeypatch):
    built = counted(monkeypatch)
    for _ in range(3):
        begin(OnnxRunner(PLAN._replace(prefit=2, profile=7), HERE)).run(5)
    assert built == [0, 3]


@pytest.fixture(scope="module")
def photograph():
    """Cut a part of a photograph, and blur it by a known kernel, with noise."""
    from scipy.signal import convolve2d

    from napari_vdip.samples import load

    sharp = load("photograph").sharp[20:74, 20:78].astype(np.float64)
    kernel = np.zeros((7, 7))
    kernel[[1, 2, 3, 3, 4, 5], [1, 2, 3, 4, 5, 5]] = 1 / 6
    blurred = convolve2d(sharp, kernel, mode="valid")
    blurred += np.random.default_rng(0).normal(0, 0.005 * np.ptp(blurred), blurred.shape)
    return sharp[3:-3, 3:-3], blurred.astype(np.float32), kernel


@pytest.fixture
def blurred(photograph, monkeypatch):
    """Give the blurred one; the preset `fast` has small networks meanwhile, and a pre-fit of two steps."""
    small = {"channels": 4, "skip_channels": 2, "levels": 2}
    few = dict.fromkeys(PRESETS["fast"].prefit_steps, 2)
    monkeypatch.setitem(PRESETS, "fast", dataclasses.replace(PRESETS["fast"], **small, prefit_steps=few))
    return photograph[1]


def test_a_fit_is_as_good_as_in_torch(photograph):
    """Within 1.5 dB: two seeds of one way differ by as much, and by more in the kernel of a small image."""
    from napari_vdip.metrics import closeness, kernel_similarity

    sharp, blurred, kernel = photograph
    scale = float(np.ptp(sharp))
    before, found = closeness(blurred, sharp, scale, border=6, reach=3).psnr, {}
    for way in ("onnx", "off"):
        asked = QUICK | {"kernel_size": 7, "iterations": 60, "compile": way}
        result = deblur(blurred, **asked)
        close = closeness(result.image, sharp, scale, border=6, reach=3)
        found[way] = (close.psnr, kernel_similarity(result.kernel, kernel))
        assert not result.report["partial"]
        assert np.isfinite(result.uncertainty).all()
        assert result.uncertainty.min() > 0
    assert found["onnx"][0] > found["off"][0] - 1.5
    assert found["onnx"][0] > before + 4.0
    assert found["onnx"][1] > 0.6


def test_the_report_tells_provider_and_version(blurred):
    import onnxruntime

    for asked in ({"compile": "onnx"}, {"device": "onnx:cpu"}, {"device": "cpu", "compile": "onnx"}):
        report = deblur(blurred, **QUICK | asked).report
        assert report["device"].startswith("onnx:cpu (")
        assert report["compile"] == "onnx: CPUExecutionProvider"
        assert report["versions"]["onnxruntime"] == onnxruntime.__version__
    plain = deblur(blurred, **QUICK, compile="off").report
    assert (plain["compile"], "onnxruntime" in plain["versions"]) == ("off", False)


def test_the_same_seed_gives_the_same_result_and_another_one_another(blurred):
    first, again, other = (deblur(blurred, **QUICK, compile="onnx", seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.kernel, again.kernel)
    assert np.abs(first.image - other.image).max() > 0


def test_masks_and_nan_have_no_say(blurred):
    mask = np.zeros(blurred.shape, dtype=bool)
    mask[20:24, 20:24] = True
    hidden, absent = np.where(mask, 7 * blurred.max(), blurred), np.where(mask, np.nan, blurred)
    plain = deblur(blurred, **QUICK, mask=mask, compile="onnx")
    assert np.isfinite(plain.image).all()
    for other in (
        deblur(hidden, **QUICK, mask=mask, compile="onnx"),
        deblur(absent, **QUICK, compile="onnx"),
    ):
        np.testing.assert_array_equal(other.image, plain.image)
        np.testing.assert_array_equal(other.kernel, plain.kernel)


def test_stacks_and_colours(blurred):
    stack = deblur(np.stack([blurred, blurred[::-1]]), **QUICK, compile="onnx")
    assert stack.image.shape == (2, *blurred.shape)
    assert stack.kernel.shape == (2, 5, 5)
    np.testing.assert_allclose(stack.kernel.sum((1, 2)), 1.0, atol=1e-5)
    np.testing.assert_array_equal(stack.image[0], deblur(blurred, **QUICK, compile="onnx").image)
    colours = deblur(np.dstack([blurred] * 3), **QUICK, rgb=True, compile="onnx")
    assert colours.image.shape == (*blurred.shape, 3)
    assert colours.kernel.shape == (5, 5)


def test_a_stack_that_shares_its_kernel_polishes_in_torch(blurred):
    stack = deblur(np.stack([blurred] * 3), **QUICK, kernel_mode="warm", compile="onnx")
    assert np.isfinite(stack.image).all()
    assert stack.report["compile"] == "onnx: CPUExecutionProvider"
    assert np.ptp(stack.image, 0).max() < np.ptp(blurred)


def test_several_starts_share_their_sessions(blurred, monkeypatch):
    monkeypatch.setitem(PRESETS, "best", dataclasses.replace(PRESETS["fast"], starts=2))
    built = counted(monkeypatch)
    result = deblur(blurred, **QUICK | {"preset": "best", "iterations": 12}, compile="onnx")
    assert result.report["steps"] == 2 * (2 + 9 + 3)
    assert built == [0, 3]


def test_a_fit_that_is_left_goes_on_where_it_was(blurred):
    running = fit(blurred, Options(**QUICK, compile="onnx"))
    told = next(running)
    assert told.step < told.steps
    assert told.result.report["partial"]
    with pytest.raises(StopIteration) as ended:
        while True:
            next(running)
    whole = deblur(blurred, **QUICK, compile="onnx")
    np.testing.assert_array_equal(ended.value.value.image, whole.image)


def test_the_command_takes_it_and_says_so(blurred, tmp_path, capsys):
    tifffile.imwrite(tmp_path / "cell.tif", blurred)
    words = ["deblur", str(tmp_path / "cell.tif"), "--output", str(tmp_path), "--compile", "onnx"]
    words += ["--kernel-size", "5", "--preset", "fast", "--iterations", "4", "--threads", "1"]
    assert cli.main(words) == 0, capsys.readouterr().err
    report = json.loads((tmp_path / "cell_report.json").read_text())
    assert report["options"]["compile"] == "onnx"
    assert report["compile"] == "onnx: CPUExecutionProvider"
    assert cli.main([*words, "--resume"]) == 0, capsys.readouterr().err
    assert cli.main([*words, "--device", "cuda"]) == 2
    assert "use onnx:cpu" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("device", "compile", "kind", "says"),
    [
        ("onnx:dml", "script", InvalidOption, "leave compile at 'auto'"),
        ("onnx:cpu", "off", InvalidOption, "leave compile at 'auto'"),
        ("cuda", "onnx", InvalidOption, "use onnx:cpu, onnx:dml, onnx:cuda"),
        ("mps", "onnx", InvalidOption, "or compile='auto'"),
        ("onnx:tpu", "auto", DeviceUnavailable, "unknown; expected onnx:cpu"),
        ("onnx:", "onnx", DeviceUnavailable, "unknown; expected onnx:cpu"),
        ("onnx:auto", "onnx", DeviceUnavailable, "unknown; expected onnx:cpu"),
    ],
)
def test_contradictions_and_unknown_names_are_told(device, compile, kind, says):
    with pytest.raises(kind, match=says):
        deblur(np.eye(40), **QUICK | {"device": device, "compile": compile})


def test_a_provider_that_is_not_installed_is_told_with_its_package(monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    for name, package in (("dml", "onnxruntime-directml"), ("openvino", "onnxruntime-openvino")):
        with pytest.raises(DeviceUnavailable, match=f"has onnx:cpu; {package}"):
            place_of(f"onnx:{name}", "auto")


@pytest.mark.parametrize(
    ("available", "chosen"),
    [
        (["CPUExecutionProvider"], "onnx:cpu"),
        (["DmlExecutionProvider", "CPUExecutionProvider"], "onnx:dml"),
        (["MIGraphXExecutionProvider", "CPUExecutionProvider"], "onnx:rocm"),
        (["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"], "onnx:cuda"),
        (["CoreMLExecutionProvider", "AzureExecutionProvider", "CPUExecutionProvider"], "onnx:cpu"),
    ],
)
def test_auto_takes_a_gpu_that_onnx_runtime_has(available, chosen, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    assert place_of("auto", "onnx").name == chosen
    assert place_of("cpu", "onnx").name == "onnx:cpu"
    assert place_of("auto", "auto") is None


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_the_extra_it_says_what_to_install(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    for asked in ({"compile": "onnx"}, {"device": "onnx:dml"}):
        with pytest.raises(InvalidOption, match=r"pip install \"napari-vdip\[onnx\]\""):
            deblur(np.eye(40), **QUICK | asked)
    assert not [line for line in about.describe() if "onnx:" in line]


def test_a_provider_that_does_not_start_is_no_silent_change_to_the_processor(monkeypatch):
    import onnxruntime

    available = ["DmlExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    place = place_of("onnx:dml", "auto")
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda *args, **_: real(*args, providers=["CPUExecutionProvider"])
    )
    with pytest.raises(DeviceUnavailable, match="could not start it"):
        begin(OnnxRunner(PLAN, place)).run(1)


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("Failed to allocate memory", OutOfMemory, "crop the image"),
        ("no kernel", VdipError, "failed.*no kernel"),
    ],
)
def test_what_onnx_runtime_fails_with_is_told(text, kind, says, monkeypatch):
    class Failing:
        def get_inputs(self):
            raise RuntimeError(text)

    monkeypatch.setattr(runner, "session_of", lambda *_: Failing())
    with pytest.raises(kind, match=says):
        begin(OnnxRunner(PLAN, HERE)).run(1)


def test_an_operator_without_translation_is_named():
    plan = PLAN._replace(nonlocal_from=2, prefit=0, profile=11)
    with pytest.raises(VdipError, match=r"aten\.max_pool2d.*use compile='auto'"):
        begin(OnnxRunner(plan, HERE)).run(1)


def test_the_published_schedule_is_refused_before_the_first_step():
    with pytest.raises(InvalidOption, match=r"preset='paper' draws a sample.*'balanced' or 'best'"):
        deblur(np.eye(40), kernel_size=5, preset="paper", compile="onnx")


def test_short_numbers_are_refused_and_never_chosen():
    with pytest.raises(InvalidOption, match="precision='bfloat16' is for torch"):
        deblur(np.eye(40), kernel_size=5, compile="onnx", precision="bfloat16")
    result = deblur(np.random.default_rng(0).random((40, 44)), **QUICK, compile="onnx")
    assert result.report["precision"] == "float32"


def test_devices_are_found_and_listed():
    for found in (devices.find("onnx:cpu"), devices.find("auto", "onnx")):
        assert (found.name, found.title) == ("onnx:cpu", "processor, in ONNX Runtime")
        assert found.free_bytes > 0
    assert "  onnx:cpu: processor, in ONNX Runtime" in about.describe()
    assert device_named(Options(device="onnx:cpu")) == "onnx:cpu"
    assert device_named(Options(device="cpu")) == "cpu"
    assert placed(Options(device="cpu", compile="off")) == (torch.device("cpu"), "off", None)
    assert pace.key_of("fast", "onnx:cpu", 2) == "fast onnx:cpu 2"
    assert pace.key_of("fast", "onnx:dml", 2) == "fast onnx:dml"


def test_every_provider_has_a_package_and_a_title():
    for name, known in providers.KNOWN.items():
        assert known.providers
        assert all(each.endswith("ExecutionProvider") for each in known.providers), name
        assert known.package.startswith("onnxruntime")
        assert known.memory in ("cpu", "cuda", "dml")


def test_a_fit_in_torch_loads_no_onnx():
    code = (
        "import numpy as np, sys, napari_vdip\n"
        "napari_vdip.Options(compile='onnx', device='onnx:dml')\n"
        f"napari_vdip.deblur(np.eye(20) + np.arange(20), **{QUICK | {'compile': 'off', 'kernel_size': 3}})\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'onnx', 'onnxruntime', 'sympy'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
