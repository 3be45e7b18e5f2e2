"""Timesteps of a clip that is looked at while frames are made of it: part by part, or a few frames ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from ..engine.keyframes import KeyedTimesteps, Keyframes
from ..engine.timeline import Timesteps, states_of
from ..errors import BadInputError, MidframeError
from .notes import Analysis, PairNote
from .timing import Timing
from .watch import Watcher


class PartTimesteps(KeyedTimesteps):
    """Timesteps whose cuts are found on the way.

    Args:
        timesteps: of neighbouring frames.
        timing: what is done about cuts.
        number_of: see :class:`~..engine.keyframes.KeyedTimesteps`.

    Raises:
        BadInputError: held frames are to be re-timed, for which the next part would have to be known.
    """

    def __init__(
        self,
        timesteps: Timesteps,
        timing: Timing,
        number_of: Callable[[int], int] = lambda index: index,
    ) -> None:
        if timing.held == "retime":
            raise BadInputError(
                "Held frames cannot be re-timed in a clip that comes in batches.",
                "held: retime, with Meta Batch",
                "Set held to keep; or give the clip as one, or as a video.",
            )
        super().__init__(timesteps, Keyframes(), number_of)
        self._timing = timing
        self._watcher = Watcher(only_cuts=timing.only_cuts)
        self._notes: list[PairNote] = []
        self._changed = False

    def look(self, frames: Iterable[Tensor], poll: Callable[[], None]) -> None:
        """Look at the next part, before it is fed to the loop; ``poll`` is called before each frame."""
        for frame in frames:
            poll()
            self._note(self._watcher.push(frame))
        self._note(self._watcher.flush())
        self._decide()

    def follow(self, frames: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the frames of a whole clip, each once all pairs before it are noted.

        Frames are waiting meanwhile, as many as the watcher looks ahead: so much memory this takes. What is
        done about cuts must not need the pairs after them, see :attr:`~.timing.Timing.follows`.

        Raises:
            MidframeError: whatever ``frames`` raised, after those that came before it.
        """
        waiting: deque[Tensor] = deque()
        noted = given = 0
        failed: MidframeError | None = None
        try:
            for frame in frames:
                waiting.append(frame)
                notes = self._watcher.push(frame)
                noted += len(notes)
                self._note(notes)
                self._decide()
                while waiting and given <= noted:
                    yield waiting.popleft()
                    given += 1
        except MidframeError as error:  # no other: a cancel has to be heard at once
            failed = error
        self._note(self._watcher.finish())
        self._decide()
        while waiting:
            yield waiting.popleft()
        if failed is not None:
            raise failed

    @property
    def looks_back(self) -> bool:
        """Tell whether a cut that is not found yet may need the frame before the last one."""
        return self._timing.cuts == "extrapolate"

    def _note(self, notes: Sequence[PairNote]) -> None:
        """Take what became known of pairs."""
        # Of a clip without end only what counts is kept.
        counting = [note for note in notes if note.cut or not (self._timing.only_cuts or note.plain)]
        if counting:
            self._notes += [replace(note, index=self._number_of(note.index)) for note in counting]
            self._changed = True

    def _decide(self) -> None:
        """Draw the conclusions from what became known."""
        if self._changed:
            self.keyframes = self._timing.keyframes(Analysis(tuple(self._notes)), states_of(self._timesteps))
            self._changed = False
