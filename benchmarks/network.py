"""The network alone: its time without the loop around it, what it computes, and how fast it could be."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ..api import interpolate
from ..engine.runner import ModelRunner
from ..vfi_models import build, detect
from ..vfi_models.interface import (
    Interpolator,
    InterruptibleInterpolator,
    ModelSpec,
    Options,
    Session,
)
from ..vfi_models.surroundings import undisturbed
from ..vfi_utils import Settings, by_multiplier
from .machine import Rates
from .work import Work

Around = Callable[[], contextlib.AbstractContextManager[None]]


class Watched:
    """A model whose own work, which is to encode, to find motion and to make frames, runs inside a context
    manager, call by call. Upload, clamping, download and the sink are the frame loop's and outside.

    See :class:`~..vfi_models.interface.Interpolator`.
    """

    def __init__(self, model: Interpolator, around: Around) -> None:
        self._model = model
        self._around = around
        self._thread = threading.local()

    @property
    def spec(self) -> ModelSpec:
        """What the model is and can do."""
        return self._model.spec

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self._model.device

    @property
    def dtype(self) -> torch.dtype:
        """What the model runs in."""
        return self._model.dtype

    @property
    def weight_bytes(self) -> int:
        """Bytes of the model's weights."""
        return self._model.weight_bytes

    def to(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Interpolator:
        """Move or convert the model."""
        self._model.to(device, dtype)
        return self

    def interruptible(self, check: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
        """End passes in the middle, where the model can."""
        if isinstance(self._model, InterruptibleInterpolator):
            return self._model.interruptible(check)
        return contextlib.nullcontext()

    def open(self, height: int, width: int, options: Options | None = None) -> Session[Any]:
        """A session of the model, its three calls watched."""
        session = self._model.open(height, width, options)
        for name in ("encode", "motion", "between"):
            if hasattr(session, name):
                setattr(session, name, self._watched(getattr(session, name)))
        return session

    def activation_bytes(self, height: int, width: int, options: Options | None = None) -> int:
        """The model's."""
        return self._model.activation_bytes(height, width, options)

    def low_memory(self, options: Options) -> Options | None:
        """The model's."""
        return self._model.low_memory(options)

    def _watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any) -> Any:
            if getattr(self._thread, "inside", False):  # one of its own calls of another
                return call(*args)
            self._thread.inside = True
            try:
                with self._around():
                    return call(*args)
            finally:
                self._thread.inside = False

        return watched


def stopwatch(device: str) -> Stopwatch:
    """What times calls on this device."""
    return _CudaStopwatch() if torch.device(device).type == "cuda" else Stopwatch()


class Stopwatch:
    """Adds up the time while at least one thread was inside, by the clock: of calls that return when the work
    is done.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._lock = threading.Lock()
        self._inside = 0
        self._begun = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Counts while this is entered."""
        self._step(1)
        try:
            yield
        finally:
            self._step(-1)

    def _step(self, change: int) -> None:
        with self._lock:
            now = time.perf_counter()
            if self._inside:
                self._seconds += now - self._begun
            self._inside, self._begun = self._inside + change, now

    def taken(self) -> float:
        """Seconds since it was asked last."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds


class _CudaStopwatch(Stopwatch):
    """By events in the stream of work: calls return before it is done, and waiting would add to it."""

    def __init__(self) -> None:
        super().__init__()
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        begun, over = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begun.record()
        yield
        over.record()
        self._events.append((begun, over))

    def taken(self) -> float:
        torch.cuda.synchronize()
        events, self._events = self._events, []
        return float(sum(begun.elapsed_time(over) for begun, over in events)) / 1000


@dataclass(frozen=True)
class Counts:
    """Of the convolutions and matrix products that make one frame, as the network is published."""

    operations: tuple[tuple[int, int], ...]
    """Each one's floating-point operations, and numbers that it reads and writes if it does so once."""
    frame_bytes: int
    """The part of the source frames that it must read, and the made frame that it must write, 3 float32
    channels."""
    made: int

    @property
    def flops(self) -> float:
        """A made frame; a multiply-add is two."""
        return sum(flops for flops, _ in self.operations) / self.made

    def traffic(self, itemsize: int) -> float:
        """The least bytes a made frame, if everything between convolutions were part of them."""
        return (itemsize * sum(numbers for _, numbers in self.operations) + self.frame_bytes) / self.made

    def bound(self, rates: Rates, itemsize: int) -> float:
        """Seconds a made frame: each operation takes what it computes or what it moves, the longer."""
        seconds = sum(
            max(flops / rates.flops, itemsize * numbers / rates.bytes) for flops, numbers in self.operations
        )
        return (seconds + self.frame_bytes / rates.bytes) / self.made


def counts(work: Work, options: Mapping[str, Any]) -> Counts:
    """Count what one more pair of a clip computes.

    A network with an option ``plain`` is counted with it on, so that a rewriting of it is not counted as work
    that had to be done. By shapes alone, in milliseconds; a network that looks at its numbers on the way runs
    on the CPU.
    """
    state = {name: value.to("meta") for name, value in work.weights().items()}
    model = build(detect(state))
    plain = {"plain": True} if "plain" in model.spec.options else {}
    settings = Settings(options={**options, **plain}, cpu_workers=1)
    try:
        operations = _operations_by_shape(work, model, settings)
    except (NotImplementedError, RuntimeError):  # there are no numbers
        operations = _operations_of_a_run(work, settings)
    height, width = work.size
    made = work.multiplier - 1
    return Counts(operations, 4 * 3 * height * width * (1 + made), made)


def _operations_by_shape(work: Work, model: Interpolator, settings: Settings) -> tuple[tuple[int, int], ...]:
    frames = [torch.empty((*work.size, 3), dtype=torch.float32, device="meta") for _ in range(3)]
    runner, counter = ModelRunner(model, settings), _Counter()
    for left, right in pairwise(frames):
        counter.operations.clear()  # of the first pair, for which two frames are encoded
        times = by_multiplier(work.multiplier).shown(0, last=False)[1:]
        with undisturbed(torch.device("meta")), counter:
            while times:
                times = times[len(runner.infer(runner.pair(left, right), times, lambda: None, lambda _: 0)) :]
    return tuple(counter.operations)


def _operations_of_a_run(work: Work, settings: Settings) -> tuple[tuple[int, int], ...]:
    model, counters = work.build("float32", "cpu"), []
    for frames in (3, 2):
        counter = _Counter()
        clip = replace(work, frames=frames).clip()
        interpolate(clip, Watched(model, counter.noting), work.multiplier, settings=settings)
        counters.append(Tally(counter.operations))
    return tuple((counters[0] - counters[1]).elements())


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operation that torch can count the arithmetic of."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[tuple[int, int]] = []

    def noting(self) -> _Counter:
        """Itself, to be entered again."""
        return self

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation, and notes it."""
        kwargs = kwargs or {}
        if func is not _FUSED and func._overloadpacket not in flop_registry:
            with self:  # what it is made of is dispatched here again
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        out = func(*args, **kwargs)
        count = _fused_flops if func is _FUSED else flop_registry.get(func._overloadpacket)
        if count is not None:
            numbers = sum(x.numel() for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor))
            self.operations.append((int(count(*args, **kwargs, out_val=out)), numbers))
        return out


_FUSED = getattr(torch.ops.mkldnn._convolution_pointwise, "default", None)
"""A convolution whose weights are laid out already; torch counts it as nothing."""


def _fused_flops(x: Tensor, weight: Tensor, *_: Any, out_val: Tensor) -> int:
    """Of :data:`_FUSED`: for each number that comes out, a multiply-add by each weight of its channel."""
    return 2 * weight.shape[1:].numel() * out_val.numel()
