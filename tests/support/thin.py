"""Long lists of values, of which the short run takes a part."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest


def thinned(values: Sequence[Any], short: Iterable[int]) -> list[Any]:
    """Mark as long all values but those at the places ``short``, which fail for what the others fail for too."""
    chosen = set(short)
    return [
        value
        if place in chosen
        else pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.long)
        for place, value in enumerate(values)
    ]
