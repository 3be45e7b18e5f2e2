"""Simulates when cached memory is given back to the driver, on a simulated device.

    python -m midframe.benchmarks.clearing --out FOLDER

The loop's own budget, ladder and clearing run against :class:`.allocator.Card`: with ample memory, with so
little that fragmentation matters, and beside another program. Adaptive clearing is compared with the fixed
interval that is the default of older packs, and with none at all.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import torch

from ..errors import OutOfMemoryError
from ..memory.budget import Budget, Clearing
from ..memory.ladder import Ladder
from ..vfi_utils import Timeline, by_fps, by_multiplier
from .allocator import Block, Card
from .plot import text

_GIB = 2**30
# Bytes of a timestep: RIFE at about 2K in float16.
_TIMESTEP = _GIB
# Tensors of a pass, as parts of a timestep's bytes; at most three are alive at once, one timestep in all.
_TENSORS = (0.25, 0.5, 0.125, 0.375, 0.2)
# How many tensors of a kind stay once the next is there: of a pass, of source frames, of frames in download.
_ALIVE = 2
# Bytes of tensors that outlive a pair: features of the last two source frames, and frames in download.
_FEATURES, _FRAME = _TIMESTEP // 6, _TIMESTEP // 12
POLICIES: Mapping[str, int] = {"adaptive": 0, "every 10": 10, "never": 2**31}
"""Arguments of :class:`~..memory.budget.Clearing`."""
# GiB of the device: from hardly one timestep beside the tensors that stay, to ample.
_SIZES = (2.0, 2.2, 2.5, 2.8, 3.0, 3.2, 3.5, 3.8, 4.0, 4.2, 4.5, 5.0, 5.5, 6.0, 7.0, 8.0, 10.0, 12.0)


@dataclass(frozen=True)
class Scenario:
    """A run on a simulated device."""

    name: str
    total: int
    """Bytes of the device that are left for the run: the weights of other models are not among them."""
    pairs: int = 120
    timeline: Timeline = field(default_factory=lambda: by_fps(Fraction(25), Fraction(60)))
    other: Callable[[int], int] = lambda pair: 0
    """Bytes that another program wants at a pair."""


@dataclass
class SimulatedRun:
    """Counts and figures of one simulated run."""

    cleared: list[int] = field(default_factory=list)
    """Pairs after which the cache was given back."""
    failed: list[int] = field(default_factory=list)
    """Pairs in which the allocator failed; the ladder made a smaller batch of it, or the run ended."""
    refused: int = 0
    """How often the allocator had to give memory back by itself, in the middle of a pass."""
    denied: int = 0
    """The most bytes that the other program wanted and did not get."""
    used: list[int] = field(default_factory=list)
    """The most bytes in use in each pair."""
    reserved: list[int] = field(default_factory=list)
    """Bytes that torch held after each pair, before any clearing."""
    left: list[int] = field(default_factory=list)
    """Bytes of the card that the other program left, at each pair."""


class Totals(NamedTuple):
    """Sums over many runs."""

    runs: int
    failed: int
    """Runs in which the allocator failed."""
    refused: int
    """See :class:`SimulatedRun`."""
    cleared: int
    pairs: int


def scenarios() -> list[Scenario]:
    """Return the three scenarios that are drawn."""

    def comes_and_goes(pair: int) -> int:
        # From pair 20 on an eighth of a GiB more with each pair, 6.25 GiB from pair 70 on, all given back at
        # pair 95.
        return min(max(pair - 20, 0), 50) * _GIB // 8 if pair < 95 else 0  # noqa: PLR2004 - of 120 pairs

    return [
        Scenario("ample memory", 24 * _GIB),
        Scenario("little memory", int(3.8 * _GIB)),
        Scenario("another program", 10 * _GIB, other=comes_and_goes),
    ]


def sweep(sizes: Iterable[float], timelines: Iterable[Timeline]) -> dict[str, Totals]:
    """Return what each policy does on devices of so many GiB, summed over all sizes and timelines."""
    cards = [Scenario("", int(size * _GIB), timeline=line) for line in timelines for size in sizes]
    found = {}
    for policy, every in POLICIES.items():
        courses = [simulate(card, every) for card in cards]
        found[policy] = Totals(
            runs=len(courses),
            failed=sum(bool(course.failed) for course in courses),
            refused=sum(course.refused for course in courses),
            cleared=sum(len(course.cleared) for course in courses),
            pairs=sum(len(course.used) for course in courses),
        )
    return found


class _Process:
    """The memory of our process in a run, with batches as the budget chooses them, on a simulated device."""

    def __init__(self, scenario: Scenario, every: int) -> None:
        self._scenario = scenario
        self.card = Card(scenario.total)
        self._budget = Budget(torch.device("cuda"))
        self._budget.estimate(_TIMESTEP)
        self._clearing = Clearing(every)
        # The last rung changes the picture, which only a user may allow: here it has nothing to offer.
        self._ladder = Ladder(self._budget.shrink, self._release, lambda: None)
        self._features: list[Block] = []
        self._frames: list[Block] = []
        self.course = SimulatedRun()

    def pair(self, index: int) -> None:
        """Make the frames of a pair, then let the clearing decide."""
        course, card = self.course, self.card
        requested = self._scenario.other(index)
        # Another program gets no more than the driver has left.
        card.others = min(requested, card.others + card.driver)
        card.peak = 0
        failed = card.failed
        self._ladder.climb(self._encode)
        # A time of 0 is the source frame itself, which no pass makes.
        left = sum(t != 0 for t in self._scenario.timeline.shown(index, last=False))
        while left:
            left -= self._ladder.climb(partial(self._infer, left))
        # The ladder hides a failure from the loop, so the allocator's own count is compared.
        course.failed += [index] if card.failed > failed else []
        course.denied = max(course.denied, requested - card.others)
        course.used.append(card.peak)
        course.reserved.append(card.reserved)
        course.left.append(card.total - card.others)
        self._clearing.pair_done(
            self._budget.bytes_each, lambda: card.room().cached, card.room, partial(self._clear, index)
        )
        course.refused = card.refused

    def _encode(self) -> None:
        self._features.append(self.card.allocate(_FEATURES))
        while len(self._features) > _ALIVE:
            self.card.free(self._features.pop(0))

    def _infer(self, timesteps: int) -> int:
        count = self._budget.batch(timesteps, lambda: self.card.room().free)
        # Each tensor is allocated before the oldest is freed, as the output of a layer is before its input
        # goes.
        alive: list[Block] = []
        try:
            for part in _TENSORS:
                alive.append(self.card.allocate(int(part * _TIMESTEP * count)))
                if len(alive) > _ALIVE:
                    self.card.free(alive.pop(0))
            self._frames.append(self.card.allocate(_FRAME * count))
        finally:
            # Also where the allocator failed: the ladder runs this again, and must find the memory of the
            # failed pass free.
            for block in alive:
                self.card.free(block)
        if len(self._frames) > _ALIVE:
            self.card.free(self._frames.pop(0))
        return count

    def _release(self) -> str:
        self.card.empty_cache()
        return "cleared cached memory"

    def _clear(self, index: int) -> None:
        self.card.empty_cache()
        self.course.cleared.append(index)


def simulate(scenario: Scenario, every: int) -> SimulatedRun:
    """Simulate a run that clears after ``every`` pairs; 0 is adaptive."""
    process = _Process(scenario, every)
    try:
        for index in range(scenario.pairs):
            process.pair(index)
    except OutOfMemoryError:
        # No rung was left: the run ends in this pair, as a real one would.
        process.course.failed.append(index)
    return process.course


# Pixels of the drawing: its size and margins; a panel's width and height, and the steps from panel to panel.
_WIDTH, _HEIGHT, _LEFT, _TOP = 1140, 676, 56, 84
_PANEL, _TALL, _ACROSS, _DOWN = 310, 118, 366, 192
_USED, _RESERVED, _CARD, _CLEAR, _FAIL, _PALE = (
    "#0f766e",
    "#99d5ce",
    "#6b7280",
    "#b45309",
    "#dc2626",
    "#6b7280",
)


def as_svg(found: Mapping[str, Mapping[str, SimulatedRun]], totals: Mapping[str, int]) -> str:
    """Draw memory over pairs, a panel for each scenario and policy.

    Args:
        found: runs by scenario and policy.
        totals: bytes of the scenarios' devices.
    """
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        text(
            _LEFT, 30, "When cached memory is given back: a simulated card, GiB over pairs", 18, weight="600"
        ),
        *_legend(),
    ]
    for row, (name, courses) in enumerate(found.items()):
        for column, (policy, course) in enumerate(courses.items()):
            x, y = _LEFT + column * _ACROSS, _TOP + 28 + row * _DOWN
            parts += _panel(course, totals[name], x, y)
            parts.append(text(x, y - 8, f"{name}, {policy}", 13, weight="600"))
            parts.append(text(x, y + _TALL + 32, _summary(course), 11, _PALE))
    return "\n".join([*parts, "</svg>", ""])


def _summary(course: SimulatedRun) -> str:
    denied = f", other denied {course.denied / _GIB:.1f} GiB" if course.denied else ""
    failed = f"{len(course.cleared)} cleared, {len(course.failed)} failed"
    return f"{failed}, {course.refused} by torch in a pass{denied}"


def _legend() -> Iterable[str]:
    x = _LEFT
    for colour, what in (
        (_USED, "in use, at most"),
        (_RESERVED, "held by torch"),
        (_CARD, "card less the other program"),
        (_CLEAR, "cleared"),
        (_FAIL, "allocator failed"),
    ):
        yield f'<rect x="{x}" y="47" width="12" height="12" fill="{colour}"/>'
        yield text(x + 18, 58, what, 12, _PALE)
        # About 7 pixels a letter: nothing here can tell how wide a text will be drawn.
        x += 40 + 7 * len(what)


def _panel(course: SimulatedRun, total: int, x: float, y: float) -> Iterable[str]:
    across = _PANEL / max(len(course.used), 1)

    def height(size: int) -> float:
        return y + _TALL * (1 - size / total)

    def line(sizes: Sequence[int]) -> str:
        # A staircase, of two points for each run of equal values instead of two for each pair.
        steps, begin = [], 0
        for size, equal in groupby(sizes):
            end = begin + len(list(equal))
            steps += [f"{x + i * across:.1f},{height(size):.1f}" for i in (begin, end)]
            begin = end
        return " ".join(steps)

    # The larger area first: the memory in use is drawn over what torch holds.
    for sizes, colour in ((course.reserved, _RESERVED), (course.used, _USED)):
        area = f"{x:.1f},{y + _TALL} {line(sizes)} {x + _PANEL:.1f},{y + _TALL}"
        yield f'<polygon points="{area}" fill="{colour}"/>'
    yield f'<polyline points="{line(course.left)}" fill="none" stroke="{_CARD}" stroke-width="1.5"/>'
    for pairs, colour, size in ((course.cleared, _CLEAR, 7), (course.failed, _FAIL, 14)):
        marks = " ".join(f"M{x + (pair + 0.5) * across:.1f} {y + _TALL} v{size}" for pair in pairs)
        yield f'<path d="{marks}" stroke="{colour}" stroke-width="1.5"/>' if pairs else ""
    yield text(x - 34, y + 10, f"{total / _GIB:g}", 11, _PALE)
    yield text(x - 34, y + _TALL, "0", 11, _PALE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="midframe.benchmarks.clearing", description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="for clearing.json and .svg"
    )
    args = parser.parse_args(arguments)
    cases = scenarios()
    found = {case.name: {name: simulate(case, every) for name, every in POLICIES.items()} for case in cases}
    rates = [by_fps(Fraction(rate), Fraction(60)) for rate in (24, 25)]
    totals = sweep(_SIZES, [by_multiplier(2), by_multiplier(4), *rates])
    args.out.mkdir(parents=True, exist_ok=True)
    courses = {name: {p: asdict(c) for p, c in courses.items()} for name, courses in found.items()}
    report = {"scenarios": courses, "sweep": {policy: total._asdict() for policy, total in totals.items()}}
    (args.out / "clearing.json").write_text(json.dumps(report) + "\n", encoding="utf-8")
    picture = as_svg(found, {case.name: case.total for case in cases})
    (args.out / "clearing.svg").write_text(picture, encoding="utf-8")
    for name, by_policy in found.items():
        for policy, course in by_policy.items():
            sys.stdout.write(f"{name}, {policy}: {_summary(course)}\n")
    for policy, total in totals.items():
        runs = f"{total.runs} runs on cards of {_SIZES[0]:g} to {_SIZES[-1]:g} GiB, {policy}"
        times = (
            f"cleared {total.cleared} times in {total.pairs} pairs, by torch in a pass {total.refused} times"
        )
        sys.stdout.write(f"{runs}: {total.failed} with a failure, {times}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
