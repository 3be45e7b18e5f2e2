"""``midframe train``: train or fine-tune a network as a configuration says; run it again, and it goes on."""

from __future__ import annotations

import argparse
import hashlib
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

import torch
from tqdm import tqdm

from ..errors import BadInputError
from ..vfi_models import detect
from ..vfi_models.interface import StateDict
from ..weights.checkpoint import read_checkpoint
from ..weights.loading import locate, usable_device
from .batches import Sources
from .cutting import Cutting, cut
from .networks import side_multiple, trained_name
from .plan import TrainingPlan
from .processes import share, together
from .recipe import Recipe, read_recipe
from .run import Run
from .sequences import Sequences, fingerprint
from .train import train
from .trainer import Trainer
from .watching import has_tensorboard

_log = logging.getLogger(__name__)

_ROUND = 3
_CANCELLED = 130


@dataclass(frozen=True)
class Prepared:
    """A configuration with its weights found and its clips cut."""

    recipe: Recipe
    folder: Path
    """Folder of the configuration: paths in it are relative to this."""
    plan: TrainingPlan
    weights: StateDict | None
    sources: Sources | None

    @property
    def out(self) -> Path:
        """Return the file of the weights."""
        return self.folder / self.recipe.out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``midframe train``."""
    add = parser.add_argument
    add("config", type=Path, metavar="CONFIG", help="TOML, or JSON with the same keys; see docs/training.md")
    add(
        "--restart",
        action="store_true",
        help="begin again, over a state that is there (default: go on from it)",
    )


def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Train, and say what came of it."""
    recipe = read_recipe(arguments.config)
    folder = arguments.config.absolute().parent
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    with together(usable_device(recipe.device), recipe.batch) as device:
        lead = share()[0] == 0
        prepared = prepare(recipe, folder, quiet=arguments.quiet or not lead)
        trainer = _trainer(prepared, device, restart=arguments.restart)
        out = prepared.out
        out.parent.mkdir(parents=True, exist_ok=True)
        done = trainer.step
        quiet = arguments.quiet or not lead
        with _Bar(trainer.step, prepared.plan.steps, quiet=quiet) as bar:
            whole = train(trainer, _run_of(prepared, bar.show))
    if lead and whole:
        say(f"{out}: {trainer.step} steps, {trainer.step - done} of them now")
    elif lead:
        say(f"stopped at step {trainer.step} of {prepared.plan.steps}; the same command goes on from there")
    return 0 if whole else _CANCELLED


def prepare(recipe: Recipe, folder: Path, *, quiet: bool = True) -> Prepared:
    """Find the weights, cut the clips, and return everything that training needs.

    Args:
        recipe: the configuration.
        folder: which its paths are relative to.
        quiet: show no progress.

    Raises:
        MidframeError: see the parts.
    """
    weights, start, model = None, "", recipe.network
    if recipe.start:
        own = folder / recipe.start
        path = own if own.is_file() else locate(recipe.start)
        detection = detect(read_checkpoint(path))
        weights, model = detection.state_dict, trained_name(detection)
        start = f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    multiple = side_multiple(model, recipe.levels)
    if recipe.size % multiple:
        raise BadInputError(
            "Samples of this size do not fit the network.",
            f"size = {recipe.size}, {model}",
            f"Take a multiple of {multiple}.",
        )
    sequences = _sequences(recipe, folder, quiet=quiet)
    teacher = locate(recipe.data.teacher) if recipe.data.teacher else None
    generated = recipe.data.generated
    if generated < 0:
        generated = 0 if sequences else _ROUND
    if generated < _ROUND and not sequences:
        raise BadInputError(
            "There is nothing to train on.",
            f"data.generated = {generated}, no clips and no sequences",
            "Name data.clips or data.sequences, or let all be generated (data.generated = 3).",
        )
    plan = TrainingPlan(
        steps=recipe.steps,
        horizon=recipe.cosine or recipe.steps,
        cool_down=recipe.cool_down,
        seed=recipe.seed,
        batch=recipe.batch,
        size=recipe.size,
        levels=recipe.levels,
        rate=recipe.rate,
        warm_up=recipe.warm_up,
        decay=recipe.decay,
        clip=recipe.clip,
        average=recipe.average,
        reach=recipe.data.reach,
        model=model,
        clips=_ROUND - generated,
        light=recipe.data.light,
        precision=recipe.precision,
        start=start,
        data=", ".join(map(fingerprint, sequences)),
    )
    sources = Sources(teacher=teacher, sequences=sequences) if sequences else None
    return Prepared(recipe, folder, plan, weights, sources)


