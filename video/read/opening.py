"""Open media files by their path: a local path is a local path, whatever characters are in it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import av
import av.container
import av.error
import av.logging
import av.stream
from PIL import Image

from ...errors import MidframeError

# Seconds within which a film that goes on has a second frame; a show of slides may take its time.
_LOOKED = 60
# How far FFmpeg looks for what a stream is where a few seconds did not say it: a minute, and 100 MB.
_FURTHER = {"analyzeduration": "60000000", "probesize": "100000000"}
# Boxes at the top level of an MP4; four are usual.
_MOST_BOXES = 1000
_FILE = "file:"
_DUMPING = threading.Lock()
# IDs of EBML, of which Matroska is made: of the header, and of the segment that holds a film.
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
# Before version 19 PyAV fails at a tag that is no UTF-8 unless it is told otherwise; 19 never fails there,
# and knows the option no more.
_TAGS_OF_ANY_ENCODING: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}  # noqa: PLR2004
)


def file_address(path: Path) -> str:
    """Return how FFmpeg is given a local path.

    Without the protocol, what stands before a colon is taken for one: ``12:30 clip.mp4`` was "Protocol not
    found".
    """
    return f"{_FILE}{path}"


def open_source(source: Path | BytesIO, options: dict[str, str] | None = None) -> av.container.InputContainer:
    """Open a file for reading; one in memory gets a position of its own.

    Args:
        source: the file.
        options: of the demuxer.
    """
    opened = _opened(source, options or {})
    if all(
        stream.codec_context is None or stream.codec_context.sample_rate for stream in opened.streams.audio
    ):
        return opened
    # Sound that begins late in a transport stream: the few seconds that FFmpeg looks at say nothing of it.
    opened.close()
    return _opened(source, {**_FURTHER, **(options or {})})


def _opened(source: Path | BytesIO, options: dict[str, str]) -> av.container.InputContainer:
    file: Any = BytesIO(source.getvalue()) if isinstance(source, BytesIO) else file_address(source)
    opened: av.container.InputContainer
    opened = av.open(file, "r", options=options, **_TAGS_OF_ANY_ENCODING)
    return opened


def packets_of(container: av.container.InputContainer, *streams: Any) -> Iterator[Any]:
    """Yield the packets of some streams of a file, and for each an empty one at the end.

    Where a file shows a stream only in its middle (FLV, transport streams), PyAV (18.1) reads beyond its
    list of streams at the end, and may fail there.
    """
    try:
        yield from container.demux(*streams)
    except IndexError:
        if len(container.streams) == 0:
            raise


@contextlib.contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Open a picture with Pillow. At a damaged file its readers raise anything; here it is an OSError."""
    try:
        with Image.open(path) as image:
            yield image
    except (OSError, MidframeError):
        raise
    except Exception as error:  # RuntimeError, EOFError, struct.error, SyntaxError, a picture of 10**9 pixels
        raise OSError(str(error) or type(error).__name__) from error


def tags_of(owner: Any) -> dict[str, str]:
    """Return the tags of a container or a stream as text that can be printed and written.

    Tags are not always UTF-8, though they should be. A letter of another encoding becomes U+FFFD.
    """
    return {_printable(key): _printable(value) for key, value in owner.metadata.items()}


def _printable(text: str) -> str:
    # PyAV 19 gives bytes that are no UTF-8 as lone surrogates, which no stream of text takes.
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def is_cover(stream: Any) -> bool:
    """Tell whether a stream is one picture that belongs to the file, and no film."""
    # Not every PyAV tells it.
    covers = getattr(av.stream, "Disposition", None)
    return stream.type == "video" and covers is not None and bool(stream.disposition & covers.attached_pic)


def films_of(container: av.container.InputContainer, source: Path | BytesIO) -> list[Any]:
    """Return the video streams of a file that are no covers, of which the first is its picture.

    A single frame that lies before a film is no film, whether it is marked as a cover or not; nor is a stream
    that a broadcast announces and does not send.

    Args:
        container: the file; nothing of it is read.
        source: the same file.
    """
    films = [stream for stream in container.streams.video if not is_cover(stream)]
    picture = _moving(source, [film.index for film in films]) if len(films) > 1 else None
    return sorted(films, key=lambda film: film.index != picture)


