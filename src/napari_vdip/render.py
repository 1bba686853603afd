"""Saved models in the shell: ``deblur --save-model`` and ``render``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from napari_vdip.errors import InvalidInput, InvalidOption

if TYPE_CHECKING:
    import argparse

    from napari_vdip.files import ImageFile
    from napari_vdip.modelfile import Model
    from napari_vdip.options import Options
    from napari_vdip.result import Result

HELP = "Give image, uncertainty and kernel of a saved model back, as deblur wrote them."


def add_save_flag(parser: argparse.ArgumentParser) -> None:
    """Give ``deblur`` its flag."""
    parser.add_argument(
        "--save-model",
        type=Path,
        metavar="PATH",
        help="write the fitted network with all that gives the result again: .pt (TorchScript) or .onnx "
        "(needs the extra onnx); of one input, which is a single image",
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Describe ``render``."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="file that --save-model wrote")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path(), metavar="DIR", help="folder for the images (default: .)"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no list of written files")


def check_target(path: Path | None, inputs: list[Path]) -> None:
    """Tell before hours are spent whether a model can be written there.

    Raises
    ------
    InvalidOption, InvalidInput
        If there are several inputs, the extension or the folder is wrong, or a package is absent.
    """
    if path is None:
        return
    from napari_vdip import modelfile, shell

    if len(inputs) > 1:
        raise InvalidOption(
            f"--save-model names one file, and there are {len(inputs)} inputs; deblur them one by one"
        )
    modelfile.check_target(path)
    shell.ready(path.parent)


def check_image(path: Path | None, image: ImageFile, options: Options) -> None:
    """Raise InvalidInput if a model is asked for and the image is a stack."""
    if path is None:
        return
    from napari_vdip.layout import layout_of

    count = len(layout_of(tuple(image.data.shape), options.rgb, options.channel_axis).slices)
    if count > 1:
        raise InvalidInput(
            f"{image.path} has {count} slices or channels, each with a network of its own; "
            "--save-model takes a single image"
        )


def save(path: Path | None, result: Result | None, image: ImageFile, quiet: bool) -> None:
    """Write the model of a result, if it is asked for."""
    if path is None or result is None:
        return
    result.save_model(path, {axis: image.pixel_size[axis] for axis in "YX" if axis in image.pixel_size})
    if not quiet:
        print(path)


def run(namespace: argparse.Namespace) -> int:
    """Write what a model gives."""
    from napari_vdip import files, modelfile, shell

    shell.ready(namespace.output)
    model = modelfile.load(namespace.model)
    stem = files.stem_of(namespace.model)
    if not namespace.quiet:
        print(f"{namespace.model}: {modelfile.in_words(model)}", file=sys.stderr)
    for path in shell.save(model.result, _like(model, namespace.model), namespace.output, stem):
        if not namespace.quiet:
            print(path)
    return 0


def _like(model: Model, path: Path) -> ImageFile:
    """Make the record of a file with the model's pixels."""
    from napari_vdip.files import ImageFile

    leading = model.result.image.ndim - 2 - model.rgb
    axes = "TZC"[:leading] if leading <= 3 else "Q" * leading
    axes += "YXS" if model.rgb else "YX"
    if not {"Y", "X"} <= model.pixel_size.keys() or leading > 3:
        return ImageFile(path, "tiff", model.result.image, axes, model.rgb)
    (height, unit), (width, _) = model.pixel_size["Y"], model.pixel_size["X"]
    return ImageFile(
        path,
        "imagej",
        model.result.image,
        axes,
        model.rgb,
        (1 / width, 1 / height),
        metadata={"unit": unit.replace("µ", "u")},  # texts are ASCII in TIFF
        pixel_size=model.pixel_size,
    )
