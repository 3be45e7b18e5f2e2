"""The frame rate of what is linked to source_fps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import BadInputError
from ..inputs.objects import described

_LOADED, _SOURCE = "loaded_fps", "source_fps"
"""In VideoHelperSuite's video_info: of the frames as they were loaded, and of the file."""


def rate_of(source: Any) -> Any:
    """Return the frames a second of a clip by what is linked.

    Args:
        source: a number; a VIDEO; VideoHelperSuite's video_info.

    Returns:
        The number itself, or that of the object, for :func:`~..inputs.rates.rate_or_zero`.

    Raises:
        BadInputError: an object that says nothing of its rate, or none above 0.
    """
    if isinstance(source, Mapping):
        rate = source.get(_LOADED) or source.get(_SOURCE)
    elif hasattr(source, "get_frame_rate"):
        rate = source.get_frame_rate()
    else:
        return source
    if not rate:
        raise BadInputError(
            "What is linked to source_fps does not know its frame rate.",
            described(source),
            "Link fps of Get Video Components, or type the rate.",
        )
    return rate
