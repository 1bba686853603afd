"""``napari-vdip benchmark``: its flags, its progress, its exit status. Computes nothing."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from napari_vdip.flags import add_option_flags, choice, number
from napari_vdip.options import PRESETS, Method, Options

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_vdip.benchmark.campaign import Update

INTERRUPTED = 130
_SIZES = ("literature", "auto")
_CLASSICAL = ("rl", "blind-rl", "wiener")  # napari_vdip.benchmark.classical, which takes long to import
_SHARED = ("method", "noise", "device", "compile", "iterations", "threads")
HELP = "Measure presets on a folder of blurred images with their sharp ones: CSV, table and plots."


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give the parser of the command its flags."""
    presets = list(PRESETS)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="with blurred/, sharp/ and kernels/")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for the results; a run that it has already is not done again",
    )
    parser.add_argument(
        "--presets",
        nargs="+",
        type=choice(presets),
        default=["fast", "balanced"],
        metavar="PRESET",
        help=f"of {', '.join(presets)} (default: fast balanced)",
    )
    parser.add_argument(
        "--baseline",
        nargs="+",
        type=choice((*get_args(Method), *_CLASSICAL)),
        default=[],
        metavar="METHOD",
        help="run each preset once more with this method (dip), at the same number of steps; or, once an "
        "image, rl (Richardson-Lucy with the known kernel), blind-rl, wiener (known kernel)",
    )
    parser.add_argument(
        "--seeds", nargs="+", type=number, default=[0], metavar="N", help="one run each (default: 0)"
    )
    parser.add_argument(
        "--cases", nargs="+", default=["*"], metavar="NAME", help="only these; wildcards allowed: 'im1_*'"
    )
    parser.add_argument(
        "--kernel-size",
        type=_size,
        default="literature",
        metavar="N|auto|literature",
        help="literature: as in published tables, or what holds 99 %% of the known kernel (default)",
    )
    parser.add_argument(
        "--jobs", type=number, default=1, metavar="N", help="fits at once, of one thread each (default: 1)"
    )
    parser.add_argument(
        "--paper-steps",
        type=number,
        default=3,
        metavar="N",
        help="steps of each stage of preset paper that are timed to tell each run's share of its time "
        "(default: 3; 0: none)",
    )
    parser.add_argument("--save-images", action="store_true", help="draw each result as a panel PNG")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, no list of written files")
    add_option_flags(parser, _SHARED)


def run(namespace: argparse.Namespace) -> int:
    """Do the runs that are missing, then write the summary and the plots."""
    size = namespace.kernel_size
    shared = {name: value for name, value in vars(namespace).items() if name in _SHARED}
    options = [
        Options(**shared, seed=seed, kernel_size="auto" if size == "literature" else size)
        for seed in namespace.seeds
    ]  # checked before anything heavy is imported

    from napari_vdip import shell
    from napari_vdip.benchmark import campaign, plots, summary

    plots.check()
    plan = campaign.Campaign(
        folder=namespace.folder,
        presets=tuple(dict.fromkeys(namespace.presets)),
        baselines=tuple(dict.fromkeys(namespace.baseline)),
        seeds=tuple(dict.fromkeys(namespace.seeds)),
        patterns=tuple(namespace.cases),
        kernel_size=size,
        options=options[0],
        jobs=namespace.jobs,
        paper_steps=namespace.paper_steps,
        save_images=namespace.save_images,
    )
    shell.ready(namespace.output)
    status = _measured(campaign.run(plan, namespace.output), namespace.quiet)
    written = summary.write(namespace.output, command_of(namespace)) + plots.write(namespace.output)
    if not namespace.quiet:
        print(*written, sep="\n")
    return status


def command_of(namespace: argparse.Namespace) -> str:
    """Write the command as it may be told to others: with the names of folders, not their paths."""
    words = ["napari-vdip", "benchmark", namespace.folder.resolve().name]
    for name in ("presets", "baseline", "seeds", "cases", "kernel_size", "jobs", "paper_steps", *_SHARED):
        value = getattr(namespace, name, None)
        if value in (None, [], ["*"]):
            continue
        words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join([*words, "--output", namespace.output.resolve().name])


def _measured(updates: Generator[Update, None, None], quiet: bool) -> int:
    """Follow a campaign to its end, or to Ctrl-C; its exit status."""
    status = 0
    meter = _Meter(quiet)
    try:
        for update in updates:
            status = max(status, update.status)
            meter.show(update)
    except KeyboardInterrupt:
        meter.say("napari-vdip: interrupted; the runs that are done are kept")
        return INTERRUPTED
    finally:
        updates.close()  # ends the processes that run
        meter.close()
    return status


class _Meter:
    """A bar on a terminal, and a line for each run; errors only if quiet."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None

    def show(self, update: Update) -> None:
        """Tell the news."""
        if update.error:
            self.say(f"napari-vdip: error: {update.doing}: {' '.join(update.error.split())}")
        if self._quiet:
            return
        row = update.row
        if row is not None and row.psnr is not None and row.gain is not None and row.seconds is not None:
            self.say(f"{update.doing}: {row.psnr:.2f} dB ({row.gain:+.2f} dB), {row.seconds:.0f} s")
        if sys.stderr.isatty():
            self._draw(update)

    def say(self, line: str) -> None:
        """Write a line above the bar."""
        if self._bar is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._bar.write(line, file=sys.stderr)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()

    def _draw(self, update: Update) -> None:
        if self._bar is None:
            from tqdm import tqdm  # type: ignore[import-untyped]

            form = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total} [{elapsed}]"
            # tqdm is mute on a terminal that says it has 0 rows, as some containers' do
            size = {"ncols": shutil.get_terminal_size((100, 24)).columns, "nrows": 20}
            self._bar = tqdm(total=update.total, bar_format=form, leave=False, **size)
        self._bar.set_description_str(update.doing, refresh=False)
        self._bar.n = update.done
        self._bar.refresh()


def _size(text: str) -> int | str:
    """Accept an odd number or one of the words."""
    if text in _SIZES:
        return text
    if not text.lstrip("-").isdigit():
        raise argparse.ArgumentTypeError(
            f"{text!r} is not allowed; expected a number or {' or '.join(_SIZES)}"
        )
    return int(text)
