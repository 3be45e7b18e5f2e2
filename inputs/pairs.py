"""Pairs of source frames as people list them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ..errors import BadInputError
from .numbers import number, whole
from .objects import described

_RANGE = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?")
# Pairs, five days of film. A slip such as 0-99999999999 would fill the memory.
_LONGEST_RANGE = 10_000_000


def parse_pairs(listing: Any) -> frozenset[int]:
    """Return the pairs of a text such as ``"1, 2, 5-9"``; separators are commas, semicolons and white space.

    Pair i is frames i and i + 1, counted from 0. An empty text lists none. A number and a collection of
    numbers, as other nodes hand them on, are taken too.

    Raises:
        BadInputError: a piece that is neither a number nor a range, a range that runs backwards, or something
            that lists no pairs.
    """
    if isinstance(listing, str):
        # Spaces around a dash go first, for "5 - 9" is one range and spaces separate.
        ranges = map(_range, re.split(r"[,;\s]+", re.sub(r"\s*-\s*", "-", listing.strip())))
        return frozenset(index for indices in ranges for index in indices)
    single = number(listing)
    return require_pairs(listing if single is None else {single})


def require_pairs(listing: Any) -> frozenset[int]:
    """Return a collection of numbers of pairs, whole and 0 or more, as a set.

    Raises:
        BadInputError: it is something else.
    """
    if isinstance(listing, (str, bytes)) or not isinstance(listing, Iterable):
        raise BadInputError(
            "The pairs must be a set of whole numbers.", described(listing), "Give {1, 2}, for example."
        )
    return frozenset(whole(index, "the number of a pair") for index in listing)


def _range(text: str) -> range:
    if not text:
        return range(0)
    match = _RANGE.fullmatch(text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if not 0 <= last - first <= _LONGEST_RANGE:
        raise BadInputError(
            "The list of pairs cannot be read.",
            described(text),
            "Write numbers and ranges from low to high, such as 1, 2, 5-9. The first pair is 0.",
        )
    return range(first, last + 1)
