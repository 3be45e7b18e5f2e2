"""Decide what becomes of everything in a file that is not its picture: the one account of an output.

Whether a format holds a stream is not asked but tried, with the stream's own first packets and a muxer that
writes to memory: FFmpeg's tables say yes to much that its muxers refuse (29 of 208 combinations of sound and
format failed at the end of a run). It is known before the first frame, and the same for everyone who asks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import av.container

from ...engine.pieces import Retiming
from ..read.clip import ClipInfo, Waveform
from ..read.opening import chapters_of, films_of, is_cover, open_source, tags_of, unsafe_sound
from ..read.waveform import GAP, LAYOUTS, AudioEncoder, first_of
from .tags import UNKNOWN, keyed_tags, lost_marks, lost_tags, stream_tags
from .trial import first_packets, moved_packet, refusal

_LOG = logging.getLogger(__name__)

Fate = Literal["copied", "encoded", "converted", "written anew", "left out"]
# FFmpeg's names of subtitles that are text, and what each format holds instead.
_TEXTS = ("subrip", "srt", "text", "mov_text", "webvtt", "ass", "ssa")
_SUBTITLES = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
# A muxer that takes any stream, as "private data" that nobody can read: what it really has a type for.
_KNOWN = {
    "mpegts": (
        *("aac", "mp1", "mp2", "mp3", "mp1float", "mp2float", "mp3float", "ac3", "eac3", "opus", "libopus"),
        *("dca", "truehd", "h264", "hevc", "mpeg2video", "dvbsub", "dvb_subtitle", "klv"),
    ),
    # AVI has a type for many more, by whose bytes it counts times that come out wrong, as of E-AC-3.
    "avi": (
        *("mp1", "mp2", "mp3", "mp1float", "mp2float", "mp3float", "ac3", "aac", "pcm_u8", "pcm_s16le"),
        *("pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_alaw", "pcm_mulaw", "adpcm_ms", "adpcm_ima_wav"),
        *("wmav1", "wmav2", "mpeg4", "msmpeg4v3", "h264", "mjpeg", "ffv1"),
    ),
}
TIMELESS = ("avi",)
"""Formats that have no times: what is without sound is silence there."""
# As covers these take pictures of a film that has one.
_COVERLESS = ("mov", "avi", "nut")
_COVERS = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}
# Any other is written into AAC in a form that FFmpeg (8.1) reads as so many channels in no known order.
_AAC_LAYOUTS = ("mono", "stereo", "3.0", "4.0", "quad", "5.0", "5.1", "7.1")
_SURROUND = 6
FOLDER = "a folder's"
"""Name of the muxer of pictures, which have none."""
_BACKWARDS = "the clip plays backwards"
# Data that muxers write themselves, from tags and chapters.
_MADE_TAGS = ("timecode",)
# Muxers that take chapters and write none.
_UNCHAPTERED = ("mpegts", "avi")
_TAGGED, _CHAPTERED = ("mp4", "mov"), ("matroska", "webm")


@dataclass(frozen=True)
class Entry:
    """One line of the account: a thing in the source, and what becomes of it."""

    what: str
    fate: Fate
    why: str = ""
    """To what it is encoded, or why it is left out."""

    def __str__(self) -> str:
        return f"{self.what}: {self.fate}" + (f" ({self.why})" if self.why else "")


@dataclass(frozen=True)
class Choice:
    """What the user wants of the other streams; empty where as much as can be is carried."""

    sound: str | None = None
    """``none``; or a codec such as ``aac``, as which all sound is encoded."""
    streams: tuple[int, ...] | None = None
    """Indices in the source of those that are wanted."""
    subtitles: bool = True


@dataclass(frozen=True)
class Decision:
    """What becomes of one stream of the source."""

    index: int
    entry: Entry
    encoder: str = ""
    """Of sound that is encoded or subtitles that are converted."""
    layout: str = ""
    """Of the channels of sound that is encoded."""

    @property
    def carried(self) -> bool:
        """Tell whether packets of it are in the output."""
        return self.entry.fate in ("copied", "encoded", "converted")


@dataclass(frozen=True)
class Account:
    """What becomes of everything in a source besides its picture."""

    decisions: tuple[Decision, ...] = ()
    others: tuple[Entry, ...] = ()
    chapters: list[Any] = field(default_factory=list)
    attachments: tuple[tuple[str, str, bytes], ...] = ()
    """Names, types and contents of files that go into the output."""

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Return all lines."""
        return (*(decision.entry for decision in self.decisions), *self.others)

    def warn(self, name: str) -> None:
        """Log what is lost, in one sentence; what is encoded or converted only as a remark."""
        lost = [
            f"{entry.what} ({entry.why})" for entry in self.entries if entry.fate == "left out" and entry.why
        ]
        if lost:
            _LOG.warning("Left out of %s: %s.", name, "; ".join(lost))
        for entry in self.entries:
            if entry.fate in ("encoded", "converted"):
                _LOG.info("%s", entry)


