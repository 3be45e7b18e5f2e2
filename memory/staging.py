"""Convert frames between dtypes, and copy them to the device and back.

On CUDA both ways go through a few pinned buffers that are used again and again, on a copy stream of
their own; an event says when a buffer may be written or read. Elsewhere a frame is simply converted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_FULL_SCALE = {torch.uint8: 255.0, torch.uint16: 65535.0}
# Dimensions of a picture, of which the first has its rows.
_PICTURE = 3
# Of floats that are converted at once on a CPU.
_STRIP_BYTES = 2**20
# Integer dtypes by their bytes.
_SAME_SIZE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# With one, a copy by the host and a copy by the device would take turns.
_LEAST_BUFFERS, _MOST_BUFFERS = 2, 3
# For each direction, unless the least buffers take more: pinned memory is main memory that nothing else can
# have.
_PINNED_BYTES = 128 * 2**20
# Batches that are not waited for: the last source frame and the last interpolated frames, or one pair's.
_IN_FLIGHT = 2

Deliver = Callable[[int, Tensor], None]
_Kind = tuple[torch.Size, torch.dtype]


def as_unit_float(frames: Tensor) -> Tensor:
    """Return frames as float32: uint8 and uint16 divided by their full scale, floats as they are."""
    scale = _FULL_SCALE.get(frames.dtype)
    return frames.float() if scale is None else frames.float().div_(scale)


def as_dtype(frames: Tensor, dtype: torch.dtype) -> Tensor:
    """Return frames in another dtype: the one conversion between the dtypes of pictures.

    Args:
        frames: any shape; floats in 0..1, uint8 or uint16.
        dtype: a floating one; or uint8 or uint16: then clamped to 0..1, scaled to 0..255 or 0..65535 and
            rounded, not truncated.
    """
    if frames.dtype == dtype:
        return frames
    unit = as_unit_float(frames)
    scale = _FULL_SCALE.get(dtype)
    if scale is None:
        return unit.to(dtype)
    if unit.device.type != "cpu" or unit.ndim < _PICTURE or unit.nbytes <= _STRIP_BYTES:
        return _scaled(unit, scale).to(dtype)
    # In strips that stay in the processor's cache: 5.7 ms instead of 7.3 for a frame of 720p, 5.4 instead of
    # 12 for each of four, whose copy as floats is memory that the system has to clear first.
    output = torch.empty_like(unit, dtype=dtype, device=unit.device)
    rows = max(1, _STRIP_BYTES // (unit.nbytes // unit.shape[-_PICTURE]))
    for top in range(0, unit.shape[-_PICTURE], rows):
        # The last strip may have fewer rows.
        strip = (..., slice(top, top + rows), slice(None), slice(None))
        output[strip].copy_(_scaled(unit[strip], scale))
    return output


def _scaled(unit: Tensor, scale: float) -> Tensor:
    """Return floats in 0..1 as what is to be cut to whole numbers, clamped."""
    # 0.5 and truncation: the same as rounding for what is not negative, and one pass less.
    return unit.clamp(0.0, 1.0).mul_(scale).add_(0.5)


def narrowed(frames: Tensor, dtype: torch.dtype) -> Tensor:
    """Return frames as :func:`as_dtype` does where that takes fewer bytes, else as they are."""
    return as_dtype(frames, dtype) if dtype.itemsize < frames.dtype.itemsize else frames


def blended(left: Tensor, right: Tensor, timestep: float) -> Tensor:
    """Return the mean of two frames of one dtype, the right one weighted by ``timestep``, in that dtype."""
    return as_dtype(torch.lerp(as_unit_float(left), as_unit_float(right), timestep), left.dtype)


def as_network_input(frame: Tensor) -> Tensor:
    """Convert (H, W, C) on any device to (1, C, H, W) float32, contiguous, clamped to 0..1, NaN as 0."""
    height, width, channels = frame.shape
    # Converted and laid out in one pass: 1.4 ms instead of 12.6 for a uint8 frame of 1080p, and no temporary
    # copies.
    planes = torch.empty((1, channels, height, width), dtype=torch.float32, device=frame.device)
    if frame.dtype == torch.float32 and frame.device.type != "cpu":  # a launch less
        return (
            torch.nan_to_num(frame.permute(2, 0, 1), nan=0.0, out=planes.squeeze(0))
            .clamp_(0.0, 1.0)
            .unsqueeze(0)
        )
    planes.copy_(frame.permute(2, 0, 1))
    scale = _FULL_SCALE.get(frame.dtype)
    if scale is not None:  # never out of range
        return planes.div_(scale)
    return torch.nan_to_num_(planes, nan=0.0).clamp_(0.0, 1.0)


def same_bits(left: Tensor, right: Tensor) -> bool:
    """Tell whether two source frames of one shape hold the same values, bit for bit.

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
    """Return how many frames like this one may be copied at once."""
    return max(_LEAST_BUFFERS, min(_MOST_BUFFERS, _PINNED_BYTES // max(frame.nbytes, 1)))


def _pinned(frame: Tensor) -> Tensor:
    return torch.empty(frame.shape, dtype=frame.dtype, device="cpu", pin_memory=True)


def _event() -> torch.cuda.Event:
    return torch.cuda.Event()  # type: ignore[no-untyped-call]


class Uploader:
    """Copies source frames to the device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._ring: deque[tuple[Tensor, torch.cuda.Event]] = deque()
        self._stream = _copy_stream(device)

    def __call__(self, frame: Tensor) -> Tensor:
        """Copy (H, W, C) on the host to (1, C, H, W) float32 on the device. The frame may be reused."""
        # A host may keep frames on a device (ComfyUI's --gpu-only): nothing is staged then.
        if self._stream is None or frame.device.type != "cpu":
            return as_network_input(frame.to(self._device))
        staged = self._free_buffer(frame)
        # In its own dtype, fewer bytes for 8 and 16 bits: torch would convert on the host before it copies.
        staged.copy_(frame)
        computing = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            arrived = staged.to(self._device, non_blocking=True)
            done = _event()
            done.record(self._stream)
        self._ring.append((staged, done))
        computing.wait_event(done)
        # Allocated on the copy stream: torch must not reuse its memory before the computing one has read it.
        arrived.record_stream(computing)
        return as_network_input(arrived)

    def _free_buffer(self, frame: Tensor) -> Tensor:
        """Return a pinned buffer of the frame's shape whose last copy is over."""
        while len(self._ring) >= _buffers(frame):
            buffer, done = self._ring.popleft()
            done.synchronize()
            if buffer.shape == frame.shape and buffer.dtype == frame.dtype:
                return buffer
        return _pinned(frame)


@dataclass
class _Transfer:
    """A frame on its way to the host, or some that were there already."""

    first: int
    frames: Tensor
    """(K, H, W, C), K of 1 on a device; once its copy began, the buffer on the host that it is copied to."""
    batch: int
    """Number of the call of :meth:`Downloader.start`."""
    computed: torch.cuda.Event | None = None
    """After it a frame on a device may be read."""
    done: torch.cuda.Event | None = None
    """After it the buffer may be read."""

    @property
    def ready(self) -> bool:
        """Tell whether nothing has to be waited for."""
        return self.computed is None

    @property
    def kind(self) -> _Kind:
        """Return what tells which buffers it fits into."""
        return self.frames.shape, self.frames.dtype


class Downloader:
    """Copies finished frames to the host and delivers them in the order in which they were given, each once.

    Frames of the last batches are left in flight until others follow: by then the device has been given the
    work for those, and does it while the host waits for the earlier ones. A frame of a batch that finds no
    buffer stays on its device until one is free: a batch must not need its own size in pinned memory.

    Args:
        deliver: takes the index of the first of some output frames and the frames, (K, H, W, C) on the
            host; they may be overwritten after it returns. Where it raises, it is not called again for
            the same frames.
    """

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._streams: dict[torch.device, torch.cuda.Stream | None] = {}
        self._queue: deque[_Transfer] = deque()
        self._idle: dict[_Kind, list[Tensor]] = {}
        self._batches = 0

    def start(self, index: int, frames: Tensor) -> None:
        """Take (K, H, W, C) frames to copy to the host. Delivers nothing; an error leaves nothing taken."""
        if self._stream(frames.device) is None:
            transfers = [_Transfer(index, frames.cpu(), self._batches)]
        else:
            transfers = self._transfers(index, frames.contiguous())
        self._queue.extend(transfers)
        self._batches += 1

    def flush_ready(self) -> None:
        """Deliver frames that are on the host already, and wait for all but the last batches."""
        self._start_copies()
        while self._queue and (self._queue[0].ready or self._queue[0].batch < self._batches - _IN_FLIGHT):
            self._collect()

    def finish(self) -> None:
        """Wait for everything that was started and deliver it."""
        self._start_copies()
        while self._queue:
            self._collect()

    def _stream(self, device: torch.device) -> torch.cuda.Stream | None:
        """Return a stream for copies from ``device``: torch runs them on the device that is read."""
        if device not in self._streams:
            self._streams[device] = _copy_stream(device)
        return self._streams[device]

    def _transfers(self, index: int, frames: Tensor) -> list[_Transfer]:
        # One event for the batch, whose frames are finished together.
        computed = _event()
        computed.record(torch.cuda.current_stream(frames.device))
        one_by_one = (frame.unsqueeze(0) for frame in frames.unbind())
        transfers = [_Transfer(index + i, one, self._batches, computed) for i, one in enumerate(one_by_one)]
        if transfers and transfers[0].kind not in self._idle:
            frame = transfers[0].frames
            self._idle[transfers[0].kind] = [_pinned(frame) for _ in range(_buffers(frame))]
        return transfers

    def _start_copies(self) -> None:
        """Begin the copies that there are buffers for, the oldest first."""
        for transfer in self._queue:
            stream = self._stream(transfer.frames.device)
            if transfer.computed is None or transfer.done is not None or stream is None:
                continue
            if not self._idle[transfer.kind]:
                return
            frame, buffer = transfer.frames, self._idle[transfer.kind].pop()
            stream.wait_event(transfer.computed)
            with torch.cuda.stream(stream):
                buffer.copy_(frame, non_blocking=True)
                done = _event()
                done.record(stream)
            # torch must not give the frame's memory away before the copy stream has read it.
            frame.record_stream(stream)
            transfer.frames, transfer.done = buffer, done

    def _collect(self) -> None:
        transfer = self._queue.popleft()
        if transfer.done is None:
            self._deliver(transfer.first, transfer.frames)
            return
        # Until then the buffer holds a part of the frame, or the frame before it.
        transfer.done.synchronize()
        try:
            self._deliver(transfer.first, transfer.frames)
        finally:
            self._idle[transfer.kind].append(transfer.frames)
        self._start_copies()
