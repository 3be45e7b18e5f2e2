"""ComfyUI's VIDEO: one that comes in is read as a clip, an interpolated clip goes out as one; types of links.

With ``_host`` this is the only file that names ComfyUI's modules; it imports none of them either.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import sys
import uuid
import weakref
from collections.abc import Mapping
from fractions import Fraction
from functools import partial
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

from ..errors import BadInputError
from ..inputs.frames import require_clip
from ..inputs.numbers import number
from ..inputs.objects import path_of, require_like
from ..inputs.rates import frame_rate
from ..memory.sinks import TensorSink
from ..video import open_clip
from ..video.read.clip import TimedClip
from ..video.read.span import Span
from ..video.read.tensor import TensorClip
from ..video.read.trim import Trimmed
from ..video.stream.lazy import LazyVideo, OpenSource
from . import _host, _progress
from ._errors import said_plainly
from ._saving import AUTO, DEEP, bits_of, coding_of, space_of, value_of
from ._sounds import sound_of

_LOG = logging.getLogger(__name__)

# What FFmpeg calls MP4, and so ComfyUI.
_MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
_RGB = 3
_BYTE = 8
# Seconds by which a video may be shorter than asked.
_SHORT = 1e-3

# Other nodes know a VIDEO by this class. ComfyUI has loaded it before it loads any pack.
_Base: Any = getattr(sys.modules.get("comfy_api.latest._input.video_types"), "VideoInput", object)


def link_fits(linked: Any, expected: Any) -> bool:
    """Tell whether ComfyUI lets a link of one type into an input of another."""
    fits: Any = getattr(sys.modules.get("comfy_execution.validation"), "validate_node_input", None)
    # Older versions compare by ``!=`` and nothing else, see ``_types``.
    return bool(fits(linked, expected)) if fits is not None else not linked != expected  # noqa: SIM202


def source_of(video: Any) -> OpenSource:
    """Return what opens a VIDEO for reading.

    One of ours is read frame by frame as it is made, frames in memory are taken as they are, and of any other
    the file is decoded.

    Raises:
        BadInputError: it is no VIDEO.
    """
    _require_video(video)
    if isinstance(video, MadeVideo):
        return video.lazy.opened
    kinds = sys.modules.get("comfy_api.latest._input_impl.video_types")
    if isinstance(video, getattr(kinds, "VideoFromComponents", ())):
        return lambda alpha: _tensor_clip(video, alpha=alpha)
    return lambda alpha: _file_clip(video, alpha=alpha)


def whole_file_of(video: Any) -> Path:
    """Return the file that a VIDEO is.

    Raises:
        BadInputError: it is none, or a part of one.
    """
    _require_video(video)
    # Asking one of ours for its file would make the whole video.
    source = None if isinstance(video, MadeVideo) else video.get_stream_source()
    if not isinstance(source, (str, Path)) or any(_trim_window(video)):
        raise BadInputError(
            "Only a whole video file can be made in chunks: another run must find the same again.",
            "frames in memory, a video that is yet to be made, or a part of one",
            "Use Interpolate Video, or save it first and take the file with Load Video.",
        )
    return Path(source)


def _require_video(video: Any) -> None:
    require_like(
        video,
        ("get_stream_source",),
        wrong="This is not a video.",
        advice="Connect Load Video or Create Video. Frames go into the RIFE, FILM and TLBVFI nodes.",
    )


def video_of_file(path: Path) -> Any:
    """Return a finished file as ComfyUI's VIDEO; outside ComfyUI the path."""
    kind = getattr(sys.modules.get("comfy_api.latest._input_impl.video_types"), "VideoFromFile", None)
    return path if kind is None else kind(str(path))


def preview_of(path: Path) -> dict[str, Any]:
    """Return what the canvas needs to show a video that a node wrote into ComfyUI's output folder."""
    folder = path.parent.relative_to(_host.output_folder().resolve())
    file = {"filename": path.name, "subfolder": folder.as_posix().removeprefix("."), "type": "output"}
    return {"images": [file], "animated": (True,)}


