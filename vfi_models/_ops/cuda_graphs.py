"""Launches recorded once and replayed: a pass of a few hundred small kernels as one CUDA graph.

A recording reads and writes the same memory at every replay. So whatever it works on lies in its own pool,
or outlives it; what it is given is copied in, and what it makes is copied out.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

_LOG = logging.getLogger(__name__)

_MOST = 2
"""Each keeps what a pass takes. Conversions of frame rates alternate between two counts of timesteps."""
_FIRST = 24
"""The pass of a shape that is recorded. To record takes three passes more, two emptied caches, whose memory
the passes after it ask the driver for again, and the memory of a pass for as long as it is kept: some 120 ms
beside passes of 8 ms. What it saves is the processor's part of a launch, 5 to 7 us, as far as the device
waits for it: at most 1.5 ms for the 242 launches of RIFE 4.25 at 1080p. So it is even after about 80 passes.
How many will come is not known, but a clip that lasted for a second of film mostly goes on, and waiting
costs it 35 ms. Reckoned, not measured, as no GPU was at hand: rife_1080p_graphs of benchmarks.gpu tells."""
_SPARE = 2
"""How many times what a pass takes must be free to record it: once is kept, and once is for everybody else.
On Windows the driver gives out main memory rather than say that there is no more, at a tenth of the speed."""
_NEAR = 1e-3
"""How far a replay may be from the pass itself. They are mostly the same bits, but convolutions may take
another kernel where their workspace is another."""
_INVALID = threading.Event()
"""Set once a recording has failed. torch's allocator may then be recording still, for the whole process: it
gives out no memory a second time, and to empty its cache may fail. Nothing but a new process undoes that."""

Pass = Callable[..., Tensor]


class Replay(Protocol):
    """What was recorded."""

    def replay(self) -> None:
        """Start it again, on the stream that is current. Not waited for."""
        ...

    def reset(self) -> None:
        """Let go of it and of its pool."""
        ...


class Recorder(Protocol):
    """Something that can record: CUDA, a test."""

    def measure(self, work: Callable[[], Tensor]) -> tuple[Tensor, int]:
        """Run it as it is, and return with its result how many bytes it takes at its peak."""
        ...

    def free_bytes(self) -> int:
        """Return what the driver can still give to anybody. What is only cached is not free."""
        ...

    def warm_up(self, work: Callable[[], Tensor]) -> Tensor:
        """Run it once where it will be recorded, so that nothing is set up while it is."""
        ...

    def record(self, work: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
        """Record it, without doing any of it, and return with it where its result will be."""
        ...

    def release(self) -> None:
        """Give the pools of recordings that were reset, and all that is only cached, back to the driver."""
        ...


def recorder_for(device: torch.device) -> Recorder | None:
    """Return what records on a device, or None where nothing does so safely.

    Only torch's own allocator keeps recordings in pools that it can count and give back; under
    ``cudaMallocAsync`` they stay with the driver, out of everybody's reach. On ROCm nothing was tried.
    """
    if device.type != "cuda" or torch.version.hip is not None or not torch.cuda.is_available():
        return None
    if torch.cuda.memory.get_allocator_backend() != "native":
        return None
    return CudaRecorder(device)


class CudaRecorder:
    """See :class:`Recorder`.

    Args:
        device: of CUDA.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def measure(self, work: Callable[[], Tensor]) -> tuple[Tensor, int]:
        """See :class:`Recorder`. Waits for nothing: the allocator counts when memory is asked for."""
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        output = work()
        return output, torch.cuda.max_memory_allocated(self._device) - before

    def free_bytes(self) -> int:
        """See :class:`Recorder`."""
        return int(torch.cuda.mem_get_info(self._device)[0])

    def warm_up(self, work: Callable[[], Tensor]) -> Tensor:
        """See :class:`Recorder`."""
        computing = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(computing)
        try:
            with torch.cuda.stream(self._stream):
                made = work()
        finally:
            computing.wait_stream(self._stream)
        made.record_stream(computing)
        return made

    def record(self, work: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
        """See :class:`Recorder`. Waits for the device once, and gives back what is only cached."""
        graph = torch.cuda.CUDAGraph()
        # The outer stream brings the current one back even where the end of the recording fails. Only this
        # thread's doings are held against it: others go on allocating.
        try:
            with (
                torch.cuda.device(self._device),
                torch.cuda.stream(self._stream),
                torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
            ):
                made = work()
        except BaseException:
            graph.reset()
            raise
        return graph, made

    def release(self) -> None:
        """See :class:`Recorder`."""
        with torch.cuda.device(self._device):
            torch.cuda.empty_cache()


class _Recording:
    """One pass for inputs of one shape.

    Args:
        inputs: whose shapes and dtypes it is for; copied.
    """

    def __init__(self, inputs: tuple[Tensor, ...]) -> None:
        self._inputs = tuple(x.clone() for x in inputs)
        self._replay: Replay | None = None
        self._output: Tensor | None = None
        self.held_bytes = 0
        """What it took from the driver."""

    def record(self, work: Pass, recorder: Recorder, forget: Callable[[], None]) -> float:
        """Record, and return the largest difference of the first replay from the pass itself."""
        forget()
        expected = recorder.warm_up(lambda: work(*self._inputs)).clone()
        forget()
        recorder.release()  # or what the warm-up left cached would hide what the recording takes
        before = recorder.free_bytes()
        self._replay, self._output = recorder.record(lambda: work(*self._inputs))
        self.held_bytes = max(0, before - recorder.free_bytes())
        forget()
        self._replay.replay()
        return float((self._output - expected).abs().amax())

    def __call__(self, inputs: tuple[Tensor, ...]) -> Tensor:
        if self._replay is None or self._output is None:
            raise TypeError("a replay of what was not recorded")
        for kept, given in zip(self._inputs, inputs, strict=True):
            kept.copy_(given)
        self._replay.replay()
        # As pictures are handed on, so that this is the only copy.
        return self._output.clone(memory_format=torch.channels_last)

    def close(self) -> None:
        replay, self._replay, self._inputs, self._output = self._replay, None, (), None
        if replay is not None:
            replay.reset()


@dataclass
class _Shape:
    """What is known of the passes for inputs of one shape."""

    passes: int = 0
    """That ran as they are since memory was last looked at."""
    bytes: int = 0
    """What the last of them took at its peak."""
    recording: _Recording | None = None


class Recordings:
    """Runs a pass, replayed where that is safe and pays.

    From the ``first`` pass of a shape on it is recorded once ``_SPARE`` times what it takes is free, and its
    first replay is compared. Where memory runs out over that, or the replay is another picture, the owner's
    passes run as they are from then on; after any other failure nothing is recorded in this process any more.

    Args:
        recorder: None where there is nothing to record with, see :func:`recorder_for`.
        most: recordings at a time; passes of other shapes run as they are.
        first: which pass of a shape is recorded, 2 or more: the one before it is measured.
    """

    def __init__(self, recorder: Recorder | None, *, most: int = _MOST, first: int = _FIRST) -> None:
        self._recorder = recorder
        self._most = most
        self._first = first
        self._shapes: dict[Any, _Shape] = {}
        self._reads: object = None

    @property
    def held_bytes(self) -> int:
        """What live recordings took from the driver. Nothing else can use it, whatever the allocator says."""
        return sum(recording.held_bytes for recording in self._live())

    def run(
        self, work: Pass, inputs: tuple[Tensor, ...], forget: Callable[[], None] = lambda: None
    ) -> Tensor:
        """Return ``work(*inputs)``.

        Args:
            work: (K, C, H, W) of tensors on the device. Must depend on nothing else that changes, wait for
                nothing and ask nobody: nothing of it happens again but the launches.
            inputs: not written to. N frames each, or timesteps: a count of these is a shape of its own.
            forget: makes the owner of ``work`` let go of memory that it keeps from call to call, which must
                belong either to a recording or to the pass as it is. What it keeps in spite of that must
                stay until :meth:`close`.

        Returns:
            A new tensor: the next call does not write over it.
        """
        recorder = self._recorder
        if recorder is None or torch.is_grad_enabled():
            return work(*inputs)
        shape = self._shapes.setdefault(tuple((x.shape, x.dtype, x.device) for x in inputs), _Shape())
        if shape.recording is None and self._is_due(shape, recorder):
            shape.recording = self._recorded(recorder, work, inputs, forget)
        if shape.recording is not None:
            return shape.recording(inputs)
        if shape.passes == self._first - 1:
            output, shape.bytes = recorder.measure(lambda: work(*inputs))
            return output
        return work(*inputs)

    def follow(self, parameters: Iterable[Tensor]) -> None:
        """Let go of all recordings where these, which passes read, lie elsewhere than at the last call."""
        if self._recorder is not None:
            reads = storages(parameters)
            if reads != self._reads:
                self.close()
            self._reads = reads

    def close(self) -> None:
        """Let go of all recordings and their memory. May be used again."""
        recordings = self._live()
        self._shapes.clear()
        for recording in recordings:
            recording.close()
        if recordings and self._recorder is not None and not _INVALID.is_set():
            self._recorder.release()

    def drop(self) -> bool:
        """Let go of all recordings for good, as memory is short; return whether there were any."""
        dropped = bool(self._live())
        self.close()
        self._recorder = None
        return dropped

    def _live(self) -> list[_Recording]:
        return [shape.recording for shape in self._shapes.values() if shape.recording is not None]

    def _is_due(self, shape: _Shape, recorder: Recorder) -> bool:
        """Count a pass; return whether it is one to record, and there is the memory."""
        shape.passes += 1
        if shape.passes < self._first:
            return False
        shape.passes = 0  # where it cannot be recorded now, that is looked at again as many passes from here
        if _INVALID.is_set() or len(self._live()) == self._most:
            return False
        return recorder.free_bytes() > _SPARE * shape.bytes

    def _recorded(
        self, recorder: Recorder, work: Pass, inputs: tuple[Tensor, ...], forget: Callable[[], None]
    ) -> _Recording | None:
        recording: _Recording | None = None
        try:
            recording = _Recording(inputs)
            difference = recording.record(work, recorder, forget)
            if difference <= _NEAR:
                return recording
            reason = f"a replay is off by {difference:g}"
        except Exception as error:  # noqa: BLE001 - the pass itself is right, whatever a driver says
            reason = str(error).partition("\n")[0] or type(error).__name__
            if not _is_out_of_memory(error):
                _INVALID.set()
                reason += " (nothing is recorded in this process any more; a restart clears that)"
        except BaseException:  # Ctrl-C in the middle of it
            _INVALID.set()
            raise
        # Outside the handler, where the traceback has let go of the tensors of the failed recording.
        _LOG.warning("Passes are not recorded: %s", reason)
        if recording is not None:
            recording.close()
        forget()
        self.drop()
        if not _INVALID.is_set():
            recorder.release()
        return None


class RecordedSession:
    """What a session answers that runs its passes through :class:`Recordings`."""

    _recordings: Recordings

    def held_bytes(self) -> int:
        """See the seam."""
        return self._recordings.held_bytes

    def drop_recordings(self) -> bool:
        """See the seam."""
        return self._recordings.drop()


def storages(parameters: Iterable[Tensor]) -> tuple[tuple[int, torch.device, torch.dtype], ...]:
    """Return where parameters lie: what tells those that a host has replaced from those that were read."""
    return tuple((p.data_ptr(), p.device, p.dtype) for p in parameters)


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether an allocation failed, after which torch ends a recording as it should."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "out of memory" in str(error).lower()
