"""Description of a job: a clip, what is made of it, by which model, in which chunks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..analysis.notes import Analysis
from ..analysis.timing import Timing
from ..engine.curve import Curve
from ..engine.shutter import Shutter
from ..engine.states import States, StatesLike
from ..inputs.numbers import Number, whole
from ..vfi_models.interface import Interpolator
from ..vfi_utils import Settings
from ..video import ClipInfo, Coding, Plan, holds_alpha
from ..video.read.span import Span
from ..video.stream.expected import counted, frames_expected
from ..video.write.formats import file_suffix, images_of
from ..weights.checkpoint import readable, sha256_file
from ..weights.find import CKPTS, find
from ..weights.loading import load_model, locate
from .fingerprint import fingerprint

# Of work folders.
_FORMAT = 1
PAIRS = 240
"""Source pairs of a chunk by default: ten seconds of film, minutes of work at most."""


@dataclass(frozen=True)
class ModelChoice:
    """The model that makes the frames, as plain data: it means the same in every process."""

    name: str = "default"
    """See :func:`..api.load_model`, as the others."""
    device: str | None = None
    dtype: str | None = None
    folders: tuple[str, ...] = ()
    averaged: bool = True

    def load(self) -> Interpolator:
        """Load the model, ready to run.

        Raises:
            MidframeError: see :func:`..api.load_model`.
        """
        return load_model(self.name, self.device, self.dtype, folders=self.folders, averaged=self.averaged)

    def identity(self) -> str:
        """Return a text that no other weights or precision have; fetch weights that are not here.

        Raises:
            WeightsNotFoundError: there is no such model.
        """
        path = locate(self.name, self.folders)
        kind = "" if self.averaged else ", not averaged"
        with readable(path):
            return f"{path.name} {sha256_file(path)[:16]}, {self.dtype or 'auto'}{kind}"


@dataclass(frozen=True)
class Job:
    """A clip to be interpolated in chunks, as plain data: it means the same in every process.

    Raises:
        BadInputError: the number of pairs is no whole number, or the plan's states do not list their pairs.
    """

    source: Path
    target: Path
    workdir: Path
    """Where chunks and their records are until the output is whole."""
    model: ModelChoice = field(default_factory=ModelChoice)
    plan: Plan = field(default_factory=Plan)
    settings: Settings = field(default_factory=Settings)
    pairs: int = PAIRS
    """Source pairs of a chunk. At a variable rate: as many as there are in that time on average."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", whole(self.pairs, "the pairs of a chunk", least=1))
        if self.plan.states is not None:
            # Those of an older pack are a class of its own, which no other process may know.
            object.__setattr__(self, "plan", replace(self.plan, states=States.of(self.plan.states)))

    def describe(self) -> ClipInfo:
        """Return what is known of the source.

        Raises:
            BadInputError: it cannot be read.
        """
        with self.plan.open(self.source, alpha=holds_alpha(self.target)) as clip:
            return clip.info

    def expected(self, info: ClipInfo) -> ClipInfo:
        """Return what is known of the source, of which frames are counted where its header is silent.

        It says how far a run is. How chunks are written follows from the header alone, which every worker
        reads for itself.
        """
        if info.frames_estimate is not None:
            return info
        with self.plan.open(self.source, alpha=False) as clip:
            return counted(clip)

    def frames_expected(self, info: ClipInfo) -> int | None:
        """Return how many output frames there will be, from what :meth:`expected` returned."""
        if not info.frames_guessed:
            return self.plan.frames_estimate(info)
        with self.plan.open(self.source, alpha=False) as clip:
            return frames_expected(self.plan, clip)

    def as_data(self) -> dict[str, Any]:
        """Return the job in types of Python alone, for a process where this package may have another name."""
        analysis = self.plan.analysis
        data = asdict(replace(self, plan=replace(self.plan, analysis=None)))
        data["plan"]["analysis"] = None if analysis is None else analysis.to_json()
        data["plan"]["speed"] = None if self.plan.speed is None else self.plan.speed.as_data()
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Job:
        """Return the job of which ``data`` is what :meth:`as_data` returned."""
        # asdict made dicts of the dataclasses inside, too.
        given = data["plan"]
        states, analysis = given["states"], given["analysis"]
        made = {
            "coding": Coding(**given["coding"]),
            "states": states and States(**states),
            "timing": Timing(**given["timing"]),
            "analysis": analysis and Analysis.from_json(analysis),
            "speed": given["speed"] and Curve.from_data(given["speed"]),
            "shutter": given["shutter"] and Shutter(**given["shutter"]),
        }
        plan = Plan(**{**given, **made})
        parts = {
            "model": ModelChoice(**data["model"]),
            "plan": plan,
            "settings": Settings(**data["settings"]),
        }
        return cls(**{**data, **parts})

    def absolute(self) -> Job:
        """Return the job with absolute paths, for a process with another working folder."""
        model, file = self.model, find(self.model.name)
        own = file is None or CKPTS in file.parents  # in the package, which every process has
        name = model.name if file is None or own else str(file.absolute())
        folders = tuple(str(Path(folder).absolute()) for folder in model.folders)
        return replace(
            self,
            source=self.source.absolute(),
            target=self.target.absolute(),
            workdir=self.workdir.absolute(),
            model=replace(model, name=name, folders=folders),
        )

    def span(self, info: ClipInfo, chunk: int) -> Span:
        """Return the part of the output that is in chunk ``chunk``, seconds."""
        # Exact Fractions: one chunk's end is the next one's start, and every time is in one chunk.
        length = self.pairs / info.rate
        return Span(info.start + chunk * length, info.start + (chunk + 1) * length)

    def chunks_estimate(self, info: ClipInfo) -> int | None:
        """Return how many chunks there will be, as far as the source's header tells."""
        return None if info.frames_estimate is None else max(1, -(-info.frames_estimate // self.pairs))

    def identity(self) -> dict[str, Any]:
        """Return everything that decides what is in the chunks, under the names that users know."""
        plan = self.plan
        # A key that is added here stops running jobs from going on: optional ones only where they are set.
        return {
            "format": _FORMAT,
            "source": fingerprint(self.source),
            "model": self.model.identity(),
            "multiplier": None if plan.fps else _number(plan.multiplier),
            "fps": plan.fps and str(Fraction(plan.fps)),
            "source fps": plan.source_fps and str(plan.source_fps),
            "end": plan.end,
            "codec": plan.coding.codec,
            "crf": plan.coding.crf,
            "file type": file_suffix(self.target).lower() or images_of(self.target, plan.coding),
            "options": _plain(self.settings.options),
            "schedule": self.settings.schedule,
            "pairs per chunk": self.pairs,
            **_listed(plan.states),
            **_chosen(plan),
            **_timed(plan),
            **({} if self.settings.levels == "keep" else {"levels": self.settings.levels}),
            **_guarded(self.settings.guard),
        }


def _number(value: Number | Sequence[int]) -> int | str | list[int]:
    """Return a multiplier as JSON can hold it; whole numbers as earlier jobs wrote them."""
    if isinstance(value, Sequence):
        return list(value)
    return value if isinstance(value, int) else str(value)


def _listed(states: StatesLike | None) -> dict[str, list[int]]:
    """Return the pairs of states; nothing where there are none, as in jobs from before there were states."""
    if states is None:
        return {}
    listed = States.of(states)
    return {"skipped pairs" if listed.skip else "only pairs": sorted(listed.indices)}


def _chosen(plan: Plan) -> dict[str, str]:
    """Return what is asked of the picture besides codec and quality; nothing where nothing is."""
    coding = plan.coding
    chosen = {
        "deinterlace": plan.deinterlace or None,
        "width": plan.width,
        "height": plan.height,
        "start": plan.start,
        "stop": plan.stop,
        "pixel format": coding.pixel_format,
        "preset": coding.preset,
        "bitrate": coding.bitrate,
        "lossless": coding.lossless or None,
        "first number": coding.first_number or None,
        "shutter": plan.shutter and (str(plan.shutter.angle), plan.shutter.samples),
        "speed": plan.speed and (plan.speed.as_data(), plan.sound_speed),
    }
    return {name: str(value) for name, value in chosen.items() if value is not None}


def _timed(plan: Plan) -> dict[str, str]:
    """Return what is done about cuts and held frames; nothing where nothing is, as in earlier jobs."""
    if plan.analysis is None or not plan.timing.keyframes(plan.analysis):
        return {}
    noted = hashlib.sha256(plan.analysis.to_json().encode()).hexdigest()[:16]
    return {"cuts": plan.timing.cuts, "held frames": plan.timing.held, "analysis": noted}


def _guarded(law: str) -> dict[str, str]:
    """Return what is done about overlays; nothing where nothing is."""
    if law == "off":
        return {}
    return {"guard": law if law == "auto" else f"mask {sha256_file(Path(law))[:16]}"}


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, (int, float, bool)) else str(value)
        for name, value in options.items()
    }
