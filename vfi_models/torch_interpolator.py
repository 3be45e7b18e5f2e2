"""The base of all interpolators here: a torch module with its spec, built strictly from its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..errors import BadInputError, UnsupportedWeightsError
from .interface import Interpolator, ModelSpec, StateDict
from .interruption import interruptible

N = TypeVar("N", bound=nn.Module)
Self = TypeVar("Self", bound="TorchInterpolator[Any]")

# Names of parameters in an error.
_SHOWN = 6
_SHOWN_OVERFLOWS = 3


class TorchInterpolator(Generic[N]):
    """Base of an :class:`~.interface.Interpolator` whose network is a torch module.

    A network adds ``open``, ``activation_bytes`` and ``low_memory``.

    Args:
        net: in eval mode and without gradients; all its parameters on one device and in one dtype.
        spec: what it is and can do.
    """

    def __init__(self, net: N, spec: ModelSpec) -> None:
        self.module = net
        """The network, for callers that work on torch modules: ComfyUI's model management, training,
        goldens."""
        self._spec = spec

    @property
    def spec(self) -> ModelSpec:
        """Return what the model is and can do."""
        return self._spec

    @property
    def device(self) -> torch.device:
        """Return where the model runs. Read off its parameters: a host may have moved these."""
        return next(self.module.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Return what the convolutions run in."""
        return next(self.module.parameters()).dtype

    @property
    def weight_bytes(self) -> int:
        """Return the bytes of parameters and buffers."""
        # state_dict and not parameters(): TLBVFI's batch norms keep statistics in buffers.
        return sum(tensor.nbytes for tensor in self.module.state_dict().values())

    def to(self: Self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move or convert the parameters in place, and return this model.

        Raises:
            BadInputError: some parameters are infinite or not a number in ``dtype``.
        """
        self.module.to(device=device, dtype=dtype)
        if dtype is not None:
            self._require_finite()
        return self

    def interruptible(self, check: Callable[[], None]) -> AbstractContextManager[None]:
        """Call ``check`` before every layer that this thread runs while the context is open, on a CPU."""
        return interruptible(self.module, self.device, check)

    def _require_finite(self) -> None:
        state = self.module.state_dict()
        # float16 ends at 65,504: larger weights become infinite in it.
        bad = [name for name, value in state.items() if not bool(value.isfinite().all())]
        if bad:
            raise BadInputError(
                f"These weights cannot run in {self.dtype}.",
                f"{len(bad)} of the parameters overflow: {', '.join(bad[:_SHOWN_OVERFLOWS])}",
                "Use float32 or bfloat16.",
            )


def shapes_of(make: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the parameters and buffers of the network that ``make`` makes."""
    return {name: tuple(value.shape) for name, value in without_storage(make).state_dict().items()}


def without_storage(make: Callable[[], N]) -> N:
    """Return the network that ``make`` makes, on the meta device: no parameter has memory."""
    # Layers of torch fill their weights with random numbers when they are created; on the meta device that
    # costs no time and does not touch the caller's generator.
    with torch.device("meta"), _NoInitialisation():
        return make()


class _NoInitialisation(TorchFunctionMode):
    """Leaves parameters as they are: their values come from a file.

    Random numbers without storage are nothing, and to make them torch imports its decompositions first,
    which takes 2.5 s (TLBVFI's embeddings).
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return the tensor of a function of ``torch.nn.init``; run any other function."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def build_strict(
    make: Callable[[], N],
    weights: StateDict,
    *,
    convert: Callable[[Tensor], Tensor] = lambda value: value.to(torch.float32, copy=True),
    what: str,
    family: str,
    advice: str,
) -> N:
    """Return the network that ``make`` makes with these weights: on the CPU, in eval mode, without gradients.

    Args:
        make: returns the network; called on the meta device, so that no memory is filled twice.
        weights: under the network's own names.
        convert: gives a parameter its dtype and layout; float32 and its own copy where it is left out.
        what, family, advice: see :func:`require_fit`.

    Raises:
        UnsupportedWeightsError: parameters missing, left over, or of another shape.
    """
    net = without_storage(make)
    shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    require_fit(weights, shapes, what=what, family=family, advice=advice)
    # Assigned, for parameters on the meta device have no memory to copy into.
    net.load_state_dict({name: convert(value) for name, value in weights.items()}, assign=True)
    return net.eval().requires_grad_(False)


def require_fit(
    weights: StateDict, shapes: Mapping[str, tuple[int, ...]], *, what: str, family: str, advice: str
) -> None:
    """Refuse weights that are not exactly the parameters of a network.

    Args:
        weights: under the network's own names.
        shapes: of its parameters, by name.
        what: the network, as a person calls it.
        family: that was detected.
        advice: what to do.

    Raises:
        UnsupportedWeightsError: parameters missing, left over, or of another shape.
    """
    # Compared here, for the error of load_state_dict names no family and gives no advice.
    missing, unexpected = shapes.keys() - weights.keys(), weights.keys() - shapes.keys()
    misshapen = {n for n in shapes.keys() & weights.keys() if tuple(weights[n].shape) != tuple(shapes[n])}
    if not (missing or unexpected or misshapen):
        return
    raise UnsupportedWeightsError(
        f"These weights look like {what} but do not fit it.",
        f"{len(missing)} parameters missing, {len(unexpected)} left over, {len(misshapen)} of another shape: "
        + ", ".join(sorted(missing | unexpected | misshapen)[:_SHOWN]),
        advice,
        nearest=family,
        missing=[*missing, *misshapen],
        unexpected=[*unexpected, *misshapen],
    )


def module_of(model: Interpolator) -> nn.Module:
    """Return the torch module of a model, for code that works on layers and parameters.

    Raises:
        BadInputError: the model is not made of torch.
    """
    if not isinstance(model, TorchInterpolator):
        raise BadInputError("This model is no torch module.", type(model).__name__, "Use another model.")
    module: nn.Module = model.module
    return module
