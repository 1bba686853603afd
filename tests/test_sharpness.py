"""The scale of the prior where no network has seen the image."""

from __future__ import annotations

import numpy as np

from napari_vdip import Options, arrays, deblur
from napari_vdip.metrics import closeness
from napari_vdip.samples import convolve_valid, load
from napari_vdip.sharpness import steepness
from napari_vdip.solve import contrast_of
from napari_vdip.solve import frame_of as prepared
from test_family import drawn, frame_of


def test_a_micrograph_is_steeper_than_a_photograph():
    kernel = drawn("gaussian", 2.0)
    cells = frame_of(kernel, 1000)
    photo = load("photograph")
    scene = prepared(photo.blurred[60:150, 60:150], None, Options())
    assert steepness(cells, kernel, contrast_of(cells)) >= 2.0
    assert steepness(scene, photo.kernel, contrast_of(scene)) <= 1.4


def test_it_does_not_depend_on_units():
    sample = load("microscopy")
    found = []
    for factor in (1.0, 37.0):
        frame = arrays.frame(factor * sample.blurred[:80, :80].astype(float) + 5, None, False, False, False)
        found.append(steepness(frame, sample.kernel, contrast_of(frame)))
    assert found[0] == found[1]


def test_tiles_of_a_frame_share_one_scale(monkeypatch):
    from napari_vdip import sharpness

    seen = []
    true = sharpness.steepness
    monkeypatch.setattr(sharpness, "steepness", lambda *given: seen.append(true(*given)) or seen[-1])
    sample = load("microscopy")
    deblur(sample.blurred[:150, :150], kernel=sample.kernel, tile=64, preset="fast", iterations=2, threads=1)
    assert len(seen) == 1


def test_slices_with_a_kernel_from_elsewhere_gain_by_it(monkeypatch):
    from napari_vdip import sharpness

    kernel = drawn("gaussian", 2.0)
    sharp = load("microscopy").sharp[40:170, 60:190].astype(float) - 100
    sharp *= 1000 / sharp.max()
    plane = np.random.default_rng(0).poisson(convolve_valid(sharp, kernel)).astype(np.uint16)
    sharp = sharp[10:-10, 10:-10]
    options = {"kernel": kernel, "kernel_mode": "shared", "preset": "fast", "threads": 1}
    span = float(np.ptp(sharp))

    def quality(kind):
        found = deblur(np.stack([plane, plane]), kind=kind, noise="poisson", **options)
        return closeness(found.image[0].astype(float), sharp, span).psnr

    steep = quality("photograph")
    monkeypatch.setattr(sharpness, "steepness", lambda *_: 1.0)
    assert steep > quality("photograph") + 0.2
    # Second differences gain more, and need not be asked about their scale.
    monkeypatch.setattr(sharpness, "steepness", None)
    assert quality("fluorescence") > steep
