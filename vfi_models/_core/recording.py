"""Launches recorded once and replayed: a pass of a few hundred small kernels as one CUDA graph.

A recording reads and writes the same memory at every replay. So whatever it works on lies in its own pool,
or outlives it; what it is given is copied in, and what it makes is copied out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

_LOG = logging.getLogger(__name__)

_MOST = 2
"""Each keeps what a pass takes. Conversions of frame rates alternate between two counts of timesteps."""
_NEAR = 1e-3
"""How far a replay may be from the pass itself. They are mostly the same bits, but convolutions may take
another kernel where their workspace is another."""

Pass = Callable[..., Tensor]


class Replay(Protocol):
    """What was recorded."""

    def replay(self) -> None:
        """Starts it again, on the stream that is current. Not waited for."""
        ...

    def reset(self) -> None:
        """Lets go of it and of its pool."""
        ...


class Recorder(Protocol):
    """Something that can record: CUDA, a test."""

    def warm_up(self, work: Callable[[], Tensor]) -> Tensor:
        """Runs it once where it will be recorded, so that nothing is set up while it is."""
        ...

    def record(self, work: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
        """Records it, without doing any of it, and where its result will be."""
        ...

    def release(self) -> None:
        """Gives the pools of recordings that were reset back to the device."""
        ...


class CudaRecorder:
    """See :class:`Recorder`.

    Args:
        device: of CUDA.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

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
        self._made: Tensor | None = None

    def record(self, work: Pass, recorder: Recorder, forget: Callable[[], None]) -> float:
        """Records, and says how far the first replay is from the pass itself."""
        forget()
        wanted = recorder.warm_up(lambda: work(*self._inputs)).clone()
        forget()
        self._replay, self._made = recorder.record(lambda: work(*self._inputs))
        forget()
        self._replay.replay()
        return float((self._made - wanted).abs().amax())

    def __call__(self, inputs: tuple[Tensor, ...]) -> Tensor:
        if self._replay is None or self._made is None:
            raise TypeError("a replay of what was not recorded")
        for kept, given in zip(self._inputs, inputs, strict=True):
            kept.copy_(given)
        self._replay.replay()
        # As pictures are handed on, so that this is the only copy.
        return self._made.clone(memory_format=torch.channels_last)

    def close(self) -> None:
        replay, self._replay, self._inputs, self._made = self._replay, None, (), None
        if replay is not None:
            replay.reset()


class Recordings:
    """Runs a pass, replayed where it can be. The second time that inputs have these shapes it is recorded
    and its first replay compared; where anything is wrong with that, passes run as they are from then on.

    Args:
        recorder: None where there is nothing to record with.
        most: shapes that are recorded; others run as they are.
    """

    def __init__(self, recorder: Recorder | None, *, most: int = _MOST) -> None:
        self._recorder = recorder
        self._most = most
        self._known: dict[Any, _Recording | None] = {}

    def run(self, work: Pass, inputs: tuple[Tensor, ...], forget: Callable[[], None]) -> Tensor:
        """``work(*inputs)``.

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
        recording = self._recording(work, inputs, forget)
        return work(*inputs) if recording is None else recording(inputs)

    def close(self) -> None:
        """Lets go of all recordings and their memory. May be used again."""
        recordings = [recording for recording in self._known.values() if recording is not None]
        self._known.clear()
        for recording in recordings:
            recording.close()
        if recordings and self._recorder is not None:
            self._recorder.release()

    def _recording(
        self, work: Pass, inputs: tuple[Tensor, ...], forget: Callable[[], None]
    ) -> _Recording | None:
        if self._recorder is None or torch.is_grad_enabled():
            return None
        shapes = tuple((x.shape, x.dtype, x.device) for x in inputs)
        if shapes not in self._known:
            if len(self._known) < self._most:
                self._known[shapes] = (
                    None  # the first pass is measured for what it takes, and so not recorded
                )
            return None
        if self._known[shapes] is None:
            self._known[shapes] = self._recorded(work, inputs, forget)
        return self._known.get(shapes)

    def _recorded(
        self, work: Pass, inputs: tuple[Tensor, ...], forget: Callable[[], None]
    ) -> _Recording | None:
        recorder = self._recorder
        if recorder is None:
            return None
        recording: _Recording | None = None
        try:
            recording = _Recording(inputs)
            apart = recording.record(work, recorder, forget)
            if apart <= _NEAR:
                return recording
            reason = f"a replay is off by {apart:g}"
        except Exception as error:  # noqa: BLE001 - the pass itself is right, whatever a driver says
            reason = str(error).partition("\n")[0] or type(error).__name__
        # Outside the handler, where the traceback has let go of the tensors of the failed recording.
        _LOG.warning("Passes are not recorded: %s", reason)
        if recording is not None:
            recording.close()
        forget()
        self.close()
        recorder.release()
        self._recorder = None
        return None
