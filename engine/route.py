"""Routes: which source frames a retimed clip shows, and when. Exact, as all times are.

A curve gives each source frame another time, and that is all it does: the frames of a clip in the order in
which they are visited, at rising times, are a clip like any other, with one timeline and one loop. Between
two visited frames the motion is even.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

from ..errors import BadInputError
from .curve import ADVICE, Curve, Ease, Position, SpeedKey
from .states import StatesLike
from .timeline import AtRate, Evenly, Gap, Timeline


class Visit(NamedTuple):
    """A source frame that is shown from some time on."""

    frame: int
    """Its number in the source."""
    start: Fraction
    """Seconds of the retimed clip."""


@dataclass(frozen=True)
class Route:
    """The source frames of a retimed clip in the order in which they are shown, each from its time on."""

    visits: tuple[Visit, ...]
    end: Fraction
    """When the last one's time is over, seconds."""

    def gap(self, index: int) -> Gap:
        """Return a visit, by its number, and the time until the next one."""
        last = index + 1 == len(self.visits)
        return Gap(index, self.visits[index].start, self.end if last else self.visits[index + 1].start)

    def pair(self, index: int) -> int | None:
        """Return the number of the pair of source frames between a visit and the next.

        None where both are of one frame, and after the last one of a clip that plays backwards.
        """
        here = self.visits[index].frame
        # After the last visit comes what would come after its frame.
        after = self.visits[index + 1].frame if index + 1 < len(self.visits) else here + 1
        return None if after == here else min(here, after)

    @property
    def turns(self) -> bool:
        """Tell whether anything is shown backwards."""
        return any(b.frame < a.frame for a, b in pairwise(self.visits))


@dataclass(frozen=True)
class RoutedTimesteps:
    """The timesteps of a retimed clip; see :class:`~.timeline.Timesteps`."""

    timeline: Timeline
    """Of the clip, in the time of the route."""
    route: Route

    def shown(self, index: int, *, last: bool) -> tuple[Fraction, ...]:
        """Return the timesteps after visit ``index``."""
        outputs = self.timeline.outputs(self.route.gap(index), last=last)
        return tuple(output.timestep for output in outputs)

    @property
    def closes(self) -> bool:
        """Tell whether the first visit follows the last; see :class:`~.timeline.Timeline`."""
        return self.timeline.closes


@dataclass(frozen=True)
class RoutedStates:
    """The states of a clip, for the pairs of visits of a route."""

    states: StatesLike
    route: Route

    def is_frame_skipped(self, frame_index: int) -> bool:
        """Tell whether nothing is made between a visit and the next."""
        pair = self.route.pair(frame_index)
        return pair is not None and self.states.is_frame_skipped(pair)


@dataclass(frozen=True)
class _Leg:
    """What lies between two keyframes: the source from one place to another, seconds."""

    begin: Fraction
    end: Fraction
    """Below ``begin`` where it is played backwards."""
    paces: tuple[Fraction, Fraction]
    """Seconds that a second of the source takes, at either end."""
    ease: Ease
    after: int = 0
    """How many keyframes of motion come before it."""
    closed: bool = False
    """Whether the frame at its end is on it: the first one of a clip that ends backwards."""
    stops: list[tuple[Fraction, Fraction]] = field(default_factory=list)
    """Where it stops, and for how long."""

    @property
    def backward(self) -> bool:
        """Tell whether it is played backwards."""
        return self.end < self.begin

    def holds(self, time: Fraction) -> bool:
        """Tell whether a source time lies on the leg; its end only does where it is closed."""
        if time == self.end:
            return self.closed
        return self.end < time <= self.begin if self.backward else self.begin <= time < self.end

    def until(self, time: Fraction) -> Fraction:
        """Return how long it takes from the beginning to a source time, without stops: the integral of the
        pace.
        """
        length, done = abs(self.end - self.begin), abs(time - self.begin)
        first, change = self.paces[0], self.paces[1] - self.paces[0]
        # Exact fractions of large numbers are slow, and films have hundreds of thousands of frames.
        if self.ease == "steps" or not change:
            return first * done
        # The integrals of x and of 3x^2 - 2x^3, where x is the part of the leg that is done.
        part = done / length
        risen = part / 2 if self.ease == "linear" else part**2 - part**3 / 2
        return done * (first + change * risen)

    def frames(self, times: Sequence[Fraction]) -> range:
        """Return the numbers of the source frames on the leg, in order; ``times`` are of all frames."""
        if self.backward:
            before = bisect_left if self.closed else bisect_right
            return range(bisect_right(times, self.begin) - 1, before(times, self.end) - 1, -1)
        return range(bisect_left(times, self.begin), bisect_left(times, self.end))


