"""Runs a network in float64, to tell the rounding of float32 from a fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..vfi_models.interface import Interpolator, Options


class Float64(TorchFunctionMode):
    """Gives float64 to calls that ask for float32, while the context is open.

    Networks fix float32 for flow and coordinates by ``.float()`` and ``dtype=torch.float32``; inside this
    context the same lines give float64, so that one code serves both and nothing is written twice.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func`` with float64 in place of float32."""
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        named = {name: _widened(value) for name, value in (kwargs or {}).items()}
        return func(*map(_widened, args), **named)


def _widened(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value


def frame_in_float64(
    make: Callable[[], Interpolator],
    left: Tensor,
    right: Tensor,
    timestep: Tensor,
    options: Options | None = None,
) -> Tensor:
    """Return the frame between two others as a network makes it in float64, on the CPU.

    Args:
        make: builds the network, in float32; a new one, for it is converted.
        left, right: (N, C, H, W) source frames, 0..1.
        timestep: (K,) in 0..1.
        options: of the model.

    Returns:
        (K, C, H, W) float64.
    """
    # On the CPU, whatever the case runs on: MPS has no float64.
    with torch.inference_mode(), Float64():
        model = make()
        model.to(torch.device("cpu"), torch.float64)
        height, width = left.shape[-2:]
        session = model.open(height, width, options)
        a, b = (session.encode(frame.cpu().double()) for frame in (left, right))
        frame: Tensor = session.between(a, b, timestep.cpu().double())
        session.close()
    return frame


def root_mean_square(difference: Tensor) -> float:
    """Return the root of the mean square of all elements."""
    return float(difference.double().square().mean().sqrt())