def _tensor_clip(video: Any, *, alpha: bool) -> TimedClip:
    parts = video.get_components()
    bits = (video.get_bit_depth() if hasattr(video, "get_bit_depth") else None) or _BYTE
    exact = number(parts.frame_rate)
    # As a float, or a fraction of 29.97 would be that and no 30000/1001.
    rate = frame_rate(parts.frame_rate if exact is None else float(exact))
    return TensorClip(
        require_clip(parts.images), rate, bits=int(bits), sound=sound_of(parts.audio), alpha=alpha
    )


def _file_clip(video: Any, *, alpha: bool) -> TimedClip:
    stream = video.get_stream_source()
    source = stream if isinstance(stream, BytesIO) else path_of(stream, "source of a video")
    # ComfyUI's stream is the whole file, whatever trim the VIDEO has.
    start, length = _trim_window(video)
    if not start and not length:
        return open_clip(source, alpha=alpha)
    end = Fraction(start) + Fraction(length) if length else None
    return Trimmed(lambda: open_clip(source, alpha=alpha), Span(Fraction(start), end))


def _trim_window(video: Any) -> tuple[float, float]:
    """Return where the trim of a VIDEO starts and how long it is, in seconds; a length of 0 is to the end."""
    if hasattr(video, "get_active_trim_window"):
        start, length = video.get_active_trim_window()
        return float(start), float(length)
    # Before ComfyUI 0.23 there is no method, only these attributes.
    start = float(getattr(video, "_VideoFromFile__start_time", 0.0))
    if start < 0:
        start = max(video._get_raw_duration() + start, 0.0)
    return start, float(getattr(video, "_VideoFromFile__duration", 0.0))


