"""Trains a network, a built-in one or RIFE 4.x: ``midframe.training.train --out FILE``.

``midframe train CONFIG`` runs the same loop, see :mod:`.command`.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from statistics import mean

import torch

from ..errors import BadInputError
from .batches import Sources, batches
from .plan import DESCRIBED, TrainingPlan
from .processes import any_of, ending, share
from .run import Run
from .trainer import Trainer
from .watching import Watch

__all__ = ["Run", "Trainer", "main", "train"]

_log = logging.getLogger(__name__)


def train(trainer: Trainer, run: Run) -> bool:
    """Train to the end of the plan, to the time ``run.until``, or until Ctrl-C; then save and export.

    Returns:
        Whether it came to the end of the plan.

    Raises:
        BadInputError: the plan has real clips, and it is not said where they are.
        MidframeError: a file cannot be written.
    """
    plan = trainer.plan
    if plan.clips and run.sources is None:
        raise BadInputError(
            "This training needs real clips.", "no store of them", "Give --footage and --teacher."
        )
    rank, _ = share()
    # Of several processes the first writes everything.
    watch = Watch(trainer, run) if rank == 0 else None
    kept = time.monotonic()
    losses: list[float] = []
    with ending(_log.warning) as asked:
        for batch in batches(plan, trainer.step, run.workers, run.sources, share()):
            losses.append(trainer.train_step(batch))
            if watch:
                watch.after_step(losses[-1])
                if trainer.step % 50 == 0:
                    _log.info("step %d of %d, loss %.4f", trainer.step, plan.steps, mean(losses[-50:]))
            if watch and time.monotonic() - kept > run.keep_every:
                _keep(trainer, run.out)
                kept = time.monotonic()
            if any_of(asked() or time.time() > run.until, trainer.device):
                break
        if watch:
            watch.close()
            _keep(trainer, run.out)
    return trainer.step >= plan.steps


def _keep(trainer: Trainer, out: Path) -> None:
    trainer.save(out.with_suffix(".train"))
    trainer.export(out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="midframe.training.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--resume", action="store_true", help="go on from the .train file beside --out")
    parser.add_argument("--workers", type=int, default=1, help="processes that make samples")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; 0 is torch's own choice")
    parser.add_argument("--footage", type=Path, help="store of real clips, see midframe.training.footage")
    parser.add_argument("--teacher", type=Path, help="checkpoint of RIFE 4.x that labels them")
    parser.add_argument("--examine", type=int, default=500, help="steps between rows of the curve; 0: none")
    parser.add_argument("--keep", type=float, default=180.0, help="seconds between checkpoints")
    parser.add_argument("--until", type=float, default=math.inf, help="stop at this time, seconds since 1970")
    for field in (f for f in fields(TrainingPlan) if f.name not in DESCRIBED):
        parser.add_argument(
            f"--{field.name}", type=type(field.default), default=None, help=f"{field.default}"
        )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if options.threads:
        torch.set_num_threads(options.threads)
    names = [f.name for f in fields(TrainingPlan) if f.name not in DESCRIBED]
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    # Everything else is in the file; with another value the weights would not be those that their metadata
    # describes.
    if options.resume and given.keys() - {"steps", "cool_down"}:
        parser.error("with --resume only --steps and --cool_down may be changed")
    if options.resume:
        trainer = Trainer.resume(
            options.out.with_suffix(".train"), given.get("steps"), given.get("cool_down")
        )
    else:
        trainer = Trainer(TrainingPlan(**given))
    both = options.footage and options.teacher
    train(
        trainer,
        Run(
            options.out,
            workers=options.workers,
            keep_every=options.keep,
            evaluate_every=options.examine,
            until=options.until,
            sources=Sources(options.footage, options.teacher) if both else None,
        ),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
