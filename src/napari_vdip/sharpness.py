"""How steep the edges of the sharp image are, as far as the blurred one tells.

The polish's prior has a scale, the contrast of the image. A photograph's edges go with the contrast of its
blurred version; those of a micrograph under a wide kernel are two or three times as steep. Where no network
has seen the image, this is found out by the evidence: it compares scales as it compares kernels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_vdip.core.evidence import Evidence
from napari_vdip.family import MODEL_ERROR, SIDE, richest

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_vdip.arrays import Frame

_SCALES = (1.0, 1.4, 2.0, 3.0)


def steepness(frame: Frame, kernel: npt.NDArray[np.floating], contrast: float) -> float:
    """Scale of the prior under which an image is most probable, in units of its contrast.

    Parameters
    ----------
    frame : Frame
        The blurred image; of a large one its richest part is looked at.
    kernel : ndarray, (Kh, Kw)
        Sums to 1.
    contrast : float
        Standard deviation of the image, in units of ``frame.y``.
    """
    import torch

    part = richest(frame, max(SIDE, 3 * max(kernel.shape)))
    y, weight = frame.y[part], frame.weight[part]
    if not weight.any():
        return _SCALES[0]
    precision = weight**2 / (frame.noise_std**2 + (MODEL_ERROR * contrast) ** 2)
    data, known, blur = (
        torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)) for values in (y, precision, kernel)
    )
    size = (kernel.shape[0], kernel.shape[1])
    energies = [Evidence(data, known, torch.tensor(scale * contrast), size)(blur) for scale in _SCALES]
    return _SCALES[int(np.argmin(energies))]
