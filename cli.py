"""The command line: ``midframe`` and ``python -m midframe``."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn, get_args

import torch
from tqdm.contrib.logging import logging_redirect_tqdm

from .api import default_device, load_model
from .errors import BadInputError, MidframeError
from .vfi_models._core.store import available
from .vfi_utils import EndLaw, Schedule, Settings
from .video import Coding, Plan, interpolate_video
from .video.formats import CODECS, EXTENSIONS, IMAGES
from .video.progress import ProgressHost
from .video.streaming import check_paths

_FAILED, _BAD_INPUT, _CANCELLED, _TERMINATED = 1, 2, 130, 143

_RATES = {
    "film": Fraction(24),
    "ntsc-film": Fraction(24000, 1001),
    "pal": Fraction(25),
    "ntsc": Fraction(30000, 1001),
}
_DTYPES = ("float32", "float16", "bfloat16")
_SHORT = 2
"""Digits after the point from which on 59.94 is taken for 60000/1001."""

Say = Callable[[str], None]
Run = Callable[[argparse.Namespace, Say], int]
AddArguments = Callable[[argparse.ArgumentParser], None]


class _Command(NamedTuple):
    help: str
    add_arguments: AddArguments
    run: Run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: arguments without the program's name; those of the process where it is left out.

    Returns:
        The exit status: 0; 1 failed; 2 something is wrong with the input; 130 cancelled.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser, commands = _parser(words)
    arguments = parser.parse_args(words)
    if arguments.command is None:
        parser.print_help()
        return _BAD_INPUT
    try:
        with _logging(verbose=arguments.verbose, quiet=arguments.quiet), _terminating():
            return commands[arguments.command].run(arguments, _say)
    except KeyboardInterrupt:
        return _complain(_CANCELLED, "Cancelled.", verbose=False)
    except BrokenPipeError:  # whoever read what we say has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except MidframeError as error:
        status = _BAD_INPUT if isinstance(error, BadInputError) else _FAILED
        return _complain(status, f"Error: {error}", verbose=arguments.verbose)
    except Exception as error:  # noqa: BLE001 -- a person gets three lines; the trace with --verbose
        text = f"Error: {type(error).__name__}.\nFound: {error}\n"
        text += "What to do: run it again with --verbose, and report what it says."
        return _complain(_FAILED, text, verbose=arguments.verbose)


def _parser(words: Sequence[str]) -> tuple[argparse.ArgumentParser, dict[str, _Command]]:
    """The parser, with the options of the one command that ``words`` call: others are not even imported."""
    parser = argparse.ArgumentParser(
        prog="midframe", description="More frames between the frames of a video.", allow_abbrev=False
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--quiet", action="store_true", help="no progress, no remarks, only errors")
    common.add_argument("--verbose", action="store_true", help="more remarks, and the trace of an error")
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
    """What a command has to say, on standard output."""
    print(line, flush=True)


def _complain(status: int, text: str, *, verbose: bool) -> int:
    if verbose:
        traceback.print_exc()
    print(text, file=sys.stderr, flush=True)
    return status


@contextlib.contextmanager
def _logging(*, verbose: bool, quiet: bool) -> Iterator[None]:
    """Remarks of the pack on standard error, above the progress bar."""
    logger = logging.getLogger(__package__)
    level = logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING
    handler = logging.StreamHandler()
    before = logger.level
    logger.setLevel(level)
    logger.addHandler(handler)
    try:
        with logging_redirect_tqdm([logger]):
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@contextlib.contextmanager
def _terminating() -> Iterator[None]:
    """A request to end (SIGTERM) cancels like Ctrl-C, so that no half file is left."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(_TERMINATED)

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def interpolate_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``midframe interpolate``."""
    add = parser.add_argument
    add("source", type=Path, metavar="IN", help="video file, animated image, or folder of images")
    add(
        "target",
        type=Path,
        metavar="OUT",
        nargs="?",
        help=f"what to write: {', '.join(EXTENSIONS)}, or a name without extension for a folder of "
        "pictures (default: beside IN, with _x2 or _60fps in its name)",
    )
    add(
        "--model",
        default="default",
        help="a name that `midframe models` lists, or a file (default: the built-in)",
    )
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument("--multiplier", "-m", type=int, metavar="N", help="frames for each (default: 2)")
    pace.add_argument(
        "--fps", type=rate, metavar="RATE", help="60, 59.94, 24000/1001, film, pal, ntsc, ntsc-film"
    )
    add("--source-fps", type=rate, metavar="RATE", help="of a folder of images (default: 24)")
    add(
        "--end",
        choices=get_args(EndLaw),
        default="hold_last",
        help="hold_last keeps the duration (default); end_on_last ends with the last source frame",
    )
    add("--scale", type=float, metavar="S", help="flow scale; 0.5 for 4K and large motion")
    add("--ensemble", action="store_true", help="average with the mirrored pass: slower, a little steadier")
    add(
        "--schedule",
        choices=get_args(Schedule),
        default="any_t",
        help="bisect makes frames from made frames, as older FILM nodes do (default: any_t)",
    )
    add("--codec", choices=CODECS, help="(default: by extension)")
    add(
        "--images",
        choices=IMAGES,
        default="png",
        help="what a folder is made of, 8 or 16 bit like the source (default: png)",
    )
    add("--crf", type=int, metavar="N", help="quality, 0 is best (default: near lossless to the eye)")
    add("--device", help="cpu, cuda, cuda:1, mps ... (default: the best there is)")
    add("--dtype", choices=_DTYPES, help="of the convolutions (default: float16 on CUDA, else float32)")
    add("--batch", type=int, default=0, metavar="N", help="frames made at once (default: by free memory)")
    add(
        "--models-folder",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="look for models here too",
    )
    add("--overwrite", action="store_true", help="replace OUT if it is there")


def interpolate_run(arguments: argparse.Namespace, say: Say) -> int:
    """Interpolates one clip and says where it is."""
    source: Path = arguments.source
    multiplier = 2 if arguments.multiplier is None else arguments.multiplier
    target: Path = arguments.target or default_target(source, multiplier, arguments.fps)
    device = _device(arguments.device)
    dtype = getattr(torch, arguments.dtype) if arguments.dtype else None
    options = {"flow_scale": arguments.scale} if arguments.scale is not None else {}
    if arguments.ensemble:
        options["ensemble"] = True
    plan = Plan(
        multiplier=multiplier,
        fps=arguments.fps,
        end=arguments.end,
        source_fps=arguments.source_fps,
        coding=Coding(arguments.codec, arguments.crf, arguments.images),
        overwrite=arguments.overwrite,
    )
    check_paths(source, target, plan)  # before a model is loaded or fetched
    model = load_model(arguments.model, device, dtype, folders=arguments.models_folder)
    host = ProgressHost(device, quiet=arguments.quiet)
    began = time.monotonic()
    try:
        settings = Settings(options=options, batch=arguments.batch, schedule=arguments.schedule)
        written = interpolate_video(source, target, model, plan, settings=settings, host=host)
    finally:
        host.close()
    if not arguments.quiet:
        seconds = time.monotonic() - began
        say(f"{written.path}: {written.frames} frames from {written.source_frames} in {seconds:.1f} s")
    return 0


def models_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``midframe models``."""
    parser.add_argument(
        "--models-folder",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="look for models here too",
    )