def account_of(info: ClipInfo, muxer: str, audio: str | None, choice: Choice) -> Account:
    """Return what becomes of everything besides the picture.

    Args:
        info: of the source.
        muxer: of the output.
        audio: encoder of sound that cannot be copied; None where the format holds the picture alone.
        choice: of the user.
    """
    tags = _tags(info, muxer)
    if not info.carries or isinstance(info.sound_from, Waveform):
        return Account(others=tags)
    file = info.sound_from or info.path
    with open_source(file) as source:
        picture = next(iter(films_of(source, file)), None)
        streams = [stream for stream in source.streams if stream is not picture]
        chapters = chapters_of(source)
        if audio is None:
            why = f"{muxer} files hold nothing but the picture"
            others = tuple(Entry(_named(stream), "left out", why) for stream in streams)
            return Account(others=(*others, *_chapters(chapters, why), *tags))
        deciding = _Deciding(source, muxer, audio, choice, bool(chapters), info=info)
        if muxer in _COVERLESS:
            deciding.coverless = f"{muxer} holds no cover"
        elif keyed_tags(muxer, info.metadata):
            deciding.coverless = f"{muxer} holds no cover beside such tags"
        decisions = tuple(deciding(stream) for stream in streams)
        refused = "" if muxer not in _UNCHAPTERED else f"{muxer} holds no chapters"
        if chapters and not refused:
            refused = refusal(muxer, lambda output: _with_chapters(output, chapters))
        if info.retiming is not None and not info.retiming.pieces:
            refused = _BACKWARDS
        marks = _marks(streams, decisions, muxer)
        others = (*_chapters(chapters, refused), *marks, *tags)
        return Account(decisions, others, [] if refused else chapters, deciding.attachments)


def _with_chapters(output: Any, chapters: list[Any]) -> Iterable[Any]:
    output.add_stream("pcm_s16le" if output.format.name != "webm" else "libopus", rate=48000)
    output.set_chapters(chapters)
    return ()


def _chapters(chapters: list[Any], refused: str) -> tuple[Entry, ...]:
    if not chapters:
        return ()
    return (Entry(f"{len(chapters)} chapters", "left out" if refused else "copied", refused),)


def _marks(streams: list[Any], decisions: tuple[Decision, ...], muxer: str) -> tuple[Entry, ...]:
    """Return a line for each stream that is carried without a mark that it has."""
    return tuple(
        Entry(f"that stream {stream.index} is {' and '.join(lost)}", "left out", f"{muxer} has no such mark")
        for stream, decision in zip(streams, decisions, strict=True)
        if decision.carried and (lost := lost_marks(muxer, int(stream.disposition)))
    )


def _tags(info: ClipInfo, muxer: str) -> tuple[Entry, ...]:
    """Return a line for the tags of the file and its picture that are carried, and one for the others."""
    lost = lost_tags(muxer, info.metadata, info.picture_tags)
    known = {name for tags in (info.metadata, info.picture_tags) for name in tags if tags[name] != UNKNOWN}
    kept = sorted(known - {*lost})
    lines = [
        (kept, Entry(f"tags {', '.join(kept)}", "copied")),
        (lost, Entry(f"tags {', '.join(lost)}", "left out", f"{muxer} files have no place for them")),
    ]
    return tuple(line for names, line in lines if names)


