"""A fitted model as a file: it gives the result back, runs elsewhere, and what is no model is refused."""

from __future__ import annotations

import dataclasses
import gc
import io
import json
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_vdip import cli, deblur, modelfile, options
from napari_vdip.core import compile
from napari_vdip.errors import InvalidInput, InvalidOption, VdipError

QUICK = {"kernel_size": 5, "preset": "fast", "iterations": 5, "threads": 1, "compile": "off"}
QUICK |= {"kernel_draws": 0}
RANDOM = np.random.default_rng(3)
GREY = RANDOM.integers(0, 60000, (40, 48), dtype=np.uint16)


@pytest.fixture(scope="module")
def grey(small_fits):
    """Fit to the end, polish included: the image is not what the network says."""
    return deblur(GREY, **QUICK)


@pytest.fixture(scope="module")
def archive(grey, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "cells.pt"
    grey.save_model(path, {"Y": (0.1, "um"), "X": (0.2, "um")})
    return path


@pytest.fixture(scope="module")
def graph(grey, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "cells.onnx"
    grey.save_model(path)
    return path


@pytest.fixture(scope="module", autouse=True)
def short_prefit():
    """Shorten the pre-fit, of `paper` 500 steps: minutes, for nothing that is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        for name, preset in list(options.PRESETS.items()):
            few = dataclasses.replace(preset, prefit_steps=dict.fromkeys(preset.prefit_steps, 1))
            patch.setitem(options.PRESETS, name, few)
        yield


def same(one, other, relative=1e-6):
    """Whether two results agree, relative to the range of the image."""
    span = np.ptp(one.image)
    for name in ("image", "uncertainty"):
        found, expected = getattr(one, name), getattr(other, name)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=relative * span)
    np.testing.assert_allclose(one.kernel, other.kernel, atol=1e-7)


# What comes back


@pytest.mark.parametrize(
    ("shape", "given_options"),
    [
        ((40, 48), {}),
        ((1, 40, 48), {}),
        ((40, 48, 3), {"rgb": True}),
        ((40, 48, 4), {"rgb": True}),
        ((40, 48), {"preset": "best", "iterations": 8}),
        ((40, 48), {"preset": "paper", "iterations": 2}),
        ((40, 48), {"method": "dip"}),
        ((40, 48), {"kernel": np.ones((5, 3)), "kernel_size": "auto"}),
    ],
    ids=["grey", "one slice", "rgb", "rgba", "best", "paper", "dip", "known kernel"],
)
def test_a_model_gives_its_result_back(shape, given_options, tmp_path):
    image = RANDOM.integers(0, 255, shape, dtype=np.uint8)
    result = deblur(image, **{**QUICK, **given_options})
    result.save_model(tmp_path / "model.pt")
    model = modelfile.load(tmp_path / "model.pt")
    same(model.result, result)
    assert model.rgb == bool(given_options.get("rgb"))
    assert model.result.report == json.loads(json.dumps(result.report))


def test_a_model_of_the_first_version_is_read(tmp_path):
    """Whose network was as wide at full size as elsewhere, as that of `paper` is, and did not say so."""
    result = deblur(RANDOM.random((40, 48)), **QUICK | {"preset": "paper", "iterations": 2})
    result.save_model(tmp_path / "model.pt")

    def aged(data):
        note = json.loads(data)
        assert note["picture"].pop("outer_channels") == 0
        return json.dumps(note | {"version": 1}).encode()

    old = tmp_path / "old.pt"
    old.write_bytes(changed(tmp_path / "model.pt", "napari_vdip.json", aged))
    same(modelfile.load(old).result, result)


def test_the_network_is_in_the_file_and_is_not_the_whole_result(grey, archive):
    """The generator with its own input is close to the image; the polish made the rest."""
    loaded = compile.load(str(archive))
    with torch.no_grad():
        mean, _ = loaded.generate(loaded.part(1))
        other, _ = loaded.generate(torch.zeros_like(loaded.part(1)))
    networks = mean[0].numpy() * loaded.scale + loaded.offset
    assert not np.allclose(networks, grey.image, atol=1e-3 * np.ptp(grey.image))
    assert not torch.allclose(mean, other, atol=1e-3)


def test_a_stopped_fit_can_be_saved(tmp_path):
    from napari_vdip.options import Options
    from napari_vdip.stack import fit

    steps = fit(GREY, Options(**QUICK))
    result = next(steps).result
    steps.close()
    assert result.report["partial"]
    result.save_model(tmp_path / "model.pt")
    same(modelfile.load(tmp_path / "model.pt").result, result)


def test_a_result_keeps_a_small_network_on_the_host_and_no_program(grey):
    numbers = [part for part in vars(grey.fitted).values() if isinstance(part, np.ndarray)]
    assert sum(part.nbytes for part in numbers) < 1e6
    from napari_vdip.core.program import Program

    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing) is Program]


def test_a_stack_keeps_no_networks():
    result = deblur(RANDOM.random((2, 40, 48)), **QUICK | {"iterations": 1})
    assert result.fitted is None
    with pytest.raises(InvalidInput, match=r"stack.*deblur one slice"):
        result.save_model("model.pt")


# Elsewhere


def test_torch_alone_runs_the_archive(grey, archive, tmp_path):
    code = (
        "import sys, torch, numpy as np\n"
        "sys.modules['napari_vdip'] = None\n"  # as where it is not installed
        f"model = torch.jit.load({str(archive)!r})\n"
        "image, uncertainty = model()\n"
        "found = {'image': image, 'uncertainty': uncertainty, 'kernel': model.kernel()}\n"
        f"np.savez({str(tmp_path / 'out.npz')!r}, **found)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    with np.load(tmp_path / "out.npz") as found:
        span = np.ptp(grey.image)
        np.testing.assert_allclose(found["image"], grey.image, atol=1e-5 * span)
        np.testing.assert_allclose(found["uncertainty"], grey.uncertainty, atol=1e-5 * span)
        np.testing.assert_array_equal(found["kernel"], grey.kernel)


def test_onnx_runtime_gives_the_same_numbers_as_torch(grey, archive, graph):
    """Within 1e-4 relative: of each pixel, or of the range where a pixel is near 0."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    image, uncertainty, kernel = session.run(["image", "uncertainty", "kernel"], {})
    torchs = modelfile.load(archive).result
    for found, expected in ((image, torchs.image), (uncertainty, torchs.uncertainty)):
        scale = np.maximum(np.abs(expected), 1e-2 * np.ptp(expected))
        assert (np.abs(found - expected) / scale).max() < 1e-4
    np.testing.assert_array_equal(kernel, grey.kernel)
    onnx.checker.check_model(onnx.load(graph), full_check=True)


def test_a_graph_in_colour_and_with_the_networks_std(tmp_path):
    """The network of the published method says the std itself; opacity comes back."""
    image = RANDOM.integers(0, 255, (40, 48, 4), dtype=np.uint8)
    result = deblur(image, rgb=True, **QUICK | {"preset": "paper", "iterations": 2})
    result.save_model(tmp_path / "model.onnx")
    same(modelfile.load(tmp_path / "model.onnx").result, result, 1e-4)


# In the shell


@pytest.mark.parametrize("name", ["cells.pt", "cells.onnx"])
def test_the_shell_saves_and_renders(name, tmp_path, capsys):
    import tifffile

    tifffile.imwrite(
        tmp_path / "image.tif", GREY, imagej=True, resolution=(5, 10), metadata={"unit": "um", "axes": "YX"}
    )
    flags = "--kernel-size 5 --preset fast --iterations 5 --threads 1 --compile off --kernel-draws 0".split()
    words = ["deblur", str(tmp_path / "image.tif"), "--output", str(tmp_path / "out"), *flags]
    assert cli.main([*words, "--save-model", str(tmp_path / name)]) == 0, capsys.readouterr().err
    assert str(tmp_path / name) in capsys.readouterr().out
    assert cli.main(["render", str(tmp_path / name), "--output", str(tmp_path / "again")]) == 0
    told = capsys.readouterr()
    assert "fast, method sparse; kernel 5 x 5 px; finished" in told.err
    for part in ("deblurred", "uncertainty", "kernel"):
        before = tifffile.imread(tmp_path / "out" / f"image_{part}.tif")
        after = tifffile.imread(tmp_path / "again" / f"cells_{part}.tif")
        np.testing.assert_allclose(after, before, atol=1e-4 * np.ptp(before))
        assert str(tmp_path / "again" / f"cells_{part}.tif") in told.out
    report = json.loads((tmp_path / "again" / "cells_report.json").read_text())
    assert report["pixel_size"] == {"Y": [0.1, "um"], "X": [0.2, "um"]}
    assert report["options"]["iterations"] == 5
    with tifffile.TiffFile(tmp_path / "again" / "cells_deblurred.tif") as tiff:
        assert tiff.imagej_metadata["unit"] == "um"
        assert tiff.pages[0].tags["XResolution"].value == (5, 1)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["deblur", "a.png", "b.png", "--save-model", "m.pt"], "names one file, and there are 2 inputs"),
        (["deblur", "a.png", "--save-model", "m.tif"], "expected an extension .pt or .onnx"),
        (["deblur", "a.png", "--save-model", "/dev/null/m.pt"], "cannot write to the folder"),
        (["render", "absent.pt"], "absent.pt: No such file"),
        (["render", "."], "is a folder"),
    ],
)
def test_the_shell_tells_what_is_wrong_before_the_fit(words, told, capsys):
    assert cli.main(words) == 2
    assert told in capsys.readouterr().err


