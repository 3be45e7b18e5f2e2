"""Measures a network while it learns, always on the same held-out triplets and generated samples."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..vfi_models import build, detect
from .atlas import make_atlas
from .batches import Sources
from .footage import Footage, Store, left_out
from .motion import MotionGenerator
from .sequences import Sequences
from .triplets import Triplet, held_out_triplets

COLUMNS = ("step", "loss", "rate", "held_out_db", "generated_db", "seconds")
# The number of generated samples, and the sides of their frames in pixels.
_GENERATED, _SIZE = 12, 192
# The seed of the samples and of their atlas: no training uses it.
_SEED = 0xE7


@dataclass(frozen=True)
class EvaluationSample:
    """Two frames (3, H, W), 0..1, and the true frame between them at ``timestep``."""

    left: Tensor
    right: Tensor
    middle: Tensor
    timestep: float


class Evaluation:
    """The mean PSNR over a fixed set of samples.

    Args:
        sources: with a store: samples from its held-out clips too.
        every: of the held-out triplets one in so many is used.
    """

    def __init__(
        self, sources: Sources | None = None, *, every: int = 3, generated: int = _GENERATED
    ) -> None:
        self.generated = _generated(generated)
        self.held_out = _held_out(sources, every) if sources else []

    def __call__(self, net: nn.Module) -> tuple[float, float]:
        """Return the PSNR in dB on held-out clips and on generated samples, nan without any."""
        means = []
        for samples in (self.held_out, self.generated):
            made = frames_of(net, samples)
            scores = [psnr(frame, s.middle) for frame, s in zip(made, samples, strict=True)]
            means.append(sum(scores) / len(scores) if scores else math.nan)
        return means[0], means[1]


def frames_of(net: nn.Module, samples: list[EvaluationSample]) -> list[Tensor]:
    """Return the frames (3, H, W) that a network makes of samples, on the host."""
    # Through detection, as a user loads the weights: that the network recognises its own is tested along.
    model = build(detect(net.state_dict()))
    made = []
    for s in samples:
        with torch.inference_mode():
            session = model.open(*s.left.shape[-2:])
            left, right = (session.encode(side[None].to(model.device)) for side in (s.left, s.right))
            times = torch.tensor([s.timestep], dtype=torch.float32, device=model.device)
            made.append(session.between(left, right, times)[0].cpu())
            session.close()
    return made


def psnr(picture: Tensor, expected: Tensor) -> float:
    """Return the PSNR in dB of a picture in 0..1, rounded to 8 bits, at most 60."""
    rounded = (picture.clamp(0, 1) * 255.0).round() / 255.0
    error = float((rounded - expected).square().mean())
    return min(60.0, -10.0 * math.log10(max(error, 1e-9)))


def _generated(count: int) -> list[EvaluationSample]:
    if not count:
        return []
    generator = MotionGenerator(
        make_atlas(_SEED, textures=24, shapes=12), seed=_SEED, size=_SIZE, reach=0.25 * _SIZE
    )
    samples = [generator.sample(i) for i in range(count)]
    return [EvaluationSample(s.left, s.right, s.middle, float(s.timestep)) for s in samples]


def _held_out(sources: Sources, every: int) -> list[EvaluationSample]:
    """Return samples of held-out clips; of a store's triplets one in ``every``."""
    chosen: list[tuple[Footage, Triplet]] = []
    if sources.store:
        store = Store(sources.store)
        chosen += [(store, t) for t in held_out_triplets(store, left_out())[::every]]
    for sequences in map(Sequences, sources.sequences):
        chosen += [(sequences, t) for t in sequences.examined()]

    def picture(footage: Footage, clip: int, number: int) -> Tensor:
        frame = torch.from_numpy(footage.frame(footage.clips[clip], number).copy())
        return frame.permute(2, 0, 1).float() / 255.0

    return [
        EvaluationSample(
            picture(footage, t.clip, t.left),
            picture(footage, t.clip, t.right),
            picture(footage, t.clip, t.middle),
            t.timestep,
        )
        for footage, t in chosen
    ]


class Curve:
    """The learning curve of a training as a CSV file: a row for each evaluation.

    Args:
        path: of the file; rows after step ``start`` are of a run that was cut short, and are removed.
        start: the step from which the training goes on.
    """

    def __init__(self, path: Path, start: int) -> None:
        self._path = path
        rows: list[list[str]] = []
        if start and path.exists():
            with path.open(newline="") as file:
                # A run that was killed may have written rows for steps after its last checkpoint, which come
                # again.
                rows = [row for row in csv.reader(file) if row and row[0].isdigit() and int(row[0]) <= start]
        with path.open("w", newline="") as file:
            # csv would end lines with \r\n on every system.
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])

    def add(self, step: int, *values: float) -> None:
        """Append a row: the step and the other columns in their order."""
        with self._path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow([step, *(f"{value:.6g}" for value in values)])
