"""Timesteps of a clip that comes in parts, each of which is looked at before frames are made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor

from ..engine.keyframes import KeyedTimesteps, Keyframes
from ..engine.timeline import Timesteps, states_of
from ..errors import BadInputError
from .notes import Analysis, PairNote
from .timing import Timing
from .watch import Watcher


class PartTimesteps(KeyedTimesteps):
    """Timesteps whose cuts are found part by part.

    Args:
        timesteps: of neighbouring frames.
        timing: what is done about cuts.

    Raises:
        BadInputError: held frames are to be re-timed, for which the next part would have to be known.
    """

    def __init__(self, timesteps: Timesteps, timing: Timing) -> None:
        if timing.held == "retime":
            raise BadInputError(
                "Held frames cannot be re-timed in a clip that comes in batches.",
                "held: retime, with Meta Batch",
                "Set held to keep; or give the clip as one, or as a video.",
            )
        super().__init__(timesteps, Keyframes())
        self._timing = timing
        self._watcher = Watcher(only_cuts=timing.only_cuts)
        self._notes: list[PairNote] = []

    def look(self, frames: Iterable[Tensor], poll: Callable[[], None]) -> None:
        """Look at the next part, before it is fed to the loop; ``poll`` is called before each frame."""
        for frame in frames:
            poll()
            self._note(self._watcher.push(frame))
        self._note(self._watcher.flush())
        self.keyframes = self._timing.keyframes(Analysis(tuple(self._notes)), states_of(self._timesteps))

    @property
    def looks_back(self) -> bool:
        """Tell whether a cut that is not found yet may need the frame before the last one."""
        return self._timing.cuts == "extrapolate"

    def _note(self, notes: Iterable[PairNote]) -> None:
        self._notes += [note for note in notes if note.cut or note.held or note.flash or note.dissolve]
