"""Fuzz every file reader with atheris: what cannot be read must be told by a VdipError, and nothing else.

    pip install atheris
    python benchmarks/fuzz_readers.py --corpus /tmp/corpus -runs=20000

Other arguments than ``--corpus`` and ``--only`` go to libFuzzer. Valid files of every kind are written
into the corpus first; atheris changes them, led by what the readers and tifffile have run through. The
first byte chooses the reader, the rest is the file. An input that fails is left in the current folder
as ``crash-...``; giving that file as an argument repeats it. What was found stands in
tests/test_fuzzed.py.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import resource
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import atheris
import numpy as np

with atheris.instrument_imports(include=["napari_vdip", "tifffile"]):
    from napari_vdip import files, kernelfile, modelfile, settings
    from napari_vdip.errors import VdipError

if TYPE_CHECKING:
    from collections.abc import Callable

MEMORY = 8 * 2**30  # bytes of address space: a size that cannot be is refused, and takes no machine down
# Reader and the end of the file's name; their order is that of the first byte.
READERS: tuple[tuple[str, Callable[[Path], Any], str], ...] = (
    ("image", files.read, ".tif"),
    ("kernel", kernelfile.load, ".tif"),
    ("mask", files.read_mask, ".png"),
    ("fits", files.read, ".fits"),
    ("settings", settings.load, ".json"),
    ("archive", modelfile.load, ".pt"),
    ("graph", modelfile.load, ".onnx"),
)


def seeds() -> dict[str, list[bytes]]:
    """Make valid files of each kind, by the name of the reader."""
    import tifffile
    from astropy.io import fits
    from PIL import Image

    from napari_vdip import deblur

    random = np.random.default_rng(0)
    plane = random.integers(0, 255, (12, 16), dtype=np.uint8)

    def tiff(data: Any, **keywords: Any) -> bytes:
        file = io.BytesIO()
        tifffile.imwrite(file, data, **keywords)
        return file.getvalue()

    def picture(data: Any, kind: str) -> bytes:
        file = io.BytesIO()
        Image.fromarray(data).save(file, kind)
        return file.getvalue()

    header = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(plane.astype(">f4"), name="SCI")]).writeto(header)
    sizes = {"axes": "ZYX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1, "PhysicalSizeXUnit": "µm"}
    images = [
        tiff(plane),
        tiff(np.stack([plane] * 3), imagej=True, metadata={"axes": "ZYX"}),
        tiff(np.stack([plane] * 3), ome=True, metadata=sizes),
        tiff(np.stack([plane] * 3, -1), photometric="rgb", compression="zlib"),
        tiff(plane.astype(np.float32), tile=(16, 16), bigtiff=True),
        picture(plane, "PNG"),
        picture(plane.astype(np.uint16) * 200, "PNG"),
        picture(np.stack([plane] * 4, -1), "PNG"),
        picture(plane, "JPEG"),
    ]
    made: dict[str, list[bytes]] = {
        "image": images,
        "kernel": [tiff(np.full((5, 5), 0.04, np.float32))],
        "mask": [picture((plane > 99).astype(np.uint8), "PNG")],
        "fits": [header.getvalue()],
        "settings": [json.dumps({"options": {"preset": "fast", "kernel_size": [5, 7]}}).encode()],
    }
    result = deblur(
        plane.repeat(3, 0).repeat(3, 1), kernel_size=5, preset="fast", iterations=1, compile="off"
    )
    for kind, ending in (("archive", ".pt"), ("graph", ".onnx")):
        with tempfile.TemporaryDirectory() as folder:
            result.save_model(Path(folder) / f"model{ending}")
            made[kind] = [(Path(folder) / f"model{ending}").read_bytes()]
    return made


def main() -> None:
    """Write the corpus, then fuzz until libFuzzer has enough."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--corpus", type=Path, required=True, help="folder; valid files are written into it")
    parser.add_argument("--only", choices=[name for name, *_ in READERS], nargs="+", help="readers")
    given, rest = parser.parse_known_args()
    names = [name for name, *_ in READERS]
    chosen = [names.index(name) for name in given.only or names]
    given.corpus.mkdir(parents=True, exist_ok=True)
    for name, contents in seeds().items():
        for number, content in enumerate(contents):
            if names.index(name) in chosen:
                (given.corpus / f"seed-{name}-{number}").write_bytes(
                    bytes([chosen.index(names.index(name))]) + content
                )
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp())

    def one(content: bytes) -> None:
        if not content:
            return
        _, reader, ending = READERS[chosen[content[0] % len(chosen)]]
        path = folder / f"file{ending}"
        path.write_bytes(content[1:])
        try:
            reader(path)
        except VdipError as error:
            assert "file" in str(error), f"it does not name the file: {error}"

    atheris.Setup([sys.argv[0], str(given.corpus), *rest], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
