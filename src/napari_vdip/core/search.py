"""The kernel of greatest evidence: from the kernel of a fit to the likeliest one, by `climbs`.

A fit of image and kernel together ends in one of many minima, and what explains the data best need
not be the likeliest kernel.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_vdip.core.climbs import Climbs, rescaled, rolled, widened, without_specks
from napari_vdip.core.refine import Blur

# Share of the contrast that a kernel may leave unexplained: by the tenth of a climb from which on.
_ANNEALED = {0: 0.2, 3: 0.1, 4: 0.05, 6: 0.025}


def rms_radius(kernel: Tensor) -> Tensor:
    """Root mean square distance in px of a kernel's (Kh, Kw) light from its centre, ()."""
    rows = torch.arange(kernel.size(0), device=kernel.device, dtype=kernel.dtype)
    columns = torch.arange(kernel.size(1), device=kernel.device, dtype=kernel.dtype)
    down, across = kernel.sum(1), kernel.sum(0)
    middle, centre = (down * rows).sum(), (across * columns).sum()
    square = (down * (rows - middle).square()).sum() + (across * (columns - centre).square()).sum()
    return square.sqrt()


def moved(image: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Image (c, h, w) moved by parts of a pixel, cubic (Catmull and Rom 1974); its border is repeated."""
    tap = torch.arange(-2, 3, device=image.device, dtype=image.dtype)
    far, near = (tap - down).abs(), (tap - right).abs()
    columns, rows = _cubic(far), _cubic(near)
    wide = F.pad(image[:, None], [2, 2, 2, 2], mode="replicate")
    result: Tensor = F.conv2d(wide, (columns.flip(0)[:, None] * rows.flip(0))[None, None])[:, 0]
    return result


def _cubic(x: Tensor) -> Tensor:
    """Interpolating kernel at distances below 2; 0 beyond."""
    inner = (1.5 * x - 2.5) * x * x + 1.0
    outer = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return torch.where(x < 1.0, inner, torch.where(x < 2.0, outer, torch.zeros_like(x)))


def aligned(image: Tensor, kernel: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Image moved to where this kernel blurs it to the data best, by up to 3 px: (c, h, w).

    Image and kernel may move against each other, and two kernels that are found apart lie apart.
    """
    model = Blur(kernel, weight)
    misfits: list[Tensor] = []
    for rows in range(-2, 3):
        for columns in range(-2, 3):
            residual = weight * (model.forward(image.roll([rows, columns], [1, 2])) - y)
            misfits.append(residual.square().mean())
    best = torch.stack(misfits).argmin()
    image = rolled(image, best // 5 - 2, best % 5 - 2)
    ahead = torch.zeros(2, device=y.device, dtype=y.dtype)
    here = image
    for _ in range(3):  # Gauss and Newton's steps for the rest
        residual = weight * (model.forward(here) - y)
        down = weight * model.forward(0.5 * (here.roll(1, 1) - here.roll(-1, 1)))
        right = weight * model.forward(0.5 * (here.roll(1, 2) - here.roll(-1, 2)))
        own, other, both = down.square().sum(), right.square().sum(), (down * right).sum()
        against_down, against_right = (down * residual).sum(), (right * residual).sum()
        area = (own * other - both * both).clamp_min(1e-12)
        step = torch.stack(
            [both * against_right - other * against_down, both * against_down - own * against_right]
        )
        ahead = (ahead + step / area).clamp(-1.0, 1.0)
        here = moved(image, ahead[0], ahead[1])
    return here


class KernelSearch(Climbs):
    """Three climbs: from the fit's kernel, from it blurred, from elsewhere. The likeliest kernel is taken.

    The last two believe the data little at first, which lets a kernel move far; one that need not move far
    is spared it, see `doubt`. A climb into a wrong valley costs time only, and where the likeliest kernel is
    next to no blur, the fit's kernel stays. They go up side by side, which takes less time than one after the
    other.
    They look at the image in grey: three colours that share a kernel would take three times as long.
    The last part is for the kernel that is taken: its specks are noise that it has more freedom to
    follow than data to follow it by; without them, and with nothing outside of what is left, it climbs on.

    Parameters
    ----------
    canvas : list of int
        Shape of the fit's canvas, (c, h, w).
    kernel_height, kernel_width : int
    climbing, last : int
        Steps of the three climbs and of the last part; 0 and 0: there is no search.
    glass : float
        Std of the glass in px.

    Attributes
    ----------
    steps : int
        Of climbs and last part.
    likeliest : Tensor, (Kh, Kw)
        The best end of a climb; at the end what came of it without its specks. In the last part the first
        climb goes on.
    generated : Tensor, (c, h, w)
        The fit's image.
    telling : Tensor, (H, W)
        Share of each pixel's weight that counts in the search; 1 unless it is written to.
    gentlest, steepest : Tensor, ()
        Least and greatest scale of the prior, in units of the contrast; the least one goes first.
    beginning : Tensor, (Kh, Kw)
        Where the last climb begins; 0: at a blob.
    doubt : Tensor, ()
        Share of the contrast that the last climb may leave unexplained, at most; inf: as the one before it.
    """

    if TYPE_CHECKING:
        generated: Tensor
        telling: Tensor
        gentlest: Tensor
        steepest: Tensor
        beginning: Tensor
        doubt: Tensor
        fitted: Tensor
        likeliest: Tensor
        trusted: Tensor

    def __init__(
        self,
        canvas: list[int],
        kernel_height: int,
        kernel_width: int,
        climbing: int,
        last: int,
        glass: float,
    ) -> None:
        super().__init__(3, [1, *canvas[1:]], kernel_height, kernel_width, glass, climbing + last > 0)
        self.climbing: int = climbing
        self.steps: int = climbing + last
        # Nats a pixel by which a later climb has to be better: none is at rest when its steps are done.
        self.clearly: float = 0.004
        # A fit tells how far the blur reaches. A kernel of less than this share of it leaves the blur in the
        # image, and where it is the likeliest, edges are so dense that no blur seems likelier than any.
        self.narrowest: float = 0.65
        # Where the kernels are centred, and the `error` of the last two climbs from then on; -1: as before.
        self.marks: list[tuple[int, float]] = []
        for tenth in range(1, 7):
            self.marks.append((tenth * climbing // 10, _ANNEALED.get(tenth, -1.0)))
        self.first_error: float = _ANNEALED[0]
        self.last_error: float = _ANNEALED[6]
        if self.steps == 0:
            canvas = [canvas[0], 1, 1]
        self.register_buffer("generated", torch.zeros(canvas))
        rows, columns = max(1, canvas[1] - kernel_height + 1), max(1, canvas[2] - kernel_width + 1)
        self.register_buffer("telling", torch.ones([rows, columns]))
        # A fit's kernel that is wrong by far asks for twice the scale of the right one, and with so large
        # a scale the search does not leave it.
        self.register_buffer("steepest", torch.tensor(1.3))
        self.register_buffer("gentlest", torch.zeros([]))
        for name in ("fitted", "likeliest", "beginning"):
            self.register_buffer(name, torch.zeros([kernel_height, kernel_width]))
        self.register_buffer("doubt", torch.full([], math.inf))
        self.register_buffer("trusted", torch.zeros([]))  # 1: the likeliest kernel is taken

    def prepare(
        self,
        step: int,
        image: Tensor,
        kernel: Tensor,
        y: Tensor,
        weight: Tensor,
        noise_var: Tensor,
        contrast: Tensor,
    ) -> None:
        """Do what belongs before a step, and after the last one.

        Parameters
        ----------
        step : int
            From 0; `steps`: all are done.
        image, kernel : Tensor, (c, h, w), (Kh, Kw)
            By the fit.
        y, weight : Tensor, (1, H, W)
        noise_var, contrast : Tensor, ()
        """
        if step == 0:
            self.generated.copy_(image)
            self.fitted.copy_(kernel)
            self.scale.copy_(contrast)
            self.support.fill_(1.0)
            self.error.fill_(self.first_error)
            self.error[:1] = self.last_error
            self.error[2:] = torch.minimum(self.error[2:], self.doubt)
            self.begin(self.precision(weight, noise_var, contrast, 0, 3), y, contrast)
        for at, error in self.marks:
            if step == at:
                if error > 0.0:
                    self.believe(error, 1)
                    self.error[2:] = torch.minimum(self.error[2:], self.doubt)
                self.centre()
        if step == self.climbing:
            self.take(self.precision(weight, noise_var, contrast, 0, 3), y)
        if step == self.steps:
            end = self.kernel[0, 0]
            kept = self.wide_enough(end) & (self.trusted > 0.0)
            self.likeliest.copy_(torch.where(kept, end, without_specks(self.likeliest)))

    def begin(self, precision: Tensor, y: Tensor, contrast: Tensor) -> None:
        """Go to where the climbs begin; the first finds the prior's scale, with the fit's kernel."""
        spot = torch.zeros_like(self.fitted)
        spot[spot.size(0) // 2, spot.size(1) // 2] = 1.0
        blob = widened(spot, max(spot.size(0), spot.size(1)) / 6.0)
        blob = torch.where(self.beginning.sum() > 0.0, self.beginning, blob)
        self.kernel.copy_(torch.stack([self.fitted, widened(self.fitted, 2.0), blob])[:, None])
        self.rest(y)
        for round_ in range(10):
            if round_ > 3:
                asked = rescaled(self.latent[:1], self.slope_var[:1], self.scale)
                asked = torch.minimum(asked, self.steepest * contrast)
                self.scale.copy_(torch.maximum(asked, self.gentlest * contrast))
            self.settle(precision[:1], y, 0, 1, 1)
        self.settle(precision[1:], y, 1, 3, 3)

    def take(self, precision: Tensor, y: Tensor) -> None:
        """Keep the likeliest end, a later one only if it clearly is; go on from it without its specks."""
        energies = self.settle(precision, y, 0, 3, 3)  # as far with each, whatever its last steps were
        later = energies[1:].flatten()
        best = 1 + later.argmin()
        better = later.min() < energies[0].flatten()[0] - self.clearly * self.latent[0].numel()
        likeliest = torch.where(better, self.kernel.index_select(0, best.view(1))[0, 0], self.kernel[0, 0])
        self.trusted.copy_(self.wide_enough(likeliest))
        likeliest = torch.where(self.trusted > 0.0, likeliest, self.fitted)
        self.likeliest.copy_(likeliest)
        cleaned = without_specks(likeliest)
        self.support.copy_(cleaned > 0.0)
        self.kernel.copy_(cleaned)
        self.rest(y)
        self.settle(precision[:1], y, 0, 1, 3)

    def wide_enough(self, kernel: Tensor) -> Tensor:
        """Whether a kernel (Kh, Kw) is about as wide as the fit's, or wider, ()."""
        return rms_radius(kernel) >= self.narrowest * rms_radius(self.fitted)
