"""A picture of a curve of speed: the time of the source over the time of the output."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from .curve import Curve, Position
from .route import Route, route_of

# Pixels of the picture and of its margin; frames a second and seconds of the clip that is drawn.
_WIDTH, _HEIGHT, _MARGIN = 480, 240, 28
_RATE, _SECONDS = Fraction(24), Fraction(2)
_GROUND, _GREY, _LINE, _TEXT = (28, 28, 30), (90, 90, 95), (120, 200, 255), (210, 210, 210)

Point = tuple[Fraction, Fraction]
"""Seconds of the output and of the source."""


def picture_of(curve: Curve) -> Any:
    """Return a picture (PIL) of what a curve makes of a clip of 24 frames a second.

    The clip is a little longer than the last keyframe.

    Raises:
        BadInputError: a keyframe that is not reached.
    """
    from PIL import Image, ImageDraw  # noqa: PLC0415 - ComfyUI has it, the pack alone need not

    frames = _frames_of(curve)
    end = frames / _RATE
    times = [index / _RATE for index in range(frames)]
    route = route_of(curve, times, end)
    image = Image.new("RGB", (_WIDTH, _HEIGHT), _GROUND)
    draw = ImageDraw.Draw(image)

    def place(point: Point) -> tuple[float, float]:
        right = float(point[0] / route.end) * (_WIDTH - 2 * _MARGIN)
        return _MARGIN + right, _HEIGHT - _MARGIN - float(point[1] / end) * (_HEIGHT - 2 * _MARGIN)

    corner = Fraction(0), Fraction(0)
    draw.line([place((corner[0], end)), place(corner), place((route.end, corner[1]))], _GREY)
    draw.line([place(point) for point in _points(route, times, end)], _LINE, 2)
    draw.text((_MARGIN, 8), f"{float(end):.3g} s of a clip become {float(route.end):.3g} s", _TEXT)
    draw.text((_MARGIN, _HEIGHT - 20), str(curve)[:70], _TEXT)
    return image


def _points(route: Route, times: list[Fraction], end: Fraction) -> list[Point]:
    last = route.visits[-1].frame
    points = [(visit.start, times[visit.frame]) for visit in route.visits]
    return [*points, (route.end, end if last == len(times) - 1 else times[last])]


def _frames_of(curve: Curve) -> int:
    """Return the frames of a clip for which a curve may be meant."""

    def frames(position: Position) -> Fraction:
        return position.value * _RATE if position.unit == "s" else position.value

    places = [frames(key.at) for key in curve.keys if key.at.unit != "%"]
    return int(max([*places, Fraction(0)]) * Fraction(5, 4)) + int(_SECONDS * _RATE)
