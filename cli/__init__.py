"""The command line: ``midframe`` and ``python -m midframe``."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import FrameType
from typing import NamedTuple

from tqdm.contrib.logging import logging_redirect_tqdm

from ..errors import BadInputError, MidframeError

# Exit statuses; 128 and the number of the signal (SIGINT 2, SIGTERM 15), as shells count.
_FAILED, _BAD_INPUT, _CANCELLED, _TERMINATED = 1, 2, 130, 143

# Whatever its folder is called.
_PACK = __package__.rpartition(".")[0]

Say = Callable[[str], None]
Run = Callable[[argparse.Namespace, Say], int]
AddArguments = Callable[[argparse.ArgumentParser], None]


class _Command(NamedTuple):
    help: str
    add_arguments: AddArguments
    run: Run


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; those of the process where it is left out.

    Returns:
        The exit status: 0; 1 failed; 2 something is wrong with the input; 130 cancelled.
    """
    words = [_as_path(word) for word in (sys.argv[1:] if argv is None else argv)]
    parser, commands = _parser(words)
    arguments = parser.parse_args(words)
    if arguments.command is None:
        parser.print_help()
        return _BAD_INPUT
    try:
        with _logging(verbose=arguments.verbose, quiet=arguments.quiet), _ending():
            return commands[arguments.command].run(arguments, _say)
    except KeyboardInterrupt:
        return _complain(_CANCELLED, "Cancelled.", verbose=False)
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        # Python flushes standard output at its end, which would fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except MidframeError as error:
        status = _BAD_INPUT if isinstance(error, BadInputError) else _FAILED
        return _complain(status, f"Error: {error}", verbose=arguments.verbose)
    except Exception as error:  # noqa: BLE001 -- a person gets three lines; the trace with --verbose
        text = f"Error: {type(error).__name__}.\nFound: {error}\n"
        text += "What to do: run it again with --verbose, and report what it says."
        return _complain(_FAILED, text, verbose=arguments.verbose)


def _as_path(word: str) -> str:
    """Return the name of a file that begins with a dash as a path, which is not taken for an option."""
    return f"./{word}" if word.startswith("-") and len(word) > 1 and os.path.lexists(word) else word


def _parser(words: Sequence[str]) -> tuple[argparse.ArgumentParser, dict[str, _Command]]:
    """Build the parser, with the options of the command that ``words`` call; other commands are not even
    imported.
    """
    parser = argparse.ArgumentParser(
        prog="midframe", description="More frames between the frames of a video.", allow_abbrev=False
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--quiet", action="store_true", help="no progress, no remarks, only errors")
    common.add_argument("--verbose", action="store_true", help="more remarks, and the trace of an error")
    # Importing a command takes seconds, for torch alone; --help needs none of them.
    called = next((word for word in words if word in _COMMANDS), None)
    commands = {}
    for name, (text, load) in _COMMANDS.items():
        sub = subparsers.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}.", parents=[common]
        )
        if name == called:
            commands[name] = _Command(text, *load())
            commands[name].add_arguments(sub)
    return parser, commands


def _say(line: str) -> None:
    """Write a line of a command to standard output."""
    print(line, flush=True)


def _complain(status: int, text: str, *, verbose: bool) -> int:
    if verbose:
        traceback.print_exc()
    print(text, file=sys.stderr, flush=True)
    return status


@contextlib.contextmanager
def _logging(*, verbose: bool, quiet: bool) -> Iterator[None]:
    """Log remarks of the pack to standard error, above the progress bar, while the context is open."""
    logger = logging.getLogger(_PACK)
    level = logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING
    # Standard error, by default: standard output belongs to what a command says.
    handler = logging.StreamHandler()
    before = logger.level
    logger.setLevel(level)
    logger.addHandler(handler)
    try:
        # Else a line of the log would be written into the middle of the bar.
        with logging_redirect_tqdm([logger]):
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@contextlib.contextmanager
def _ending() -> Iterator[None]:
    """Have Ctrl-C and a request to end (SIGTERM) cancel once, so that no half-written file is left.

    Those that follow are not heard: they would end the clearing away in its middle.
    """
    heard = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        if heard:
            return
        heard = True
        # Either passes through every `finally`, which removes what is half written.
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(_TERMINATED)

    before = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            # A program in the background of a shell is started deaf to Ctrl-C, and stays so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                with contextlib.suppress(ValueError):  # not in the main thread
                    before[number] = signal.signal(number, end)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in(module: str) -> Callable[[], tuple[AddArguments, Run]]:
    """Return a function that loads a command's module, with ``add_arguments(parser)`` and ``run(arguments,
    say)``.
    """

    def load() -> tuple[AddArguments, Run]:
        try:
            loaded = importlib.import_module(f".{module}", _PACK)
        except ModuleNotFoundError as error:
            # The package that ComfyUI's registry hands out has no training/ and no benchmarks/.
            room = f"{_PACK}.{module.partition('.')[0]}"
            if error.name not in (room, f"{_PACK}.{module}"):
                raise
            return _nothing, partial(_missing, room)
        return loaded.add_arguments, loaded.run

    return load


def _nothing(parser: argparse.ArgumentParser) -> None:
    """Take whatever follows the name of a command that is not there."""
    parser.add_argument("anything", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def _missing(room: str, arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    raise BadInputError(
        "This installation does not have that command.",
        f"no {room}: the package of ComfyUI's registry leaves it out",
        "Install Midframe from its repository: pip install . in a clone of it.",
    )


_COMMANDS: dict[str, tuple[str, Callable[[], tuple[AddArguments, Run]]]] = {
    "interpolate": ("make more frames of a clip", _in("cli.interpolate")),
    "probe": ("say what would become of everything in a clip; make nothing", _in("cli.probe")),
    "analyse": ("note the cuts and held frames of a clip, for you to correct", _in("cli.analyse")),
    "report": ("measure which model suits a clip, and show what is in it", _in("cli.report")),
    "chunks": ("make more frames of a long clip; run it again, and it goes on", _in("cli.chunks")),
    "models": ("list the models that are here or can be downloaded", _in("cli.models")),
    "parity": ("compare the networks with reference outputs on this machine", _in("cli.parity")),
    "convert": ("write weights as a clean safetensors file, which loads faster", _in("cli.convert")),
    "bench": ("measure speed and memory beside other implementations", _in("benchmarks.bench")),
    "estimate": ("say what a long film costs on how many workers", _in("benchmarks.cost")),
    "memory": ("measure the memory that long clips need", _in("benchmarks.long_clips")),
    "files": ("say what becomes of every file in a folder of yours", _in("benchmarks.files")),
    "triplets": ("cut clips into the sequences that a training reads", _in("training.cutting")),
    "train": ("train or fine-tune a network; run it again, and it goes on", _in("training.command")),
    "demo": ("interpolate the clip that comes with Midframe", _in("cli.demo")),
}