def test_the_shell_refuses_the_model_of_a_stack_before_the_fit(tmp_path, capsys):
    import tifffile

    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((3, 40, 48), np.uint8), photometric="minisblack")
    words = ["deblur", str(tmp_path / "stack.tif"), "--save-model", str(tmp_path / "m.pt")]
    assert cli.main([*words, "--output", str(tmp_path)]) == 2
    assert "has 3 slices or channels" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_without_the_extra_onnx_says_what_to_install(package, grey, graph, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    for call in (lambda: grey.save_model(tmp_path / "m.onnx"), lambda: modelfile.load(graph)):
        with pytest.raises(InvalidOption, match=r"pip install \"napari-vdip\[onnx\]\""):
            call()


def test_without_torchscript_an_archive_is_refused_and_still_read(grey, archive, tmp_path, monkeypatch):
    monkeypatch.setattr(modelfile.compile, "scripting_available", lambda: False)
    with pytest.raises(InvalidOption, match=r"\.onnx"):
        grey.save_model(tmp_path / "m.pt")
    same(modelfile.load(archive).result, grey)


# What is no model


class Bomb:
    """A pickle that runs code when it is read."""

    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('exploded').touch()",)


def changed(path, name, change):
    """Archive with one of its files changed, and written as torch writes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.namelist():
            data = old.read(entry)
            new.writestr(entry, change(data) if entry.endswith(name) else data)
    return buffer.getvalue()


def test_no_pickle_is_read_and_no_program_is_run(grey, archive, tmp_path, monkeypatch):
    """Plain pickles are refused; those inside an archive, and its code, are left alone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InvalidInput, match=r"pickle.*is not read"):
        modelfile.load(tmp_path / "plain.pt")
    torch.save({"weights": Bomb()}, tmp_path / "state.pt")
    with pytest.raises(InvalidInput, match="another program's model"):
        modelfile.load(tmp_path / "state.pt")
    for name, data in ((".pkl", pickle.dumps(Bomb())), (".py", b"no code at all")):
        (tmp_path / "made_up.pt").write_bytes(changed(archive, name, lambda _, data=data: data))
        same(modelfile.load(tmp_path / "made_up.pt").result, grey)
    assert not (tmp_path / "exploded").exists()


