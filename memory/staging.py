"""Frames on their way to the device and back.

On CUDA both ways go through a few pinned buffers that are used again and again, on a copy stream of
their own; an event says when a buffer may be written or read. Elsewhere a frame is simply converted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

_FULL_SCALE = {torch.uint8: 255.0, torch.uint16: 65535.0}
_SAME_SIZE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Whole numbers by their bytes."""
_MOST_BUFFERS = 3
_PINNED_BYTES = 128 * 2**20
"""For each way: pinned memory is main memory that nothing else can have."""

Deliver = Callable[[int, Tensor], None]


def as_unit_float(frames: Tensor) -> Tensor:
    """Frames of any supported dtype as float32: integers divided by their full scale, floats as they are."""
    scale = _FULL_SCALE.get(frames.dtype)
    return frames.float() if scale is None else frames.float().div_(scale)


def as_dtype(frames: Tensor, dtype: torch.dtype) -> Tensor:
    """Frames of any supported dtype as floats of ``dtype``, or as uint8, rounded and held to 0..255."""
    if frames.dtype == dtype:
        return frames
    unit = as_unit_float(frames)
    if dtype != torch.uint8:
        return unit.to(dtype)
    # 0.5 and truncation: the same as rounding for what is not negative, and one pass less.
    return unit.clamp(0.0, 1.0).mul_(255.0).add_(0.5).to(torch.uint8)


def as_network_input(frame: Tensor) -> Tensor:
    """(H, W, C) on any device to (1, C, H, W) float32, contiguous, clamped to 0..1, NaN as 0."""
    height, width, channels = frame.shape
    planes = torch.empty((1, channels, height, width), dtype=torch.float32, device=frame.device)
    planes.copy_(frame.permute(2, 0, 1))
    scale = _FULL_SCALE.get(frame.dtype)
    if scale is not None:  # never out of range
        return planes.div_(scale)
    return torch.nan_to_num_(planes, nan=0.0).clamp_(0.0, 1.0)


def same_bits(left: Tensor, right: Tensor) -> bool:
    """Return whether two source frames of one shape hold the same values, bit for bit.

    Compared where the frames lie, and no further than to a difference; of views of the same memory nothing
    is read. As whole numbers: there NaN equals NaN and 0 is not -0, and torch compares every dtype.

    Args:
        left, right: (H, W, C), any dtype, any strides. Of two dtypes or devices they are never the same.
    """
    if left.dtype != right.dtype or left.device != right.device:
        return False
    bits = _SAME_SIZE[left.element_size()]
    # torch views no tensor that is to be negated when it is read, as the imaginary part of a conjugate is.
    return torch.equal(left.resolve_neg().view(bits), right.resolve_neg().view(bits))


def _copy_stream(device: torch.device) -> torch.cuda.Stream | None:
    return torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]


def _buffers(frame: Tensor) -> int:
    """How many frames like this one may be under way at once."""
    return max(1, min(_MOST_BUFFERS, _PINNED_BYTES // max(frame.nbytes, 1)))


def _event() -> torch.cuda.Event:
    return torch.cuda.Event()  # type: ignore[no-untyped-call]


class Uploader:
    """Source frames to the device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._ring: deque[tuple[Tensor, torch.cuda.Event]] = deque()
        self._stream = _copy_stream(device)

    def __call__(self, frame: Tensor) -> Tensor:
        """(H, W, C) on the host to (1, C, H, W) float32 on the device. The frame may be reused."""
        if self._stream is None or frame.device.type != "cpu":
            return as_network_input(frame.to(self._device))
        staged = self._free_buffer(frame)
        staged.copy_(frame)
        computing = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            arrived = staged.to(self._device, non_blocking=True)
            done = _event()
            done.record(self._stream)
        self._ring.append((staged, done))
        computing.wait_event(done)
        arrived.record_stream(computing)
        return as_network_input(arrived)

    def _free_buffer(self, frame: Tensor) -> Tensor:
        """A pinned buffer of the frame's shape whose last copy is over."""
        while len(self._ring) >= _buffers(frame):
            buffer, done = self._ring.popleft()
            done.synchronize()
            if buffer.shape == frame.shape and buffer.dtype == frame.dtype:
                return buffer
        return torch.empty(frame.shape, dtype=frame.dtype, device="cpu", pin_memory=True)


class _Landing(NamedTuple):
    first: int
    frames: Tensor
    done: torch.cuda.Event | None
    """When the frames have arrived; None for frames that never left the host."""


class Downloader:
    """Finished frames back to the host, handed on in the order in which they were given, each once.

    Args:
        device: where the frames are made.
        deliver: takes the index of the first of some output frames and the frames, (K, H, W, C) on the
            host; they may be overwritten after it returns. Where it raises, it is not called again for
            the same frames.
    """

    def __init__(self, device: torch.device, deliver: Deliver) -> None:
        self._deliver = deliver
        self._stream = _copy_stream(device)
        self._flying: deque[_Landing] = deque()
        self._idle: list[Tensor] = []

    def start(self, index: int, frames: Tensor) -> None:
        """Begins to bring (K, H, W, C) frames home. Delivers nothing: where it raises, nothing was begun."""
        if self._stream is None or frames.device.type != "cuda":
            self._flying.append(_Landing(index, frames.cpu(), None))
            return
        self._flying.extend(self._take_off(index, frames.contiguous(), self._stream))

    def hand_on(self) -> None:
        """Delivers what is home already, and waits for the oldest where too many are under way."""
        while self._flying:
            _, frames, done = self._flying[0]
            if done is not None and len(self._flying) < _buffers(frames):
                return
            self._land()

    def finish(self) -> None:
        """Waits for everything that was started and delivers it."""
        while self._flying:
            self._land()

    def _take_off(self, index: int, frames: Tensor, stream: torch.cuda.Stream) -> list[_Landing]:
        """One landing a frame: a batch must not need its own size in pinned memory."""
        stream.wait_stream(torch.cuda.current_stream(frames.device))
        landings = []
        for i in range(len(frames)):
            frame = frames[i : i + 1]
            landing = self._free_buffer(frame)
            with torch.cuda.stream(stream):
                landing.copy_(frame, non_blocking=True)
                done = _event()
                done.record(stream)
            landings.append(_Landing(index + i, landing, done))
        frames.record_stream(stream)
        return landings

    def _land(self) -> None:
        first, frames, done = self._flying.popleft()
        if done is not None:
            done.synchronize()
        self._deliver(first, frames)
        if done is not None:
            self._idle.append(frames)

    def _free_buffer(self, frames: Tensor) -> Tensor:
        for i, buffer in enumerate(self._idle):
            if buffer.shape == frames.shape and buffer.dtype == frames.dtype:
                return self._idle.pop(i)
        self._idle.clear()
        return torch.empty(frames.shape, dtype=frames.dtype, device="cpu", pin_memory=True)