class MadeVideo(_Base):  # type: ignore[misc] # ComfyUI's class where there is one
    """A lazy video as ComfyUI's VIDEO: its frames are made while it is saved.

    Progress is shown on the node that saves it, and Cancel is heard there. A node that asks for frames or for
    a file instead gets these made.
    """

    def __init__(self, lazy: LazyVideo) -> None:
        self.lazy = lazy
        self._file: Path | None = None
        self._reported: set[str] = set()
        """Unknown options that the log has named already."""

    @said_plainly()
    def save_to(  # noqa: PLR0913, PLR0917 -- ComfyUI's interface
        self,
        path: str | os.PathLike[str] | IO[bytes],
        format: str = AUTO,
        codec: str = AUTO,
        metadata: Mapping[str, Any] | None = None,
        bit_depth: int | None = None,
        crf: float | None = None,
        color_space: str | None = None,
        **later: Any,
    ) -> None:
        """Make the video and write it, in the memory of a few frames. The file is there once it is whole.

        Args:
            path: a file, which is replaced, or a buffer.
            format: of the file; ``auto`` goes by its name, MP4 where that says nothing.
            codec: ``auto`` is what suits the format.
            metadata: tags besides those of the source; what is no text is written as JSON.
            bit_depth: as deep as the source where it is left out.
            crf: quality on the codec's own scale, 0 is best.
            color_space: ``sRGB``, ``HDR`` (HLG) or ``HDR PQ``; that of the source where it is left out.
            later: options of newer versions of ComfyUI. They are logged and left out: Save Video is the last
                node of a job, which must not fail there for an option.

        Raises:
            MidframeError: see :func:`~..video.interpolate_video`.
            BadInputError: see :func:`~._saving.coding_of`.
        """
        self._report_unknown(later)
        container = value_of(format).lower()
        write = partial(
            self.lazy.write,
            coding=coding_of(
                self.lazy.info, codec=codec, bit_depth=bit_depth, crf=crf, color_space=color_space
            ),
            suffix=None if container == AUTO else f".{container}",
            metadata=_texts(metadata),
            host=_progress.watch(1, _host.executing_node()),
        )
        if isinstance(path, (str, os.PathLike)):
            write(Path(path))
            return
        # By way of a file: containers go back to their beginning, and a half written buffer cannot be undone.
        file = self._temporary()
        try:
            write(file)
            with file.open("rb") as finished:
                shutil.copyfileobj(finished, path)
        finally:
            file.unlink(missing_ok=True)

    def _report_unknown(self, options: Mapping[str, Any]) -> None:
        for name in sorted(options.keys() - self._reported):
            _LOG.warning("A video is saved without %s=%r, which Midframe does not know.", name, options[name])
        self._reported.update(options)

    @said_plainly()
    def get_components(self) -> Any:
        """Return all frames, the sound and the frame rate. The frames take their whole size in memory."""
        frames = self.lazy.frames(TensorSink, _progress.watch(1, _host.executing_node()))
        sound = self.lazy.sound()
        parts = {
            "images": frames[..., :_RGB],
            "frame_rate": self.lazy.info.rate,
            "audio": None if sound is None else {"waveform": sound.samples[None], "sample_rate": sound.rate},
            "metadata": dict(self.lazy.info.metadata),
            "alpha": frames[..., _RGB:] if frames.shape[-1] > _RGB else None,
        }
        kind = getattr(sys.modules.get("comfy_api.latest._util.video_types"), "VideoComponents", None)
        if kind is None:
            return SimpleNamespace(**parts)
        names = {field.name for field in dataclasses.fields(kind)}  # before ComfyUI 0.9 there is no alpha
        return kind(**{name: value for name, value in parts.items() if name in names})

    @said_plainly()
    def get_stream_source(self) -> str:
        """Return a file of it, made when it is first asked for and removed with this object."""
        # Asked for by each node that reads the video, such as a preview: it must not be made each time.
        if self._file is None or not self._file.exists():
            file = self._temporary()
            self.save_to(file)
            # ComfyUI may have emptied its folder of temporary files before.
            weakref.finalize(self, file.unlink, missing_ok=True)
            self._file = file
        return str(self._file)

    @said_plainly()
    def as_trimmed(
        self, start_time: float | None = None, duration: float | None = None, strict_duration: bool = False
    ) -> MadeVideo | None:
        """Return a part of it, which is made by itself; None where nothing is left, or less than asked for.

        Args:
            start_time: seconds; negative ones count from the end.
            duration: seconds; to the end where it is left out or 0.
            strict_duration: whether a shorter part will not do.
        """
        start = Fraction(start_time or 0)
        if start < 0:
            start = max(self.lazy.duration + start, Fraction(0))
        part = self.lazy.part(start, Fraction(duration) if duration else None)
        if not part.moments or (strict_duration and float(part.duration) + _SHORT < (duration or 0)):
            return None
        return MadeVideo(part)

    def get_active_trim_window(self) -> tuple[float, float]:
        """Return that there is no trim: start and length 0."""
        return 0.0, 0.0

    @said_plainly()
    def get_dimensions(self) -> tuple[int, int]:
        """Return width and height."""
        return self.lazy.info.width, self.lazy.info.height

    @said_plainly()
    def get_bit_depth(self) -> int:
        """Return the bits of a channel of its file, 8 or 10."""
        return _BYTE if bits_of(self.lazy.info, self.get_color_space(), None) <= _BYTE else DEEP

    @said_plainly()
    def get_color_space(self) -> str:
        """Return ``sRGB``, ``HDR`` (HLG) or ``HDR PQ``, as the source is tagged; sRGB where it is not."""
        return space_of(self.lazy.info)

    @said_plainly()
    def get_duration(self) -> float:
        """Return the duration in seconds."""
        return float(self.lazy.duration)

    @said_plainly()
    def get_frame_count(self) -> int:
        """Return the number of frames, counted from the packets of the source."""
        return len(self.lazy.moments)

    @said_plainly()
    def get_frame_rate(self) -> Fraction:
        """Return the average frames a second."""
        return self.lazy.info.rate

    def get_container_format(self) -> str:
        """Return FFmpeg's name of the format of its file."""
        return _MP4

    def _temporary(self) -> Path:
        return _host.temp_folder() / f"midframe_{uuid.uuid4().hex}.mp4"


def _texts(metadata: Mapping[str, Any] | None) -> dict[str, str]:
    """Return tags as a file holds them."""
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in (metadata or {}).items()
    }
