"""Measures the network alone: its time without the loop around it, its operations, and how fast it could
be.
"""

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
from ..vfi_models.interface import Interpolator, InterruptibleInterpolator, ModelSpec, Options, Session
from ..vfi_models.surroundings import undisturbed
from ..vfi_utils import Settings, by_multiplier
from .machine import Rates
from .work import Work

Around = Callable[[], contextlib.AbstractContextManager[None]]


class TimedModel:
    """A model whose own work runs inside a context manager, call by call, to be timed or counted.

    Its own work is to encode, to find motion and to make frames. Upload, clamping, download and the sink
    belong to the frame loop, and are outside. See :class:`~..vfi_models.interface.Interpolator`.

    Args:
        model: does the work.
        around: returns the context of a call.
    """

    def __init__(self, model: Interpolator, around: Around) -> None:
        self._model = model
        self._around = around
        self._thread = threading.local()

    @property
    def spec(self) -> ModelSpec:
        """Return what the model is and can do."""
        return self._model.spec

    @property
    def device(self) -> torch.device:
        """Return where the model runs."""
        return self._model.device

    @property
    def dtype(self) -> torch.dtype:
        """Return what the model runs in."""
        return self._model.dtype

    @property
    def weight_bytes(self) -> int:
        """Return the bytes of the model's weights."""
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
        """Open a session of the model, its three calls wrapped."""
        session = self._model.open(height, width, options)
        for name in ("encode", "motion", "between"):
            if hasattr(session, name):
                setattr(session, name, self._wrapped(getattr(session, name)))
        return session

    def activation_bytes(self, height: int, width: int, options: Options | None = None) -> int:
        """Estimate as the model does."""
        return self._model.activation_bytes(height, width, options)

    def low_memory(self, options: Options) -> Options | None:
        """Return the model's options for less memory."""
        return self._model.low_memory(options)

    def _wrapped(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any) -> Any:
            if getattr(self._thread, "inside", False):  # called by another of the three
                return call(*args)
            self._thread.inside = True
            try:
                with self._around():
                    return call(*args)
            finally:
                self._thread.inside = False

        return wrapped


def stopwatch(device: str) -> Stopwatch:
    """Return a stopwatch for calls on this device."""
    return _CudaStopwatch() if torch.device(device).type == "cuda" else Stopwatch()


class Stopwatch:
    """Adds up the time during which at least one thread is inside; for calls that return when work is
    done.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._lock = threading.Lock()
        self._inside = 0
        self._start = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Count the time while the context is open."""
        self._step(1)
        try:
            yield
        finally:
            self._step(-1)

    def _step(self, change: int) -> None:
        with self._lock:
            now = time.perf_counter()
            if self._inside:
                self._seconds += now - self._start
            self._inside, self._start = self._inside + change, now

    def taken(self) -> float:
        """Return the seconds since the last call, and start again at 0."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds


class _CudaStopwatch(Stopwatch):
    """Measures by CUDA events: calls return before their work is done, and waiting would add to the time."""

    def __init__(self) -> None:
        super().__init__()
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        yield
        end.record()
        self._events.append((start, end))

    def taken(self) -> float:
        # An event has its time only when the device has passed it.
        torch.cuda.synchronize()
        events, self._events = self._events, []
        # CUDA gives milliseconds.
        return float(sum(start.elapsed_time(end) for start, end in events)) / 1000


@dataclass(frozen=True)
class Counts:
    """Counts of the convolutions and matrix products of a pair, as the network is published."""

    operations: tuple[tuple[int, int], ...]
    """Each one's floating-point operations, and numbers that it reads and writes if it does so once."""
    frame_bytes: int
    """Bytes of the source frame that it must read, and of the made frames that it must write: 3 float32
    channels."""
    made: int
    """Frames of the pair."""

    @property
    def flops(self) -> float:
        """Return the floating-point operations of a made frame; a multiply-add counts as two."""
        return sum(flops for flops, _ in self.operations) / self.made

    def traffic(self, itemsize: int) -> float:
        """Return the fewest bytes that a made frame can move, if everything between convolutions were fused
        into them.
        """
        return (itemsize * sum(numbers for _, numbers in self.operations) + self.frame_bytes) / self.made

    def bound(self, rates: Rates, itemsize: int) -> float:
        """Return the least seconds of a made frame: each operation takes its arithmetic or its traffic, the
        longer.
        """
        seconds = sum(
            max(flops / rates.flops, itemsize * numbers / rates.bytes) for flops, numbers in self.operations
        )
        return (seconds + self.frame_bytes / rates.bytes) / self.made