def route_of(curve: Curve, times: Sequence[Fraction], end: Fraction) -> Route:
    """Return the route of a curve through a clip.

    It turns and stops at the frame that is nearest to the keyframe. Places after the end of the clip are its
    end.

    Args:
        curve: of the clip.
        times: when each source frame is shown, seconds, from 0, rising.
        end: when the last one's time is over.

    Raises:
        BadInputError: a keyframe that is not reached in the direction of the one before.
    """
    if not times:
        return Route((), Fraction(0))
    places = _Places(times, end)
    legs = _legs(curve, places)
    visits: list[Visit] = []
    now = Fraction(0)
    for leg in legs:
        now = _travel(leg, times, now, visits)
    last = next((key.speed for key in reversed(curve.keys) if key.speed), Fraction(1))
    visits = visits or [Visit(0, now)]
    if last < 0:
        # Backwards to the beginning: the first frame is shown as long as it is in the source.
        now += (times[1] if len(times) > 1 else end) / -last
    return Route(tuple(visits), now)


def at_constant_rate(timeline: Timeline) -> Timeline:
    """Return a timeline whose frames have a constant rate, as a retimed clip has.

    A multiplier then says how many times the rate of the source that is, whatever the speed.

    Raises:
        BadInputError: it is a list with the multiplier of each pair.
    """
    policy = timeline.policy
    if not isinstance(policy, Evenly):
        return timeline
    if not isinstance(policy.multiplier, int):
        raise BadInputError(
            "A list of multipliers does not go with a speed or a shutter.",
            f"{len(policy.multiplier)} multipliers",
            "Give one multiplier or a frame rate; the speed says how many frames each pair gets.",
        )
    rate = policy.multiplier * timeline.source_fps
    return Timeline(AtRate(rate, policy.states), timeline.end, timeline.source_fps)


def retimed(timeline: Timeline, curve: Curve, frames: int) -> RoutedTimesteps:
    """Return the timesteps of a clip of ``frames`` frames at a constant rate, which plays along a curve.

    They are those of the frames that its route visits.

    Args:
        timeline: at a constant rate, see :func:`at_constant_rate`.
        curve: of the speed.
        frames: in the clip.

    Raises:
        BadInputError: see :func:`route_of`.
    """
    rate = timeline.source_fps
    route = route_of(curve, [index / rate for index in range(frames)], frames / rate)
    return RoutedTimesteps(routed(timeline, route), route)


def routed(timeline: Timeline, route: Route) -> Timeline:
    """Return a timeline for the visits of a route, whose states are by pairs of source frames."""
    policy: Any = timeline.policy
    if getattr(policy, "states", None) is None:
        return timeline
    return replace(timeline, policy=replace(policy, states=RoutedStates(policy.states, route)))


def _travel(leg: _Leg, times: Sequence[Fraction], now: Fraction, visits: list[Visit]) -> Fraction:
    """Add the visits of a leg that begins at ``now``, and return when it ends."""
    stops = sorted(leg.stops, reverse=leg.backward)

    def stop_before(time: Fraction | None) -> Fraction:
        """Stop at all places before a source time; None: at all that are left. Return for how long."""
        length = Fraction(0)
        while stops and (time is None or (stops[0][0] > time if leg.backward else stops[0][0] < time)):
            _, wait = stops.pop(0)
            # The frame that is shown there comes twice: nothing moves between two equal frames.
            visits.append(Visit(visits[-1].frame, visits[-1].start + wait))
            length += wait
        return length

    for frame in leg.frames(times):
        if visits:
            now += stop_before(times[frame])
        visits.append(Visit(frame, now + leg.until(times[frame])))
    now += stop_before(None)
    return now + leg.until(leg.end)


