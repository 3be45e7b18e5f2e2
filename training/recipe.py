"""Reads the configuration of ``midframe train``: what is trained, on what, how long, and what is written.

TOML, which Python reads from 3.11 on; JSON with the same keys for every Python. No other format is taken in
for 3.10: INI has neither lists nor numbers, and a reader of our own would be one more dialect.
"""

from __future__ import annotations

import difflib
import importlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from ..errors import BadInputError

_ADVICE = "docs/training.md has every key."


@dataclass(frozen=True)
class Data:
    """The table ``data``: what the network learns from."""

    clips: tuple[str, ...] = ()
    """Video files, folders of pictures and of clips; cut once by ``midframe triplets``, beside ``out``."""
    sequences: tuple[str, ...] = ()
    """Folders of septuplets or triplets, as Vimeo-90k has them."""
    generated: int = -1
    """Batches in three that are generated; -1: none where there is footage, else all."""
    teacher: str = ""
    """A RIFE 4.x, by its name or file, whose flow labels the footage."""
    reach: float = 0.25
    """Largest shift of a generated layer, in sides of the picture."""
    light: float = 0.0
    """Share of the samples in which the light changes from one frame to the other."""
    shorter_side: int = 0
    """Pixels that the shorter side of ``clips`` is reduced to as they are cut; 0 keeps them."""


@dataclass(frozen=True)
class Written:
    """The table ``written``: what is written while the network learns."""

    every: int = 100
    """Steps between rows of the curve; 0: none."""
    sheet_every: int = 0
    """Steps between sheets of samples; 0: none."""
    generated: int = 12
    """Generated samples that each row examines, besides the held-out footage."""
    tensorboard: str = "auto"
    """``yes``, ``no``, or ``auto``: where the package is there."""
    keep_seconds: float = 180.0
    """Seconds between states, from which a training goes on that was killed."""


@dataclass(frozen=True)
class Recipe:
    """Everything that a configuration says. Paths in it are relative to its folder."""

    out: str = ""
    """File of the weights; the state, the curve and the sheets lie beside it."""
    start: str = ""
    """Weights to go on from, by a name or file that ``midframe interpolate --model`` takes; this or
    ``network``."""
    network: str = ""
    """A network to train from random weights."""
    steps: int = 1000
    batch: int = 4
    size: int = 192
    """Sides of a sample in pixels."""
    levels: int = 4
    """Levels of the built-in network's picture pyramid."""
    rate: float = 1e-4
    """The highest learning rate."""
    warm_up: int = 50
    """Steps in which the rate rises to it."""
    cosine: int = 0
    """Step at which half a cosine brings the rate down to a hundredth; 0: ``steps``."""
    cool_down: int = 0
    """Over the last steps the rate falls linearly to 0, on top of the cosine."""
    decay: float = 1e-4
    """Weight decay."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    average: float = 0.999
    """How much of the running average of the weights stays from step to step."""
    precision: str = "float32"
    """Precision of the convolutions in a step: ``float32``, ``bfloat16``, or ``float16`` on CUDA."""
    seed: int = 0
    device: str = "auto"
    workers: int = 1
    """Processes that make samples."""
    threads: int = 0
    """Threads of torch on a processor; 0: its own choice."""
    data: Data = field(default_factory=Data)
    written: Written = field(default_factory=Written)

    def __post_init__(self) -> None:
        if not self.out:
            raise BadInputError("The configuration names no file to write.", "no `out`", 'Add out = "FILE".')
        if bool(self.start) == bool(self.network):
            raise BadInputError(
                "The configuration must name weights to go on from or a network to begin, one of them.",
                f"start = {self.start!r}, network = {self.network!r}",
                'Give start = "rife-4.25" or network = "compact-v2".',
            )
        least = {"steps": 1, "batch": 1, "size": 32, "levels": 1, "warm_up": 0, "cosine": 0, "cool_down": 0}
        least |= {"workers": 0, "threads": 0}
        for name, value in least.items():
            _require(name, getattr(self, name), getattr(self, name) >= value, f"{value} or more")
        _require("rate", self.rate, self.rate > 0, "above 0")
        _require("average", self.average, 0 <= self.average < 1, "from 0 to below 1")
        _require("data.generated", self.data.generated, -1 <= self.data.generated <= 3, "0 to 3, or -1")  # noqa: PLR2004 - batches in three
        _require("data.light", self.data.light, 0 <= self.data.light <= 1, "from 0 to 1")
        board = self.written.tensorboard
        _require("written.tensorboard", board, board in ("auto", "yes", "no"), "auto, yes or no")


def read_recipe(path: Path) -> Recipe:
    """Read a configuration, TOML or JSON by the file's ending.

    Raises:
        BadInputError: no file that can be read, an unknown key, or a value of another type or range.
    """
    recipe: Recipe = _filled(Recipe, _parsed(path), "")
    return recipe


def _parsed(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(
            "The configuration cannot be read.", f"{path}: {error}", "Check the name."
        ) from error
    try:
        parsed = json.loads(text) if path.suffix.lower() == ".json" else _toml(path, text)
    except ValueError as error:  # of both formats
        raise BadInputError(
            "The configuration is not written as its format wants.", f"{path}: {error}", "Correct that place."
        ) from error
    if not isinstance(parsed, dict):
        raise BadInputError("The configuration has no keys.", str(path), _ADVICE)
    return parsed


def _toml(path: Path, text: str) -> Mapping[str, Any]:
    if sys.version_info < (3, 11):
        raise BadInputError(
            "Python reads TOML from 3.11 on.",
            f"{path.name}, Python {sys.version_info.major}.{sys.version_info.minor}",
            "Write the same keys as JSON (FILE.json), or take a newer Python.",
        )
    # By its name: the type checker looks at the pack as Python 3.10 sees it.
    parsed: Mapping[str, Any] = importlib.import_module("tomllib").loads(text)
    return parsed


def _filled(kind: type[Any], given: Mapping[str, Any], place: str) -> Any:
    """Return a dataclass of the values of a table, each checked."""
    hints = get_type_hints(kind)
    names = [f.name for f in fields(kind)]
    values = {}
    for key, value in given.items():
        if key not in names:
            near = difflib.get_close_matches(key, names, 1)
            meant = f"Did you mean `{place}{near[0]}`? " if near else f"Known here: {', '.join(names)}. "
            raise BadInputError(
                "The configuration has a key that nothing reads.",
                f"{place}{key} = {value!r}",
                meant + _ADVICE,
            )
        values[key] = _value(hints[key], value, f"{place}{key}")
    return kind(**values)


def _value(kind: Any, value: Any, name: str) -> Any:
    if kind in (Data, Written):
        _require(name, value, isinstance(value, dict), "a table")
        return _filled(kind, value, f"{name}.")
    if kind == tuple[str, ...]:
        texts = [value] if isinstance(value, str) else value
        good = isinstance(texts, list) and all(isinstance(text, str) for text in texts)
        _require(name, value, good, "a text or a list of texts")
        return tuple(texts)
    if kind is float:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        _require(name, value, good, "a number")
        return float(value)
    _require(
        name,
        value,
        isinstance(value, kind) and not isinstance(value, bool),
        {int: "a whole number", str: "a text"}[kind],
    )
    return value


def _require(name: str, value: Any, good: bool, wanted: str) -> None:
    if not good:
        raise BadInputError(
            f"`{name}` of the configuration must be {wanted}.", f"{name} = {value!r}", _ADVICE
        )
