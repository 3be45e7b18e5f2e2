"""Tables of codecs and containers, and the choice of both for an output."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error

from ...errors import BadInputError
from ...inputs.numbers import whole
from ..read.clip import ClipInfo, Colour
from .carry import Choice
from .pictures import Images, images_named, require_images
from .pixels import kept_format, mastering_options, say_conversion
from .tables import CODEC_TABLE, CONTAINER_TABLE, Codec, Container
from .trial import check_picture

_LOG = logging.getLogger(__name__)


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
    pixel_format: str | None = None
    """FFmpeg's name; where it is left out, with the depth and chroma of the source if the codec can."""
    preset: str | None = None
    """Of the encoder, on its own scale: ``slow``, ``7`` or ``p5``."""
    bitrate: int | None = None
    """Bits a second, instead of a constant quality."""
    lossless: bool = False
    sound: str | None = None
    """``none``, ``copy`` or an encoder; where it is left out, copied, and encoded where that cannot be."""
    streams: tuple[int, ...] | None = None
    """Indices of the other streams that are carried; all where it is left out."""
    subtitles: bool = True
    loops: int | None = None
    """How often an animated image is played, 0 without end; as the source where it is left out."""
    first_number: int = 0
    """Of numbered pictures."""

    @property
    def choice(self) -> Choice:
        """Return what is wanted of the streams besides the picture."""
        return Choice(self.sound, self.streams, self.subtitles)

    def __post_init__(self) -> None:
        require_images(self.images)
        object.__setattr__(self, "first_number", whole(self.first_number, "the first number", least=0))
        if self.sound not in (None, "none", "copy") and self.sound not in av.codecs_available:
            raise BadInputError("There is no such codec of sound.", repr(self.sound), "Use aac, ac3 or flac.")


CODECS = ("h264", "h265", "av1", "vp9", "prores", "ffv1")
"""Codecs that can be asked for."""
HARDWARE = ("_nvenc", "_qsv", "_amf", "_vaapi", "_videotoolbox")
"""Ends of the names of hardware encoders, which can be asked for by FFmpeg's name; none is taken unasked."""
_CODEC_NAMES = {
    "h264": "h264",
    "hevc": "h265",
    "av1": "av1",
    "libdav1d": "av1",
    "vp9": "vp9",
    "libvpx-vp9": "vp9",
}
_CODEC_NAMES |= {"prores": "prores", "ffv1": "ffv1"}
_BYTE = 8
_MATROSKA_TICKS = 1000
EXTENSIONS = tuple(CONTAINER_TABLE)
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
    bitrate: int | None = None
    """Bits a second; a constant quality where it is left out."""

    @property
    def bits(self) -> int:
        """Return 8, or 16 where the frames should come as uint16."""
        deepest = max(component.bits for component in av.VideoFormat(self.pixel_format).components)
        # Pixels of 10 and 14 bit are taken from all 16 by FFmpeg's scaler: torch has no dtype between.
        return 16 if deepest > 8 else 8  # noqa: PLR2004


def holds_alpha(path: Path) -> bool:
    """Tell whether output of this name can be transparent."""
    container = CONTAINER_TABLE.get(path.suffix.lower())
    return container.alpha_codec is not None if container else not file_suffix(path)


def check_rate(path: Path, rate: Fraction) -> None:
    """Check that a format can tell the times of frames apart.

    Raises:
        BadInputError: Matroska and WebM count milliseconds, and frames come faster.
    """
    if path.suffix.lower() in (".mkv", ".webm") and rate > _MATROSKA_TICKS:
        raise BadInputError(
            f"{path.suffix} files count milliseconds, in which frames at this rate have the same times.",
            f"{float(rate):g} frames a second",
            "Write to .mp4 or .mov.",
        )


def images_of(path: Path, coding: Coding) -> Images:
    """Return the type of pictures that an output is made of: a pattern's own, or that of the coding."""
    return images_named(path) or coding.images


def file_suffix(path: Path) -> str:
    """Return the extension of a file; empty where the name is that of a folder, in which there may be a dot.

    A folder that is there is one. What follows the dot of any other is no extension where it is a number, a
    version, or no word: ``shots.v2``, ``2024.05``, ``in.x2_x2``. Neither has a pattern of pictures one, such
    as ``frame_%04d.png``.
    """
    if images_named(path) is not None:
        return ""
    suffix = path.suffix
    if suffix.lower() in CONTAINER_TABLE and not path.is_dir():
        return suffix
    return "" if path.is_dir() or not re.fullmatch(r"\.(?!v?\d+$)[A-Za-z0-9]{1,6}", suffix) else suffix