def _moving(source: Path | BytesIO, films: list[int]) -> int | None:
    """Return the index of the first stream of some that has more than one frame, as far as is looked."""
    found: dict[int, int] = {}
    try:
        with open_source(source) as container:
            begin: Fraction | None = None
            for packet in packets_of(container, *(container.streams[index] for index in films)):
                if not packet.size or packet.dts is None:
                    continue
                found[packet.stream.index] = found.get(packet.stream.index, 0) + 1
                time = packet.dts * packet.time_base
                begin = time if begin is None else begin
                if found.get(films[0], 0) > 1 or time - begin > _LOOKED:
                    break
    except (av.error.FFmpegError, OSError):
        pass  # what cannot be read is said where it is
    return next((index for index in films if found.get(index, 0) > 1), None)


def holds_another(container: av.container.InputContainer) -> bool:
    """Tell whether a Matroska file is followed by another in the same file, as `cat` joins them.

    FFmpeg reads on there, as the format allows, and the clock starts anew. A recording whose header does not
    say how long it is, as of a stream, is not looked through for it.
    """
    if container.format.name != "matroska,webm" or not container.name.startswith(_FILE):
        return False
    try:
        with Path(container.name.removeprefix(_FILE)).open("rb") as file:
            for element in (_EBML, _SEGMENT):
                if file.read(len(element)) != element:
                    return False
                size = _ebml_size(file)
                if size is None:
                    return False
                file.seek(size, 1)
            return file.read(len(_EBML)) == _EBML
    except OSError:
        return False


def hides_another(path: Path) -> bool:
    """Tell whether an MP4 or MOV file is followed by another in the same file, which nobody reads.

    One in fragments is not looked through: each may come with a header of its own.
    """
    seen: set[bytes] = set()
    for kind in _boxes(path):
        if kind == b"ftyp" and {b"moov", b"mdat"} <= seen:
            return True
        if kind == b"moof":
            return False
        seen.add(kind)
    return False


def is_unfinished(path: Path) -> bool:
    """Tell whether a file is an MP4 or MOV whose recording ended before its index was written."""
    kinds = list(_boxes(path))
    return kinds[:1] == [b"ftyp"] and b"moov" not in kinds


def _boxes(path: Path) -> Iterator[bytes]:
    """Yield the kinds of the boxes at the top level of an MP4 or MOV file."""
    try:
        with path.open("rb") as file:
            for _ in range(_MOST_BOXES):
                head = file.read(16)
                size = int.from_bytes(head[:4], "big")
                if len(head) < 8:  # noqa: PLR2004
                    return
                yield head[4:8]
                size = int.from_bytes(head[8:], "big") if size == 1 else size
                if size < 8:  # noqa: PLR2004 -- to the end of the file, or no box
                    return
                file.seek(size - len(head), 1)
    except (OSError, OverflowError):
        return


def _ebml_size(file: IO[bytes]) -> int | None:
    """Read how many bytes an element of EBML has; None where it does not say."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    # As many zeros as are before the first bit that is set, so many bytes follow. All ones: not known.
    more = 8 - first[0].bit_length()
    bits = 7 * (more + 1)
    size = int.from_bytes(first + file.read(more), "big") & (1 << bits) - 1
    return None if size == (1 << bits) - 1 else size


def chapters_of(container: Any) -> list[Any]:
    """Return the chapters of a file, as PyAV describes them; none before PyAV 15, which does not tell."""
    return list(container.chapters()) if hasattr(container, "chapters") else []


def unsafe_sound(container: av.container.InputContainer) -> frozenset[int]:
    """Return the indices of audio streams that PyAV cannot decode safely.

    PyAV (18.1) copies a channel layout by value. One of FFmpeg's "custom" order owns memory, which is then
    freed twice, and the process dies: reading ``layout`` or decoding one frame is enough. Nothing but
    FFmpeg's own description of the file says which streams these are without touching the layout.
    """
    if not container.streams.audio:
        return frozenset()
    lines = _description(container).splitlines()
    # "Stream #0:1[0x2](eng): Audio: pcm_s24le, 48000 Hz, 2 channels (FR+FL), s32": native layouts have a
    # name, unknown ones no brackets. Ambisonic ones may be of either order.
    layouts = [line for line in lines if ": Audio: " in line and " Hz, " in line]
    unsafe = {_index(line) for line in layouts if " channels (" in line or " ambisonic " in line}
    return frozenset(unsafe)


def _index(line: str) -> int:
    number = line.split("Stream #0:", 1)[1]
    return int(number[: next(i for i, letter in enumerate(number) if not letter.isdigit())])


def _description(container: av.container.InputContainer) -> str:
    # FFmpeg describes a file only into its log. The level is one for the process: it is set for this call.
    with _DUMPING:
        before = av.logging.get_level()
        av.logging.set_level(av.logging.INFO)
        try:
            dumped: Any = container
            return str(dumped.dumps_format())
        finally:
            av.logging.set_level(before)
