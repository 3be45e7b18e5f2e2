"""From file to file: decode, interpolate and encode at the same time, in flat memory.

A thread decodes, the caller's thread runs the frame loop, a thread encodes; between them are pipes
that are bounded in bytes. An error in any of them ends all three and comes out at the caller.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from ..errors import BadInputError, MidframeError
from ..memory.staging import as_unit_float
from ..vfi_models._core.seam import Interpolator
from ..vfi_utils import EndLaw, Host, QuietHost, Settings, run_timeline
from .clip import Clip, ClipInfo, common_tick
from .clock import Clock
from .decode import open_clip
from .encode import FolderWriter, Shape, VideoWriter, Writer
from .formats import Coding, choose_encoding, holds_alpha
from .target import Target
from .workers import DecodeThread, EncodeThread

_LOG = logging.getLogger(__name__)

_BYTE = 8
_GIF_RATE = 50
"""Frames a second; players show shorter frames of a GIF for a tenth of a second."""


@dataclass(frozen=True)
class Plan:
    """What is made of a clip."""

    multiplier: int = 2
    """Output frames for each source frame."""
    fps: Fraction | int | None = None
    """Constant frame rate to come out, instead of ``multiplier``."""
    end: EndLaw = "hold_last"
    """``hold_last`` keeps the duration, so that sound stays in step; see :data:`..vfi_utils.EndLaw`."""
    source_fps: Fraction | None = None
    """Frames a second of a folder of images; 24 where it is left out."""
    coding: Coding = field(default_factory=Coding)
    """Codec and quality."""
    overwrite: bool = False


@dataclass(frozen=True)
class Written:
    """What came out."""

    path: Path
    frames: int
    source_frames: int


def interpolate_video(
    source: str | Path,
    target: str | Path,
    model: Interpolator,
    plan: Plan | None = None,
    *,
    settings: Settings | None = None,
    host: Host | None = None,
) -> Written:
    """Interpolates a video file, an animated image or a folder of images into another.

    Sound, subtitles, metadata, colour tags and transparency are carried where the output can hold them;
    timestamps are exact where its container can. Source frames at t = 0 are handed through. The output
    has its name only once it is whole: after a cancel nothing is left, after a failure the finished frames
    are kept as ``<name>.partial.<extension>``.

    Args:
        source: what to read, see :func:`.open_clip`.
        target: what to write; the extension says the format, none is a folder of PNG pictures.
        model: on the device where it shall run.
        plan: what to make; twice the frames where it is left out.
        settings: of the frame loop.
        host: told of progress (the total is an estimate from the header), asked for cancelling.

    Raises:
        BadInputError: source, target or plan cannot be worked with.
        OutOfMemoryError, MidframeError: the run failed; ``finished`` frames are in the partial file.
    """
    plan = plan or Plan()
    source, target = Path(source), Path(target)
    check_paths(source, target, plan)
    with open_clip(source, rate=plan.source_fps, alpha=holds_alpha(target)) as clip:
        # Raises where the model does not take these options, before anything is written.
        model.activation_bytes(clip.info.height, clip.info.width, settings.options if settings else None)
        place = Target(target, overwrite=plan.overwrite)
        run = _Run(clip, place, plan, host or QuietHost(next(model.module.parameters()).device))
        return run(model, settings)


def check_paths(source: Path, target: Path, plan: Plan) -> None:
    """What can be checked before anything is opened.

    Raises:
        BadInputError: see :func:`interpolate_video`.
    """
    if plan.fps is not None and plan.fps <= 0:
        raise BadInputError("The frame rate must be positive.", str(plan.fps), "Give a rate such as 60.")
    if not source.exists():
        raise BadInputError("There is no such file or folder.", str(source), "Check the name.")
    if target.exists() and source.samefile(target):
        raise BadInputError(
            "Source and output are the same.", str(source), "Choose another name for the output."
        )
    Target(target, overwrite=plan.overwrite)


class _Run:
    """One run of :func:`interpolate_video`: the loop's source and sink, with a thread on either side."""

    def __init__(self, clip: Clip, target: Target, plan: Plan, host: Host) -> None:
        info = clip.info
        fps = None if plan.fps is None else Fraction(plan.fps)
        self._target = target
        self._clock = Clock(info.rate, multiplier=plan.multiplier, fps=fps, end=plan.end)
        rate = fps or info.rate * plan.multiplier
        self._host = _Watched(host, info.frames_estimate and round(info.frames_estimate * rate / info.rate))
        self._read = self._made = 0
        tick = common_tick(info.tick, 1 / fps) if fps else info.tick / plan.multiplier
        self._bits, writer = _open_writer(target, plan.coding, info, rate, tick)
        self._encoder = EncodeThread(writer)
        self._decoder = DecodeThread(clip)

    def __call__(self, model: Interpolator, settings: Settings | None) -> Written:
        frames, timeline = self._frames(), self._clock.timeline
        try:
            self._encoder.start()
            self._decoder.start()
            run_timeline(frames, timeline, model, self, settings=settings, host=self._host)
            self._encoder.finish(self._host.check_cancelled)
        except BaseException as error:
            self._end_early(error)
            raise
        finally:
            self._decoder.stop()
        return Written(self._target.commit(), self._encoder.written, self._read)

    def put(self, index: int, frames: Tensor) -> None:
        """See :class:`..memory.sinks.Sink`."""
        self._made += len(frames) if frames.dtype.is_floating_point else 0
        for frame in frames:
            pixels = at_depth(frame, self._bits)
            self._encoder.put(pixels, self._clock.next_moment(), self._host.check_cancelled)

    def _frames(self) -> Iterator[Tensor]:
        for frame in self._decoder.frames(self._host.check_cancelled):
            self._clock.read(frame.pts, frame.duration)
            self._read += 1
            yield frame.pixels

    def _end_early(self, error: BaseException) -> None:
        """Ends both threads; keeps what is finished unless the user does not want it."""
        kept = 0
        try:
            self._decoder.stop()
            # Where nothing was made yet there is nothing to lose.
            if self._made and isinstance(error, Exception) and not self._host.cancelled:
                kept = self._encoder.salvage()
        finally:
            self._encoder.drop()
            if not kept:
                self._target.discard()
        if kept:
            path = self._target.keep_partial()
            _LOG.warning("The run failed; its first %d frames are in %s.", kept, path)
            if isinstance(error, MidframeError):
                error.finished = kept
                error.advice = f"{error.advice} The first {kept} frames are in {path}."


