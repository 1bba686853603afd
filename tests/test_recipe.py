"""A run as text: only what is not the default, and nothing that its reader has to guess."""

from __future__ import annotations

import pytest

from napari_vdip import Options
from napari_vdip.flags import Parser, add_option_flags, options_of, parse
from napari_vdip.recipe import Origin, Recipe

FILE = Origin("cells", "my data/cells.tif")


def test_a_file_is_read_and_defaults_are_not_told():
    recipe = Recipe(Options(threads=3), FILE)
    assert recipe.as_python() == (
        "from napari_vdip import deblur\n"
        "from napari_vdip.files import read\n"
        "\n"
        "image = read('my data/cells.tif').data\n"
        "result = deblur(\n"
        "    image,\n"
        "    threads=3,\n"
        ")\n"
    )
    assert recipe.as_command() == "napari-vdip deblur 'my data/cells.tif' --threads 3 --output results\n"


def test_an_array_of_the_viewer_is_named_and_has_to_be_saved_for_the_shell():
    recipe = Recipe(Options(), Origin("my cells [1]"))
    assert "# viewer.layers[...]: in napari's console" in recipe.as_python()
    assert "image = viewer.layers['my cells [1]'].data\n" in recipe.as_python()
    assert recipe.as_command().splitlines() == [
        "# first save the layer 'my cells [1]' as my_cells_1.tif",
        "napari-vdip deblur my_cells_1.tif --output results",
    ]


def test_a_part_is_cut_in_python_and_saved_for_the_shell():
    index = (slice(2, 5), slice(None), slice(None))
    recipe = Recipe(Options(), Origin("stack", "stack.tif", index=index))
    assert "image = read('stack.tif').data[2:5]\n" in recipe.as_python()
    note, command = recipe.as_command().splitlines()
    assert note == "# first save read('stack.tif').data[2:5] as stack_part.tif"
    assert command.startswith("napari-vdip deblur stack_part.tif ")
    middle = Origin("stack", multiscale=True, index=(slice(None), slice(1, 2), slice(None), slice(None)))
    assert "image = viewer.layers['stack'].data[0][:, 1:2]\n" in Recipe(Options(), middle).as_python()


def test_kernel_and_mask_come_from_files_or_from_layers():
    files = {"kernel": Origin("psf", "psf.tif"), "mask": Origin("spots", "spots.png")}
    code = Recipe(Options(), FILE, files).as_python()
    assert "import read, read_kernel, read_mask\n" in code
    assert "    kernel=read_kernel('psf.tif'),\n    mask=read_mask('spots.png'),\n" in code
    assert "--kernel psf.tif --mask spots.png" in Recipe(Options(), FILE, files).as_command()
    arrays = {"kernel": Origin("psf"), "mask": Origin("spots")}
    code = Recipe(Options(), FILE, arrays).as_python()
    assert "    kernel=viewer.layers['psf'].data,\n" in code
    assert "    mask=viewer.layers['spots'].data != 0,\n" in code
    command = Recipe(Options(), FILE, arrays).as_command()
    assert command.count("# first save the layer") == 2
    assert "--kernel psf.tif --mask spots.tif" in command


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(kernel_size=(31, 21), preset="paper", kind="astronomy", method="dip", noise="gaussian"),
        Options(kernel_fixed=False, device="cuda:1", compile="off", seed=7, iterations=5, threads=2),
        Options(rgb=True),
        Options(channel_axis=-3),
    ],
    ids=lambda options: ", ".join(n for n, v in options.as_dict().items() if v != Options().as_dict()[n]),
)
def test_both_texts_carry_every_option(options):
    import shlex

    recipe = Recipe(options, FILE)
    code = recipe.as_python()
    seen: dict[str, object] = {}
    names = {"deblur": lambda image, **keywords: seen.update(keywords), "image": None}
    exec(code[code.index("result") :], names)
    assert Options.from_keywords(**seen).as_dict() == options.as_dict()

    words = shlex.split(recipe.as_command())
    parser = Parser()
    made = parser.add_subparsers(dest="command").add_parser("deblur")
    made.add_argument("input")
    made.add_argument("--output")
    add_option_flags(made)
    assert options_of(parse(parser, words[1:]))[0].as_dict() == options.as_dict()