def _named(stream: Any) -> str:
    kind = "cover picture" if is_cover(stream) else "picture" if stream.type == "video" else stream.type
    tags = tags_of(stream)
    name, language = tags.get("filename") or _codec_name(stream), tags.get("language")
    return f"stream {stream.index}, {kind}" + "".join(f" {part}" for part in (name, language) if part)


def _codec_name(stream: Any) -> str:
    # Of what it has no decoder for, PyAV has no name either: asking a stream of subtitles raises.
    return str(
        getattr(stream.codec_context, "name", None) or getattr(stream, "name", None) or "of no known codec"
    )


class _Deciding:
    """Decides about the streams of one file."""

    coverless = ""
    """Why the muxer writes no cover, though it takes one; empty where it does."""

    def __init__(
        self,
        source: Any,
        muxer: str,
        audio: str,
        choice: Choice,
        chapters: bool,
        *,
        info: ClipInfo,
    ) -> None:
        self._muxer = muxer
        self._retiming, self._origin = info.retiming, info.origin
        self._audio = audio if choice.sound is None else choice.sound
        self._choice = choice
        self._chapters = chapters
        self._unsafe = unsafe_sound(source)
        self._packets = first_packets(source)
        self.attachments: tuple[tuple[str, str, bytes], ...] = ()

    def __call__(self, stream: Any) -> Decision:
        """Return what becomes of a stream."""
        unwanted = self._unwanted(stream)
        lost = _lost_at_speed(stream, self._retiming)
        if unwanted is not None or lost:
            return self._decision(stream, unwanted or "left out", "" if unwanted else lost)
        if stream.type == "attachment" or (is_cover(stream) and self._muxer == "matroska"):
            return self._attached(stream)
        # What is stretched is decoded, and encoded again.
        stretched = self._retiming is not None and self._retiming.law == "stretch"
        chosen = self._choice.sound not in (None, "copy")
        forced = stream.type == "audio" and (stretched or chosen or self._late(stream))
        refused = "" if forced else self._copying_refused(stream)
        if not refused and not forced:
            return self._decision(stream, "copied", "")
        if stream.type == "audio":
            return self._encoded(stream)
        if stream.type == "subtitle":
            return self._converted(stream)
        why = refused if is_cover(stream) else f"{self._muxer} does not take it"
        return self._decision(stream, "left out", why)

    def _late(self, stream: Any) -> bool:
        """Tell whether sound begins when the format cannot say it: silence is put before it."""
        first = next(
            (packet for packet in self._packets.get(stream.index, []) if packet.pts is not None), None
        )
        if self._muxer not in TIMELESS or first is None:
            return False
        return bool(first.pts * first.time_base - self._origin > GAP)

    def _unwanted(self, stream: Any) -> Fate | None:
        choice = self._choice
        made = stream.type == "data" and (self._chapters or any(tag in stream.metadata for tag in _MADE_TAGS))
        # In MP4 and MOV from tags and chapters; elsewhere these are all there is, and are carried.
        if made and self._muxer in (*_TAGGED, *_CHAPTERED):
            return "written anew"
        silent = stream.type == "audio" and choice.sound == "none"
        mute = stream.type == "subtitle" and not choice.subtitles
        other = choice.streams is not None and stream.index not in choice.streams
        return "left out" if silent or mute or other else None

    def _attached(self, stream: Any) -> Decision:
        if self._muxer != "matroska":
            return self._decision(stream, "left out", f"{self._muxer} holds no attached files")
        if is_cover(stream):
            packets = self._packets.get(stream.index, [])
            name, kind = _COVERS.get(stream.codec_context.name, ("cover", "application/octet-stream"))
            data = bytes(packets[0]) if packets else b""
        else:
            name, kind, data = (
                stream.name or "file",
                stream.mimetype or "application/octet-stream",
                stream.data,
            )
        self.attachments = (*self.attachments, (name, kind, data))
        return self._decision(stream, "written anew", "as an attached file")

    def _copying_refused(self, stream: Any) -> str:
        if is_cover(stream) and self.coverless:
            return self.coverless
        if stream.type == "audio" and not getattr(stream.codec_context, "sample_rate", 1):
            return "nothing is known of it"
        name = _codec_name(stream)
        if stream.type != "data" and stream.codec_context is None:
            return "PyAV does not know its codec"
        if stream.type == "data" and self._muxer == "avi":
            return "avi has no type for data"
        if name not in _KNOWN.get(self._muxer, (name,)):
            return f"{self._muxer} has no type for {name}"

        def copy(output: Any) -> Iterable[Any]:
            target = copied_stream(output, stream)
            return (moved_packet(packet, target) for packet in self._packets.get(stream.index, []))

        return refusal(self._muxer, copy)

    def _encoded(self, stream: Any) -> Decision:
        if stream.index in self._unsafe:
            why = "its channels are in an order of their own, which PyAV cannot decode safely"
            return self._decision(stream, "left out", why)
        if stream.codec_context is None:
            return self._decision(stream, "left out", "PyAV does not know its codec")
        if not stream.codec_context.sample_rate:
            return self._decision(stream, "left out", "none of it comes within a minute")
        why = "no encoder takes it"
        for layout in _layouts(stream, self._audio):
            why = self._encoding_refused(stream, layout)
            if not why:
                text = f"{self._audio}, {layout}{first_of(stream.codec_context.layout, layout)}"
                return self._decision(stream, "encoded", text, encoder=self._audio, layout=layout)
        return self._decision(stream, "left out", why)

    def _encoding_refused(self, stream: Any, layout: str) -> str:
        def encode(output: Any) -> Iterator[Any]:
            encoder = AudioEncoder(output, self._audio, layout, stream.codec_context.sample_rate)
            for packet in self._packets.get(stream.index, []):
                for frame in stream.codec_context.decode(packet):
                    yield from encoder([frame])
            yield from encoder.end()

        try:
            return refusal(self._muxer, encode)
        finally:
            stream.codec_context.flush_buffers()

    def _converted(self, stream: Any) -> Decision:
        target = _SUBTITLES.get(self._muxer)
        if _codec_name(stream) not in _TEXTS or target is None:
            return self._decision(stream, "left out", f"{self._muxer} does not take these subtitles")
        return self._decision(stream, "converted", target, encoder=target)

    @staticmethod
    def _decision(stream: Any, fate: Fate, why: str, *, encoder: str = "", layout: str = "") -> Decision:
        return Decision(stream.index, Entry(_named(stream), fate, why), encoder, layout)


