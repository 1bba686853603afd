"""The fields of `Options` as flags of the shell; a parser whose errors are one line. No heavy imports."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import re
from typing import TYPE_CHECKING, Any, NoReturn, get_args, get_origin

from napari_vdip.errors import InvalidOption
from napari_vdip.options import Options, choices_of, type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SIZES = ("--kernel-size", "--kernel-grid")  # that may be two numbers
FILE_OPTIONS = ("kernel", "mask")  # arrays: in the shell they come from files


class Parser(argparse.ArgumentParser):
    """A parser that raises `InvalidOption` where argparse would print its usage and exit."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **keywords})

    def error(self, message: str) -> NoReturn:
        """Raise what went wrong."""
        raise InvalidOption(message.removeprefix("argument "))


def add_option_flags(parser: argparse.ArgumentParser, only: Sequence[str] | None = None) -> None:
    """Give a parser a flag for each field of `Options`, or for `only` some: ``--kernel-size``, ..."""
    group = parser.add_argument_group("options of the deblurring")
    for item in dataclasses.fields(Options):
        if only is not None and item.name not in only:
            continue
        flag = f"--{item.name.replace('_', '-')}"
        told = _help(item)
        kind = type_of(item.name)
        if kind is bool:
            group.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=told
            )
            continue
        convert, metavar = _converter(item.name, kind)
        group.add_argument(flag, type=convert, metavar=metavar, default=argparse.SUPPRESS, help=told)


def options_of(namespace: argparse.Namespace, **defaults: Any) -> tuple[Options, frozenset[str]]:
    """Make options from parsed flags; those of `FILE_OPTIONS` are still paths.

    Parameters
    ----------
    namespace : argparse.Namespace
        What the parser returned.
    **defaults
        Values of options for which no flag was given.

    Returns
    -------
    options : Options
    given : frozenset of str
        Names of the options for which a flag was given.

    Raises
    ------
    InvalidOption
        If a value is not allowed.
    """
    known = {item.name for item in dataclasses.fields(Options)}
    given = {name: value for name, value in vars(namespace).items() if name in known}
    return Options.from_keywords(**defaults | given), frozenset(given)


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the words of a command line.

    Raises
    ------
    InvalidOption
        If a command or flag is unknown (the nearest one is named), or a value is not allowed.
    """
    commands = _commands(parser)
    command = next((word for word in words if not word.startswith("-")), None)
    if command is not None and command not in commands:
        raise InvalidOption(f"unknown command {command!r}; {_suggest(command, list(commands))}")
    if command is None and not {"-h", "--help", "--version"} & set(words):
        raise InvalidOption(f"expected a command: {', '.join(commands)}; see napari-vdip --help")
    flags = list((commands[command] if command else parser)._option_string_actions)
    for word in words:
        if word == "--":
            break
        flag = word.partition("=")[0]
        if re.match(r"--?[A-Za-z]", word) and flag not in flags:
            raise InvalidOption(f"unknown option {flag}; {_suggest(flag, flags)}")
    return parser.parse_args(_join_sizes(words))


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Parsers of the commands by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _join_sizes(words: Sequence[str]) -> list[str]:
    """Make ``--kernel-size 31 21`` one word; argparse would take a file that follows for a third number."""
    joined: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in _SIZES and rest and re.fullmatch(r"-?\d+", rest[0]):
            sizes = [rest.pop(0)]
            if rest and re.fullmatch(r"-?\d+", rest[0]):
                sizes.append(rest.pop(0))
            word = f"{word}={'x'.join(sizes)}"
        joined.append(word)
        if word == "--":
            return joined + rest
    return joined


def _converter(name: str, kind: Any) -> tuple[Callable[[str], Any], str]:
    """How the text of a flag becomes a value, and how the value is named in the help."""
    choices = [str(choice) for choice in choices_of(kind)]
    if name in FILE_OPTIONS:
        return str, "FILE"
    if kind is str:
        return str, name.upper()
    if float in get_args(kind):
        return real, "X"
    if int not in (kind, *get_args(kind)):
        return choice(choices), f"{{{','.join(choices)}}}"
    if choices:
        return _size(choices), "N [N]|" + "|".join(choices)
    if any(get_origin(part) is tuple for part in get_args(kind)):
        return _size(choices), "N [N]"
    return number, "N"


def choice(choices: Sequence[str]) -> Callable[[str], str]:
    """Accept one of the choices; an error names the nearest one."""

    def convert(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; {_suggest(text, choices)}")
        return text

    return convert


def _size(choices: list[str]) -> Callable[[str], Any]:
    """Accept a number, two (``31x21``), or one of the choices."""

    def convert(text: str) -> Any:
        if text in choices:
            return text
        if not re.fullmatch(r"-?\d+([x,]-?\d+)?", text):
            known = ", ".join(["a number", "two such as 3x2", *choices])
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; expected one of: {known}")
        numbers = tuple(int(part) for part in re.split("[x,]", text))
        return numbers if len(numbers) == 2 else numbers[0]

    return convert


def number(text: str) -> int:
    """Accept a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def real(text: str) -> float:
    """Accept a number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def _suggest(text: str, choices: Sequence[str]) -> str:
    """Name the nearest choice, and all where they are few."""
    near = difflib.get_close_matches(text, choices, n=1, cutoff=0.0)[0]
    few = f" expected one of {', '.join(choices)}" if len(choices) < 8 else ""
    return f"did you mean {near}?{few}"


def _help(item: dataclasses.Field[Any]) -> str:
    """Help, bounds, unit and default of an option, as argparse wants it."""
    low, high, unit = item.metadata["low"], item.metadata["high"], item.metadata["unit"]
    facts = []
    if low is not None:
        facts.append(f"at least {low:g}" if high is None or high >= 2**31 - 1 else f"{low} to {high}")
    if unit:
        facts.append(f"in {unit}")
    if item.default is not None:
        facts.append(f"default: {item.default}")
    told: str = item.metadata["help"].replace("%", "%%")
    return told + (f" ({'; '.join(facts)})" if facts else "")
