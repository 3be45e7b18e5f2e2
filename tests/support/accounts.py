"""Compares what `midframe probe` said of an output with what PyAV finds in it, line by line."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition
from midframe.video.write.carry import Entry

# Names of decoders and encoders whose streams are the same: as the account says it, and as PyAV does.
_SAME = {
    "libx264": "h264",
    "libx265": "hevc",
    "libsvtav1": "av1",
    "libdav1d": "av1",
    "libvpx-vp9": "vp9",
    "libopus": "opus",
    "mp3float": "mp3",
    "libmp3lame": "mp3",
    "mp1float": "mp1",
    "mp2float": "mp2",
    "subrip": "srt",
    "wrapped_avframe": "rawvideo",
    "ass": "ssa",
    "prores_ks": "prores",
    "libwebp_anim": "webp",
    "dvbsub": "dvb_subtitle",
}
# Layers of MPEG sound, which decoders for one another read.
_SAME |= dict.fromkeys(("mp3", "mp2", "mp1"), "mp3") | {"mp2float": "mp3", "mp1float": "mp3"}
# Frames by which an estimate from a header may be off: "about".
_ABOUT = 2


def untrue(entries: Sequence[Entry], target: Path) -> Iterator[str]:
    """Yield each line of an account that is not true of the file that was written, or thing that has no line."""
    with av.open(f"file:{target}") as made:
        # AVIF has a still beside its film.
        picture = made.streams.video[-1 if target.suffix == ".avif" else 0]
        yield from _picture(entries[0], made, picture)
        lines = [entry for entry in entries[1:] if entry.what.startswith("stream ")]
        carried = [entry for entry in lines if entry.fate in ("copied", "encoded", "converted")]
        attached = [entry for entry in lines if entry.why == "as an attached file"]
        others = [s for s in made.streams if s is not picture and target.suffix != ".avif"]
        files = [stream for stream in others if stream.type == "attachment" or _is_cover(stream)]
        tracks = [s for s in others if s not in files and not _made(s)]
        covers = [entry for entry in carried if "cover picture" in entry.what]
        if len(files) != len(attached) + len(covers):
            yield f"{len(files)} attached files and covers, {len(attached) + len(covers)} lines"
        carried = [entry for entry in carried if entry not in covers]
        if len(tracks) != len(carried):
            yield f"{[s.type for s in tracks]} beside the picture, {len(carried)} lines"
        for stream, entry in zip(tracks, carried, strict=False):
            yield from _track(entry, stream)
        yield from _chapters(entries, made)
        yield from _tags(entries, made, picture)


def _is_cover(stream: Any) -> bool:
    return stream.type == "video" and bool(stream.disposition & Disposition.attached_pic)


def _made(stream: Any) -> bool:
    """Tell whether a muxer makes such a stream itself: of the timecode, and of the names of chapters."""
    return stream.type == "data"


def _name(stream: Any) -> str:
    name = getattr(stream.codec_context, "name", None) or getattr(stream, "name", "") or "of no known codec"
    return _SAME.get(name, name)


def _picture(entry: Entry, made: Any, picture: Any) -> Iterator[str]:
    encoder, pixel_format = entry.why.partition(",")[0].split()[:2]
    found = _name(picture), picture.codec_context.pix_fmt
    count = sum(len(packet.decode()) for packet in made.demux(picture))
    if found[0] != _SAME.get(encoder, encoder):
        yield f"{entry}: it is {found[0]}"
    # A decoder may name the same pixels in another way: with alpha, grey as YUV, or full range.
    if found[1] is not None and found[1].replace("yuvj", "yuv") != pixel_format and encoder in _PLAIN:
        yield f"{entry}: it is {found[1]}"
    size = re.search(r"(\d+) x (\d+)", entry.what)
    if size and (picture.width, picture.height) != (int(size[1]), int(size[2])):
        yield f"{entry}: it is {picture.width} x {picture.height}"
    said = re.search(r"about (\d+) frames", entry.why)
    if said and abs(int(said[1]) - count) > _ABOUT:
        yield f"{entry}: it has {count} frames"


_PLAIN = ("libx264", "libx265", "ffv1")


def _track(entry: Entry, stream: Any) -> Iterator[str]:
    what = re.fullmatch(r"stream \d+, (\w+) ?(.*)", entry.what)
    kind, name = (what[1], what[2].split(" ")[0]) if what else ("", "")
    if entry.fate != "copied":
        name = entry.why.partition(",")[0]
    if kind != stream.type.replace("video", "picture"):
        yield f"{entry}: it is {stream.type}"
    elif name != "of" and _name(stream) != _SAME.get(name, name):  # "of no known codec"
        yield f"{entry}: it is {_name(stream)}"
    if entry.fate == "encoded" and stream.codec_context.layout.name != entry.why.partition(", ")[2]:
        yield f"{entry}: it is {stream.codec_context.layout.name}"


def _chapters(entries: Sequence[Entry], made: Any) -> Iterator[str]:
    said = next((entry for entry in entries if re.fullmatch(r"\d+ chapters", entry.what)), None)
    count = int(said.what.split()[0]) if said is not None and said.fate == "copied" else 0
    if len(made.chapters()) != count:
        yield f"{said}: {len(made.chapters())} chapters"


def _tags(entries: Sequence[Entry], made: Any, picture: Any) -> Iterator[str]:
    there = {name.lower() for owner in (made, picture) for name in owner.metadata}
    there |= {"title"} if "name" in there else set()  # FFmpeg reads the title of a track of MP4 so
    for entry in entries:
        if entry.what.startswith("tags "):
            names = entry.what.removeprefix("tags ").lower().split(", ")
            wrong = [name for name in names if (name in there) != (entry.fate == "copied")]
            if wrong:
                yield f"{entry}: {wrong}"
