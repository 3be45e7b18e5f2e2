"""The settings of the frame loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import BadInputError
from ..inputs.numbers import whole
from ..inputs.objects import described, path_of, require_one_of

Schedule = Literal["any_t", "bisect", "peel", "direct"]
"""``any_t``: each frame is made from the two source frames at its own timestep, where the model takes any.
``bisect``: from its nearest neighbours, made ones too, as the older FILM nodes do; see
:class:`~..vfi_models._sampling.recursive.RecursiveSampler`. ``peel``: from the outside in, see
:class:`~..vfi_models._sampling.peel.PeelSampler`. ``direct`` is another name of ``any_t``."""

Levels = Literal["match", "keep"]
"""A step of exposure between two source frames. ``match``: both are brought to one level before motion is
looked for, and what is made to the level between them; see :mod:`.levels`. ``keep``: nothing is done."""

GuardLaw = Literal["off", "auto"]
"""Subtitles, logos and borders, which stand while the rest moves. ``auto``: they come from the source where
they are found; see :mod:`.guard`. ``off``: they are made like the rest."""

_MOST_WORKERS = 64


@dataclass(frozen=True)
class Settings:
    """How the frame loop runs a model.

    Raises:
        BadInputError: a number that is not whole or not in range, options of another type, no schedule.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the model, those that differ from ``spec.options``."""
    batch: int = 0
    """Timesteps of a pair that run at once; 0 decides from measured free memory."""
    clear_every: int = 0
    """Clear cached device memory after this many source pairs; 0 only under pressure."""
    allow_changed_picture: bool = False
    """Where memory runs out, go on at a lower flow scale instead of failing."""
    schedule: Schedule = "any_t"
    """From which frames a frame is made. A model that knows only the middle is always halved."""
    levels: Levels = "keep"
    """What is done about a step of exposure between two source frames."""
    guard: str = "off"
    """Law for overlays: see :data:`GuardLaw`; or a file: a picture that is white where one is."""
    cpu_workers: int = 0
    """Frames made at once on a CPU, up to 64; 0 decides from their size, see :mod:`.cpu_workers`."""
    record: bool = True
    """Record the passes of long clips as CUDA graphs, where the model and the device can."""
    memory_lines: bool = False
    """Log after every source pair how much memory there is."""

    def __post_init__(self) -> None:
        for name, most in (("batch", None), ("clear_every", None), ("cpu_workers", _MOST_WORKERS)):
            # The class is frozen; what comes as 2.0 or "2" is an int from here on.
            object.__setattr__(self, name, whole(getattr(self, name), f"the setting {name}", most=most))
        if not isinstance(self.options, Mapping):
            raise BadInputError(
                "The options of a model must be a mapping.",
                described(self.options),
                'Give {"flow_scale": 0.5}.',
            )
        require_one_of(self.levels, get_args(Levels), "way with levels")
        if self.guard not in get_args(GuardLaw):
            # Another process may have another working folder.
            object.__setattr__(self, "guard", str(_mask_file(self.guard)))
        if self.schedule not in get_args(Schedule):
            raise BadInputError(
                "There is no such schedule.", repr(self.schedule), f"Use one of {get_args(Schedule)}."
            )
        if self.schedule == "direct":
            object.__setattr__(self, "schedule", "any_t")


def _mask_file(guard: Any) -> Path:
    file = path_of(guard, "mask").absolute()
    if not file.is_file():
        raise BadInputError(
            "There is no such guard of overlays.",
            described(guard),
            f"Use one of {get_args(GuardLaw)}, or the file of a mask.",
        )
    return file
