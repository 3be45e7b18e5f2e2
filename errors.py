"""The error family: what is wrong, what was found, what to do.

A leaf that every other module may import; it imports nothing of the pack and no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class MidframeError(Exception):
    """Base of every error that Midframe raises on purpose.

    Args:
        wrong: one sentence, what is wrong.
        found: what was found (and what was expected), with names, sizes, paths.
        advice: what the user can do next.

    Attributes:
        finished: where a run ended in this error, the number of output frames that were complete.
        partial: those frames, (finished, H, W, C), where the run keeps them in memory, else None.
    """

    finished: int = 0
    partial: Any | None = None

    def __init__(self, wrong: str, found: str, advice: str) -> None:
        # An exception is pickled by its arguments: errors of a worker process keep their parts.
        super().__init__(wrong, found, advice)
        self.wrong = wrong
        self.found = found
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.wrong}\nFound: {self.found}\nWhat to do: {self.advice}"


class WeightsNotFoundError(MidframeError):
    """No file of that name where weights are looked for, and it may not or cannot be downloaded."""


class CorruptWeightsError(MidframeError):
    """A weights file that is not what it says: truncated, another hash, a web page, not readable as data."""


class UnsupportedWeightsError(MidframeError):
    """A readable weights file of a network that the pack does not know, or with wrong shapes.

    Attributes:
        nearest: the family that fits best, or None.
        missing: parameter names that the nearest family needs and the file lacks, sorted.
        unexpected: parameter names of the file that the nearest family does not have, sorted.
    """

    def __init__(
        self,
        wrong: str,
        found: str,
        advice: str,
        *,
        nearest: str | None = None,
        missing: Sequence[str] = (),
        unexpected: Sequence[str] = (),
    ) -> None:
        super().__init__(wrong, found, advice)
        self.nearest = nearest
        self.missing = tuple(sorted(missing))
        self.unexpected = tuple(sorted(unexpected))


class BadInputError(MidframeError, ValueError):
    """Frames, options or files that cannot be worked with: wrong shape, type, range or format."""


class OutOfMemoryError(MidframeError):
    """Memory ran out after everything that keeps the picture unchanged was tried.

    Attributes:
        tried: the steps of the ladder that were taken, in order.
    """

    def __init__(self, wrong: str, found: str, advice: str, *, tried: Sequence[str] = ()) -> None:
        super().__init__(wrong, found, advice)
        self.tried = tuple(tried)
