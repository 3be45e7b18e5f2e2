"""The outcome of a golden case, and the device and dtype that it runs in."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..vfi_models.interface import Interpolator
from .float64 import root_mean_square
from .tolerances import TIMES_THE_REFERENCE, bound


@dataclass(frozen=True)
class Outcome:
    """The outcome of one case: its error, why it was not run, or what kept it from running."""

    name: str
    error: float | None = None
    bound: float = 0.0
    skipped: str = ""
    broken: str = ""

    @property
    def failed(self) -> bool:
        """Tell whether the error is over the bound or not a number."""
        # In this form a NaN fails, for no comparison with it is true.
        return not self.skipped and not (self.error is not None and self.error <= self.bound)

    def __str__(self) -> str:
        if self.skipped:
            return f"{self.name}: skipped: {self.skipped}"
        if self.error is None:
            return f"{self.name}: FAILED {self.broken}"
        return f"{self.name}: {'FAILED' if self.failed else 'ok'} {self.error:.1e} (bound {self.bound:.0e})"


def beside_reference(name: str, frames: Tensor, reference: Tensor, exact: Tensor) -> Outcome:
    """Judge a case that amplifies rounding by how far both pictures are from the one in float64.

    Args:
        name: of the case.
        frames, reference: (N, C, H, W) float32, ours and the golden.
        exact: the same of our network in float64.
    """
    if frames.shape != reference.shape:
        return Outcome(name, float("inf"))
    # A golden that is far from float64 is of another network, and its own error would excuse any of ours.
    away = float((reference - exact).abs().max())
    if not away <= bound("reference from float64"):
        return Outcome(name, broken=f"the golden is {away:.1e} from this network in float64")
    ours, theirs = root_mean_square(frames.cpu() - exact), root_mean_square(reference - exact)
    return Outcome(name, ours, TIMES_THE_REFERENCE * theirs)


@dataclass
class Place:
    """Where networks run, and the last network that was built: neighbouring files often share one."""

    device: torch.device
    dtype: torch.dtype
    _last: tuple[Hashable, Interpolator] | None = field(default=None, init=False)

    @property
    def bound(self) -> float:
        """Return the largest :meth:`error` that a picture may have."""
        return bound(f"golden {str(self.dtype).removeprefix('torch.')}")

    def error(self, frames: Tensor, expected: Tensor) -> float:
        """Return the error: the largest in float32, the mean in 16 bits, infinite where shapes differ."""
        if frames.shape != expected.shape:
            return float("inf")
        difference = (frames.float().cpu() - expected).abs()
        return float(difference.max() if self.dtype == torch.float32 else difference.mean())

    def model(self, key: Hashable, make: Callable[[], Interpolator]) -> Interpolator:
        """Return the network of ``key``, on the device and in the dtype, built if it is not the last one."""
        if self._last is None or self._last[0] != key:
            self._last = None  # before the next is built: two large networks may not fit
            model = make()
            model.to(self.device, self.dtype)
            self._last = key, model
        return self._last[1]
