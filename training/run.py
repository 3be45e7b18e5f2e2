"""Settings of a run of a training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .batches import Sources


@dataclass(frozen=True)
class Run:
    """Settings of a run that the weights do not depend on."""

    out: Path
    """File of the weights; beside it are the checkpoint (``.train``) and the curve (``.csv``)."""
    workers: int = 1
    """Processes that make samples."""
    keep_every: float = 180.0
    """Seconds between checkpoints."""
    evaluate_every: int = 500
    """Steps between rows of the curve; 0 is never."""
    until: float = math.inf
    """Stop at this time, seconds since 1970."""
    sources: Sources | None = None
    """The files that a plan with clips needs."""
    sheet_every: int = 0
    """Steps between sheets of samples; 0 is never."""
    tensorboard: bool = False
    """Write the curve for TensorBoard too."""
    generated: int = 12
    """Generated samples that are examined."""
    progress: Callable[[int, float], None] | None = None
    """Told the number of steps done, and the loss of the last one."""