class _Places:
    """The places of a clip in seconds."""

    def __init__(self, times: Sequence[Fraction], end: Fraction) -> None:
        self._times = times
        self._end = end

    def time(self, position: Position) -> Fraction:
        """Return a position in seconds, the end where it is after that."""
        value, unit = position
        if unit == "frames":
            index = int(value)
            if index >= len(self._times) - 1:
                return self._end if index >= len(self._times) else self._times[-1]
            # Between two frames, where it is no whole number.
            here, after = self._times[index], self._times[index + 1]
            return here + (value - index) * (after - here)
        return min(value * self._end / 100 if unit == "%" else value, self._end)

    def length(self, stop: Position) -> Fraction:
        """Return a length of time in seconds; frames are of the average length."""
        return stop.value * self._end / len(self._times) if stop.unit == "frames" else stop.value

    def frame_near(self, time: Fraction) -> Fraction:
        """Return the time of the frame that is nearest, of two the earlier."""
        after = bisect_left(self._times, time)
        around = self._times[max(after - 1, 0) : after + 1]
        return min(around, key=lambda each: (abs(each - time), each))


def _legs(curve: Curve, places: _Places) -> Iterator[_Leg]:
    """Yield what lies between the keyframes, from the first to the end or back to the beginning.

    Where the direction changes the legs meet at a frame.
    """
    moving = [key for key in curve.keys if key.speed] or [
        SpeedKey(Position(Fraction(0), "frames"), Fraction(1))
    ]
    forwards = [key.speed > 0 for key in moving]
    # At a turn, and where the clip begins backwards, the place is that of a frame.
    turning = [not forwards[0], *(a != b for a, b in pairwise(forwards))]
    at = [
        places.frame_near(places.time(key.at)) if turn else places.time(key.at)
        for key, turn in zip(moving, turning, strict=True)
    ]
    paces = [1 / abs(key.speed) for key in moving]
    begin, finish = Position(Fraction(0), "%"), Position(Fraction(100), "%")
    legs = []
    if forwards[0]:
        legs.append(_Leg(Fraction(0), at[0], (paces[0], paces[0]), "steps"))
    for i, key in enumerate(moving):
        following = i + 1 < len(moving)
        end = at[i + 1] if following else places.time(finish if forwards[i] else begin)
        if (end < at[i]) == forwards[i] and end != at[i]:
            raise _never_reached(curve, key, moving[i + 1])
        closed = not forwards[i] and not following
        legs.append(_Leg(at[i], end, (paces[i], paces[i + 1 if following else i]), curve.ease, i + 1, closed))
    legs = [leg for leg in legs if leg.begin != leg.end]
    _add_stops(legs, curve, places)
    yield from legs


def _add_stops(legs: Sequence[_Leg], curve: Curve, places: _Places) -> None:
    """Give each stop to the leg on which it lies, in the order in which they are written."""
    moving, index = 0, 0
    for key in curve.keys:
        if key.stop is None:
            moving += 1
            continue
        place = places.frame_near(places.time(key.at))
        later = (i for i in range(index, len(legs)) if legs[i].after >= moving)
        on = next((i for i in later if legs[i].holds(place)), None)
        if on is None:
            raise _never_reached(curve, curve.keys[0], key)
        index = on
        legs[index].stops.append((place, places.length(key.stop)))


def _never_reached(curve: Curve, before: SpeedKey, key: SpeedKey) -> BadInputError:
    return BadInputError(
        "A keyframe of speed is not reached.",
        f"{curve}: after {Curve((before,))} the clip does not come to {Curve((key,))}",
        f"Order them as they are shown, with a speed below 0 before one that is earlier. {ADVICE}",
    )
