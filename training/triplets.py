"""Cuts samples from real clips: two frames, the true frame between, a teacher's flow where it can be
trusted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import BadInputError
from ..vfi_models import backward_warp
from .atlas import chance
from .footage import Clip, Footage, Generator
from .motion import Sample

Teacher = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Left, right (N, 3, H, W) and timestep (N,) to flow (N, 4, H, W), see :class:`~.motion.Sample`."""

# Frames from left to right, and how often.
_SPANS = ((2, 0.55), (3, 0.15), (4, 0.3))
# Mean difference of left and right, in grey levels, that a triplet may have.
_LEAST, _MOST = 1.0, 40.0
# A cut: more grey levels, and more times the clip's median, from one frame to the next.
_CUT, _CUTS_MEDIAN = 25.0, 4.0
# A frame shown twice: a step under this share of the mean step of the span.
_UNEVEN = 0.4
# How much larger than the sample a crop may be that is then reduced to its size.
_LARGEST_ZOOM = 1.8
# Mean difference (0..1) of a warped frame from the truth at which its flow is not trusted at all.
_TRUSTED = 0.06


@dataclass(frozen=True)
class Triplet:
    """Numbers of three frames of a clip."""

    clip: int
    left: int
    middle: int
    right: int

    @property
    def timestep(self) -> float:
        """Return where the middle is, 0 to 1."""
        return (self.middle - self.left) / (self.right - self.left)


def triplets_of(clip: Clip, number: int, span: int) -> tuple[list[Triplet], list[float]]:
    """Return a clip's triplets of a span without stills, cuts and frames shown twice, and how far each moves.

    Args:
        clip: of the store.
        number: of the clip in the store.
        span: frames from left to right.
    """
    # differences[s][i] is of the frames i and i + s + 1.
    steps, whole = np.array(clip.differences[0]), clip.differences[span - 1]
    # A cut is a step that stands out in its clip, and is large by itself: slow clips have small medians.
    cut = max(_CUT, _CUTS_MEDIAN * float(np.median(steps)))
    found, moves = [], []
    for left, difference in enumerate(whole):
        between = steps[left : left + span]
        if not _LEAST < difference < _MOST or between.max() > cut or between.min() < _UNEVEN * between.mean():
            continue
        for middle in range(1, span):
            parts = clip.differences[middle - 1][left], clip.differences[span - middle - 1][left + middle]
            if max(parts) < 1.05 * difference:  # nearer to both than they are to one another
                found.append(Triplet(number, left, left + middle, left + span))
                moves.append(difference)
    return found, moves


class FootageSampler:
    """Cuts samples from the store's training clips; sample ``index`` is the same wherever it is made.

    Args:
        store: clips.
        left_out: names of clips that are not used.
        seed: with the index, fixes a sample.
        size: height and width of the frames.
    """

    def __init__(self, store: Footage, left_out: frozenset[str], *, seed: int, size: int) -> None:
        self._store, self._seed, self._size = store, seed, size
        shares = []
        self._by_span: list[tuple[list[Triplet], np.ndarray[tuple[int], np.dtype[np.float64]]]] = []
        for span, share in _SPANS:
            triplets: list[Triplet] = []
            moves: list[float] = []
            for number, clip in enumerate(store.clips):
                if not clip.held_out and clip.name not in left_out:
                    found, differences = triplets_of(clip, number, span)
                    triplets += found
                    moves += differences
            # Sequences of three frames have no longer spans.
            if not triplets:
                continue
            shares.append(share)
            # Frames that hardly change teach little; those that change most are often beyond any flow.
            weights = np.sqrt(np.clip(moves, _LEAST, 16.0))
            self._by_span.append((triplets, np.cumsum(weights) / weights.sum()))
        if not shares:
            raise BadInputError(
                "There is nothing to train on in these clips.",
                f"{len(store.clips)} clips, none with three frames in a row that move and are no cut",
                "Give longer clips, in which something moves.",
            )
        self._shares = shares if len(shares) == len(_SPANS) else [share / sum(shares) for share in shares]

    def __len__(self) -> int:
        return sum(len(triplets) for triplets, _ in self._by_span)

    def sample(self, index: int) -> Sample:
        """Return sample ``index``; its flow is zero and trusted nowhere, see :func:`with_teacher_flow`."""
        rng = np.random.default_rng([self._seed, 0xF0, index])
        triplets, cumulated = self._by_span[int(rng.choice(len(self._shares), p=self._shares))]
        # Rounding may leave the last of the cumulated weights just under 1.
        triplet = triplets[min(int(np.searchsorted(cumulated, rng.random())), len(triplets) - 1)]
        frames = self._cropped(rng, triplet)
        timestep = triplet.timestep
        if chance(rng, 0.5):
            # Played backwards, the middle is as far from the other end.
            frames, timestep = frames.flip(0), 1.0 - timestep
        # Before there is a flow, which would have to be mirrored and transposed as well.
        frames = _turned(rng, frames)
        left, middle, right = (frame.contiguous() for frame in frames)
        flow, trust = left.new_zeros(4, *left.shape[1:]), left.new_zeros(2, *left.shape[1:])
        return Sample(
            left, right, middle, torch.tensor(timestep, dtype=torch.float32, device="cpu"), flow, trust
        )

    def _cropped(self, rng: Generator, triplet: Triplet) -> Tensor:
        """Return the better of two crops of (3, 3, size, size), some of them reduced from a larger one."""
        clip = self._store.clips[triplet.clip]
        numbers = (triplet.left, triplet.middle, triplet.right)
        frames = [self._store.frame(clip, number) for number in numbers]
        largest = min(_LARGEST_ZOOM, min(clip.height, clip.width) / self._size)
        side = round(self._size * (rng.uniform(1.0, largest) if chance(rng, 0.5) else 1.0))
        crops = []
        for _ in range(2):
            y, x = int(rng.integers(clip.height - side + 1)), int(rng.integers(clip.width - side + 1))
            crops.append(np.stack([frame[y : y + side, x : x + side] for frame in frames]))
        # In int16, for a difference of uint8 wraps round. The crop that moves more is taken.
        moves = [float(np.abs(crop[0].astype(np.int16) - crop[2]).mean()) for crop in crops]
        # (3, size, size, 3) to (3, 3, size, size), in 0..1.
        crop = torch.from_numpy(crops[int(np.argmax(moves))]).permute(0, 3, 1, 2).float() / 255.0
        if side == self._size:
            return crop
        size = (self._size, self._size)
        return F.interpolate(crop, size, mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)


