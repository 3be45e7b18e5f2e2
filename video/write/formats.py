"""Tables of codecs and containers, and the choice of both for an output."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import av

from ...errors import BadInputError
from ..read.clip import Colour
from .carry import Choice

_LOG = logging.getLogger(__name__)


Images = Literal["png", "tiff"]
"""Files that a folder of pictures can be made of."""
IMAGES: tuple[Images, ...] = get_args(Images)


@dataclass(frozen=True)
class Coding:
    """How the user wants the picture encoded; empty where the default does."""

    codec: str | None = None
    """``h264``, ``h265``, ``av1``, ``vp9``, ``prores`` or ``ffv1``."""
    crf: float | None = None
    """Constant quality on the codec's own scale, 0 is best."""
    images: Images = "png"
    """What a folder of pictures is made of."""
    bits: int | None = None
    """Of a channel, 8 or more; as many as the source has where it is left out."""
    colour: Colour | None = None
    """How the YUV of the output is meant; as that of the source where it is left out."""

    def __post_init__(self) -> None:
        if self.images not in IMAGES:
            raise BadInputError(
                "Pictures of this type cannot be written.", repr(self.images), f"Use {' or '.join(IMAGES)}."
            )


@dataclass(frozen=True)
class _Codec:
    encoders: tuple[str, ...]
    """First one that this build of FFmpeg has."""
    opaque: tuple[str, str]
    """Pixel formats for 8 bit and for more."""
    alpha: tuple[str, str] | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    even: Mapping[str, str] = field(default_factory=dict)
    """Pixel formats that cannot be of odd size, and what to use there."""
    lossless: Mapping[str, str] = field(default_factory=dict)
    """Options for a quality of 0, where the encoder's scale does not begin with no loss."""
    least: int = 1
    """Smallest side of a picture, pixels."""


@dataclass(frozen=True)
class _Container:
    muxer: str
    codec: str
    alpha_codec: str | None = None
    audio: str | None = None
    """Encoder for sound that cannot be copied; None where the format holds none."""
    options: Mapping[str, str] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    """The codecs that it holds, where these are not most of them."""


# 4:2:0 has one chroma sample for 2 x 2 pixels: x264 and x265 take it in even sizes only. 4:4:4 has no such
# limit, and nothing of the picture is cut off.
_EVEN = {"yuv420p": "yuv444p", "yuv420p10le": "yuv444p10le"}
_CODECS = {
    "h264": _Codec(
        # x264 is under the GPL: builds of FFmpeg without it have OpenH264, or MPEG-4 at least.
        ("libx264", "libopenh264", "mpeg4"),
        ("yuv420p", "yuv420p10le"),
        options={"crf": "16", "preset": "medium"},
        even=_EVEN,
    ),
    "h265": _Codec(
        ("libx265",),
        ("yuv420p", "yuv420p10le"),
        # Without info=0 x265 writes its options into the headers, the number of threads among them: chunks
        # of machines with different numbers of cores did not fit together (2402 against 2415 bytes).
        options={"crf": "18", "preset": "medium", "x265-params": "log-level=error:info=0"},
        even=_EVEN,
        least=64,  # x265 writes past its buffers below that, and the process dies
    ),
    "av1": _Codec(
        ("libsvtav1", "libaom-av1"),
        ("yuv420p", "yuv420p10le"),
        options={"crf": "22", "preset": "7"},
        lossless={"svtav1-params": "lossless=1"},
        least=16,  # SVT-AV1 as PyAV 19 brings it ends the process at 8 x 8; 12 x 12 went through
    ),
    "vp9": _Codec(
        ("libvpx-vp9",),
        ("yuv420p", "yuv420p10le"),
        ("yuva420p", "yuva420p"),
        # libvpx aims at a bitrate, and takes crf for no more than a bound, unless that is 0.
        {"crf": "20", "b": "0", "row-mt": "1", "deadline": "good", "cpu-used": "3"},
    ),
    # ProRes has 10 bits at least, whatever the source has.
    "prores": _Codec(("prores_ks",), ("yuv422p10le", "yuv422p10le"), ("yuva444p10le", "yuva444p10le")),
    # g=1: every frame is a key frame, and none needs another to be decoded.
    "ffv1": _Codec(("ffv1",), ("bgr0", "gbrp14le"), ("bgra", "yuva444p16le"), {"level": "3", "g": "1"}),
    "gif": _Codec(("gif",), ("pal8", "pal8"), ("pal8", "pal8")),
    "apng": _Codec(("apng",), ("rgb24", "rgb48be"), ("rgba", "rgba")),
    "webp": _Codec(("libwebp_anim",), ("yuv420p", "yuv420p"), ("yuva420p", "yuva420p"), {"quality": "92"}),
}
_CONTAINERS = {
    # faststart: the index goes to the front, so that a player need not have all of the file to begin.
    ".mp4": _Container("mp4", "h264", audio="aac", options={"movflags": "+faststart"}),
    ".m4v": _Container("mp4", "h264", audio="aac", options={"movflags": "+faststart"}),
    # H.264 has no transparency: MOV and Matroska change to a codec that has.
    ".mov": _Container("mov", "h264", "prores", "aac"),
    ".mkv": _Container("matroska", "h264", "ffv1", "libopus"),
    ".webm": _Container("webm", "vp9", "vp9", "libopus", only=("vp9", "av1")),
    ".gif": _Container("gif", "gif", "gif"),
    # 0 plays for ever: `plays` of the APNG muxer, `loop` of the WebP muxer.
    ".apng": _Container("apng", "apng", "apng", options={"plays": "0"}),
    ".webp": _Container("webp", "webp", "webp", options={"loop": "0"}),
}
CODECS = ("h264", "h265", "av1", "vp9", "prores", "ffv1")
"""Codecs that can be asked for."""
EXTENSIONS = tuple(_CONTAINERS)
"""Extensions of files that can be written; a name without one is a folder of pictures."""


