"""Interpolate from file to file, in flat memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from torch import Tensor

from ...engine.remarks import Remarks
from ...engine.timeline import Moment
from ...errors import BadInputError, MidframeError
from ...inputs.objects import path_of, require_like
from ...memory.sinks import Sink
from ...vfi_models.interface import Interpolator
from ...vfi_utils import Host, QuietHost, Settings, require_model
from ...weights.loading import ModelLike, as_model
from ..read.clip import ClipInfo, TimedClip
from ..read.images import is_pattern, pictures_of
from ..read.span import Span
from ..write.carry import FOLDER, account_of
from ..write.encode import Shape, VideoWriter, Writer
from ..write.formats import check_rate, choose_encoding, holds_alpha, images_of
from ..write.pictures import FolderWriter, Numbering, images_named, picture_bits, transfer_of
from ..write.target import Target
from .expected import frames_expected
from .looking import reading_of
from .pipeline import Counted, Stream, frames_of, made_of
from .plan import Plan

_LOG = logging.getLogger(__name__)

# Frames a second; players show shorter frames of a GIF for a tenth of a second.
_GIF_RATE = 50


@dataclass(frozen=True)
class Written:
    """An output that was written."""

    path: Path
    frames: int
    source_frames: int


@dataclass(frozen=True)
class Maker:
    """A model that makes frames, how it runs, and the host that it runs for."""

    model: Interpolator
    """On the device where it shall run."""
    settings: Settings | None = None
    host: Host | None = None

    def watched(self, total: int | None) -> Host:
        """Return the host, which gets ``total`` with its progress where the loop does not know it."""
        return Counted(self.host or QuietHost(self.model.device), total)


@Remarks()
def interpolate_video(
    source: str | Path,
    target: str | Path,
    model: ModelLike,
    plan: Plan | None = None,
    *,
    settings: Settings | None = None,
    host: Host | None = None,
) -> Written:
    """Interpolate a video file, an animated image or a folder of images into another.

    Sound, subtitles, metadata, colour tags and transparency are carried where the output can hold them;
    timestamps are exact where its container can. Source frames at t = 0 go through untouched. The output
    has its name only once it is whole: after a cancel nothing is left, after a failure the finished frames
    are kept as ``<name>.partial.<extension>``.

    Args:
        source: what to read, see :func:`~..read.decode.open_clip`.
        target: what to write; the extension says the format, none is a folder of PNG pictures.
        model: on the device where it shall run, or what :func:`~...weights.loading.load_model` takes.
        plan: what to make; twice the frames where it is left out.
        settings: of the frame loop.
        host: gets progress (the total is an estimate from the header), and may cancel.

    Raises:
        BadInputError: source, target, model or plan cannot be worked with.
        OutOfMemoryError, MidframeError: the run failed; ``finished`` frames are in the partial file.
    """
    plan = Plan() if plan is None else plan
    require_like(plan, ("clock", "coding"), wrong="This is not a plan.", advice="Give Plan(multiplier=2).")
    source, target = path_of(source, "source"), path_of(target, "output")
    check_paths(source, target, plan)
    # Loaded after what is quick to check, and before anything is written.
    model = as_model(model)
    require_model(model)
    with plan.open(source, alpha=holds_alpha(target)) as clip:
        # Raises where the model does not take these options, before anything is written.
        model.activation_bytes(clip.info.height, clip.info.width, settings.options if settings else None)
        place, maker = Target(target, overwrite=plan.overwrite), Maker(model, settings, host)

        def reopen() -> TimedClip:
            return plan.open(source, alpha=clip.info.alpha)

        return stream_clip(clip, place, maker, plan, reopen=reopen)


def stream_clip(
    clip: TimedClip,
    place: Target,
    maker: Maker,
    plan: Plan,
    *,
    reopen: Callable[[], TimedClip],
    span: Span | None = None,
) -> Written:
    """Decode, interpolate and encode at the same time.

    Args:
        clip: not read yet; the caller closes it.
        place: gets its name when the output is whole; see :func:`interpolate_video` for what else becomes of
            it.
        maker: of the frames.
        plan: what to make.
        reopen: opens the clip once more, where it has to be looked at first.
        span: the part of the output that is written, its beginning at time 0; all where it is left out.

    Raises:
        BadInputError, OutOfMemoryError, MidframeError: see :func:`interpolate_video`.
    """
    host = maker.watched(frames_expected(plan, clip, span))
    stream: Stream | None = None
    writer: Writer | None = None
    try:  # from before the file is there: Ctrl-C may come at any moment
        bits, writer = _open_writer(place, plan, clip.info if span is None else clip.info.cut(span))
        if span is not None:
            # Frames keep the times of the whole clip up to here, so that parts fit together.
            writer = _Shifted(writer, span.start)
        # After the output is open: what cannot be written is said before a long clip is looked at.
        reading = reading_of(plan, clip, span, reopen=reopen, host=host)
        stream = Stream(reading, writer, bits=bits, host=host)
        done = stream(maker.model, maker.settings)
    except BaseException as error:
        if stream is None and writer is not None:
            writer.drop()
        _keep_or_discard(place, 0 if stream is None else stream.salvaged, error)
        raise
    # A part of a clip may well have one frame only.
    if done.source_frames == 1 and span is None:
        say_nothing_made(clip.info.path)
    return Written(place.commit(), done.frames, done.source_frames)


def collect_clip(
    clip: TimedClip,
    sink: Sink,
    maker: Maker,
    plan: Plan,
    *,
    reopen: Callable[[], TimedClip],
    span: Span | None = None,
) -> int:
    """Put the frames into a sink as they are made; see :func:`stream_clip`.

    Returns:
        The number of frames.
    """
    host = maker.watched(frames_expected(plan, clip, span))
    reading = reading_of(plan, clip, span, reopen=reopen, host=host)
    with frames_of(reading, host.check_cancelled) as frames:
        return made_of(reading, frames, maker.model, sink, settings=maker.settings, host=host)


def say_nothing_made(source: Path) -> None:
    """Say that a source has one frame alone."""
    _LOG.warning("%s has one frame: nothing was made, frames are made between two.", source.name)


def check_paths(source: Path, target: Path, plan: Plan) -> None:
    """Check what can be checked before anything is opened.

    Raises:
        BadInputError: see :func:`interpolate_video`.
    """
    if not source.exists() and not is_pattern(source):
        raise BadInputError("There is no such file or folder.", str(source), "Check the name.")
    if _same(source, target):
        raise BadInputError(
            "Source and output are the same.", str(source), "Choose another name for the output."
        )
    Target(target, overwrite=plan.overwrite)


def _same(source: Path, target: Path) -> bool:
    """Tell whether an output would take the place of its source, or of pictures of that."""
    if images_named(target) is None or target.exists():
        return target.exists() and not is_pattern(source) and source.samefile(target)
    folder = source if source.is_dir() else source.parent
    if not target.parent.is_dir() or not folder.samefile(target.parent):
        return False
    names = (file.name for file in pictures_of(source)) if is_pattern(source) else ()
    return source.is_dir() or any(map(Numbering.of(target, "png", 0).holds, names))


def _keep_or_discard(place: Target, kept: int, error: BaseException) -> None:
    """Give finished frames a name of their own after a failure, and put it into the error."""
    if not kept:
        place.discard()
        return
    path = place.keep_partial()
    _LOG.warning("The run failed; its first %d frames are in %s.", kept, path)
    if isinstance(error, MidframeError):
        error.finished = kept
        error.advice = f"{error.advice} The first {kept} frames are in {path}."


def _open_writer(target: Target, plan: Plan, info: ClipInfo) -> tuple[int, Writer]:
    """Open the writer of a target; return the bits of the frames that it takes, and the writer."""
    coding, bits = plan.coding, plan.coding.bits or info.bits
    # A folder of pictures, which have 8 or 16 bits whatever lies between.
    if not target.suffix:
        account_of(info, FOLDER, None, coding.choice).warn(info.path.name)
        images = images_of(target.path, coding)
        bits = picture_bits(bits, images)
        numbering = Numbering.of(target.path, images, coding.first_number)
        transfer = transfer_of(info)
        return bits, FolderWriter(target.temporary, bits, images, numbering=numbering, transfer=transfer)
    rate, tick = plan.rate_and_tick(info)
    # Errors name the file that the user chose, not the temporary one.
    named = target.path.with_suffix(target.suffix)
    if target.suffix.lower() == ".gif" and rate > _GIF_RATE:
        _LOG.warning("A GIF at %.4g frames a second plays slowly; use at most %d, or .webp.", rate, _GIF_RATE)
    check_rate(named, rate)
    encoding = choose_encoding(
        named, coding, (info.height, info.width), bits=bits, alpha=info.alpha, source=info
    )
    # What the user sets goes before what the source says.
    tagged = replace(info, metadata={**info.metadata, **plan.metadata}, colour=coding.colour or info.colour)
    return encoding.bits, VideoWriter(target.temporary, encoding, tagged, Shape(encoding.bits, rate, tick))


class _Shifted:
    """A writer of a part of a clip: ``start`` of the clip's time is 0 in the output."""

    def __init__(self, writer: Writer, start: Fraction) -> None:
        self._writer = writer
        self._start = start
        self.close = writer.close
        self.drop = writer.drop

    @property
    def headers(self) -> bytes:
        """See :class:`~..write.encode.Writer`."""
        return self._writer.headers

    def write(self, pixels: Tensor, moment: Moment) -> None:
        """See :class:`~..write.encode.Writer`."""
        self._writer.write(pixels, Moment(moment.time - self._start, moment.duration))
