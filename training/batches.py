"""Batches of samples, generated and real; the number of a step decides what is in its batch."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .atlas import make_atlas
from .footage import Footage, Joined, Store, left_out
from .motion import MotionGenerator, Sample
from .plan import TrainingPlan
from .sequences import Sequences
from .teacher import load_teacher
from .triplets import FootageSampler, Teacher, relit, with_teacher_flow

PARTS = ("left", "right", "middle", "timestep", "flow", "visible")
# Batches after which the order of generated and real ones begins again.
_ROUND = 3
# Weight of the exact flow to a frame in which the pixel is hidden; a teacher's flow has no weight there.
_HIDDEN_SHARE = 0.25


@dataclass(frozen=True)
class Sources:
    """Files on this machine that a plan with clips needs."""

    store: Path | None = None
    """See :mod:`.footage`."""
    teacher: Path | None = None
    """A checkpoint of RIFE 4.x; without one, flow is learned from the pictures alone."""
    sequences: tuple[Path, ...] = ()
    """Folders of septuplets or triplets, see :mod:`.sequences`."""

    def footage(self) -> Footage:
        """Open all of it."""
        stores: list[Footage] = [] if self.store is None else [Store(self.store)]
        return Joined([*stores, *map(Sequences, self.sequences)])


class Batches(Dataset[dict[str, Tensor]]):
    """A data set whose item ``step`` is the batch of that step, the same in whichever process it is made.

    Args:
        plan: of the training.
        sources: of real clips.
        share: (rank, count) of the process: which samples of a batch are its own.
    """

    def __init__(
        self, plan: TrainingPlan, sources: Sources | None = None, share: tuple[int, int] = (0, 1)
    ) -> None:
        self._plan = plan
        self._sources = sources
        self._rank, self._count = share
        self._generator: MotionGenerator | None = None
        self._footage: FootageSampler | None = None
        self._teacher: Teacher | None = None

    def __len__(self) -> int:
        return self._plan.steps

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        plan = self._plan
        # Each sample of the training has a number of its own, which decides everything about it.
        numbers = [step * plan.batch + i for i in range(self._rank, plan.batch, self._count)]
        # By the step and not at random, so that a resumed run gets the same batches.
        real = self._sources is not None and step % _ROUND < plan.clips
        samples = self._real(numbers, self._sources) if real and self._sources else self._generated(numbers)
        samples = [relit(s, plan.light, plan.seed, n) for s, n in zip(samples, numbers, strict=True)]
        batch = {name: torch.stack([getattr(s, name) for s in samples]) for name in PARTS}
        batch["step"] = torch.tensor(step, dtype=torch.int64, device="cpu")
        batch["hidden_share"] = torch.tensor(
            0.0 if real else _HIDDEN_SHARE, dtype=torch.float32, device="cpu"
        )
        return batch

    def _generated(self, numbers: list[int]) -> list[Sample]:
        plan = self._plan
        # Made in the worker process, not in the one that starts it: an atlas is 100 MB to pickle.
        if self._generator is None:
            self._generator = MotionGenerator(
                make_atlas(plan.seed), seed=plan.seed, size=plan.size, reach=plan.size * plan.reach
            )
        return [self._generator.sample(n % plan.samples if plan.samples else n) for n in numbers]

    def _real(self, numbers: list[int], sources: Sources) -> list[Sample]:
        plan = self._plan
        if self._footage is None:
            self._footage = FootageSampler(sources.footage(), left_out(), seed=plan.seed, size=plan.size)
        samples = [self._footage.sample(n) for n in numbers]
        if sources.teacher is None:
            return samples
        if self._teacher is None:
            self._teacher = load_teacher(sources.teacher)
        return with_teacher_flow(samples, self._teacher)


def batches(
    plan: TrainingPlan,
    start: int,
    workers: int,
    sources: Sources | None = None,
    share: tuple[int, int] = (0, 1),
) -> DataLoader[dict[str, Tensor]]:
    """Return the batches from step ``start`` to the end of the plan, made ahead by worker processes."""
    return DataLoader(
        Batches(plan, sources, share),
        # An item of the data set is a batch already.
        batch_size=None,
        sampler=range(start, plan.steps),
        num_workers=workers,
        # torch refuses a number here where there are no workers.
        prefetch_factor=8 if workers else None,
        worker_init_fn=_deaf,
    )


def _deaf(worker: int) -> None:
    """Leave Ctrl-C to the process that trains: a terminal sends it to all of them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
