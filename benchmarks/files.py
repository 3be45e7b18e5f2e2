"""Takes every file of a folder through `interpolate` and `chunks`, and says what became of it.

What is in a source and in an output is found here, with PyAV alone, and not by what read and wrote them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import av.error

from ..api import load_model
from ..chunks import Inline, Job, process
from ..errors import MidframeError
from ..vfi_models.interface import Interpolator
from ..vfi_utils import QuietHost
from ..video import Plan, interpolate_video
from ..video.account import describe_output
from ..video.read.opening import films_of, open_source, packets_of
from .long_clips import Blend

# Of the frames that may be off from the number or the times that are expected, seconds or parts of a frame.
_HALF, _NEAR = 0.5, 0.05
# Seconds by which sound may begin or end elsewhere: an encoder's run-in, and a packet at the end.
_SOUND = 0.15
# Source pairs of a chunk: few, so that short files have several.
_PAIRS = 7
_COLUMNS = ("file", "picture", "frames", "seconds", "sound", "carried", "remarks")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("folder", type=Path, help="of video files and animated images, with all folders in it")
    add("--to", default="mkv", metavar="EXT", help="type of the outputs, such as mp4 (default: %(default)s)")
    add("--model", default="blend", help="that makes the frames (default: blend, a stand-in that is quick)")
    add("--width", type=int, default=64, metavar="N", help="outputs are scaled to (default: %(default)s)")
    add("--stop", type=float, metavar="TIME", help="seconds of each file (default: all)")
    add("--json", type=Path, metavar="FILE", help="write the rows there")


def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Print a row for each file; return 1 where one is not as it should be."""
    model: Any = Blend() if arguments.model == "blend" else load_model(arguments.model, "cpu")
    plan = Plan(width=arguments.width, stop=arguments.stop)
    rows = []
    say(f"| {' | '.join(_COLUMNS)} |\n{'|---' * len(_COLUMNS)}|")
    for path in sorted(arguments.folder.rglob("*")):
        if path.is_file():
            row = row_of(path, f".{arguments.to}", model, plan)
            rows.append(row)
            say(f"| {' | '.join(str(value) for value in asdict(row).values())} |")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return int(any("WRONG" in row.remarks for row in rows))


@dataclass(frozen=True)
class Row:
    """The outcome for one file."""

    file: str
    picture: str = ""
    frames: str = ""
    """Numbers of frames of source and output."""
    seconds: str = ""
    """From the first frame to the last, of source and output."""
    sound: str = ""
    """Start after the picture and length, seconds, of source and output."""
    carried: str = ""
    remarks: str = ""
    """Warnings of the run, errors, and what is ``WRONG``."""


@dataclass(frozen=True)
class Content:
    """The content of a file, by its packets and decoded pictures."""

    picture: str
    count: int
    """Number of pictures."""
    times: list[float]
    """Of those that have one, seconds, as they come out of the decoder."""
    sounds: list[tuple[float, float, str]]
    """Of each stream with sound: its beginning and end, seconds, and codec."""

    @property
    def rises(self) -> bool:
        """Tell whether each picture is later than the one before."""
        return all(a < b for a, b in pairwise(self.times))

    @property
    def length(self) -> float:
        """Return the seconds from the first picture to the last."""
        return self.times[-1] - self.times[0] if self.times else 0.0

    @property
    def heard(self) -> str:
        """Return when sounds begin after the picture and how long they are."""
        first = self.times[0] if self.times else 0.0
        return ", ".join(f"{name} {start - first:+.2f} {end - start:.2f}" for start, end, name in self.sounds)


def content_of(path: Path) -> Content:
    """Return what is in a file.

    Raises:
        MidframeError: it has no picture that can be decoded.
    """
    frames: list[Any] = []
    sounds: dict[int, tuple[float, float]] = {}
    try:
        with open_source(path) as container:
            film: Any = next(iter(films_of(container, path)))
            base = float(film.time_base)
            for packet in packets_of(container, film, *container.streams.audio):
                if packet.stream.index != film.index:
                    _hear(sounds, packet)
                    continue
                with contextlib.suppress(av.error.InvalidDataError):
                    frames += [frame.pts for frame in packet.decode()]
            names = {stream.index: stream.codec_context.name for stream in container.streams.audio}
            picture = f"{film.codec_context.name} {film.codec_context.pix_fmt} {film.width}x{film.height}"
    except (av.error.FFmpegError, OSError, StopIteration, ValueError) as error:
        raise MidframeError("This is no file with a picture.", f"{path.name}: {error}", "") from error
    times = [pts * base for pts in frames if pts is not None]
    return Content(picture, len(frames), times, [(*span, names[index]) for index, span in sounds.items()])


