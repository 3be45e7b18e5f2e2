"""Watches a clip frame by frame and notes what each pair is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from ..inputs.frames import checked_pictures
from ..inputs.objects import require_one_of
from ..memory.staging import same_bits
from .cuts import FLASH_STEP, LEAST_MISMATCH, SAME_SHOT, SIMILAR_MISMATCH, UNCHANGED, Cuts, Pair
from .look import (
    COARSE,
    Thumbnail,
    change_between,
    match,
    mismatch,
    resembles_itself,
    standing,
    thumbnail,
)
from .notes import Analysis, Held, PairNote
from .ssim32 import points, ssim32

Measure = Literal["midframe", "ssim32"]
MEASURES: tuple[Measure, ...] = ("midframe", "ssim32")
_OLDER_HELD, _OLDER_CUT = 0.996, 0.2

# Two pictures that have nothing to do with each other differ by more than this share of their contrast.
_LEAST_CHANGE = 0.2
# A pair that changes by less than these shares of a pair near it, in most areas and in all, and drifts by no
# more than so many fine pixels, repeats a frame: 99 of 100 repeats do under H.264 at crf 23; a picture that
# drifts evenly changes by over half of what it does around.
_RESTS, _RESTS_AT_MOST, _RESTS_REACH, _RESTS_DRIFT = 0.15, 0.3, 3, 0.25
# Frames to both sides of the middle of a dissolve, and how near the middle is to their mean.
_DISSOLVE_REACH, _DISSOLVE_ERROR = 3, 0.3
# Grey levels that the ends of such a window differ by.
_DISSOLVE_CHANGE = 4.0
# Frames to both sides over which the contrast of a dissolve sinks, by how much of the variance at the ends,
# and which part of that over the near ones: 4 of 25 in a steady one, all of it in a flash.
_FAINT_REACH, _FAINT_NEAR, _FAINT, _FAINT_SHAPE = 5, 2, 0.25, (0.05, 0.5)
# A seam may change the picture by so much more than nine of ten pairs do.
_SEAM = 1.25
_LEAST_LOOP = 3


class Watcher:
    """Notes what each pair of a clip is, a few frames behind the one that is given.

    It keeps thumbnails of a few frames, and a reference to the last frame: a source must not write into
    a frame before it has given the next one. What it notes does not depend on how frames are dealt out.

    Args:
        measure: ``midframe``; or ``ssim32`` for the older rule for held frames and cuts: similarity at
            32 x 32 points over 0.996, and under 0.2.
        only_cuts: Note cuts, flashes and frames that are equal bit for bit, and nothing else: a third of
            the work.

    Raises:
        BadInputError: another measure.
    """

    LOOK_AHEAD = 6
    """A pair is noted once so many frames after its left one have been given."""

    def __init__(self, measure: Measure = "midframe", *, only_cuts: bool = False) -> None:
        require_one_of(measure, MEASURES, "measure")
        self._measure = measure
        self._only_cuts = only_cuts
        self._last: Tensor | None = None
        self._points: Tensor | None = None
        self._first: Thumbnail | None = None
        # The first frame of those that repeat each other: slow motion must not pass for none, frame by frame.
        self._drawing: Thumbnail | None = None
        self._frames: dict[int, Thumbnail] = {}
        self._pairs: dict[int, Pair] = {}
        self._cuts = Cuts(self._frames, self._pairs, self.LOOK_AHEAD)
        self._changes: list[float] = []
        self._count = 0
        self._noted = 0
        self._loop = False

    @property
    def loop(self) -> bool:
        """Tell whether the first frame follows the last as any its next; known after :meth:`finish`."""
        return self._loop

    def push(self, frame: Tensor) -> list[PairNote]:
        """Take the next frame and return the notes that became final, in order.

        Args:
            frame: (H, W, C) float in 0..1, uint8 or uint16, of the size of the first one, on any device.

        Raises:
            BadInputError: no picture, or one of another size.
        """
        next(checked_pictures([frame], first=self._count, like=self._last))
        with torch.inference_mode():
            self._take(frame)
            return self._note_until(self._count - self.LOOK_AHEAD)

    def flush(self) -> list[PairNote]:
        """Return the notes of all pairs so far, the last ones made without what follows; more may come."""
        # A view would keep the whole part that it came in.
        self._last = None if self._last is None else self._last.clone()
        with torch.inference_mode():
            return self._note_until(self._count - 1)

    def finish(self) -> list[PairNote]:
        """Return the notes of the last pairs: no frame follows."""
        with torch.inference_mode():
            notes = self._note_until(self._count - 1)
            self._loop = self._is_loop()
        self._last = None
        return notes

    def _take(self, frame: Tensor) -> None:
        last, number = self._last, self._count
        equal = last is not None and same_bits(last, frame)
        small = self._frames[number - 1] if equal else thumbnail(frame)
        similarity = self._similarity(frame, equal=equal)
        if number == 0:
            self._first = self._drawing = small
        else:
            self._pairs[number - 1] = pair = self._seen(
                self._frames[number - 1], small, similarity, equal=equal
            )
            self._drawing = self._drawing if pair.held else small
            self._changes.append(self._pairs[number - 1].change)
        self._frames[number] = small
        self._last, self._count = frame, number + 1

    def _similarity(self, frame: Tensor, *, equal: bool) -> float:
        """Return the older measure of this frame and the last one, where it is asked for."""
        if self._measure != "ssim32" or equal:
            return 1.0
        before, self._points = self._points, points(frame)
        return 1.0 if before is None else ssim32(before, self._points)

    def _note_until(self, end: int) -> list[PairNote]:
        """Return the notes of the pairs before ``end`` that were not noted yet."""
        notes = []
        while self._noted < end:
            notes.append(self._note(self._noted))
            passed = self._noted - self.LOOK_AHEAD
            for old in (self._frames, self._pairs):
                old.pop(passed, None)
            self._cuts.forget(passed)
            self._noted += 1
        return notes

    def _note(self, index: int) -> PairNote:
        pair, step = self._pairs[index], self._frames[index].step
        if self._measure == "ssim32":
            cut, flash, held = pair.similarity < _OLDER_CUT, False, _older_held(pair)
        else:
            flash = self._cuts.is_flash(index)
            cut = not flash and self._cuts.is_cut(index, self._count)
            held = pair.held or ("alike" if not cut and not flash and self._rests(index) else "")
        if held:
            return PairNote(index, held=held)
        if cut:
            return PairNote(index, cut=True)
        if self._only_cuts:
            return PairNote(index, flash=flash)
        return PairNote(
            index,
            dissolve=not flash and self._dissolves(index),
            flash=flash,
            still=round(pair.still, 3),
            gain=round(pair.found.gain, 4),
            motion=round(pair.found.motion * COARSE * step, 2),
        )

    def _seen(self, left: Thumbnail, right: Thumbnail, similarity: float, *, equal: bool) -> Pair:
        if equal:
            return Pair("equal", UNCHANGED, 0.0, 0.0, similarity, near=True)
        change = float((left.coarse - right.coarse).abs().mean())
        near = change < _LEAST_CHANGE * max(left.contrast, right.contrast)
        if self._only_cuts:
            found = UNCHANGED
            if not near and self._measure == "midframe":
                found = replace(found, mismatch=mismatch(left.coarse, right.coarse))
            return Pair("", found, 0.0, change, similarity, near)
        # A picture of another shot, all of which differs, could pass for the same with much grain.
        if near and resembles_itself(self._drawing or left, right):
            return Pair("alike", UNCHANGED, 0.0, change, similarity, near)
        found, parts = match(left.coarse, right.coarse), change_between(left, right)
        return Pair("", found, standing(left, right), change, similarity, near, parts)

    def _rests(self, index: int) -> bool:
        """Tell whether a pair hardly changes beside those near it, as a repeat under a codec does."""
        here = self._pairs[index].parts
        if self._only_cuts or here.drift > _RESTS_DRIFT:
            return False
        near = range(index - _RESTS_REACH, index + _RESTS_REACH + 1)
        # All of the picture changes at a cut: beside that, any motion is little.
        around = (self._pairs[i] for i in near if i != index and i in self._pairs)
        moving = [pair.parts for pair in around if pair.found.mismatch <= SIMILAR_MISMATCH]
        areas = max((parts.areas for parts in moving), default=0.0)
        most = max((parts.most for parts in moving), default=0.0)
        return here.areas < _RESTS * areas and here.most < _RESTS_AT_MOST * most

    def _dissolves(self, index: int) -> bool:
        """Tell whether a frame of the pair is a mean of those around it that motion does not explain, or has
        the contrast of one.
        """
        return any(self._is_mean(at) or self._is_faint(at) for at in (index, index + 1))

    def _is_faint(self, middle: int) -> bool:
        """Tell whether the contrast sinks and rises about a frame as in the mean of two pictures, moving or
        not: shares s and 1 - s of them have s^2 and (1 - s)^2 of their variance.
        """
        near = [
            self._frames.get(middle + k) for k in (-_FAINT_REACH, -_FAINT_NEAR, 0, _FAINT_NEAR, _FAINT_REACH)
        ]
        frames = [frame.coarse for frame in near if frame is not None]
        if len(frames) < len(near):
            return False
        spread = [float(frame.var()) for frame in frames]
        level = [float(frame.mean()) for frame in frames]
        wide, narrow = (spread[i] + spread[-1 - i] - 2 * spread[2] for i in (0, 1))
        return (
            wide > _FAINT * max(spread[0], spread[-1])
            and _FAINT_SHAPE[0] * wide < narrow < _FAINT_SHAPE[1] * wide
            and abs(2 * level[2] - level[0] - level[-1]) < FLASH_STEP * level[2]
            and mismatch(frames[0], frames[-1]) > SAME_SHOT
        )

    def _is_mean(self, middle: int) -> bool:
        """Tell whether a frame is a mean of those around it that motion does not explain."""
        ends = [self._frames.get(middle + k * _DISSOLVE_REACH) for k in (-1, 1)]
        if ends[0] is None or ends[1] is None:
            return False
        a, b = ends[0].coarse, ends[1].coarse
        change = float((a - b).abs().mean())
        error = float((self._frames[middle].coarse - (a + b) / 2).abs().mean())
        if change <= _DISSOLVE_CHANGE or error >= _DISSOLVE_ERROR * change / 2:
            return False
        lost = match(a, b)
        return lost.mismatch > SAME_SHOT or abs(lost.gain - 1.0) > FLASH_STEP

    def _is_loop(self) -> bool:
        if self._first is None or self._count < _LEAST_LOOP:
            return False
        seam = self._seen(self._frames[self._count - 1], self._first, 1.0, equal=False)
        usual = float(torch.quantile(torch.tensor(self._changes, dtype=torch.float32, device="cpu"), 0.9))
        return seam.found.mismatch < LEAST_MISMATCH and seam.change <= _SEAM * usual


def analyse(
    frames: Iterable[Tensor],
    measure: Measure = "midframe",
    *,
    only_cuts: bool = False,
    poll: Callable[[], None] = lambda: None,
) -> Analysis:
    """Return the notes of a whole clip.

    Args:
        frames: (N, H, W, C), or frames (H, W, C) one by one; see :meth:`Watcher.push`.
        measure, only_cuts: see :class:`Watcher`.
        poll: called before each frame; may raise.

    Raises:
        BadInputError: no pictures, or of several sizes.
    """
    watcher = Watcher(measure, only_cuts=only_cuts)
    notes = []
    for frame in frames:
        poll()
        notes += watcher.push(frame)
    notes += watcher.finish()
    return Analysis(tuple(notes), watcher.loop)


def _older_held(pair: Pair) -> Held:
    if pair.held == "equal":
        return "equal"
    return "alike" if pair.similarity > _OLDER_HELD else ""
