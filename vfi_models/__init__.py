"""The networks, one folder each. A folder that exports ``ARCHITECTURE`` is found and registered by itself."""

from __future__ import annotations

from ._ops.convolution import activations_stored
from ._ops.fused import replaced_kernels
from ._ops.warp import backward_warp
from ._sampling import sampler_for, schedule
from .registry import architectures, build, detect

__all__ = [
    "activations_stored",
    "architectures",
    "backward_warp",
    "build",
    "detect",
    "replaced_kernels",
    "sampler_for",
    "schedule",
]