def choose_encoding(
    path: Path,
    coding: Coding,
    size: tuple[int, int],
    *,
    bits: int,
    alpha: bool,
    source: ClipInfo | None = None,
) -> Encoding:
    """Return how a clip is written to ``path``.

    Args:
        path: its extension is one of ``EXTENSIONS``.
        coding: what the user asked for.
        size: (height, width).
        bits: of a channel of the source.
        alpha: whether the frames have it.
        source: what else is known of it.

    Raises:
        BadInputError: an extension, codec or combination that cannot be written.
    """
    container = _container(path)
    name = _codec_name(container, coding, size, bits=bits, alpha=alpha, source=source)
    hardware = name if name.endswith(HARDWARE) else ""
    family = _family(name) if hardware else name
    codec = _codec(family, container, path)
    if alpha and not codec.alpha:
        _LOG.warning("%s holds no transparency; it is dropped.", name)
    if min(size) < codec.least:
        raise BadInputError(
            f"{name} is not for pictures as small as this.",
            f"{size[1]} x {size[0]}, at least {codec.least} on each side",
            "Use h264, or ffv1 in .mkv.",
        )
    encoder = _hardware(hardware) if hardware else _available(codec, name)
    pixel_format = _pixel_format(codec, encoder, coding, size, bits=bits, alpha=alpha, source=source)
    if name != container.codec and not hardware:  # what nobody asked for is known to fit
        check_picture(path, name, muxer=container.muxer, encoder=encoder, pixel_format=pixel_format)
    if source is not None:
        say_conversion(source, pixel_format, name, asked=coding.pixel_format is not None)
    options = {**container.coding, **({} if hardware else _options(codec, name, coding))}
    if hardware and coding.preset:
        options["preset"] = coding.preset
    mastering = {} if source is None else mastering_options(source, encoder)
    for key, value in mastering.items():
        options[key] = f"{options[key]}:{value}" if key in options else value
    loops = coding.loops if coding.loops is not None else source.loops if source is not None else None
    return Encoding(
        container.muxer,
        encoder,
        pixel_format,
        options,
        {**container.options, **_loop_options(container.muxer, loops)},
        container.audio,
        coding.choice,
        coding.bitrate,
    )


def _codec_name(
    container: Container,
    coding: Coding,
    size: tuple[int, int],
    *,
    bits: int,
    alpha: bool,
    source: ClipInfo | None,
) -> str:
    """Return the codec that is asked for, else one that holds what the source has."""
    if coding.codec == "source":
        name = _CODEC_NAMES.get(source.codec if source else "", "")
        if not name:
            raise BadInputError(
                "The source's codec cannot be kept.",
                repr(source.codec if source else ""),
                f"Leave it out, or use one of {', '.join(CODECS)}.",
            )
        return name
    if coding.codec:
        return coding.codec
    if alpha and container.alpha_codec:
        return container.alpha_codec
    deep = "av1" if container.codec == "vp9" else "h265"
    # High dynamic range in H.264 is played by next to nothing, and libvpx as PyAV 18.1 has it knows 8 bits.
    shallow = container.codec == "vp9" and bits > _BYTE and not _vp9_is_deep()
    hdr = source is not None and source.high_dynamic_range and container.codec in ("h264", "vp9")
    fits = min(size) >= CODEC_TABLE[deep].least and any(
        e in av.codecs_available for e in CODEC_TABLE[deep].encoders
    )
    fits = fits and deep in (container.only or CODECS)
    return deep if (hdr or shallow) and fits else container.codec


def _vp9_is_deep() -> bool:
    return any(f.name == "yuv420p10le" for f in av.Codec("libvpx-vp9", "w").video_formats or ())


def _pixel_format(  # noqa: PLR0913 - all that a pixel format follows from
    codec: Codec,
    encoder: str,
    coding: Coding,
    size: tuple[int, int],
    *,
    bits: int,
    alpha: bool,
    source: ClipInfo | None,
) -> str:
    held = {f.name for f in av.Codec(encoder, "w").video_formats or ()}
    if coding.pixel_format is not None:
        if coding.pixel_format not in held:
            raise BadInputError(
                f"{encoder} has no such pixel format.",
                repr(coding.pixel_format),
                f"Use one of {', '.join(sorted(held))}.",
            )
        return coding.pixel_format
    formats = codec.alpha if alpha and codec.alpha else codec.opaque
    pixel_format = formats[bits > _BYTE]
    if pixel_format.startswith("yuv4"):
        deep = max(bits, 10) if codec.opaque[0] == "yuv422p10le" else bits
        pixel_format = kept_format(encoder, source, deep, pixel_format)
    # An encoder without the deeper format (libvpx in PyAV 18.1 lists none of 10 bit) gets the one of 8 bit.
    if pixel_format not in held:
        pixel_format = formats[0]
    if pixel_format.startswith("yuv42") and codec.even and (size[0] % 2 or size[1] % 2):
        pixel_format = re.sub("yuv42[02]", "yuv444", pixel_format)
        _LOG.warning(
            "%d x %d is odd: written with full colour resolution (%s), which some players do not show.",
            size[1],
            size[0],
            pixel_format,
        )
    return pixel_format


