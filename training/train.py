"""Trains a network, the built-in one: ``midframe.training.train --out ckpts/default.safetensors``."""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ..errors import BadInputError
from .atlas import make_atlas
from .motion import MotionGenerator
from .pupils import DEFAULT, pupil

_log = logging.getLogger(__name__)

_BATCH_PARTS = ("left", "right", "middle", "timestep", "flow", "visible")


@dataclass(frozen=True)
class Plan:
    """Everything that the weights depend on."""

    steps: int = 4900
    horizon: int = 8500
    """Step at which the half cosine of the learning rate would end."""
    cool_down: int = 2000
    """Over the last steps the rate falls linearly on top of that."""
    seed: int = 0
    batch: int = 4
    size: int = 160
    levels: int = 4
    rate: float = 1e-3
    warm_up: int = 200
    decay: float = 1e-4
    clip: float = 1.0
    average: float = 0.999
    reach: float = 0.25
    """Largest shift of a layer, in sides of the picture."""
    samples: int = 0
    """How many different ones there are; 0 never shows one twice. A few are learned by heart, motion too,
    long before a large network has learned what motion is."""
    model: str = DEFAULT
    """Which network: the built-in one, or a family of RIFE such as rife-4.25."""

    def rate_at(self, step: int) -> float:
        """Learning rate: linear warm-up, half a cosine to a hundredth at the horizon, linear cool-down."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        progress = min(1.0, (step - self.warm_up) / max(1, self.horizon - self.warm_up))
        cosine = 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * progress))
        return self.rate * cosine * min(1.0, (self.steps - step) / max(1, self.cool_down))


class _Batches(Dataset[dict[str, Tensor]]):
    """Batch ``step`` of a plan, the same in whichever process it is made."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._generator: MotionGenerator | None = None

    def __len__(self) -> int:
        return self._plan.steps

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        plan = self._plan
        if self._generator is None:
            self._generator = MotionGenerator(
                make_atlas(plan.seed), seed=plan.seed, size=plan.size, reach=plan.size * plan.reach
            )
        numbers = [step * plan.batch + i for i in range(plan.batch)]
        samples = [self._generator.sample(n % plan.samples if plan.samples else n) for n in numbers]
        return {name: torch.stack([getattr(s, name) for s in samples]) for name in _BATCH_PARTS}


class Trainer:
    """A network on its way: parameters, their running average, the optimiser and the step."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.step = 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            self.net, self._loss = pupil(plan.model, plan.levels)
        self.averaged = copy.deepcopy(self.net).requires_grad_(False)
        self._optimiser = torch.optim.AdamW(self.net.parameters(), lr=plan.rate, weight_decay=plan.decay)

    def train_step(self, batch: dict[str, Tensor]) -> float:
        """One step; returns the loss before it. A step whose gradient is not finite changes nothing."""
        for group in self._optimiser.param_groups:
            group["lr"] = self.plan.rate_at(self.step)
        loss = self._loss(batch)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), self.plan.clip)
        if torch.isfinite(norm) and torch.isfinite(loss):
            self._optimiser.step()
        else:
            _log.warning("step %d: loss or gradient not finite, left out", self.step)
        self.step += 1
        keep = min(self.plan.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for slow, fast in zip(self.averaged.parameters(), self.net.parameters(), strict=True):
                slow.lerp_(fast, 1.0 - keep)
        return loss.item()

    def save(self, path: Path) -> None:
        """Everything that going on needs, written whole or not at all."""
        state = {
            "plan": asdict(self.plan),
            "step": self.step,
            "net": self.net.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }
        temporary = path.with_name(path.name + ".tmp")
        torch.save(state, temporary)
        os.replace(temporary, path)

    @classmethod
    def resume(cls, path: Path, steps: int | None = None) -> Trainer:
        """The trainer that :meth:`save` wrote.

        Args:
            path: the file.
            steps: another length of the plan; the same as if it had been so from the start, as long as the
                cool-down has not begun under either.

        Raises:
            BadInputError: it has begun.
        """
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        plan = Plan(**state["plan"])
        changed = replace(plan, steps=steps or plan.steps)
        if changed != plan and state["step"] > min(changed.steps, plan.steps) - plan.cool_down:
            raise BadInputError(
                "The length of this training can no longer be changed.",
                f"{path.name} is at step {state['step']}, in the cool-down before step {plan.steps}",
                "Go on without --steps.",
            )
        trainer = cls(changed)
        trainer.step = state["step"]
        trainer.net.load_state_dict(state["net"])
        trainer.averaged.load_state_dict(state["averaged"])
        trainer._optimiser.load_state_dict(state["optimiser"])
        return trainer

    def export(self, path: Path) -> None:
        """The averaged weights as a float16 safetensors file, written whole or not at all."""
        tensors = {k: v.half().contiguous() for k, v in self.averaged.state_dict().items()}
        options = " ".join(f"--{f.name} {getattr(self.plan, f.name)}" for f in fields(Plan))
        metadata = {
            "command": f"python -m midframe.training.train {options}",
            "plan": json.dumps(asdict(self.plan)),
            "steps_done": str(self.step),
            "torch": torch.__version__,
            "licence": "MIT",
            "data": "generated by midframe.training.motion; no footage",
        }
        temporary = path.with_name(path.name + ".tmp")
        save_file(tensors, temporary, metadata)
        os.replace(temporary, path)


def batches(plan: Plan, start: int, workers: int) -> DataLoader[dict[str, Tensor]]:
    """Batches from step ``start`` to the end of the plan, made ahead by worker processes."""
    return DataLoader(
        _Batches(plan),
        batch_size=None,
        sampler=range(start, plan.steps),
        num_workers=workers,
        prefetch_factor=8 if workers else None,
    )


def train(
    trainer: Trainer, out: Path, *, workers: int = 1, keep_every: float = 180.0, until: float = math.inf
) -> None:
    """Trains to the end of the plan, or to the time ``until`` (seconds since 1970); then exports.

    A checkpoint beside ``out`` (``.train``) is renewed every ``keep_every`` seconds.
    """
    checkpoint = out.with_suffix(".train")
    kept, losses = time.monotonic(), []
    for batch in batches(trainer.plan, trainer.step, workers):
        losses.append(trainer.train_step(batch))
        if trainer.step % 50 == 0:
            _log.info("step %d of %d, loss %.4f", trainer.step, trainer.plan.steps, sum(losses) / len(losses))
            losses.clear()
        if time.monotonic() - kept > keep_every:
            trainer.save(checkpoint)
            trainer.export(out)
            kept = time.monotonic()
        if time.time() > until:
            break
    trainer.save(checkpoint)
    trainer.export(out)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="midframe.training.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--resume", action="store_true", help="go on from the .train file beside --out")
    parser.add_argument("--workers", type=int, default=1, help="processes that make samples")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; 0 is torch's own choice")
    parser.add_argument("--until", type=float, default=math.inf, help="stop at this time, seconds since 1970")
    for field in fields(Plan):
        parser.add_argument(
            f"--{field.name}", type=type(field.default), default=None, help=f"{field.default}"
        )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if options.threads:
        torch.set_num_threads(options.threads)
    given = {f.name: getattr(options, f.name) for f in fields(Plan) if getattr(options, f.name) is not None}
    if options.resume and given.keys() - {"steps"}:
        parser.error("with --resume only --steps may be changed")
    if options.resume:
        trainer = Trainer.resume(options.out.with_suffix(".train"), given.get("steps"))
    else:
        trainer = Trainer(Plan(**given))
    train(trainer, options.out, workers=options.workers, until=options.until)
    return 0


if __name__ == "__main__":
    sys.exit(main())
