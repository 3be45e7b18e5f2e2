"""The plan of a training: every setting that the weights depend on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .networks import DEFAULT


@dataclass(frozen=True)
class TrainingPlan:
    """Every setting that the weights depend on. Field names are the options of the command line."""

    steps: int = 4900
    horizon: int = 8500
    """Step at which the half cosine of the learning rate would end."""
    cool_down: int = 2000
    """Over the last steps the rate falls linearly on top of that."""
    seed: int = 0
    batch: int = 4
    size: int = 192
    """Sides of a sample in pixels; the built-in network needs a multiple of ``4 * 2 ** levels``."""
    levels: int = 4
    rate: float = 1e-3
    warm_up: int = 200
    decay: float = 1e-4
    clip: float = 1.0
    average: float = 0.999
    reach: float = 0.25
    """Largest shift of a layer, in sides of the picture."""
    samples: int = 0
    """How many different samples there are; 0 never repeats one. A large network memorises a few, with their
    motion, long before it has learned what motion is."""
    model: str = DEFAULT
    """Which network, see :func:`~.networks.network_with_loss`."""
    clips: int = 0
    """Batches in three that are cut from real clips; the others are generated."""
    light: float = 0.0
    """Share of the samples in which the light changes from one frame to the other."""
    precision: str = "float32"
    """Precision of the convolutions in a training step; parameters, flow and losses are float32 in any."""
    start: str = ""
    """The weights that the training began with: their name and the first digits of their SHA-256. Empty:
    random ones."""
    data: str = ""
    """The user's footage: names of its folders and the first digits of the SHA-256 of their lists. Empty: the
    clips of ``footage.json``."""

    def rate_at(self, step: int) -> float:
        """Return the learning rate: linear warm-up, half a cosine to a hundredth at the horizon, linear
        cool-down.
        """
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        # The cosine goes by the horizon and not by the number of steps, so that a training can be made longer
        # without another beginning.
        progress = min(1.0, (step - self.warm_up) / max(1, self.horizon - self.warm_up))
        cosine = 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * progress))
        return self.rate * cosine * min(1.0, (self.steps - step) / max(1, self.cool_down))


DESCRIBED = frozenset({"start", "data"})
"""Fields that say what a configuration was given, and are no settings themselves."""
