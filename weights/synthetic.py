"""Make weights from a parameter's name, its shape and a seed alone.

Golden outputs and benchmarks use them where no trained checkpoint can be had: whoever knows the names
makes the same network. The stream is PCG64's raw output, which numpy guarantees to stay the same.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def synthetic_tensor(name: str, shape: tuple[int, ...], seed: int, gain: float = 1.0) -> Tensor:
    """Return a float32 tensor of ``shape``, uniform about a centre that suits the kind of parameter.

    Two or more dimensions: within ``gain * sqrt(3 / fan_in)`` of 0, so that a layer keeps the scale of
    what flows through it. One dimension: a ``.weight`` (of a normalisation, or slopes) within 0.1 of 1,
    ``running_var`` within 0.5 of 1, anything else within 0.1 of 0. A per-channel scale of shape
    (1, C, 1, 1): within 0.1 of 0.5.
    """
    # crc32, for Python's own hash of a text is another in every process.
    raw = np.random.PCG64([seed, zlib.crc32(name.encode())]).random_raw(math.prod(shape))
    # The upper 53 bits, as many as a float64 holds, scaled to [0, 1): exact, so the same on every machine.
    unit = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
    if name.endswith("running_var"):
        centre, reach = 1.0, 0.5
    elif len(shape) == 4 and shape[0] == 1 and shape[2:] == (1, 1):  # noqa: PLR2004 - (1, C, 1, 1)
        centre, reach = 0.5, 0.1
    elif len(shape) > 1:
        centre, reach = 0.0, gain * math.sqrt(3.0 / math.prod(shape[1:]))
    else:
        centre, reach = (1.0 if name.endswith(".weight") else 0.0), 0.1
    values = centre + reach * (2.0 * unit - 1.0)
    return torch.from_numpy(values.reshape(shape).astype(np.float32))


def synthetic_state_dict(
    shapes: Mapping[str, tuple[int, ...]], seed: int = 0, gain: float = 1.0
) -> dict[str, Tensor]:
    """Return one :func:`synthetic_tensor` per entry; counters (``num_batches_tracked``) are left out."""
    return {
        name: synthetic_tensor(name, tuple(shape), seed, gain)
        for name, shape in shapes.items()
        if not name.endswith("num_batches_tracked")
    }
