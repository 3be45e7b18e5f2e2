"""The first steps of a training of the built-in network give the committed start of its curve.

PYTHONPATH=.venv/types python tests/training/test_start.py      writes start.csv anew, after a change that is meant
"""

import csv
from pathlib import Path

import pytest
import torch
from midframe.training import batches as batches_module
from midframe.training.atlas import make_atlas
from midframe.training.batches import Batches
from midframe.training.plan import TrainingPlan
from midframe.training.trainer import Trainer

CURVE = Path(__file__).with_name("start.csv")
PLAN = TrainingPlan(steps=1000, batch=2, size=64, model="compact-v2", rate=8e-4, warm_up=100, light=0.33)


def losses(steps):
    trainer, made = Trainer(PLAN), Batches(PLAN)
    return [trainer.train_step(made[step]) for step in range(steps)]


def small():
    """Fewer textures than a training has, which take seconds to draw."""
    atlas = make_atlas(0, textures=6, shapes=4)
    return lambda seed: atlas


def committed():
    with CURVE.open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.fixture
def small_atlas(monkeypatch):
    monkeypatch.setattr(batches_module, "make_atlas", small())


@pytest.mark.usefixtures("small_atlas")
def test_the_first_steps_are_the_committed_ones():
    # Processors round differently; over so few steps that stays far below what another network,
    # sample or loss changes.
    assert losses(6) == pytest.approx(committed()[:6], rel=1e-3)


@pytest.mark.long  # two hundred steps; its shorter sister takes six
@pytest.mark.usefixtures("small_atlas")
def test_two_hundred_steps_are_the_committed_ones():
    made, expected = torch.tensor(losses(200)), torch.tensor(committed())
    assert len(expected) == 200
    # Rounding grows from step to step in any training: means of fifty steps, and these to 5%.
    for part, other in zip(made.split(50), expected.split(50), strict=True):
        assert float(part.mean()) == pytest.approx(float(other.mean()), rel=0.05)
    assert expected[150:].mean() < 0.95 * expected[:50].mean()


if __name__ == "__main__":
    batches_module.make_atlas = small()
    with CURVE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "loss"])
        writer.writerows([step, f"{loss:.6g}"] for step, loss in enumerate(losses(200)))
