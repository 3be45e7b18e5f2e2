"""Options that several commands have, and what they mean."""

from __future__ import annotations

import argparse
import json
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

from ..errors import BadInputError
from ..inputs.numbers import Number, one_multiplier
from ..inputs.rates import frame_rate
from ..vfi_utils import EndLaw, Schedule, Settings
from ..video import Coding, Plan
from ..video.write.formats import CODECS, EXTENSIONS, IMAGES

_DTYPES = ("float32", "float16", "bfloat16")


def add_models_folder(parser: argparse.ArgumentParser) -> None:
    """Where else models are looked for."""
    parser.add_argument(
        "--models-folder",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="look for models here too",
    )


def add_clip_options(parser: argparse.ArgumentParser) -> None:
    """What is made of which clip, and how."""
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
    pace.add_argument("--multiplier", "-m", metavar="N", help="frames for each: 2, 3, 2.5, 5/2 (default: 2)")
    pace.add_argument(
        "--fps", type=_rate, metavar="RATE", help="60, 59.94, 24000/1001, film, pal, ntsc, ntsc-film"
    )
    add("--source-fps", type=_rate, metavar="RATE", help="of a folder of images (default: 24)")
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
    add("--overwrite", action="store_true", help="replace OUT if it is there")


def target_of(arguments: argparse.Namespace) -> Path:
    """Where the output goes."""
    given: Path | None = arguments.target
    return given or default_target(arguments.source, _multiplier(arguments), arguments.fps)


def plan_of(arguments: argparse.Namespace) -> Plan:
    """What is made of the clip."""
    return Plan(
        multiplier=_multiplier(arguments),
        fps=arguments.fps,
        end=arguments.end,
        source_fps=arguments.source_fps,
        coding=Coding(arguments.codec, arguments.crf, arguments.images),
        overwrite=arguments.overwrite,
    )


def settings_of(arguments: argparse.Namespace, clear_every: int = 0) -> Settings:
    """How the loop runs."""
    options: dict[str, Any] = dict(arguments.option)
    if arguments.scale is not None:
        options["flow_scale"] = arguments.scale
    if arguments.ensemble:
        options["ensemble"] = True
    return Settings(
        options=options, batch=arguments.batch, schedule=arguments.schedule, clear_every=clear_every
    )


def default_target(source: Path, multiplier: Number, fps: Fraction | None) -> Path:
    """Where output goes when nobody says: beside the source, in its format if that can be written."""
    mark = f"_x{_short(multiplier)}" if fps is None else f"_{_short(fps)}fps"
    if source.is_dir():  # what follows a point would be taken for the type of a file
        return source.with_name(source.resolve().name + mark.replace(".", "-"))
    extension = source.suffix if source.suffix.lower() in EXTENSIONS else ".mp4"
    return source.with_name(f"{source.stem}{mark}{extension}")


def _multiplier(arguments: argparse.Namespace) -> Number:
    return 2 if arguments.multiplier is None else one_multiplier(arguments.multiplier)


def _short(value: Number) -> str:
    return f"{float(value):.2f}".rstrip("0").rstrip(".")


def _rate(text: str) -> Fraction:
    try:
        return frame_rate(text)
    except BadInputError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no frame rate. {error.advice}") from error


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        return name, json.loads(value.lower() if value in ("True", "False") else value)
    except ValueError:
        return name, value
