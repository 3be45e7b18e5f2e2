"""The decoding and the encoding thread of a streamed run."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from torch import Tensor

from ...engine.timeline import Moment
from ...errors import MidframeError
from ..read.clip import Clip, Frame
from ..write.encode import Writer
from .pipe import PIPE_BYTES, AbandonedError, Pipe

Poll = Callable[[], None]

_POLL_SECONDS = 0.1


class Worker:
    """A thread that an interrupt cannot leave behind.

    An interrupt (Ctrl-C, SIGTERM) may be raised in the caller in the middle of ``Thread.start``, when the
    thread is under way but cannot be joined yet. What it works on would be closed under its hands, which
    kills the process in FFmpeg. So a thread that has not begun when its end is asked for never begins.

    Args:
        work: what the thread does.
        name: of the thread.
    """

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._begun = self._ended = False
        self._thread = threading.Thread(target=self._run, name=name)
        self.start = self._thread.start
        self.is_alive = self._thread.is_alive

    def wait(self, seconds: float) -> None:
        """Wait for the end of a thread that was started, so many seconds at most."""
        self._thread.join(seconds)

    def end(self) -> bool:
        """Wait until the work is done, and return whether it ever began: after this it does not."""
        with self._lock:
            self._ended = True
        if self._begun:
            self._thread.join()
        return self._begun

    def _run(self) -> None:
        with self._lock:
            if self._ended:
                return
            self._begun = True
        self._work()


class DecodeThread:
    """Reads a clip ahead."""

    def __init__(self, clip: Clip) -> None:
        self._clip = clip
        self._pipe: Pipe[Frame] = Pipe(PIPE_BYTES)
        self._thread = Worker(self._run, "midframe-decode")
        self.start = self._thread.start

    def frames(self, poll: Poll) -> Iterator[Frame]:
        """Return the frames; iterating raises what reading raised, and calls ``poll`` while waiting."""
        return self._pipe.get(poll)

    def stop(self) -> None:
        """End the thread. May be called twice."""
        self._pipe.abandon()
        self._thread.end()

    def _run(self) -> None:
        try:
            for frame in self._clip:
                self._pipe.put(frame, frame.pixels.nbytes)
            self._pipe.finish()
        except AbandonedError:
            pass
        except BaseException as error:  # noqa: BLE001 -- raised again in the thread that gets
            self._pipe.finish(error)


class EncodeThread:
    """Writes frames while the next ones are made.

    Args:
        writer: used in this thread alone; closed by it.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._pipe: Pipe[tuple[Tensor, Moment]] = Pipe(PIPE_BYTES)
        self._whole = False
        self._closed = False
        self._error: BaseException | None = None
        self.written = 0
        self._thread = Worker(self._run, "midframe-encode")
        self.start = self._thread.start

    def put(self, pixels: Tensor, moment: Moment, poll: Poll) -> None:
        """Pass a frame on; raise what writing an earlier one raised. ``poll`` is called while waiting."""
        self._pipe.put((pixels, moment), pixels.nbytes, poll)

    def finish(self, poll: Poll) -> None:
        """Close the output, which is whole: wait until that is done, and raise what it raised."""
        # Before the pipe ends: the thread reads it as soon as that is empty.
        self._whole = True
        self._pipe.finish()
        # In short waits: one without end cannot be interrupted by Ctrl-C on Windows.
        while self._thread.is_alive():
            self._thread.wait(_POLL_SECONDS)
            poll()
        if self._error is not None:
            raise self._error

    def salvage(self) -> int:
        """Close the output of a run that failed; return its number of frames, 0 where it is unusable."""
        self._whole = False
        self._pipe.finish()
        self._thread.end()
        return self.written if self._closed else 0

    def drop(self) -> None:
        """End the thread at once: the output is not wanted. May be called after anything."""
        self._pipe.abandon()
        if not self._thread.end():
            self._writer.drop()

    def _run(self) -> None:
        try:
            for pixels, moment in self._pipe.get():
                self._writer.write(pixels, moment)
                self.written += 1
            # In this thread too: closing encodes the frames that the encoder still holds.
            self._writer.close(whole=self._whole)
            self._closed = True
        except BaseException as error:  # noqa: BLE001 -- raised again in the thread that puts
            self._error = error
            self._pipe.abandon(error)
            if self.written and not isinstance(error, AbandonedError):
                # MP4 and others write their index when they are closed: without it nothing could be read.
                with contextlib.suppress(MidframeError):
                    self._writer.close(whole=False)
                    self._closed = True
        finally:
            # Also after a cancel: an open file could not be removed on Windows.
            if not self._closed:
                self._writer.drop()
