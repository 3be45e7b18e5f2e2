"""Decode, interpolate and encode at the same time, in flat memory.

A thread decodes, the caller's thread runs the frame loop, a thread encodes; between them are pipes
that are bounded in bytes. An error in any of them ends all three and is raised in the caller's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ...engine.host import report_looked
from ...engine.light import SRGB
from ...engine.shutter import fed
from ...memory.sinks import Sink
from ...memory.staging import as_dtype, narrowed
from ...vfi_models.interface import Interpolator
from ...vfi_utils import FrameLoop, Host, Settings
from ..write.encode import Writer
from .plan import Reading
from .workers import DecodeThread, EncodeThread

BYTE = 8
"""Bits of a channel of uint8."""
DEPTHS = {BYTE: torch.uint8, 16: torch.uint16}
"""dtypes of pixels by the bits of a channel."""


class Streamed(NamedTuple):
    """Numbers of frames of a run."""

    frames: int
    """Written."""
    source_frames: int
    """Read."""


class Stream:
    """One run: the loop's source and sink, with a thread on either side.

    Args:
        reading: its clip is read by a thread of its own from here on; the caller closes it.
        writer: used and closed by a thread of its own.
        bits: 8 or 16, of the frames that the writer takes.
        host: gets progress, and may cancel.
    """

    def __init__(self, reading: Reading, writer: Writer, *, bits: int, host: Host) -> None:
        self._reading, self._clock = reading, reading.clock
        self._bits = bits
        self._host = _Watched(host)
        self._source_frames = self._output_frames = 0
        self._encoder = EncodeThread(writer)
        self._decoder = DecodeThread(reading.clip)
        self._lent = True
        """Frames that are put may be written over afterwards."""
        self.salvaged = 0
        """Frames in the output of a run that failed, which was closed properly."""

    def __call__(self, model: Interpolator, settings: Settings | None) -> Streamed:
        """Run to the end of the clip.

        Raises:
            BaseException: whatever failed. Where frames were made and the user did not cancel, the writer
                has been closed with those that are ``salvaged``; else it has been dropped.
        """
        self._lent = model.device.type != "cpu"
        try:
            self._encoder.start()
            self._decoder.start()
            made_of(self._reading, self._frames(), model, self, settings=settings, host=self._host)
            # Inside the try: the last frames are still being written, and that may fail or be cancelled.
            self._encoder.finish(self._host.check_cancelled)
        except BaseException as error:
            self._end_early(error)
            raise
        finally:
            self._decoder.stop()
        return Streamed(self._encoder.written, self._source_frames)

    def narrowed(self, frames: Tensor) -> Tensor:
        """See :class:`~...memory.sinks.NarrowSink`."""
        # Not counted in put(), where source frames pass too: where none was made there is nothing to save.
        self._output_frames += len(frames)
        return narrowed(frames, DEPTHS[self._bits])

    def put(self, index: int, frames: Tensor) -> None:
        """See :class:`~...memory.sinks.Sink`."""
        for frame in frames:
            pixels = as_dtype(frame, DEPTHS[self._bits])
            # The encoder reads it later, in another thread. Where nothing was converted these are still the
            # bytes of a pinned buffer, which the copies of later frames write over; from a CPU they are not,
            # and copying costs half a millisecond for a frame of 720p.
            pixels = pixels.clone() if pixels is frame and self._lent else pixels
            self._encoder.put(pixels, self._clock.next_moment(), self._host.check_cancelled)

    def _frames(self) -> Iterator[Tensor]:
        for frame in self._decoder.frames(self._host.check_cancelled):
            self._clock.read(frame.pts, frame.duration)
            self._source_frames += 1
            yield frame.pixels

    def _end_early(self, error: BaseException) -> None:
        """End both threads; close the output with what is finished, unless the user cancelled."""
        try:
            self._decoder.stop()
            # Without an output frame there is nothing to save.
            if self._output_frames and isinstance(error, Exception) and not self._host.cancelled:
                self.salvaged = self._encoder.salvage()
        finally:
            self._encoder.drop()


def made_of(
    reading: Reading,
    frames: Iterator[Tensor],
    model: Interpolator,
    sink: Sink,
    *,
    settings: Settings | None,
    host: Host,
) -> int:
    """Make the frames of a part of a clip; return how many. See :meth:`...vfi_utils.FrameLoop.feed`."""
    with FrameLoop(reading.timesteps, settings=settings, first=reading.first) as loop:
        colour = reading.clip.info.colour
        return fed(
            loop,
            reading.watched(frames),
            model,
            sink,
            samples=reading.samples,
            last=True,
            host=host,
            transfer=SRGB if colour is None else colour.transfer,
        )


@contextlib.contextmanager
def frames_of(reading: Reading, poll: Callable[[], None]) -> Iterator[Iterator[Tensor]]:
    """Give an iterator over the pixels of a clip, which a thread reads ahead while this is open.

    Args:
        reading: its clip is read by that thread from here on; its clock is given the time of each frame.
        poll: called while waiting; may raise.
    """
    decoder = DecodeThread(reading.clip)

    def pixels() -> Iterator[Tensor]:
        for frame in decoder.frames(poll):
            reading.clock.read(frame.pts, frame.duration)
            yield frame.pixels

    try:
        decoder.start()
        yield pixels()
    finally:
        decoder.stop()


class _Watched:
    """The caller's host; ``cancelled`` says whether it has raised."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.cancelled = False

    def progress(self, done: int, total: int | None, preview: Callable[[], Tensor] | None) -> None:
        """See :class:`~...engine.host.Host`."""
        with self._noting():
            self._host.progress(done, total, preview)

    def check_cancelled(self) -> None:
        """See :class:`~...engine.host.Host`."""
        with self._noting():
            self._host.check_cancelled()

    def clear_cache(self) -> None:
        """See :class:`~...engine.host.Host`."""
        self._host.clear_cache()

    def free_bytes(self, device: torch.device) -> int:
        """See :class:`~...engine.host.Host`."""
        return self._host.free_bytes(device)

    def cached_bytes(self, device: torch.device) -> int:
        """See :class:`~...engine.host.Host`."""
        return self._host.cached_bytes(device)

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.cancelled = True
            raise


class Counted:
    """A host with the number of frames that there will be, as far as the header of the source says.

    Args:
        host: gets it.
        total: an estimate, or None.
        before: frames that were finished before this run.
    """

    def __init__(self, host: Host, total: int | None, before: int = 0) -> None:
        self._total = total
        self._before = before
        self._host = host
        # Passed through without a call in between: on a CPU it is called before every layer.
        self.check_cancelled = host.check_cancelled
        self.clear_cache = host.clear_cache
        self.free_bytes = host.free_bytes
        self.cached_bytes = host.cached_bytes
        self.looked = report_looked(host)

    def progress(self, done: int, total: int | None, preview: Callable[[], Tensor] | None) -> None:
        """See :class:`~...engine.host.Host`."""
        done += self._before
        total = self._total or total
        # The header may say too few: a total below what is done would look like an error.
        self._host.progress(done, None if total is None else max(done, total), preview)
