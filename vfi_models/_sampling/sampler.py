"""The base of samplers: a session that makes frames through another session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from torch import Tensor

from ..interface import Session


class Sampler:
    """Base of a session that makes the frames of a pair by several passes of another session.

    A sampler adds ``between``. It needs all timesteps of a pair in one call, to share frames among them.

    Args:
        session: runs the network.
        before: called before every forward pass; may raise to cancel.
        times: the values of ``timestep`` where these are known: reading them off a device waits for it.
    """

    def __init__(
        self,
        session: Session[Any],
        before: Callable[[], None] = lambda: None,
        times: Sequence[Fraction] | None = None,
    ) -> None:
        self._session = session
        self._before = before
        self._times = times

    def encode(self, frames: Tensor) -> Any:
        """Encode source frames; see :class:`~..interface.Session`."""
        return self._session.encode(frames)

    def close(self) -> None:
        """Close the session."""
        self._session.close()


def float32_values(timestep: Tensor, times: Sequence[Fraction] | None) -> list[float]:
    """Return the values of a float32 timestep: ``times``, or read off its device where these are not
    known.
    """
    if times is not None:
        # Rounded to float32 like the tensor's values: a sampler must take the same steps either way.
        return [float(np.float32(float(t))) for t in times]
    values: list[float] = timestep.tolist()
    return values
