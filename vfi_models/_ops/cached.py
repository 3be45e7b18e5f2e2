"""Rows of pictures that a processor's cache holds while several operations read and write them."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

# Second and third level of a core's caches: of more, operations wait for the memory; of less, for calls.
_BYTES = 2**21


def cached_rows(x: Tensor, channels: int) -> Iterator[slice]:
    """Yield the rows of a picture in parts; all of them at once on a GPU, where each part would be a launch.

    Args:
        x: (..., H, W), for its size, batch of the first axis, dtype and device.
        channels: planes of its size and dtype that are read and written in a part.
    """
    height, width = x.shape[-2:]
    of_a_row = x.shape[0] * channels * width * x.element_size()
    rows = max(1, _BYTES // max(1, of_a_row)) if x.device.type == "cpu" else height
    for top in range(0, height, rows):
        yield slice(top, min(height, top + rows))