def models_run(arguments: argparse.Namespace, say: Say) -> int:
    """Says a line for each model."""
    for choice in available(arguments.models_folder):
        where = str(choice.path) if choice.path else "can be downloaded"
        say(f"{choice.name:24} {choice.entry.licence or '' if choice.entry else '':14} {where}")
    return 0


def rate(text: str) -> Fraction:
    """A frame rate from what people write: ``60``, ``24000/1001``, ``59.94`` (60000/1001), ``ntsc``.

    Raises:
        argparse.ArgumentTypeError: not a positive rate.
    """
    try:
        value = _RATES.get(text.lower()) or Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if value <= 0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no frame rate; write 60, 59.94, 24000/1001, {', '.join(_RATES)}"
        )
    digits = len(text.partition(".")[2])
    meant = Fraction(1000 * round(value * 1001 / 1000), 1001)
    rounded = digits >= _SHORT and value.denominator > 1 and abs(meant - value) <= Fraction(1, 2 * 10**digits)
    return meant if rounded else value


def default_target(source: Path, multiplier: int, fps: Fraction | None) -> Path:
    """Where output goes when nobody says: beside the source, in its format if that can be written."""
    mark = f"_x{multiplier}" if fps is None else f"_{float(fps):.2f}".rstrip("0").rstrip(".") + "fps"
    if source.is_dir():
        return source.with_name(source.resolve().name + mark)
    extension = source.suffix if source.suffix.lower() in EXTENSIONS else ".mp4"
    return source.with_name(f"{source.stem}{mark}{extension}")


def _device(name: str | None) -> torch.device:
    if name is None:
        return default_device()
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise BadInputError(
            "There is no such device here.", f"{name}: {reason}", "Use cpu, or leave it out."
        ) from error
    return device


def _in(module: str) -> Callable[[], tuple[AddArguments, Run]]:
    """A command that is a module of its own, with ``add_arguments(parser)`` and ``run(arguments, say)``."""

    def load() -> tuple[AddArguments, Run]:
        loaded = importlib.import_module(f".{module}", __package__)
        return loaded.add_arguments, loaded.run

    return load


_COMMANDS: dict[str, tuple[str, Callable[[], tuple[AddArguments, Run]]]] = {
    "interpolate": ("make more frames of a clip", lambda: (interpolate_arguments, interpolate_run)),
    "models": ("list the models that are here or can be downloaded", lambda: (models_arguments, models_run)),
    "parity": ("compare the networks with reference outputs on this machine", _in("parity")),
    "convert": ("write weights as a clean safetensors file, which loads faster", _in("convert")),
    "bench": ("measure speed and memory beside other implementations", _in("benchmarks.bench")),
    "demo": ("interpolate the clip that comes with Midframe", _in("demo")),
}