def forged(**changes):
    """Change some entries of a description; those of the picture by their names."""

    def change(data):
        note = json.loads(data)
        for name, value in changes.items():
            (note if name in note else note["picture"])[name] = value
        return json.dumps(note).encode()

    return change


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"format": "somebody's"}, "of another program"),
        ({"version": 3}, "version 3 of the format.*update napari-vdip"),
        ({"canvas_height": 10**9}, "canvas_height=1000000000"),
        ({"canvas_height": 100_000}, "sizes in its description do not fit"),
        ({"levels": 10**6}, "levels=1000000"),
        ({"channels": 0}, "channels=0"),
        ({"channels": True}, "channels=True"),
        ({"with_std": 1}, "with_std=1"),
        ({"scale": float("nan")}, "scale=nan"),
        ({"top": 30}, "sizes in its description do not fit"),
        ({"shape": [3, 3]}, "sizes in its description do not fit"),
        ({"channels": 33}, "damaged or no fitted model"),
        ({"picture": {}}, "damaged or no fitted model"),
        ({"pixel_size": {"Y": 3}}, "damaged or no fitted model"),
        ({"report": 3}, "damaged or no fitted model"),
    ],
)
def test_a_description_that_cannot_be_is_refused(changes, told, archive, tmp_path):
    path = tmp_path / "forged.pt"
    path.write_bytes(changed(archive, "napari_vdip.json", forged(**changes)))
    with pytest.raises(InvalidInput, match=told):
        modelfile.load(path)


def test_a_foreign_graph_is_refused(tmp_path):
    one = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["x2"])
    other = onnx.helper.make_tensor_value_info("x2", onnx.TensorProto.FLOAT, [1])
    onnx.save(
        onnx.helper.make_model(onnx.helper.make_graph([node], "g", [one], [other])), tmp_path / "g.onnx"
    )
    with pytest.raises(InvalidInput, match="not a fitted model of this program"):
        modelfile.load(tmp_path / "g.onnx")


def test_a_graph_that_points_to_other_files_is_refused(graph, tmp_path):
    model = onnx.load(graph)
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    (tmp_path / "g.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InvalidInput, match="points to other files"):
        modelfile.load(tmp_path / "g.onnx")


@pytest.mark.parametrize("kind", ["archive", "graph"])
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(data=st.data())
def test_damaged_bytes_are_told_or_change_nothing(kind, data, grey, request, tmp_path):
    """A byte changed, or the end cut off: a clear error, or, where nothing hangs on it, the result."""
    content = bytearray(request.getfixturevalue(kind).read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[at:]
    else:
        content[at] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "damaged"
    path.write_bytes(content)
    try:
        model = modelfile.load(path)
    except VdipError as error:
        assert str(path) in str(error)
    else:
        same(model.result, grey, 1e-4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300), head=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x08\x07"]))
def test_foreign_bytes_are_told(content, head, tmp_path):
    path = tmp_path / "foreign.pt"
    path.write_bytes(head + content)
    with pytest.raises(InvalidInput, match="foreign"):
        modelfile.load(path)
