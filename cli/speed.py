"""Options of the command line for the speed of a clip and for its shutter."""

from __future__ import annotations

import argparse
from fractions import Fraction
from typing import get_args

from ..engine.curve import Curve, Ease
from ..engine.pieces import SoundLaw
from ..engine.shutter import Shutter
from ..errors import BadInputError
from ..video import Plan


def add_speed_options(parser: argparse._ArgumentGroup) -> None:
    """Add the options that say how fast a clip plays, and how long the shutter is open."""
    add = parser.add_argument
    add(
        "--speed",
        metavar="CURVE",
        help="0.5 plays at half the speed, -1 backwards; or keyframes by their place in IN, such as "
        "0:1,2s:0.25,4s:1 (frames, s or %%), where 2s:0 for 1.5s stops; the frame rate is constant then",
    )
    add(
        "--ease",
        choices=get_args(Ease),
        default="linear",
        help="how one speed of a curve becomes the next (default: linear)",
    )
    add(
        "--sound-speed",
        choices=get_args(SoundLaw),
        default=Plan.sound_speed,
        help="with --speed: stretch the sound, its pitch held (default); drop it; or keep it as it is from "
        "the beginning on, as for music",
    )
    add(
        "--shutter",
        type=_angle,
        metavar="ANGLE",
        help="make each frame the mean of several moments, as film does at 180 (of 360, the whole time until "
        "the next frame): motion blur, and no stutter on the way from 60 to 24",
    )
    add(
        "--samples",
        type=int,
        default=Shutter.samples,
        metavar="N",
        help=f"with --shutter: moments of each frame (default: {Shutter.samples})",
    )


def speed_of(arguments: argparse.Namespace) -> Curve | None:
    """Return how fast the clip plays; None: as it is."""
    return Curve.of(arguments.speed, arguments.ease)


def shutter_of(arguments: argparse.Namespace) -> Shutter | None:
    """Return the shutter of the output frames."""
    return None if arguments.shutter is None else Shutter(arguments.shutter, arguments.samples)


def _angle(text: str) -> Fraction:
    try:
        return Shutter(text.removesuffix("°")).angle  # type: ignore[arg-type] # it understands texts too
    except BadInputError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no angle above 0 and up to 360, such as 180"
        ) from error