def _hear(sounds: dict[int, tuple[float, float]], packet: Any) -> None:
    if packet.pts is None or not packet.size or packet.is_discard:
        return
    start = float(packet.pts * packet.time_base)
    end = start + float((packet.duration or 0) * packet.time_base)
    before = sounds.get(packet.stream.index, (start, end))
    sounds[packet.stream.index] = (min(before[0], start), max(before[1], end))


def row_of(path: Path, suffix: str, model: Interpolator, plan: Plan) -> Row:
    """Take one file through both ways, and say what became of it."""
    try:
        source: Content | None = content_of(path)
    except MidframeError:
        source = None
    with tempfile.TemporaryDirectory() as folder, collected_warnings() as said:
        single, chunked = Path(folder) / f"single{suffix}", Path(folder) / f"chunked{suffix}"
        try:
            account = describe_output(path, single, plan)
            interpolate_video(path, single, model, plan)
            job = Job(path, chunked, Path(folder) / "work", plan=plan, pairs=_PAIRS)
            process(job, Inline(lambda: model), host=QuietHost(model.device))
            outputs = content_of(single), content_of(chunked)
        except MidframeError as error:
            return Row(
                path.name, source.picture if source else "none", remarks=f"{error.wrong} {error.found}"
            )
        finally:
            remarks = list(dict.fromkeys(said))
    if source is None or source.count < 2:  # noqa: PLR2004 - an AVIF has a still beside its film
        source = outputs[0]
        remarks.append("not decoded by FFmpeg")
    wrong = wrong_in(source, *outputs, whole=plan.stop is None)
    return Row(
        path.name,
        source.picture,
        f"{source.count} -> {outputs[0].count}",
        f"{source.length:.3f} -> {outputs[0].length:.3f}",
        f"{source.heard or 'none'} -> {outputs[0].heard or 'none'}",
        "; ".join(f"{entry.what}: {entry.fate}" for entry in account[1:]),
        "; ".join([*remarks, *(f"WRONG: {what}" for what in wrong)]),
    )


def wrong_in(source: Content, single: Content, chunked: Content, *, whole: bool) -> Iterator[str]:
    """Yield what is not as it should be in the outputs of a source."""
    if single != chunked:
        yield "chunks differ"
    if not single.rises:
        yield "times do not rise"
    if whole and source is not single:
        yield from _wrong_picture(source, single)
        # Where the clock of the file jumps, there is nothing to compare with.
        yield from _wrong_sound(source, single) if source.rises else ()


def _wrong_picture(source: Content, made: Content) -> Iterator[str]:
    if made.count != 2 * source.count:
        yield "number of frames"
    if source.rises and len(source.times) == source.count > 1:
        # The last frame, which is shown as long as the others, is shown twice as well.
        step = source.length / (source.count - 1)
        if abs(made.length - source.length - step / 2) > step * (_HALF + _NEAR):
            yield "duration"


def _wrong_sound(source: Content, made: Content) -> Iterator[str]:
    first, start = (content.times[0] if content.times else 0.0 for content in (source, made))
    for (begin, end, name), (a, b, _) in zip(source.sounds, made.sounds, strict=False):
        # Packets of WavPack in Matroska do not say how long they are.
        told = end > begin
        if abs((begin - first) - (a - start)) > _SOUND or (told and abs((end - begin) - (b - a)) > _SOUND):
            yield f"{name} is elsewhere"
    if abs(start) > _SOUND and not any(abs(a) < _SOUND for a, *_ in made.sounds):
        yield "begins late"


@contextlib.contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Collect the warnings of the pack."""
    texts: list[str] = []

    class Collecting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.append(record.getMessage())

    logger, handler = logging.getLogger((__package__ or "").partition(".")[0]), Collecting(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield texts
    finally:
        logger.removeHandler(handler)
