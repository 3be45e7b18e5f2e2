"""Watches a training: the curve as CSV and for TensorBoard, and a sheet of samples every so often."""

from __future__ import annotations

import importlib.util
import logging
import math
import time
from contextlib import suppress
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import BadInputError
from .evaluation import COLUMNS, Curve, Evaluation, EvaluationSample, frames_of
from .run import Run
from .trainer import Trainer

_log = logging.getLogger(__name__)

# Steps between points of the loss for TensorBoard, each the mean of these steps.
_POINT = 10
# Samples on a sheet, pixels of the longer side of each picture, and by how much differences are brightened.
_SHOWN, _SIDE, _BRIGHTER = 6, 256, 4.0


class Watch:
    """Everything that is written of a training beside its state.

    Args:
        trainer: watched.
        run: how often what is written, and where.

    Raises:
        BadInputError: TensorBoard's format is asked for, and the package is not there.
    """

    def __init__(self, trainer: Trainer, run: Run) -> None:
        self._trainer, self._run = trainer, run
        self._started = time.monotonic()
        every, sheets = run.evaluate_every, run.sheet_every
        self._evaluation = Evaluation(run.sources, generated=run.generated) if every or sheets else None
        self._curve = Curve(run.out.with_suffix(".csv"), trainer.step) if every else None
        self._board = _board(run.out.with_suffix(".board"), trainer.step) if run.tensorboard else None
        self._losses: list[float] = []
        self._recent: list[float] = []

    def after_step(self, loss: float) -> None:
        """Take the loss of the step that was just taken, and write what is due."""
        run, step = self._run, self._trainer.step
        self._losses.append(loss)
        self._recent.append(loss)
        if run.progress:
            run.progress(step, loss)
        if self._board and step % _POINT == 0:
            self._board.add_scalar("loss", mean(self._recent), step)
            self._recent.clear()
        if run.evaluate_every and step % run.evaluate_every == 0:
            self._add_row(step)
        if run.sheet_every and step % run.sheet_every == 0:
            self._draw(step)

    def close(self) -> None:
        """Write what is held back."""
        if self._board:
            self._board.close()

    def _add_row(self, step: int) -> None:
        assert self._evaluation is not None  # noqa: S101 - made where rows are
        assert self._curve is not None  # noqa: S101
        scores = self._evaluation(self._trainer.averaged)
        _log.info("held out %.3f dB, generated %.3f dB", *scores)
        rate = self._trainer.plan.rate_at(step)
        values = (mean(self._losses), rate, *scores, time.monotonic() - self._started)
        self._curve.add(step, *values)
        self._losses.clear()
        if self._board:
            # COLUMNS begins with the step, which is the axis, and its loss is drawn more often above.
            for name, value in list(zip(COLUMNS[1:], values, strict=True))[1:-1]:
                if not math.isnan(value):
                    self._board.add_scalar(name, value, step)
            self._board.flush()

    def _draw(self, step: int) -> None:
        assert self._evaluation is not None  # noqa: S101 - made where sheets are
        chosen = self._evaluation
        samples = _spread(chosen.held_out, _SHOWN) + _spread(chosen.generated, _SHOWN)
        picture = sheet(samples[:_SHOWN], frames_of(self._trainer.averaged, samples[:_SHOWN]))
        path = self._run.out.with_name(f"{self._run.out.stem}_{step:06}.png")
        _save(picture, path)
        if self._board:
            self._board.add_image("samples", picture, step, dataformats="HWC")


def sheet(samples: list[EvaluationSample], made: list[Tensor]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Draw a row for each sample: left, right, true frame, made frame, and how far it is off.

    Args:
        samples: with their true frames.
        made: the frame of each, (3, H, W), 0..1.

    Returns:
        (H, W, 3) uint8; differences are four times as bright.
    """
    rows = []
    for sample, frame in zip(samples, made, strict=True):
        off = ((frame - sample.middle).abs() * _BRIGHTER).clamp(0.0, 1.0)
        pictures = torch.stack((sample.left, sample.right, sample.middle, frame.clamp(0.0, 1.0), off))
        scale = min(1.0, _SIDE / max(pictures.shape[-2:]))
        size = [max(1, round(side * scale)) for side in pictures.shape[-2:]]
        small = torch.nn.functional.interpolate(pictures, size, mode="bilinear", antialias=True)
        # Each in a field of its own size, for clips differ in theirs.
        field = small.new_zeros(5, 3, _SIDE, _SIDE)
        field[..., : size[0], : size[1]] = small
        rows.append(torch.cat(list(field[..., : size[0], :]), -1))
    picture = torch.cat(rows, -2).permute(1, 2, 0)
    return (picture * 255.0).round().clamp(0, 255).to(torch.uint8).numpy()


def _spread(samples: list[EvaluationSample], most: int) -> list[EvaluationSample]:
    return samples[:: max(1, len(samples) // most)][:most]


def _save(picture: np.ndarray[Any, np.dtype[np.uint8]], path: Path) -> None:
    from PIL import Image  # noqa: PLC0415 - for sheets alone

    temporary = path.with_name(path.name + ".tmp")
    Image.fromarray(picture).save(temporary, "png")
    temporary.replace(path)


def has_tensorboard() -> bool:
    """Tell whether the package is there that writes TensorBoard's format."""
    with suppress(ValueError):  # a module of that name without a specification
        return importlib.util.find_spec("tensorboard") is not None
    return False


def _board(folder: Path, start: int) -> Any:
    """Return a writer of TensorBoard's format; events after step ``start`` are of a run cut short."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise BadInputError(
            "TensorBoard's package is not there, and torch writes its format through it.",
            str(error),
            "Install it (pip install tensorboard), or take `tensorboard` out: the curve is a CSV file too.",
        ) from error
    return SummaryWriter(str(folder), purge_step=start or None)
