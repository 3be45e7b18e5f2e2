"""Interpolation states: in which pairs of source frames nothing is made."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol

from ..errors import BadInputError
from ..inputs.objects import described, require_like
from ..inputs.pairs import require_pairs

_ADVICE = "Connect Choose Pairs, or give States({1, 2}), which leaves pairs 1 and 2 alone."


class StatesLike(Protocol):
    """Interpolation states of this pack or of an older one."""

    def is_frame_skipped(self, frame_index: int, /) -> bool:
        """Tell whether nothing is made between source frames ``frame_index`` and ``frame_index + 1``."""
        ...


@dataclass(frozen=True)
class States:
    """Which pairs are interpolated. Pair i is source frames i and i + 1.

    Raises:
        BadInputError: ``indices`` are no whole numbers of 0 or more.
    """

    indices: frozenset[int]
    skip: bool = True
    """True: the listed pairs are left alone. False: only the listed pairs are interpolated."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "indices", require_pairs(self.indices))

    def is_frame_skipped(self, frame_index: int) -> bool:
        """Tell whether nothing is made in pair ``frame_index``."""
        return (frame_index in self.indices) == self.skip

    @classmethod
    def of(cls, states: StatesLike) -> States:
        """Return ``states`` as plain data, which another process can be given.

        Args:
            states: of this pack, or of an older one that lists its pairs in ``frame_indices``.

        Raises:
            BadInputError: they do not list their pairs.
        """
        if isinstance(states, States):
            # A new one: what came may be of a subclass, in a module that a worker has not loaded.
            return States(states.indices, states.skip)
        try:
            # By attribute: the class is in a module of that pack, which another process need not have.
            indices, skip = attrgetter("frame_indices", "is_skip_list")(states)
        except AttributeError:
            raise BadInputError(
                "These interpolation states do not list their pairs.",
                described(states),
                _ADVICE,
            ) from None
        return States(indices, bool(skip))


def require_states(states: Any) -> None:
    """Check that ``states`` are interpolation states, or None.

    Raises:
        BadInputError: they are something else.
    """
    if states is not None:
        require_like(
            states,
            ("is_frame_skipped",),
            wrong="These are not interpolation states.",
            advice=_ADVICE,
        )