def _options(codec: Codec, name: str, coding: Coding) -> dict[str, str]:
    """Return the options of an encoder for what the user asked of quality and speed."""
    options = dict(codec.options)
    crf = 0 if coding.lossless else coding.crf
    if crf is not None:
        if coding.lossless and name == "ffv1":
            return options
        _set_quality(options, codec, name, crf)
    if coding.bitrate is not None:
        if crf is not None:
            raise BadInputError(
                "Quality and bitrate are both given.", f"{crf:g}, {coding.bitrate}", "Give one."
            )
        options.pop("crf", None)
        options.pop("b", None)
    if coding.preset is not None:
        key = "cpu-used" if name == "vp9" else "preset"
        if key not in options:
            raise BadInputError(f"{name} has no presets.", repr(coding.preset), "Leave it out.")
        options[key] = coding.preset
    return options


def _set_quality(options: dict[str, str], codec: Codec, name: str, crf: float) -> None:
    """Set the constant quality.

    Raises:
        BadInputError: the codec has none, or not this one.
    """
    if "crf" not in options:
        raise BadInputError(f"{name} has no quality setting.", f"crf {crf:g}", "Leave crf out.")
    if not 0 <= crf <= codec.most_crf:
        raise BadInputError(
            f"There is no such quality of {name}.", f"crf {crf:g}", f"Give 0 (best) to {codec.most_crf}."
        )
    options["crf"] = f"{crf:g}"
    for key, value in codec.lossless.items() if crf == 0 else ():
        options[key] = f"{options[key]}:{value}" if key == "x265-params" else value


def _loop_options(muxer: str, loops: int | None) -> dict[str, str]:
    if loops is None:
        return {}
    # A GIF counts how often it is repeated, where -1 is once; the others count how often it is played.
    repeats = {0: 0, 1: -1}.get(loops, loops - 1)
    plays = {"loop": f"{loops}"}
    options = {"gif": {"loop": f"{repeats}"}, "apng": {"plays": f"{loops}"}, "webp": plays, "avif": plays}
    return options.get(muxer, {})


def _family(name: str) -> str:
    """Return the codec of a hardware encoder such as ``hevc_nvenc``."""
    family = name.partition("_")[0]
    return {"hevc": "h265"}.get(family, family)


def _hardware(name: str) -> str:
    """Return a hardware encoder that this machine has.

    Raises:
        BadInputError: it has not.
    """
    try:
        encoder: Any = av.CodecContext.create(name, "w")
        encoder.width, encoder.height, encoder.pix_fmt = 256, 256, "yuv420p"
        encoder.time_base = Fraction(1, 24)
        encoder.open()
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise BadInputError(
            "This machine or this build of PyAV has no such hardware encoder.",
            f"{name}: {error}",
            f"Use one of {', '.join(CODECS)}.",
        ) from error
    return name


def _container(path: Path) -> Container:
    try:
        return CONTAINER_TABLE[path.suffix.lower()]
    except KeyError:
        raise BadInputError(
            f"Files of type {path.suffix or '(none)'} cannot be written.",
            str(path),
            f"Use {', '.join(EXTENSIONS)}, or a name without an extension for a folder of pictures.",
        ) from None


def _codec(name: str, container: Container, path: Path) -> Codec:
    codec = CODEC_TABLE.get(name)
    if codec is None or (name not in CODECS and name != container.codec):
        raise BadInputError("There is no such codec.", repr(name), f"Use one of {', '.join(CODECS)}.")
    if name in CODECS and (container.codec not in CODECS or name not in (container.only or CODECS)):
        raise BadInputError(
            f"{path.suffix} files hold no {name}.",
            str(path),
            "Leave the codec out, or write to .mp4 or .mkv.",
        )
    return codec


def _available(codec: Codec, name: str) -> str:
    for encoder in codec.encoders:
        if encoder in av.codecs_available:
            return encoder
    raise BadInputError(
        f"This build of PyAV cannot encode {name}.",
        f"none of {', '.join(codec.encoders)}",
        "Choose another extension or codec, or install PyAV from its wheels: pip install av.",
    )
