"""Options that several commands have, and what they mean."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar, get_args

from ..analysis.notes import Analysis
from ..analysis.timing import CutLaw, HeldLaw, Timing
from ..engine.settings import Levels
from ..errors import BadInputError
from ..inputs.numbers import Number, multipliers
from ..inputs.pairs import parse_pairs
from ..inputs.rates import frame_rate
from ..vfi_utils import EndLaw, Schedule, Settings, States
from ..video import Coding, Plan
from ..video.read.images import is_pattern
from ..video.write.formats import CODECS, EXTENSIONS, HARDWARE
from ..video.write.pictures import IMAGES
from .speed import add_speed_options, shutter_of, speed_of

T = TypeVar("T")
Group = argparse._ArgumentGroup
"""Options that stand under one heading in the help."""

_DTYPES = ("float32", "float16", "bfloat16")


def add_models_folder(parser: argparse.ArgumentParser | Group) -> None:
    """Add the option for more folders in which models are looked for."""
    parser.add_argument(
        "--models-folder",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="look for models here too",
    )


def add_clip_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is made of which clip, and how."""
    add = parser.add_argument
    add(
        "source",
        type=Path,
        metavar="IN",
        help="video file, animated image, folder of images, or such as shot_%%04d.png",
    )
    add(
        "target",
        type=Path,
        metavar="OUT",
        nargs="?",
        help=f"what to write: {', '.join(EXTENSIONS)}, or a name without extension for a folder of "
        "pictures, or out/frame_%%05d.exr (default: beside IN, with _x2 or _60fps in its name)",
    )
    add(
        "--model",
        default="default",
        help="a name that `midframe models` lists, or a file (default: the built-in)",
    )
    _add_timeline_options(parser.add_argument_group("which frames"))
    add_speed_options(parser.add_argument_group("speed and shutter"))
    _add_model_options(parser.add_argument_group("model"))
    _add_picture_options(parser.add_argument_group("picture of the output"))
    _add_carrying_options(parser.add_argument_group("sound and other streams"))
    add("--overwrite", action="store_true", help="replace OUT if it is there")


def _add_picture_options(parser: Group) -> None:
    add = parser.add_argument
    add(
        "--codec",
        type=_codec,
        metavar="NAME",
        help=f"{', '.join(CODECS)}; source keeps that of IN; or a hardware encoder, "
        "such as h264_nvenc, which is never taken unasked (default: by extension)",
    )
    add(
        "--images",
        choices=IMAGES,
        default="png",
        help="what a folder is made of, 8 or 16 bit like the source; jpg, webp and avif have 8, "
        "exr is linear light in floats (default: png)",
    )
    add("--start-number", type=int, default=0, metavar="N", help="of the first picture in OUT (default: 0)")
    quality = parser.add_mutually_exclusive_group()
    quality.add_argument(
        "--crf", type=int, metavar="N", help="quality, 0 is best (default: near lossless to the eye)"
    )
    quality.add_argument("--bitrate", type=_bitrate, metavar="RATE", help="bits a second, such as 8M or 900k")
    quality.add_argument("--lossless", action="store_true", help="every bit of the picture is kept")
    add("--preset", metavar="NAME", help="of the encoder, such as slow, or 4 of av1: slower is smaller")
    add(
        "--pix-fmt",
        metavar="NAME",
        help="such as yuv420p10le (default: depth and chroma of IN, as far as the codec has them)",
    )
    add("--width", type=int, metavar="N", help="scale to N pixels; the height follows where it is left out")
    add("--height", type=int, metavar="N", help="scale to N pixels; the width follows where it is left out")
    add("--loop", type=int, metavar="N", help="plays of a GIF, APNG or WebP, 0 without end (default: as IN)")


def _add_carrying_options(parser: Group) -> None:
    add = parser.add_argument
    add(
        "--audio",
        metavar="CODEC",
        help="none, or an encoder such as aac, ac3, flac (default: copied; encoded where OUT cannot hold it)",
    )
    add("--no-subtitles", action="store_true", help="leave subtitles out")
    add(
        "--streams",
        type=_streams,
        metavar="LIST",
        help="numbers of the streams to carry, such as 1,3, as `midframe probe` lists them (default: all)",
    )


