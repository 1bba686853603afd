"""The command ``napari-vdip``: what is asked for, by whom it is done, and the exit status."""

from __future__ import annotations

import dataclasses
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari_vdip
from napari_vdip import jobflags, render, settings
from napari_vdip.benchmark import command as benchmark
from napari_vdip.errors import InvalidInput, InvalidOption, VdipError
from napari_vdip.flags import FILE_OPTIONS, Parser, add_option_flags, choice, number, options_of, parse
from napari_vdip.messages import INTERRUPTED, complain, tell_report

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from napari_vdip.files import ImageFile
    from napari_vdip.kernelfile import KernelFile
    from napari_vdip.options import Options
    from napari_vdip.result import Result
    from napari_vdip.samples import Sample


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    words : sequence of str, optional
        The words after the command's name; those of the process if None.

    Returns
    -------
    int
        Exit status: 0 done, 2 bad input or option, 3 out of memory, 130 interrupted.
    """
    # what tifffile finds odd in a file is told as an error if the file cannot be read
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    try:
        namespace = parse(_parser(), sys.argv[1:] if words is None else words)
        status: int = namespace.run(namespace)
        return status
    except KeyboardInterrupt:
        print("napari-vdip: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (VdipError, MemoryError, OSError) as error:
        return complain(error)[0]


def _parser() -> Parser:
    """Describe the commands."""
    parser = Parser(prog="napari-vdip", description=napari_vdip.__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"napari-vdip {napari_vdip.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")

    def command(name: str, run: Any, told: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=told, description=told)
        made.set_defaults(run=run)
        return made

    deblur = command(
        "deblur",
        _deblur,
        "Deblur images: TIFF, PNG, JPEG, FITS or OME-Zarr in, float32 TIFF or OME-Zarr out.",
    )
    deblur.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="INPUT",
        help="image files, 'x.fits[SCI]', or patterns in quotes: 'night/*.tif'",
    )
    deblur.add_argument(
        "--extension",
        metavar="NAME|N",
        help="extension of FITS files, by name or number from 0 (default: the first one with an image)",
    )
    jobflags.add_flags(deblur)
    render.add_save_flag(deblur)
    render.add_flags(command("render", render.run, render.HELP))
    demo = command("demo", _demo, "Deblur a bundled sample and draw a panel of before, after and the truth.")
    demo.add_argument(
        "--sample",
        type=choice(("photograph", "microscopy")),
        metavar="{photograph,microscopy}",
        default="photograph",
        help="which one (default: photograph); --kernel-size is the sample's unless given",
    )
    for made in (deblur, demo):
        made.add_argument(
            "-o",
            "--output",
            type=Path,
            default=Path(),
            metavar="DIR",
            help="folder for the results (default: .)",
        )
        made.add_argument("-q", "--quiet", action="store_true", help="no progress, no list of written files")
        add_option_flags(made)
    export = command("export", _export, "Write the fitting loop as a program that runs without this package.")
    export.add_argument("target", type=Path, metavar="OUT.pt", help="file to write")
    export.add_argument(
        "--format",
        type=choice(("torchscript",)),
        default="torchscript",
        metavar="{torchscript}",
        help="kind of program",
    )
    export.add_argument(
        "--shape",
        type=number,
        nargs=2,
        required=True,
        metavar=("H", "W"),
        help="height and width of the image, in px",
    )
    export.add_argument(
        "--channels", type=number, default=1, metavar="N", help="1, or 3 for colours (default: 1)"
    )
    add_option_flags(export)
    benchmark.add_flags(command("benchmark", benchmark.run, benchmark.HELP))
    command("info", _info, "Tell versions and devices, and how to get CUDA where it is missing.")
    return parser


def _deblur(namespace: argparse.Namespace) -> int:
    """Deblur each input as a job; one that fails does not stop the others."""
    told = settings.load(namespace.settings) if namespace.settings else settings.Settings({}, frozenset())
    options, flagged = options_of(namespace, **told.values)
    given = flagged | told.given
    from napari_vdip import batch, files, shell, zarrfile

    folder: Path = namespace.output
    if namespace.format == "ome-zarr":
        zarrfile.check()
    elif folder.suffix == ".zarr":
        raise InvalidOption(
            f"--output {folder} is the folder for the results, which have names of their own; for OME-Zarr "
            "give --format ome-zarr"
        )
    inputs = batch.expanded(namespace.inputs, folder)
    stems = [files.stem_of(path) for path in inputs]
    if namespace.extension is not None:
        inputs = [files.with_extension(path, namespace.extension) for path in inputs]
    _refuse_overwriting(inputs, stems, folder)
    shell.ready(folder)
    if namespace.save_model is not None and (
        namespace.workers is not None or namespace.scheduler is not None
    ):
        raise InvalidOption(
            "--save-model takes the network from this process; leave --workers and --scheduler"
        )
    render.check_target(namespace.save_model, inputs)
    named = {name: str(value) for name in FILE_OPTIONS if (value := getattr(options, name)) is not None}
    options, psf = _with_arrays(options)

    def opened(path: Path) -> tuple[ImageFile, Options, str]:
        image = files.read(path, lazy=True)
        fitting, note = _on_pixels(_for_image(options, given, image), psf, image)
        fitting, note = _saturation(fitting, note, image)
        render.check_image(namespace.save_model, image, fitting)
        return image, fitting, note

    extra = {"options": named, "given": sorted(given)}
    return batch.run(
        batch.Order(
            inputs,
            stems,
            folder,
            opened,
            extra,
            resume=namespace.resume,
            quiet=namespace.quiet,
            workers=namespace.workers,
            scheduler=namespace.scheduler,
            save_model=namespace.save_model,
            form=namespace.format,
        )
    )


def _demo(namespace: argparse.Namespace) -> int:
    """Deblur a sample, compare with the truth, draw the panel."""
    from napari_vdip import samples, shell

    sample = samples.load(namespace.sample)
    size = {} if hasattr(namespace, "kernel") else {"kernel_size": sample.kernel.shape}
    options, psf = _with_arrays(options_of(namespace, **size)[0])
    folder: Path = namespace.output
    shell.ready(folder)
    image = _file_of(sample)
    options, note = _on_pixels(options, psf, image)
    with shell.Interrupt() as interrupt:
        result = shell.run(image.data, options, sample.name, namespace.quiet, interrupt)
        _finish(result, image, folder, sample.name, namespace.quiet, note)
        if result is not None:
            _compare(sample, result, folder, namespace.quiet)
        return INTERRUPTED if interrupt.asked else 0


def _export(namespace: argparse.Namespace) -> int:
    """Write the loop as a TorchScript archive."""
    options, _ = options_of(namespace)
    if options.kernel_size == "auto":
        raise InvalidOption("export needs --kernel-size as a number: there is no image to estimate it from")
    from napari_vdip import shell
    from napari_vdip.export import save_program

    shell.ready(namespace.target.parent)
    save_program(str(namespace.target), tuple(namespace.shape), options, namespace.channels)
    print(namespace.target)
    return 0


def _info(namespace: argparse.Namespace) -> int:
    """Print versions and devices."""
    from napari_vdip.about import describe

    print("\n".join(describe()))
    return 0


def _refuse_overwriting(inputs: list[Path], stems: list[str], folder: Path) -> None:
    """Raise InvalidInput if two results, or a result and an input, would be the same file."""
    from napari_vdip.files import split
    from napari_vdip.imagefile import FORMS
    from napari_vdip.jobs.results import outputs_of

    seen: dict[str, Path] = {}
    sources = {split(path)[0].resolve(): path for path in inputs}
    for path, stem in zip(inputs, stems, strict=True):
        other = seen.setdefault(stem.casefold(), path)  # some file systems know no case
        if other is not path:
            raise InvalidInput(
                f"{other} and {path} would both be written as {stem}_deblurred.tif; "
                "deblur them in two calls, each with its own --output"
            )
        for output in {output for form in FORMS for output in outputs_of(folder, stem, form)}:
            if output.resolve() in sources:
                raise InvalidInput(f"the result {output} would overwrite an input; choose another --output")


def _with_arrays(options: Options) -> tuple[Options, KernelFile | None]:
    """Read the files that were given as kernel and mask; the kernel is still on its own pixels."""
    from napari_vdip import files, kernelfile

    psf = None
    if options.kernel is not None:
        psf = kernelfile.load(options.kernel)
        options = dataclasses.replace(options, kernel=psf.data)
    if options.mask is not None:
        options = dataclasses.replace(options, mask=files.read_mask(options.mask))
    return options, psf


def _on_pixels(options: Options, psf: KernelFile | None, image: ImageFile) -> tuple[Options, str]:
    """Bring a known kernel or an instrument onto the pixels of an image; with what is to be told of it."""
    from napari_vdip import kernelfile, optics
    from napari_vdip.psf import matched

    options = optics.with_pixel_size(options, kernelfile.pixel_size_of(image))
    if psf is None:
        return options, ""
    kernel, note = matched(psf.data, psf.pixel_size, kernelfile.pixel_size_of(image))
    return dataclasses.replace(options, kernel=kernel), note


def _saturation(options: Options, note: str, image: ImageFile) -> tuple[Options, str]:
    """Mask what is saturated by the header of the file; with the note, to which a sentence is added."""
    if image.saturation is None or not options.defects:
        return options, note
    from napari_vdip import defects

    full, sentence = defects.beyond(image.data, image.saturation)
    if not sentence:
        return options, note
    mask = full if options.mask is None else full | (options.mask != 0)
    return dataclasses.replace(options, mask=mask), "; ".join(filter(None, (note, sentence)))


def _for_image(options: Options, given: frozenset[str], image: ImageFile) -> Options:
    """Let the file decide about colours and channels where no flag does."""
    if not given & {"rgb", "channel_axis"}:
        return dataclasses.replace(options, rgb=image.rgb, channel_axis=image.channel_axis)
    if "rgb" in given and not options.rgb and "channel_axis" not in given:
        # --no-rgb: colours are channels, and a kernel for each is what was asked for
        return dataclasses.replace(options, channel_axis=-1 if image.rgb else image.channel_axis)
    return options


def _finish(result: Result | None, image: ImageFile, folder: Path, stem: str, quiet: bool, note: str) -> None:
    """Write a result, tell its warnings, a note on its kernel, and its files."""
    from napari_vdip import shell

    if result is None:
        print("napari-vdip: interrupted before the first step; nothing is written", file=sys.stderr)
        return
    if note:
        result.report["kernel_note"] = note
    tell_report(result.report)
    for path in shell.save(result, image, folder, stem):
        if not quiet:
            print(path)


def _file_of(sample: Sample) -> ImageFile:
    """Make the record that a file of this sample would give."""
    from napari_vdip.files import ImageFile

    path = Path(f"{sample.name}.tif")
    if sample.unit == "pixel":
        return ImageFile(path, "tiff", sample.blurred, "YX")
    size = dict.fromkeys("YX", (sample.pixel_size, sample.unit))
    across = 1 / sample.pixel_size
    return ImageFile(
        path,
        "imagej",
        sample.blurred,
        "YX",
        False,
        (across, across),
        metadata={"unit": sample.unit},
        pixel_size=size,
    )


def _compare(sample: Sample, result: Result, folder: Path, quiet: bool) -> None:
    """Draw the panel and tell the gain against the known sharp image."""
    from napari_vdip.files import atomic
    from napari_vdip.metrics import closeness
    from napari_vdip.panel import draw

    span = float(sample.sharp.max() - sample.sharp.min())
    before, after = (
        closeness(image.astype(float), sample.sharp.astype(float), span).psnr
        for image in (sample.blurred, result.image)
    )
    target = folder / f"{sample.name}_panel.png"
    with atomic(target) as part:
        draw(sample, result, (before, after)).save(part, format="PNG")
    if not quiet:
        print(target)
    print(
        f"PSNR against the known sharp image: {before:.2f} dB blurred, {after:.2f} dB deblurred "
        f"({after - before:+.2f} dB)"
    )


if __name__ == "__main__":
    sys.exit(main())