def _lost_at_speed(stream: Any, retiming: Retiming | None) -> str:
    """Return why a stream does not go with a clip that plays at another speed; empty where it does."""
    if retiming is None or stream.type == "attachment" or is_cover(stream):
        return ""
    if stream.type == "audio" and retiming.law == "drop":
        return "the clip plays at another speed" if retiming.pieces else _BACKWARDS
    if stream.type == "subtitle":
        return "" if retiming.pieces else _BACKWARDS
    return "" if stream.type == "audio" else "the clip plays at another speed"


def _layouts(stream: Any, encoder: str) -> Iterator[str]:
    """Yield names of channel layouts as which a stream may be encoded, the nearest first."""
    layout = stream.codec_context.layout
    name, count = layout.name, layout.nb_channels
    # "5.1(side)" and its like are other places for the same number of channels.
    usual = LAYOUTS.get(count, name)
    if encoder == "aac" and name not in _AAC_LAYOUTS:
        yield "7.1" if count > _SURROUND else "5.1" if count == _SURROUND or ".1" in name else usual
    # "6 channels" is no order.
    named = (usual, name) if name.endswith(" channels") else (name, usual)
    # Few encoders take more than eight channels.
    fewer = ("7.1",) if count > max(LAYOUTS) else ()
    yield from dict.fromkeys((*named, *fewer, "stereo"))


def copied_stream(output: av.container.OutputContainer, stream: Any) -> Any:
    """Add a stream to an output for packets of ``stream``, with its tags and disposition."""
    options: dict[str, Any] = {} if stream.codec_context is None else {"opaque": True}
    added: Any = output.add_stream_from_template(stream, **options)
    describe_like(added, stream, output.format.name)
    return added


def describe_like(added: Any, stream: Any, muxer: str) -> None:
    """Give a stream of an output the tags and the disposition of ``stream``."""
    added.metadata.update(stream_tags(muxer, stream.metadata))
    added.disposition = int(stream.disposition)
