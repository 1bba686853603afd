"""The runs of a benchmark: which there are, which are still to be done, and doing them."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

import napari_vdip
from napari_vdip import compression, estimate
from napari_vdip.benchmark import cases, classical, processes
from napari_vdip.benchmark.figures import error_ratio
from napari_vdip.benchmark.table import Reference, Row, Table
from napari_vdip.errors import InvalidInput, InvalidOption
from napari_vdip.options import PRESETS, Options
from napari_vdip.placement import device_named

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from napari_vdip.benchmark.cases import Case

RESULTS, REFERENCES, IMAGES = "results.csv", "references.csv", "images"
# Larger images are timed on a part of them, and the time is scaled with the pixels: the published
# network takes more memory than most machines have.
_TIMED_PIXELS = 512 * 512


@dataclass(frozen=True)
class Campaign:
    """What is to be measured.

    Attributes
    ----------
    folder : Path
        Images with their truth; see `napari_vdip.benchmark.cases`.
    presets : tuple of str
    baselines : tuple of str
        Methods: each preset runs once more with each of them, at the same number of steps. Names of
        `napari_vdip.benchmark.classical` run once an image, whatever the presets and seeds.
    seeds : tuple of int
    patterns : tuple of str
        Wildcards that choose cases by name.
    kernel_size : int, "literature" or "auto"
        "literature": what published tables use, or what holds 99 % of the known kernel.
    options : Options
        Method, device, compile, noise, iterations and threads of all runs.
    jobs : int
        Runs at the same time, each in a process of its own; with more than one they have one
        processor thread each unless ``options.threads`` says otherwise.
    paper_steps : int
        Steps of each stage of preset ``paper`` that are timed; 0: none, no share is told.
    save_images : bool
        Whether to draw each result as a panel.
    """

    folder: Path
    presets: tuple[str, ...] = ("fast", "balanced")
    baselines: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    patterns: tuple[str, ...] = ("*",)
    kernel_size: int | str = "literature"
    options: Options = field(default_factory=Options)
    jobs: int = 1
    paper_steps: int = 3
    save_images: bool = False

    def __post_init__(self) -> None:
        if self.jobs < 1 or self.paper_steps < 0:
            raise InvalidOption(
                f"jobs={self.jobs}, paper_steps={self.paper_steps}; expected at least 1 job and 0 steps"
            )

    @property
    def threads(self) -> int | None:
        """Processor threads of each run; None: all."""
        return 1 if self.options.threads is None and self.jobs > 1 else self.options.threads


@dataclass(frozen=True)
class Update:
    """How far the benchmark is.

    Attributes
    ----------
    done : float
        Runs done since the start, with the shares of those that are on.
    total : int
        Runs to be done; some things are measured before them.
    doing : str
        The task that the news is about, for people.
    row : Row or None
        The run, if one has just ended.
    error : str
        What went wrong with the task, if it has ended without a result.
    status : int
        Exit status that fits the error.
    """

    done: float
    total: int
    doing: str
    row: Row | None = None
    error: str = ""
    status: int = 0


Sizes = tuple[tuple[int, int], tuple[int, int]]  # of an image and of its kernel


@dataclass(frozen=True)
class _Run:
    """A run that is to be done: its row as far as it is known, its image, and their sizes."""

    row: Row
    case: Case
    sizes: Sizes

    @property
    def name(self) -> str:
        return f"{self.row.case} {self.row.preset} {self.row.method} seed {self.row.seed}"


def run(campaign: Campaign, output: Path) -> Generator[Update, None, None]:
    """Do all runs that ``results.csv`` in the folder `output` does not have yet.

    Parameters
    ----------
    campaign : Campaign
    output : Path
        Folder that exists. Rows are appended as soon as they are known.

    Yields
    ------
    Update

    Raises
    ------
    VdipError
        If the folder has no usable images, or the output is of another version. A run that fails
        raises nothing: its row tells the error.
    """
    table, references = Table(output / RESULTS, Row), Table(output / REFERENCES, Reference)
    over = {row.key for row in table.records if row.error is None}
    runs = [one for one in _planned(campaign) if one.row.key not in over]
    if campaign.save_images:
        (output / IMAGES).mkdir(exist_ok=True)
    paper: dict[Sizes, float] = {}
    before = _preparations(campaign, runs, references, paper)
    tasks = [task for task, _, _ in before]
    for event in processes.run(tasks, campaign.jobs, campaign.threads):
        _, doing, accept = before[event.index]
        if event.answer is not None:
            accept(event.answer)
        doing = f"before the runs, {event.index + 1} of {len(before)}: {doing}"
        yield Update(0.0, len(runs), doing, error=event.error, status=event.status)

    known = {reference.case: reference for reference in references.records}
    tasks = [_task(one, campaign, output) for one in runs]
    shares = [0.0] * len(runs)
    for event in processes.run(tasks, campaign.jobs, campaign.threads):
        one = runs[event.index]
        shares[event.index] = event.share
        row = None
        if event.over:
            row = _finished(one, event, known.get(one.case.name), paper.get(one.sizes))
            table.append(row)
        yield Update(sum(shares), len(runs), one.name, row, event.error, event.status)


def constants_of(preset: str) -> str:
    """Eight characters that stand for the constants of a preset."""
    if preset == classical.PRESET:
        constants: Any = (classical.RL_STEPS, classical.BLIND_ROUNDS, classical.BLIND_STEPS)
    else:
        constants = sorted(dataclasses.asdict(PRESETS[preset]).items())
    text = repr(constants)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def _planned(campaign: Campaign) -> list[_Run]:
    """All runs of a campaign; seeds outermost, so that what is done first covers all images.

    Raises
    ------
    InvalidInput
        If a case cannot be read: before the first run rather than hours after it.
    """
    options = campaign.options
    device = device_named(options)
    found = cases.find(campaign.folder, campaign.patterns)
    facts = [(case, *_sizes(case, campaign.kernel_size)) for case in found]
    common: dict[str, Any] = {"noise": options.noise, "version": napari_vdip.__version__}
    own = [name for name in campaign.baselines if name not in get_args(classical.Classical)]

    def planned(
        case: Case, asked: str, sizes: Sizes, preset: str, method: str, seed: int, **more: Any
    ) -> _Run:
        constants = constants_of(preset)
        row = Row(case.name, preset, method, seed, kernel_size=asked, constants=constants, **common, **more)
        return _Run(row, case, sizes)

    known = [
        planned(*facts_of_case, classical.PRESET, method, 0, iterations=None, device="cpu")
        for facts_of_case in facts
        for method in campaign.baselines
        if method not in own
    ]
    return known + [
        planned(*facts_of_case, preset, method, seed, iterations=options.iterations, device=device)
        for seed in campaign.seeds
        for facts_of_case in facts
        for preset in campaign.presets
        for method in dict.fromkeys((options.method or PRESETS[preset].method, *own))
    ]


def _sizes(case: Case, asked: int | str) -> tuple[str, Sizes]:
    """Kernel size as rows tell it, and the sizes of image and kernel in px."""
    truth = cases.read(case)
    shape = (truth.blurred.shape[0], truth.blurred.shape[1])
    if asked == "literature":
        published = cases.published_size(case, truth)
        if published is None:
            raise InvalidInput(
                f"{case.name} has no known kernel whose size could be used; "
                "give --kernel-size auto or a number"
            )
        asked = published
    if isinstance(asked, int):
        return str(asked), (shape, (asked, asked))
    errors = compression.rounding(truth.blurred)
    return asked, (shape, estimate.kernel_size(truth.blurred, rounding=errors).size)


def _preparations(
    campaign: Campaign, runs: list[_Run], references: Table[Reference], paper: dict[Sizes, float]
) -> list[tuple[dict[str, Any], str, Callable[[dict[str, Any]], None]]]:
    """List what rows need beside their runs: tasks, their names, what to do with the answers."""
    version = napari_vdip.__version__
    known = {reference.case for reference in references.records if reference.version == version}
    wanted = {one.case.name: one.case for one in runs if one.case.kernel and one.case.name not in known}

    def keep(name: str) -> Callable[[dict[str, Any]], None]:
        return lambda answer: references.append(Reference(name, **answer, version=version))

    def time(sizes: Sizes, factor: float) -> Callable[[dict[str, Any]], None]:
        return lambda answer: paper.update({sizes: factor * answer["seconds"]})

    found: list[tuple[dict[str, Any], str, Callable[[dict[str, Any]], None]]] = [
        ({"do": "reference", "case": _paths(case)}, f"{name} with its known kernel", keep(name))
        for name, case in wanted.items()
    ]
    for shape, size in dict.fromkeys(one.sizes for one in runs) if campaign.paper_steps else ():
        timed, factor = timed_shape(shape)
        task = {
            "do": "steps",
            "options": _keywords(campaign) | {"preset": "paper", "method": None, "iterations": None},
            "shape": timed,
            "kernel_size": size,
            "count": campaign.paper_steps,
        }
        doing = f"steps of paper at {timed[0]} x {timed[1]} px, kernel {size[0]} x {size[1]}"
        found.append((task, doing, time((shape, size), factor)))
    return found


def timed_shape(shape: tuple[int, int]) -> tuple[tuple[int, int], float]:
    """Shape on which the steps of ``paper`` are timed, and the ratio of the pixels."""
    factor = shape[0] * shape[1] / _TIMED_PIXELS
    if factor <= 1.0:
        return shape, 1.0
    height, width = (round(n / math.sqrt(factor)) for n in shape)
    return (height, width), shape[0] * shape[1] / (height * width)


def _keywords(campaign: Campaign) -> dict[str, Any]:
    """Options that all runs have, JSON-ready."""
    options = campaign.options
    common = {name: getattr(options, name) for name in ("device", "compile", "noise", "iterations")}
    return common | {"threads": campaign.threads}


def _paths(case: Case) -> dict[str, str | None]:
    return {name: None if value is None else str(value) for name, value in vars(case).items()}


def _task(one: _Run, campaign: Campaign, output: Path) -> dict[str, Any]:
    """Task of a run, as the worker takes it."""
    row = one.row
    size = "auto" if row.kernel_size == "auto" else int(row.kernel_size)
    chosen = {"preset": row.preset, "method": row.method, "seed": row.seed, "kernel_size": size}
    panel = output / IMAGES / f"{one.name.replace(' ', '_')}.png"
    if row.preset == classical.PRESET:
        return {
            "do": "classical",
            "case": _paths(one.case),
            "method": row.method,
            "kernel_size": one.sizes[1][0],
            "panel": str(panel) if campaign.save_images else None,
        }
    return {
        "do": "fit",
        "case": _paths(one.case),
        "options": _keywords(campaign) | chosen,
        "panel": str(panel) if campaign.save_images else None,
    }


def _finished(
    one: _Run, event: processes.Event, reference: Reference | None, paper_seconds: float | None
) -> Row:
    """Row of a run that has ended."""
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    if event.answer is None:
        return dataclasses.replace(one.row, date=now, error=" ".join(event.error.split()))
    row = dataclasses.replace(one.row, date=now, paper_seconds=paper_seconds, **event.answer)
    return dataclasses.replace(
        row,
        error_ratio=error_ratio(event.answer["psnr"], reference.psnr) if reference else None,
        share=event.answer["seconds"] / paper_seconds if paper_seconds else None,
    )
