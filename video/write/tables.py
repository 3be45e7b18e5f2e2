"""The tables of codecs and containers: what is written how. Nothing else decides it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Codec:
    """How a codec is encoded."""

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
    most_crf: int = 51
    """Largest value of the scale of quality."""
    least: int = 1
    """Smallest side of a picture, pixels."""


@dataclass(frozen=True)
class Container:
    """What a type of file holds."""

    muxer: str
    codec: str
    alpha_codec: str | None = None
    audio: str | None = None
    """Encoder for sound that cannot be copied; None where the format holds none."""
    options: Mapping[str, str] = field(default_factory=dict)
    coding: Mapping[str, str] = field(default_factory=dict)
    """Options of the encoder, whichever it is."""
    only: tuple[str, ...] = ()
    """The codecs that it holds, where these are not most of them."""


# 4:2:0 has one chroma sample for 2 x 2 pixels: x264 and x265 take it in even sizes only. 4:4:4 has no such
# limit, and nothing of the picture is cut off.
_EVEN = {"yuv420p": "yuv444p", "yuv420p10le": "yuv444p10le"}
CODEC_TABLE = {
    "h264": Codec(
        # x264 is under the GPL: builds of FFmpeg without it have OpenH264, or MPEG-4 at least.
        ("libx264", "libopenh264", "mpeg4"),
        ("yuv420p", "yuv420p10le"),
        options={"crf": "16", "preset": "medium"},
        even=_EVEN,
    ),
    "h265": Codec(
        ("libx265",),
        ("yuv420p", "yuv420p10le"),
        # Without info=0 x265 writes its options into the headers, the number of threads among them: chunks
        # of machines with different numbers of cores did not fit together (2402 against 2415 bytes).
        options={"crf": "18", "preset": "medium", "x265-params": "log-level=error:info=0"},
        even=_EVEN,
        lossless={"x265-params": "lossless=1"},
        least=64,  # x265 writes past its buffers below that, and the process dies
    ),
    "av1": Codec(
        ("libsvtav1", "libaom-av1"),
        ("yuv420p", "yuv420p10le"),
        options={"crf": "22", "preset": "7"},
        most_crf=63,
        lossless={"svtav1-params": "lossless=1"},
        least=16,  # SVT-AV1 as PyAV 19 brings it ends the process at 8 x 8; 12 x 12 went through
    ),
    "vp9": Codec(
        ("libvpx-vp9",),
        ("yuv420p", "yuv420p10le"),
        ("yuva420p", "yuva420p"),
        # libvpx aims at a bitrate, and takes crf for no more than a bound, unless that is 0.
        {"crf": "20", "b": "0", "row-mt": "1", "deadline": "good", "cpu-used": "3"},
        lossless={"lossless": "1"},
        most_crf=63,
    ),
    # ProRes has 10 bits at least, whatever the source has.
    "prores": Codec(("prores_ks",), ("yuv422p10le", "yuv422p10le"), ("yuva444p10le", "yuva444p10le")),
    # g=1: every frame is a key frame, and none needs another to be decoded.
    "ffv1": Codec(("ffv1",), ("bgr0", "gbrp14le"), ("bgra", "yuva444p16le"), {"level": "3", "g": "1"}),
    "raw": Codec(("wrapped_avframe",), ("yuv420p", "yuv420p10le")),
    "gif": Codec(("gif",), ("pal8", "pal8"), ("pal8", "pal8")),
    "apng": Codec(("apng",), ("rgb24", "rgb48be"), ("rgba", "rgba")),
    "webp": Codec(("libwebp_anim",), ("yuv420p", "yuv420p"), ("yuva420p", "yuva420p"), {"quality": "92"}),
}
CONTAINER_TABLE = {
    # faststart: the index goes to the front, so that a player need not have all of the file to begin.
    ".mp4": Container("mp4", "h264", audio="aac", options={"movflags": "+faststart"}),
    ".m4v": Container("mp4", "h264", audio="aac", options={"movflags": "+faststart"}),
    # H.264 has no transparency: MOV and Matroska change to a codec that has.
    ".mov": Container("mov", "h264", "prores", "aac"),
    ".mkv": Container("matroska", "h264", "ffv1", "libopus"),
    ".webm": Container("webm", "vp9", "vp9", "libopus", only=("vp9", "av1")),
    ".gif": Container("gif", "gif", "gif"),
    # AVI has no times: frames are shown in the order in which they are stored, so none may be reordered.
    ".avi": Container("avi", "h264", audio="libmp3lame", coding={"bf": "0"}, only=("h264", "ffv1")),
    # What programs hand each other through pipes.
    ".nut": Container("nut", "h264", "ffv1", "libopus"),
    ".y4m": Container("yuv4mpegpipe", "raw"),
    ".ts": Container("mpegts", "h264", audio="aac", only=("h264", "h265")),
    # 0 plays for ever: `plays` of the APNG muxer, `loop` of the WebP muxer.
    ".apng": Container("apng", "apng", "apng", options={"plays": "0"}),
    # Its transparency is a second stream of grey, which this writer of one picture does not make.
    ".avif": Container("avif", "av1", options={"loop": "0"}, only=("av1",)),
    ".webp": Container("webp", "webp", "webp", options={"loop": "0"}),
}
