"""What of a fit its result keeps, so that it can be saved as a model: some numbers, no device memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_vdip import modelfile
from napari_vdip.core.generators import first_input
from napari_vdip.core.rendering import Picture, generator_of

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import numpy.typing as npt

    from napari_vdip.core.program import Plan
    from napari_vdip.result import Result

    FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Network:
    """The image generator of a fit, on the host: about 0.5 MB (7 MB with preset paper).

    Its input follows from the seed; what the fit added to it follows from the result.

    Attributes
    ----------
    picture : Picture
    theta : ndarray of float32, (count,)
    seed : int
        Of the random numbers of the fit, or of the last one of several.
    """

    picture: Picture
    theta: FloatArray
    seed: int

    @classmethod
    def of(
        cls, program: Any, plan: Plan, window: tuple[int, int], scale: float, offset: float, alpha: bool
    ) -> Network:
        """Copy the network of a program.

        Parameters
        ----------
        program : Program
        plan : Plan
        window : (int, int)
            Where on the canvas the image begins.
        scale, offset : float
            ``intensity = scale * value + offset``.
        alpha : bool
            Whether the image has opacity.
        """
        picture = Picture(
            outputs=plan.image_channels,
            channels=plan.channels,
            skip_channels=plan.skip_channels,
            outer_channels=plan.outer_channels,
            levels=plan.levels,
            nonlocal_from=plan.nonlocal_from,
            with_std=bool(program.by_network),
            canvas_height=plan.height + plan.kernel_height - 1,
            canvas_width=plan.width + plan.kernel_width - 1,
            top=window[0],
            left=window[1],
            height=plan.height,
            width=plan.width,
            kernel_height=plan.kernel_height,
            kernel_width=plan.kernel_width,
            alpha=alpha,
            scale=float(scale),
            offset=float(offset),
        )
        return cls(picture, program.image_theta.detach().cpu().numpy().copy(), int(program.seed))

    def save(
        self,
        result: Result,
        path: str | os.PathLike[str],
        pixel_size: Mapping[str, tuple[float, str]] | None = None,
    ) -> None:
        """Write the model of a result, see `Result.save_model`."""
        p = self.picture
        noise = first_input(torch.tensor(self.seed, dtype=torch.int64), p.canvas_height, p.canvas_width)
        generator = generator_of(p)
        with torch.no_grad():
            mean, std = generator(torch.from_numpy(self.theta), noise)
        rows, columns = slice(p.top, p.top + p.height), slice(p.left, p.left + p.width)
        image, alpha = self._planes(result.image)
        spread, _ = self._planes(result.uncertainty)
        parts: list[FloatArray] = [
            self.theta,
            noise.numpy(),
            (image - p.offset) / p.scale - mean[:, rows, columns].numpy(),
            spread / p.scale - std[:, rows, columns].numpy(),
            result.kernel.reshape(p.kernel_height, p.kernel_width),
            alpha,
        ]
        parts = [part.astype(np.float32) for part in parts]
        shapes = (result.image.shape, result.kernel.shape)
        modelfile.write(path, p, parts, shapes, result.report, pixel_size)

    def _planes(self, image: FloatArray) -> tuple[npt.NDArray[np.float64], FloatArray]:
        """Colours (c, H, W) and opacity (H, W), or (0, W) without, of (..., H, W) or (..., H, W, 3 or 4)."""
        p = self.picture
        if p.outputs == 1:
            planes = image.reshape(1, p.height, p.width)
        else:
            planes = np.moveaxis(image.reshape(p.height, p.width, -1), -1, 0)
        alpha = planes[p.outputs] if p.alpha else planes[0, :0]
        return planes[: p.outputs].astype(np.float64), alpha