def _add_timeline_options(parser: Group) -> None:
    add = parser.add_argument
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument(
        "--multiplier",
        "-m",
        metavar="N",
        help="frames for each: 2, 3, 2.5, 5/2; or a list with one for each pair of frames, such as 2,3,4, "
        "pairs after its end get 2 (default: 2)",
    )
    pace.add_argument(
        "--fps",
        type=_rate,
        metavar="RATE",
        help="60, 59.94, 24000/1001, film, pal, ntsc, ntsc-film",
    )
    add(
        "--source-fps",
        type=_rate,
        metavar="RATE",
        help="of a folder of images (default: 24), or instead of a file's own",
    )
    add("--deinterlace", action="store_true", help="make whole pictures of the fields of IN first")
    add("--start", type=_seconds, metavar="TIME", help="begin there in IN: seconds, or 1:02:03.5")
    add("--stop", type=_seconds, metavar="TIME", help="end there in IN")
    states = parser.add_mutually_exclusive_group()
    states.add_argument(
        "--skip",
        type=_pairs,
        metavar="PAIRS",
        help="make nothing in these pairs of frames, such as cuts: 3,7-9; pair 0 is the first two frames",
    )
    states.add_argument("--only", type=_pairs, metavar="PAIRS", help="make frames in these pairs alone: 0-4")
    add(
        "--end",
        choices=get_args(EndLaw),
        default="hold_last",
        help="hold_last keeps the duration (default); end_on_last ends with the last source frame; "
        "close_loop moves on to the first one, for clips that play as a loop",
    )
    add(
        "--cuts",
        choices=get_args(CutLaw),
        default=Timing.cuts,
        help="between two shots: hold the nearer frame (default), blend both, extrapolate (the motion of "
        "each shot goes on), or interpolate as if there was no cut, without looking for any",
    )
    add(
        "--held",
        choices=get_args(HeldLaw),
        default=Timing.held,
        help="frames that repeat the one before, as in animation: keep (default), or retime, which moves "
        "through them; length and sound stay",
    )
    add(
        "--analysis",
        type=Path,
        metavar="FILE",
        help="what `midframe analyse` found in IN, corrected by you (default: IN is looked at first)",
    )


def _add_model_options(parser: Group) -> None:
    add = parser.add_argument
    add("--scale", type=float, metavar="S", help="flow scale; 0.5 for 4K and large motion")
    add("--ensemble", action="store_true", help="average with the mirrored pass: slower, a little steadier")
    add(
        "--levels",
        choices=get_args(Levels),
        default=Settings.levels,
        help="where exposure steps between two frames: keep it (default), or match both before "
        "motion is looked for",
    )
    add(
        "--guard",
        default=Settings.guard,
        metavar="WHAT",
        help="what stands while the rest moves (subtitles, logos, borders): auto finds it and takes it from "
        "the source; MASK, a picture that is white there, says where it is; off (default)",
    )
    add(
        "--schedule",
        choices=get_args(Schedule),
        default="any_t",
        help="how several frames of a pair are made: each from the two source frames (any_t or direct, the "
        "default); from the middle on, as older FILM nodes do (bisect); or from the outside in (peel)",
    )
    add("--device", help="cpu, cuda, cuda:1, mps ... (default: the best there is)")
    add("--dtype", choices=_DTYPES, help="of the convolutions (default: the fastest that keeps the picture)")
    add("--batch", type=int, default=0, metavar="N", help="frames made at once (default: by free memory)")
    add_models_folder(parser)
    add(
        "--option",
        type=_option,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other option of the model, such as seed=7 or sample_steps=20 of TLBVFI",
    )


def target_of(arguments: argparse.Namespace) -> Path:
    """Return where the output goes."""
    given: Path | None = arguments.target
    return given or default_target(arguments.source, _multiplier(arguments), arguments.fps)


def plan_of(arguments: argparse.Namespace) -> Plan:
    """Return what is made of the clip."""
    # argparse lets only one of the two be given.
    listed, skip = (arguments.skip, True) if arguments.only is None else (arguments.only, False)
    return Plan(
        multiplier=_multiplier(arguments),
        fps=arguments.fps,
        end=arguments.end,
        source_fps=arguments.source_fps,
        coding=Coding(
            arguments.codec,
            arguments.crf,
            arguments.images,
            pixel_format=arguments.pix_fmt,
            preset=arguments.preset,
            bitrate=arguments.bitrate,
            lossless=arguments.lossless,
            sound=arguments.audio,
            streams=arguments.streams,
            subtitles=not arguments.no_subtitles,
            loops=arguments.loop,
            first_number=arguments.start_number,
        ),
        deinterlace=arguments.deinterlace,
        start=arguments.start,
        stop=arguments.stop,
        width=arguments.width,
        height=arguments.height,
        overwrite=arguments.overwrite,
        states=None if listed is None else States(listed, skip),
        timing=Timing(arguments.cuts, arguments.held),
        analysis=None if arguments.analysis is None else Analysis.load(arguments.analysis),
        speed=speed_of(arguments),
        sound_speed=arguments.sound_speed,
        shutter=shutter_of(arguments),
    )