class _Watched:
    """The caller's host, with an estimate of the total, and a note of whether it cancelled."""

    def __init__(self, host: Host, total: int | None) -> None:
        self._host = host
        self._total = total
        self.cancelled = False

    def progress(self, done: int, total: int | None, preview: Callable[[], Tensor] | None) -> None:
        """See :class:`..memory.host.Host`."""
        total = total or self._total
        with self._noting():
            self._host.progress(done, None if total is None else max(done, total), preview)

    def check_cancelled(self) -> None:
        """See :class:`..memory.host.Host`."""
        with self._noting():
            self._host.check_cancelled()

    def clear_cache(self) -> None:
        """See :class:`..memory.host.Host`."""
        self._host.clear_cache()

    def free_bytes(self, device: torch.device) -> int:
        """See :class:`..memory.host.Host`."""
        return self._host.free_bytes(device)

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.cancelled = True
            raise


def at_depth(frames: Tensor, bits: int) -> Tensor:
    """Frames of any picture type as uint8 (``bits`` 8) or uint16 (16), rounded, not truncated.

    Args:
        frames: any shape; float in 0..1, uint8 or uint16.
        bits: 8 or 16.
    """
    dtype, scale = (torch.uint8, 255.0) if bits == _BYTE else (torch.uint16, 65535.0)
    if frames.dtype == dtype:
        return frames
    unit = as_unit_float(frames)
    # 0.5 and truncation: the same as rounding for what is not negative, and one pass less.
    return unit.clamp(0.0, 1.0).mul_(scale).add_(0.5).to(torch.int32).to(dtype)


def _open_writer(
    target: Target, coding: Coding, info: ClipInfo, rate: Fraction, tick: Fraction
) -> tuple[int, Writer]:
    """The writer of a target, and the bits of the frames that it takes."""
    size = (info.height, info.width)
    try:
        if not target.path.suffix:
            bits = _BYTE if info.bits <= _BYTE else 16
            return bits, FolderWriter(target.temporary, bits)
        if target.path.suffix.lower() == ".gif" and rate > _GIF_RATE:
            _LOG.warning(
                "A GIF at %.4g frames a second plays slowly; use at most %d, or .webp.", rate, _GIF_RATE
            )
        encoding = choose_encoding(target.path, coding, size, bits=info.bits, alpha=info.alpha)
        return encoding.bits, VideoWriter(target.temporary, encoding, info, Shape(encoding.bits, rate, tick))
    except BaseException:
        target.discard()
        raise