def counts(work: Work, options: Mapping[str, Any]) -> Counts:
    """Count the operations of one more pair of a clip.

    A network with an option ``plain`` is counted with it on: the published algorithm is the measure, not our
    rewriting of it. Counted by shapes alone, in milliseconds; a network that reads values on the way runs on
    the CPU.
    """
    state = {name: value.to("meta") for name, value in work.weights().items()}
    model = build(detect(state))
    plain = {"plain": True} if "plain" in model.spec.options else {}
    # One worker: a dispatch mode sees only the thread that entered it.
    settings = Settings(options={**options, **plain}, cpu_workers=1)
    try:
        operations = _operations_by_shape(work, model, settings)
    except (NotImplementedError, RuntimeError):  # it reads values, which tensors on the meta device lack
        operations = _operations_of_a_run(work, settings)
    height, width = work.size
    made = work.multiplier - 1
    return Counts(operations, 4 * 3 * height * width * (1 + made), made)


def _operations_by_shape(work: Work, model: Interpolator, settings: Settings) -> tuple[tuple[int, int], ...]:
    frames = [torch.empty((*work.size, 3), dtype=torch.float32, device="meta") for _ in range(3)]
    runner, counter = ModelRunner(model, settings), _Counter()
    for left, right in pairwise(frames):
        counter.operations.clear()  # the first pair does not count: two frames are encoded for it
        # Without time 0, which is the source frame itself.
        times = by_multiplier(work.multiplier).shown(0, last=False)[1:]
        with undisturbed(torch.device("meta")), counter:
            # A call makes as many frames as the budget allows, and is repeated for the others.
            while times:
                times = times[len(runner.infer(runner.pair(left, right), times, lambda: None, lambda _: 0)) :]
    return tuple(counter.operations)


def _operations_of_a_run(work: Work, settings: Settings) -> tuple[tuple[int, int], ...]:
    model, counters = work.build("float32", "cpu"), []
    for frames in (3, 2):
        counter = _Counter()
        clip = replace(work, frames=frames).clip()
        interpolate(clip, TimedModel(model, counter.noting), work.multiplier, settings=settings)
        # The difference of three frames and two is one more pair, without the first frame's own encoding.
        counters.append(Tally(counter.operations))
    return tuple((counters[0] - counters[1]).elements())


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records every operation whose arithmetic torch can count."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[tuple[int, int]] = []

    def noting(self) -> _Counter:
        """Return itself, to be entered again."""
        return self

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and record it."""
        kwargs = kwargs or {}
        # As torch's own counter does: an operation without a count may consist of some that have one.
        if func is not _FUSED and func._overloadpacket not in flop_registry:
            with self:  # its parts are dispatched here in turn
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        out = func(*args, **kwargs)
        count = _fused_flops if func is _FUSED else flop_registry.get(func._overloadpacket)
        if count is not None:
            numbers = sum(x.numel() for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor))
            self.operations.append((int(count(*args, **kwargs, out_val=out)), numbers))
        return out


# A convolution with weights in oneDNN's layout, which torch's counter does not know.
_FUSED = getattr(torch.ops.mkldnn._convolution_pointwise, "default", None)


def _fused_flops(x: Tensor, weight: Tensor, *_: Any, out_val: Tensor) -> int:
    """Count the arithmetic of :data:`_FUSED`: for each output number a multiply-add by each weight of its
    channel.
    """
    return 2 * weight.shape[1:].numel() * out_val.numel()
