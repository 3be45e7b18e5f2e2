"""Records the launches of a pass once, as a CUDA graph, and replays them: a few hundred kernels at one call.

A CUDA graph reads and writes the same addresses at every replay. So all the memory that it works on lies in a
pool of its own or outlives it, inputs are copied in, and the result is copied out. Nothing of the Python code
runs again at a replay: the pass may not depend on values, wait for the device or draw random numbers.
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

# Recordings at a time; each keeps the memory that a pass takes. Two, because conversions of frame rates
# alternate between two counts of timesteps.
_MOST = 2
# The pass of a shape that is recorded. A recording costs three passes more, two emptied caches, whose memory
# the passes after it ask the driver for again, and the memory of a pass for as long as it is kept: some 120
# ms beside passes of 8 ms. It saves the processor's part of a launch, 5 to 7 us, as far as the device waits
# for it: at most 1.5 ms for the 242 launches of RIFE 4.25 at 1080p. So it pays after about 80 passes. How
# many will come is not known, but a clip that lasted for a second of film mostly goes on, and waiting costs
# it 35 ms. Calculated, not measured, as no GPU was at hand: rife_1080p_graphs of benchmarks.gpu measures it.
_FIRST = 24
# How many times the memory of a pass must be free to record it: the recording keeps it once, and as much is
# left to everybody else. On Windows the driver lends main memory instead of failing, at a tenth of the speed.
_SPARE = 2
# Largest difference of a replay from the pass itself. They are mostly equal bit for bit, but convolutions may
# take another kernel where their workspace has another size.
_NEAR = 1e-3
# Set once a recording has failed. torch's allocator may then still be in capture mode, for the whole process:
# it gives out no memory a second time, and emptying its cache may fail. Only a new process undoes that.
_INVALID = threading.Event()

Pass = Callable[..., Tensor]


class Replay(Protocol):
    """Recorded launches, which can be started again."""

    def replay(self) -> None:
        """Start them again on the current stream, without waiting for them."""
        ...

    def reset(self) -> None:
        """Release them and their memory pool."""
        ...


class Recorder(Protocol):
    """Records passes on a device; CUDA's implementation is :class:`CudaRecorder`, tests have their own."""

    def measure(self, work: Callable[[], Tensor]) -> tuple[Tensor, int]:
        """Run a pass without recording it; return its result and the bytes that it takes at its peak."""
        ...

    def free_bytes(self) -> int:
        """Return the bytes that the driver can still give to this process; cached memory does not count."""
        ...

    def warm_up(self, work: Callable[[], Tensor]) -> Tensor:
        """Run a pass once on the stream of the recording, so that nothing is set up during the capture."""
        ...

    def record(self, work: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
        """Record a pass without executing it; return the recording and the tensor of its result."""
        ...

    def release(self) -> None:
        """Give the pools of recordings that were reset, and all cached memory, back to the driver."""
        ...


def recorder_for(device: torch.device) -> Recorder | None:
    """Return a recorder for a device, or None where none is safe.

    Only torch's own allocator keeps recordings in pools that it can count and give back; under
    ``cudaMallocAsync`` that memory stays with the driver, where nobody can get at it. ROCm is untested.
    """
    if device.type != "cuda" or torch.version.hip is not None or not torch.cuda.is_available():
        return None
    if torch.cuda.memory.get_allocator_backend() != "native":
        return None
    return CudaRecorder(device)


class CudaRecorder:
    """Records CUDA graphs; see :class:`Recorder`.

    Args:
        device: a CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        # CUDA refuses to capture the default stream, on which the frame loop runs.
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def measure(self, work: Callable[[], Tensor]) -> tuple[Tensor, int]:
        """Run a pass and measure its peak. Nothing is waited for: the allocator counts on the host."""
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        output = work()
        return output, torch.cuda.max_memory_allocated(self._device) - before

    def free_bytes(self) -> int:
        """Return the bytes that the driver has left, as far as torch's allocator may still take them."""
        driver, total = torch.cuda.mem_get_info(self._device)
        # A host or the user may have capped what this process takes of the device.
        allowed = int(torch.cuda.get_per_process_memory_fraction(self._device) * total)
        return max(0, min(driver, allowed - torch.cuda.memory_reserved(self._device)))

    def warm_up(self, work: Callable[[], Tensor]) -> Tensor:
        """Run a pass on the stream of the recording: cuDNN and cuBLAS allocate workspaces at a first call."""
        computing = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(computing)  # the inputs may still be under way there
        try:
            with torch.cuda.stream(self._stream):
                output = work()
        finally:
            computing.wait_stream(self._stream)
        # Allocated on one stream and read on another: the allocator must not give it out before that is read.
        output.record_stream(computing)
        return output

    def record(self, work: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
        """Record a pass as a CUDA graph. Waits for the device once, and empties torch's cache."""
        graph = torch.cuda.CUDAGraph()
        # The outer stream context restores the current stream even where the end of the capture fails.
        # thread_local: only this thread's calls can invalidate the capture, so others may allocate meanwhile.
        try:
            with (
                torch.cuda.device(self._device),
                torch.cuda.stream(self._stream),
                torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
            ):
                output = work()
        except BaseException:
            graph.reset()
            raise
        return graph, output

    def release(self) -> None:
        """Empty torch's cache on the device."""
        with torch.cuda.device(self._device):
            torch.cuda.empty_cache()


class _Recording:
    """A recorded pass for inputs of one shape.

    Args:
        inputs: with the shapes and dtypes that it is for. Copied: the copies are its input buffers.
    """

    def __init__(self, inputs: tuple[Tensor, ...]) -> None:
        self._inputs = tuple(x.clone() for x in inputs)
        self._replay: Replay | None = None
        self._output: Tensor | None = None
        self.held_bytes = 0
        """Memory that it took from the driver."""

    def record(self, work: Pass, recorder: Recorder, forget: Callable[[], None]) -> float:
        """Record, and return the largest difference of the first replay from the pass itself."""
        forget()
        expected = recorder.warm_up(lambda: work(*self._inputs)).clone()
        forget()
        recorder.release()  # or memory that the warm-up left cached would hide what the recording takes
        before = recorder.free_bytes()
        self._replay, self._output = recorder.record(lambda: work(*self._inputs))
        self.held_bytes = max(0, before - recorder.free_bytes())
        forget()  # buffers made during the capture belong to its pool: a plain pass may not write to them
        self._replay.replay()
        return float((self._output - expected).abs().amax())

    def __call__(self, inputs: tuple[Tensor, ...]) -> Tensor:
        if self._replay is None or self._output is None:
            raise TypeError("a replay of what was not recorded")
        for kept, given in zip(self._inputs, inputs, strict=True):
            kept.copy_(given)
        self._replay.replay()
        # Copied, for the next replay writes over it; channels last, as frames are downloaded, so that this
        # is the only copy.
        return self._output.clone(memory_format=torch.channels_last)

    def close(self) -> None:
        replay, self._replay, self._inputs, self._output = self._replay, None, (), None
        if replay is not None:
            replay.reset()


@dataclass
class _Shape:
    """Statistics of the passes for inputs of one shape."""

    passes: int = 0
    """How many ran unrecorded since free memory was last checked."""
    bytes: int = 0
    """Peak memory of the last of them that was measured."""
    recording: _Recording | None = None


class Recordings:
    """Runs a pass, replayed where that is safe and pays.

    From the ``first`` pass of a shape on, the pass is recorded once ``_SPARE`` times its memory is free, and
    the first replay is compared with the pass itself. Where memory runs out over that, or the replay differs,
    the owner's passes run unrecorded from then on; after any other failure nothing is recorded in this
    process any more.

    Args:
        recorder: None where nothing can be recorded, see :func:`recorder_for`.
        most: recordings at a time; passes of other shapes run unrecorded.
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
        """Return the bytes that live recordings took from the driver: nothing else can use them."""
        return sum(recording.held_bytes for recording in self._live())

    def run(
        self, work: Pass, inputs: tuple[Tensor, ...], forget: Callable[[], None] = lambda: None
    ) -> Tensor:
        """Return ``work(*inputs)``.

        Args:
            work: computes (K, C, H, W) from tensors on the device. It must depend on nothing else that
                changes, wait for nothing and check nothing: only its launches happen again.
            inputs: not written to. N frames each, or timesteps: each count of these is a shape of its own.
            forget: makes the owner of ``work`` drop the buffers that it keeps from call to call: a buffer
                must belong either to a recording or to plain passes. What the owner keeps in spite of that
                must stay until :meth:`close`.

        Returns:
            A new tensor: the next call does not write over it.
        """
        recorder = self._recorder
        # A graph knows nothing of autograd.
        if recorder is None or torch.is_grad_enabled():
            return work(*inputs)
        shape = self._shapes.setdefault(tuple((x.shape, x.dtype, x.device) for x in inputs), _Shape())
        if shape.recording is None and self._is_due(shape, recorder):
            shape.recording = self._recorded(recorder, work, inputs, forget)
        if shape.recording is not None:
            return shape.recording(inputs)
        # The pass before the one that is recorded tells how much memory must be free for it.
        if shape.passes == self._first - 1:
            output, shape.bytes = recorder.measure(lambda: work(*inputs))
            return output
        return work(*inputs)

    def follow(self, parameters: Iterable[Tensor]) -> None:
        """Drop all recordings where the parameters that passes read have moved since the last call."""
        # Recordings read by address: where a host has replaced parameters, a replay would read freed memory.
        if self._recorder is not None:
            reads = storages(parameters)
            if reads != self._reads:
                self.close()
            self._reads = reads

    def close(self) -> None:
        """Drop all recordings and their memory. May be used again."""
        recordings = self._live()
        # Forgotten first: whatever closing them raises, nothing replays a closed recording.
        self._shapes.clear()
        for recording in recordings:
            recording.close()
        if recordings and self._recorder is not None and not _INVALID.is_set():
            self._recorder.release()

    def drop(self) -> bool:
        """Drop all recordings and record no more, as memory is short; return whether there were any."""
        dropped = bool(self._live())
        self.close()
        self._recorder = None
        return dropped

    def _live(self) -> list[_Recording]:
        return [shape.recording for shape in self._shapes.values() if shape.recording is not None]

    def _is_due(self, shape: _Shape, recorder: Recorder) -> bool:
        """Count a pass; return whether it is to be recorded and there is memory for that."""
        shape.passes += 1
        if shape.passes < self._first:
            return False
        shape.passes = 0  # where it cannot be recorded now, it is tried again after as many passes
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
            # After anything but out of memory the allocator may stay in capture mode, which no reset undoes.
            if not _is_out_of_memory(error):
                _INVALID.set()
                reason += " (nothing is recorded in this process any more; a restart clears that)"
        except BaseException:  # Ctrl-C in the middle of it
            _INVALID.set()
            raise
        # Outside the handler: inside it the traceback would keep the tensors of the failed recording alive.
        _LOG.warning("Passes are not recorded: %s", reason)
        if recording is not None:
            recording.close()
        forget()
        self.drop()
        if not _INVALID.is_set():
            recorder.release()
        return None


class RecordedSession:
    """Base of a session that runs its passes through :class:`Recordings`."""

    _recordings: Recordings

    def held_bytes(self) -> int:
        """Return the bytes that recordings took from the driver; see
        :class:`~..interface.RecordingSession`.
        """
        return self._recordings.held_bytes

    def drop_recordings(self) -> bool:
        """Drop all recordings and record no more; return whether there were any."""
        return self._recordings.drop()


def storages(parameters: Iterable[Tensor]) -> tuple[tuple[int, torch.device, torch.dtype], ...]:
    """Return the addresses of parameters, which change where a host has replaced these since they were
    read.
    """
    return tuple((p.data_ptr(), p.device, p.dtype) for p in parameters)


def _is_out_of_memory(error: Exception) -> bool:
    """Tell whether an allocation failed: only then torch ends a capture properly."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "out of memory" in str(error).lower()