@dataclass(frozen=True)
class Encoding:
    """Everything that the writer of a file needs to know."""

    muxer: str
    encoder: str
    pixel_format: str
    options: dict[str, str]
    container_options: dict[str, str]
    audio_encoder: str | None
    """For sound that cannot be copied; None where the format holds none."""
    choice: Choice = field(default_factory=Choice)
    """Of the other streams."""

    @property
    def bits(self) -> int:
        """Return 8, or 16 where the frames should come as uint16."""
        deepest = max(component.bits for component in av.VideoFormat(self.pixel_format).components)
        # Pixels of 10 and 14 bit are taken from all 16 by FFmpeg's scaler: torch has no dtype between.
        return 16 if deepest > 8 else 8  # noqa: PLR2004


def holds_alpha(path: Path) -> bool:
    """Tell whether output of this name can be transparent."""
    container = _CONTAINERS.get(path.suffix.lower())
    return container.alpha_codec is not None if container else not path.suffix


def choose_encoding(path: Path, coding: Coding, size: tuple[int, int], *, bits: int, alpha: bool) -> Encoding:
    """Return how a clip is written to ``path``.

    Args:
        path: its extension is one of ``EXTENSIONS``.
        coding: what the user asked for.
        size: (height, width).
        bits: of a channel of the source.
        alpha: whether the frames have it.

    Raises:
        BadInputError: an extension, codec or combination that cannot be written.
    """
    container = _container(path)
    name = coding.codec or (container.alpha_codec if alpha else None) or container.codec
    codec = _codec(name, container, path)
    formats = codec.alpha if alpha and codec.alpha else codec.opaque
    if alpha and not codec.alpha:
        _LOG.warning("%s holds no transparency; it is dropped.", name)
    if min(size) < codec.least:
        raise BadInputError(
            f"{name} is not for pictures as small as this.",
            f"{size[1]} x {size[0]}, at least {codec.least} on each side",
            "Use h264, or ffv1 in .mkv.",
        )
    encoder = _available(codec, name)
    pixel_format = formats[bits > 8]  # noqa: PLR2004
    # An encoder without the deeper format (libvpx in PyAV 18.1 lists none of 10 bit) gets the one of 8 bit.
    if pixel_format not in {f.name for f in av.Codec(encoder, "w").video_formats or ()}:
        pixel_format = formats[0]
    if pixel_format in codec.even and (size[0] % 2 or size[1] % 2):
        pixel_format = codec.even[pixel_format]
        _LOG.warning(
            "%d x %d is odd: written with full colour resolution (%s), which some players do not show.",
            size[1],
            size[0],
            pixel_format,
        )
    options = dict(codec.options)
    if coding.crf is not None:
        if "crf" not in options:
            raise BadInputError(f"{name} has no quality setting.", f"crf {coding.crf}", "Leave crf out.")
        options["crf"] = f"{coding.crf:g}"
        if coding.crf == 0:
            options.update(codec.lossless)
    return Encoding(container.muxer, encoder, pixel_format, options, dict(container.options), container.audio)


def _container(path: Path) -> _Container:
    try:
        return _CONTAINERS[path.suffix.lower()]
    except KeyError:
        raise BadInputError(
            f"Files of type {path.suffix or '(none)'} cannot be written.",
            str(path),
            f"Use {', '.join(EXTENSIONS)}, or a name without an extension for a folder of pictures.",
        ) from None


def _codec(name: str, container: _Container, path: Path) -> _Codec:
    codec = _CODECS.get(name)
    if codec is None or (name not in CODECS and name != container.codec):
        raise BadInputError("There is no such codec.", repr(name), f"Use one of {', '.join(CODECS)}.")
    if name in CODECS and (container.codec not in CODECS or name not in (container.only or CODECS)):
        raise BadInputError(
            f"{path.suffix} files hold no {name}.",
            str(path),
            "Leave the codec out, or write to .mp4 or .mkv.",
        )
    return codec


def _available(codec: _Codec, name: str) -> str:
    for encoder in codec.encoders:
        if encoder in av.codecs_available:
            return encoder
    raise BadInputError(
        f"This build of PyAV cannot encode {name}.",
        f"none of {', '.join(codec.encoders)}",
        "Choose another extension or codec, or install PyAV from its wheels: pip install av.",
    )