def _turned(rng: Generator, frames: Tensor) -> Tensor:
    """Mirror, transpose and recolour frames (3, 3, H, W)."""
    for axis in (2, 3):
        if chance(rng, 0.5):
            frames = frames.flip(axis)
    if chance(rng, 0.5):
        frames = frames.transpose(2, 3)
    if chance(rng, 0.3):
        frames = frames[:, torch.from_numpy(rng.permutation(3))]
    if chance(rng, 0.3):
        frames = frames ** float(np.exp(rng.uniform(-0.3, 0.3)))
    return frames


def with_teacher_flow(samples: list[Sample], teacher: Teacher) -> list[Sample]:
    """Give samples a teacher's flow, trusted where a frame comes near the truth by it, nearer than without.

    ``visible`` then says, from 0 to 1, how far the flow to a side is trusted.
    """
    left, right, middle = (
        torch.stack([getattr(s, name) for s in samples]) for name in ("left", "right", "middle")
    )
    flow = teacher(left, right, torch.stack([s.timestep for s in samples]))
    trust = []
    for frame, half in zip((left, right), (flow[:, :2], flow[:, 2:]), strict=True):
        warped_error, error = (_distance(x, middle) for x in (backward_warp(frame, half), frame))
        trust.append((1.0 - warped_error / _TRUSTED).clamp(0.0, 1.0) * (warped_error <= error + 0.01))
    return [replace(s, flow=f, visible=v) for s, f, v in zip(samples, flow, torch.cat(trust, 1), strict=True)]


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean difference around each pixel, (N, 1, H, W)."""
    # 5 x 5 pixels; at the border the mean of those that are there.
    return F.avg_pool2d((a - b).abs().mean(1, keepdim=True), 5, 1, 2, count_include_pad=False)


def relit(sample: Sample, share: float, seed: int, index: int) -> Sample:
    """Change the light of one frame against the other, and that of the middle in between.

    Args:
        sample: number ``index`` of a training.
        share: of the samples that are changed.
        seed, index: fix the change.
    """
    rng = np.random.default_rng([seed, 0x11, index])
    if not chance(rng, share):
        return sample
    gains, offsets = np.exp(rng.normal(0.0, 0.025, 2)), rng.normal(0.0, 0.008, 2)

    def changed(picture: Tensor, time: float) -> Tensor:
        # Light that changes steadily: the middle has its share of both ends.
        gain, offset = (float((1.0 - time) * v[0] + time * v[1]) for v in (gains, offsets))
        return (picture * gain + offset).clamp(0.0, 1.0)

    return replace(
        sample,
        left=changed(sample.left, 0.0),
        right=changed(sample.right, 1.0),
        middle=changed(sample.middle, float(sample.timestep)),
    )


def held_out_triplets(store: Footage, left_out: frozenset[str], *, every: int = 20) -> list[Triplet]:
    """Return triplets of neighbouring frames of the held-out clips, always the same ones.

    Args:
        store: decoded clips.
        left_out: names of clips that are not used.
        every: least number of frames from one to the next.
    """
    chosen: list[Triplet] = []
    for number, clip in enumerate(store.clips):
        if clip.held_out and clip.name not in left_out:
            last = -every
            for triplet in triplets_of(clip, number, 2)[0]:
                if triplet.left >= max(4, last + every) and triplet.left <= 24:  # noqa: PLR2004 - as scored
                    chosen.append(triplet)
                    last = triplet.left
    return chosen
