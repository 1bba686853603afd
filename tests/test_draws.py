"""The kernel's share of the uncertainty: in the result, in the report, and switched off."""

from __future__ import annotations

import numpy as np
import pytest

from napari_vdip import deblur
from napari_vdip.options import Options
from napari_vdip.samples import load
from napari_vdip.stack import fit

QUICK = {"kernel_size": 7, "preset": "fast", "iterations": 8, "threads": 1, "compile": "off"}
IMAGE = load("microscopy").blurred[60:108, 80:136]

# What is tested here does not depend on how good a fit is.
pytestmark = pytest.mark.usefixtures("small_fits")


@pytest.fixture(scope="module", params=["gaussian", "free"])
def results(request):
    options = QUICK | {"kernel_family": request.param}
    return request.param, [deblur(IMAGE, kernel_draws=draws, **options) for draws in (0, 2, 9)]


def test_it_is_added_and_nothing_else_changes(results):
    _, (without, few, many) = results
    np.testing.assert_array_equal(without.image, few.image)
    np.testing.assert_array_equal(without.kernel, many.kernel)
    assert (few.uncertainty >= without.uncertainty).all()
    assert few.uncertainty.mean() > 1.001 * without.uncertainty.mean()


def test_the_report_says_what_the_uncertainty_covers(results):
    family, (without, few, many) = results
    assert without.report["uncertainty"].endswith("the kernel's own uncertainty is not in it")
    words = {"gaussian": "2 directions of its numbers", "free": "2 refits to drawn data"}[family]
    assert few.report["uncertainty"].endswith(f"and the kernel's own, by {words}")
    # A family has as many directions as numbers.
    assert many.report["kernel_draws"] == {"gaussian": 3, "free": 9}[family]


def test_the_same_seed_gives_the_same_uncertainty(results):
    family, (_, few, _) = results
    again = deblur(IMAGE, kernel_draws=2, kernel_family=family, **QUICK)
    np.testing.assert_array_equal(again.uncertainty, few.uncertainty)


@pytest.mark.parametrize("given", [{"kernel": np.ones((7, 7))}, {"method": "dip"}])
def test_a_kernel_that_is_known_or_a_method_without_polish_has_none(given):
    report = deblur(IMAGE, **QUICK | given).report
    assert report["kernel_draws"] == 0
    assert "the kernel's own uncertainty is not in it" in report["uncertainty"]


def test_progress_tells_of_the_other_kernels():
    steps = fit(IMAGE, Options(**QUICK, kernel_family="gaussian", kernel_draws=2))
    told = list(steps)
    assert [progress.stage for progress in told[-2:]] == ["other kernels, 1 of 2", "other kernels, 2 of 2"]
    assert told[-1].step == told[-1].steps
    assert told[-1].seconds >= told[-3].seconds
    reports = [progress.result.report for progress in told[-3:]]
    assert [report["partial"] for report in reports] == [True, True, False]
    assert reports[0]["stop_reason"] == "stopped before 2 other kernels were tried"
    assert reports[-1]["stop_reason"] == "finished"
