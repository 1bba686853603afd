"""`deblur`: the whole thing as one function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_vdip import stack
from napari_vdip.errors import InvalidOption
from napari_vdip.options import Options

if TYPE_CHECKING:
    from napari_vdip.result import Result


def deblur(image: Any, options: Options | None = None, **keywords: Any) -> Result:
    """Undo an unknown blur.

    Fits the model ``image = kernel * sharp + noise`` ("*": convolution) by Variational Deep Image
    Prior to this one image; nothing is trained beforehand.

    Parameters
    ----------
    image : array, (..., Y, X), or (..., Y, X, 3|4) with ``rgb=True``
        Numpy or dask; integers or floats of any kind. Leading axes are slices, each deblurred
        on its own. NaN pixels take no part.
    options : Options, optional
        Options to start from; the defaults if None.
    **keywords
        Any field of `Options`: ``kernel_size=31``, ``preset="fast"``, ...

    Returns
    -------
    Result
        ``image`` and ``uncertainty`` (one standard deviation) as float32 in the shape and the
        intensity units of the input; ``kernel``; ``history``; ``report``.

    Raises
    ------
    VdipError
        If the image or an option cannot be used, the device is absent, or memory runs out.
        The message says what came, what was expected and what to do.

    References
    ----------
    .. [1] D. Huo, A. Masoumzadeh, R. Kushol, Y.-H. Yang, "Blind Image Deconvolution Using
       Variational Deep Image Prior", IEEE TPAMI, 2023. arXiv:2202.00179

    Examples
    --------
    >>> from napari_vdip import deblur
    >>> from napari_vdip.samples import load
    >>> sample = load("photograph")
    >>> result = deblur(sample.blurred[:64, :64], kernel_size=9, preset="fast", iterations=3)
    >>> result.image.shape
    (64, 64)
    """
    if options is not None and not isinstance(options, Options):
        raise InvalidOption(
            f"options={options!r} is not allowed; expected an Options, or keywords as in "
            "deblur(image, kernel_size=31)"
        )
    steps = stack.fit(image, Options.from_keywords(options, **keywords))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