def _sequences(recipe: Recipe, folder: Path, *, quiet: bool) -> tuple[Path, ...]:
    """Return the folders of sequences, that of the clips cut where it is not there yet."""
    found = [folder / name for name in recipe.data.sequences]
    if recipe.data.clips:
        out = (folder / recipe.out).with_suffix(".cut")
        if not out.exists():
            out.parent.mkdir(parents=True, exist_ok=True)
            cutting = Cutting(shorter_side=recipe.data.shorter_side, least_side=recipe.size)
            training, held_out = cut([folder / name for name in recipe.data.clips], out, cutting, quiet=quiet)
            _log.info("cut %d sequences to train on, %d held out, into %s", training, held_out, out)
        found.append(out)
    for path in found:
        for clip in Sequences(path).clips:
            if min(clip.height, clip.width) < recipe.size:
                raise BadInputError(
                    "A sequence is smaller than the samples that are cut from it.",
                    f"{path / 'sequences' / clip.name}: {clip.height} x {clip.width}, size = {recipe.size}",
                    "Take a smaller `size`, or leave this clip out.",
                )
    return tuple(found)


def _trainer(prepared: Prepared, device: torch.device, *, restart: bool) -> Trainer:
    """Return a new training, or the one of the same plan that was begun."""
    state, plan = prepared.out.with_suffix(".train"), prepared.plan
    if restart or not state.exists():
        return Trainer(plan, prepared.weights, device)
    trainer = Trainer.resume(state, plan.steps, plan.cool_down, device=device)
    # Length and cool-down may change, which `resume` looks after; nothing else.
    begun, now = asdict(trainer.plan), asdict(plan)
    other = sorted(name for name in now if now[name] != begun[name])
    if other:
        raise BadInputError(
            "A training with other settings was begun here.",
            f"{state}: " + ", ".join(f"{name} {begun[name]!r}, now {now[name]!r}" for name in other),
            "Give it another `out`, set them back, or begin again with --restart.",
        )
    return trainer


def _run_of(prepared: Prepared, progress: Callable[[int, float], None]) -> Run:
    recipe, written = prepared.recipe, prepared.recipe.written
    board = written.tensorboard == "yes" or (written.tensorboard == "auto" and has_tensorboard())
    return Run(
        prepared.out,
        workers=recipe.workers,
        keep_every=written.keep_seconds,
        evaluate_every=written.every,
        sources=prepared.sources,
        sheet_every=written.sheet_every,
        tensorboard=board,
        generated=written.generated,
        progress=progress,
    )


class _Bar:
    """A bar with the loss, the speed and the remaining time."""

    def __init__(self, done: int, steps: int, *, quiet: bool) -> None:
        self._bar: tqdm[NoReturn] = tqdm(
            total=steps, initial=done, unit=" steps", disable=quiet, dynamic_ncols=True
        )
        self._mean: float | None = None

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def show(self, step: int, loss: float) -> None:
        """Show the steps done, and a running mean of the loss."""
        self._mean = loss if self._mean is None else 0.95 * self._mean + 0.05 * loss
        self._bar.set_postfix_str(f"loss {self._mean:.4f}", refresh=False)
        self._bar.update(step - self._bar.n)
