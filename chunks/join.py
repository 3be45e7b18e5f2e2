"""Join finished segments into the output: packet by packet, or picture by picture where they are folders."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import av
import av.error

from ..engine.timeline import Moment
from ..errors import MidframeError
from ..memory.staging import as_dtype
from ..video import ClipInfo, Plan
from ..video.read.images import ImageFolder
from ..video.read.opening import file_address
from ..video.stream.pipeline import DEPTHS
from ..video.write.carry import FOLDER, account_of
from ..video.write.encode import Shape, VideoWriter, decided
from ..video.write.formats import Encoding, choose_encoding, file_suffix
from ..video.write.pictures import Numbering
from .segments import Form, headers_digest
from .store import Record

Poll = Callable[[], None]

# FFmpeg's filters that undo what a container does to packets.
# MP4 and Matroska store these two with a length before each unit, where encoders put a start code.
_AS_ENCODED = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}


class Joined:
    """The output of a job: what its chunks are joined into.

    Args:
        target: its name, which says its format.
        plan: of the job.
        info: of the source, whose sound is carried over.

    Raises:
        BadInputError: an extension, codec or combination that cannot be written.
    """

    def __init__(self, target: Path, plan: Plan, info: ClipInfo) -> None:
        self.form = Form.of(target, plan, info)
        self.info = info
        self.encoding: Encoding | None = None
        self.numbering = Numbering.of(target, self.form.images, plan.coding.first_number)
        if file_suffix(target):
            size = (info.height, info.width)
            self.encoding = choose_encoding(
                target, plan.coding, size, bits=info.bits, alpha=info.alpha, source=info
            )
            # Before the first chunk: days later it is too late to say what cannot be carried.
            self._account = decided(self.encoding, info)
        else:
            account_of(info, FOLDER, None, plan.coding.choice).warn(info.path.name)

    def rehearse(self, temporary: Path) -> None:
        """Open the output and all of its streams as they will be at the end, under a name that is free again.

        Raises:
            MidframeError: it cannot be opened.
        """
        if self.encoding is None:
            return
        try:
            self.writer(temporary).drop()
        finally:
            temporary.unlink(missing_ok=True)

    def writer(self, path: Path) -> VideoWriter:
        """Open the writer of the output, which is a file."""
        assert self.encoding is not None  # noqa: S101 -- narrows the type
        shape = Shape(self.form.bits, self.form.rate, self.form.tick)
        return VideoWriter(path, self.encoding, self.info, shape, account=self._account)


def join(records: list[Record], folder: Path, output: Joined, temporary: Path, *, poll: Poll) -> None:
    """Write the output of finished chunks.

    Args:
        records: all of them, in order.
        folder: where their segments are.
        output: what they become.
        temporary: the name to write under.
        poll: called between packets or pictures; may raise.

    Raises:
        MidframeError: a segment cannot be read, or the output not be written.
    """
    kept = list(_rising(record for record in records if record.file))
    try:
        if output.form.encoding is not None:
            _join_packets(kept, folder, temporary, output, poll)
        elif output.encoding is not None:
            _encode_pictures(kept, folder, temporary, output, poll)
        else:
            _collect_pictures(kept, folder, temporary, output.numbering, poll=poll)
    except (av.error.FFmpegError, OSError) as error:
        raise MidframeError(
            "The finished chunks could not be joined.",
            f"{temporary}: {error}",
            "Check that the disk has room for the output beside the chunks, and run the same again: nothing "
            "is made twice.",
        ) from error


def _rising(records: Iterable[Record]) -> Iterator[Record]:
    """Yield records whose times rise over all of them, as a writer of all has them.

    Times that were repaired may lie between two ticks of the output, at the border of two chunks too.
    """
    least: int | None = None
    for record in records:
        times = []
        for time in record.times:
            least = time if least is None else max(time, least)
            times.append(least)
            least += 1
        yield replace(record, times=tuple(times))


def _join_packets(records: list[Record], folder: Path, path: Path, output: Joined, poll: Poll) -> None:
    # The packets of all segments are read once for this: the first one that is written needs it.
    delay = max(_delay(folder / record.file, record) for record in records)
    writer = output.writer(path)
    try:
        for record in records:
            if record.headers != headers_digest(writer):
                raise MidframeError(
                    "The chunks do not fit together.",
                    f"{record.file} was made by another version of the encoder than the one that is here",
                    f"Use the same build of PyAV on every machine; remove {folder} to begin anew.",
                )
            with av.open(file_address(folder / record.file)) as segment:
                for packet in _timed(segment, record, delay):
                    poll()
                    writer.copy(packet)
        writer.close(whole=True)
    except BaseException:
        writer.drop()
        raise


def _packets(segment: Any) -> list[Any]:
    """Return the packets as they came from the encoder: MP4 and Matroska store some in another form."""
    picture = segment.streams.video[0]
    packets = [packet for packet in segment.demux(picture) if packet.size]
    name = _AS_ENCODED.get(picture.codec_context.name)
    if name is None:
        return packets
    # None has the filter give out what it holds back.
    back = av.BitStreamFilterContext(name, picture)
    return [packet for stored in (*packets, None) for packet in back.filter(stored)]


def _ranks(packets: list[Any]) -> list[int]:
    """Return the place of each packet in the order in which they are shown."""
    order = sorted(range(len(packets)), key=lambda i: packets[i].pts)
    ranks = [0] * len(packets)
    for rank, index in enumerate(order):
        ranks[index] = rank
    return ranks


def _delay(path: Path, record: Record) -> int:
    """Return how much earlier than they are shown packets must be decoded, ticks.

    Packets that refer to later ones come after these. The largest delay is taken for all segments, or
    decoding times would not rise from each to the next.
    """
    with av.open(file_address(path)) as segment:
        ranks = _ranks(_packets(segment))
    if len(ranks) != len(record.times):
        raise MidframeError(
            "A finished chunk is not whole.",
            f"{path}: {len(ranks)} of {len(record.times)} frames",
            "Remove it.",
        )
    return max(record.times[i] - record.times[rank] for i, rank in enumerate(ranks))


def _timed(segment: Any, record: Record, delay: int) -> Iterator[Any]:
    """Yield the packets of a segment with their times in the output, exact whatever its container rounds."""
    packets = _packets(segment)
    # Packets are in the order of decoding. The i-th is the frame that is shown as number `rank`, and it is
    # decoded `delay` before frame i is shown: so decoding times rise as the times of frames do.
    for i, (packet, rank) in enumerate(zip(packets, _ranks(packets), strict=True)):
        packet.pts, packet.dts = record.times[rank], record.times[i] - delay
        packet.duration = record.durations[rank]
        yield packet


def _pictures(record: Record, folder: Path) -> Iterator[Path]:
    return iter(sorted((folder / record.file).iterdir()))


def _collect_pictures(
    records: list[Record], folder: Path, path: Path, numbering: Numbering, *, poll: Poll
) -> None:
    path.mkdir()
    pictures = chain.from_iterable(_pictures(record, folder) for record in records)
    for index, picture in enumerate(pictures):
        poll()
        place = path / numbering(index)
        try:
            # A link costs no room, where a copy of all pictures would need as much again.
            os.link(picture, place)
        except OSError:  # another disk, or one that knows no links
            shutil.copyfile(picture, place)


def _encode_pictures(records: list[Record], folder: Path, path: Path, output: Joined, poll: Poll) -> None:
    form = output.form
    writer = output.writer(path)
    try:
        for record in records:
            shown = zip(record.times, record.durations, strict=True)
            for frame, (time, duration) in zip(
                ImageFolder(folder / record.file, rate=form.rate, alpha=True), shown, strict=True
            ):
                poll()
                writer.write(
                    as_dtype(frame.pixels, DEPTHS[form.bits]), Moment(time * form.tick, duration * form.tick)
                )
        writer.close(whole=True)
    except BaseException:
        writer.drop()
        raise