def settings_of(arguments: argparse.Namespace, clear_every: int = 0) -> Settings:
    """Return how the frame loop runs."""
    options: dict[str, Any] = dict(arguments.option)
    if arguments.scale is not None:
        options["flow_scale"] = arguments.scale
    if arguments.ensemble:
        options["ensemble"] = True
    return Settings(
        options=options,
        batch=arguments.batch,
        schedule=arguments.schedule,
        levels=arguments.levels,
        guard=arguments.guard,
        clear_every=clear_every,
    )


def default_target(source: Path, multiplier: Number | tuple[int, ...], fps: Fraction | None) -> Path:
    """Return where output goes when nobody says: beside the source, in its format if that can be written.

    Args:
        source: a file or a folder.
        multiplier: of all pairs, or of each: the name then has the least and the most.
        fps: instead of it.
    """
    if fps is not None:
        mark = f"_{_short(fps)}fps"
    elif isinstance(multiplier, tuple):
        mark = f"_x{'-'.join(map(str, sorted({min(multiplier), max(multiplier)})))}"
    else:
        mark = f"_x{_short(multiplier)}"
    if is_pattern(source):
        name = source.name.partition("%")[0].rstrip("_-. ") or source.resolve().parent.name
        return source.with_name(name + mark.replace(".", "-"))
    if source.is_dir():  # what follows a point would be taken for the type of a file
        return source.with_name(source.resolve().name + mark.replace(".", "-"))
    # AVI and transport streams hold little of what there is today: they are written where they are asked for.
    same = source.suffix.lower() in EXTENSIONS and source.suffix.lower() not in (
        ".avi",
        ".ts",
        ".nut",
        ".y4m",
    )
    extension = source.suffix if same else ".mp4"
    return source.with_name(f"{source.stem}{mark}{extension}")


def _multiplier(arguments: argparse.Namespace) -> Number | tuple[int, ...]:
    """Return one multiplier, or those of a list such as ``2,3,4``."""
    text: str = "2" if arguments.multiplier is None else arguments.multiplier
    items = text.split(",")
    # A list of one number is a number.
    listed = len(items) > 1 and all(item.strip().isdecimal() for item in items)
    return multipliers(items if listed else text)


def _short(value: Number) -> str:
    return f"{float(value):.2f}".rstrip("0").rstrip(".")


def _read_with(read: Callable[[str], T], what: str) -> Callable[[str], T]:
    """Return ``read`` as argparse calls it, which takes errors of its own type for the user's."""

    def parse(text: str) -> T:
        try:
            return read(text)
        except BadInputError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is no {what}. {error.advice}") from error

    return parse


def _codec(text: str) -> str:
    if text not in (*CODECS, "source") and not text.endswith(HARDWARE):
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(CODECS)}, source")
    return text


def _bitrate(text: str) -> int:
    factor = {"k": 10**3, "M": 10**6}.get(text[-1:], 1)
    try:
        value = round(float(text.removesuffix("k").removesuffix("M")) * factor)
    except ValueError:
        value = 0
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no bitrate such as 8M, 900k or 4000000")
    return value


def _seconds(text: str) -> Fraction:
    """Return seconds, from a number of them or from hours, minutes and seconds with colons between."""
    try:
        seconds = Fraction(0)
        for part in text.split(":"):
            seconds = seconds * 60 + Fraction(part)
    except (ValueError, ZeroDivisionError):
        seconds = Fraction(-1)
    if seconds < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 12.5 or 1:02:03.5")
    return seconds


def _streams(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of streams such as 1,3")
    return tuple(int(part) for part in parts)


_rate = _read_with(frame_rate, "frame rate")
_pairs = _read_with(parse_pairs, "list of pairs")


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        # JSON writes true and false in lower case, Python and people often do not. A plain word is no JSON
        # and stays text.
        return name, json.loads(value.lower() if value in ("True", "False") else value)
    except ValueError:
        return name, value
