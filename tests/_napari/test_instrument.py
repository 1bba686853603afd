"""An instrument in the form: its pixel size is that of the layer, and what contradicts it is told."""

from __future__ import annotations

import numpy as np
import pytest
from test_widget import blobs, press, run


@pytest.fixture
def cells(viewer):
    return viewer.add_image(blobs(40, 48), name="cells", scale=(100, 100), units=("nm", "nm"))


def test_a_run_takes_the_pixel_size_of_the_layer(cells, open_dock, qtbot, fake_fit):
    widget = open_dock()
    widget.kernel_size.value = 5
    widget.numerical_aperture.value = 0.8
    widget.wavelength.value = 520.5
    run(widget, qtbot)
    options = fake_fit.options
    assert (options.numerical_aperture, options.wavelength) == (0.8, 520.5)
    assert options.pixel_size == pytest.approx(0.1)
    assert options.family_used == "pupil"
    assert widget.pixel_size.value is None
    assert widget.pixel_size.native.text() == "of the layer"


def test_a_telescope_with_a_microscopes_pixels_is_told(cells, open_dock, qtbot, notified):
    widget = open_dock()
    widget.aperture_diameter.value = 3.5
    widget.wavelength.value = 520
    press(widget.run)
    assert widget.run.enabled
    assert "measured in 'nanometer', those of a telescope in arcsec" in notified()[0].message


def test_a_number_of_the_form_may_be_small(cells, open_dock):
    widget = open_dock()
    widget.pixel_size.value = 0.0325
    assert np.isclose(widget.pixel_size.value, 0.0325)
