"""Tags of files and streams: under which names a format holds them, and which it does not hold."""

from __future__ import annotations

from collections.abc import Mapping

import av.stream

# What MP4 has a place of its own for; of any other tag its muxer would write nothing.
_MP4_TAGS = {
    *("album", "album_artist", "artist", "comment", "composer", "copyright", "creation_time", "date"),
    *("description", "encoder", "episode_id", "genre", "grouping", "location", "lyrics", "make", "model"),
    *("network", "performer", "show", "synopsis", "title", "track", "year"),
}


def keyed_tags(muxer: str, tags: Mapping[str, str]) -> bool:
    """Tell whether an MP4 or MOV has to hold tags as QuickTime's keys, beside which there is no cover."""
    return muxer in ("mp4", "mov") and any(tag.lower() not in _MP4_TAGS for tag in tags)


# Formats that hold no tags, or these alone: of the file, where None is any, and of its picture.
_AVI_TAGS = ("title", "artist", "comment", "copyright", "date", "genre", "language", "track", "encoded_by")
_TRACK_TAGS = ("language", "title", "name", "timecode", "reel_name")
_HELD: dict[str, tuple[tuple[str, ...] | None, tuple[str, ...]]] = {
    "mp4": (None, _TRACK_TAGS),
    "mov": (None, _TRACK_TAGS),
    "a folder's": ((), ()),
    "mpegts": ((), ()),
    "gif": ((), ()),
    "apng": ((), ()),
    "webp": ((), ()),
    "avif": ((), ("language",)),
    "yuv4mpegpipe": ((), ()),
    "avi": ((*_AVI_TAGS, "album", "timecode"), ("title",)),
}
# MOV has numbers for the languages of QuickTime, of which FFmpeg's names are these where a language has two.
_QUICKTIME = {
    "deu": "ger",
    "fra": "fre",
    "nld": "dut",
    "swe": "sve",
    "ell": "gre",
    "isl": "ice",
    "zho": "chi",
    "sqi": "alb",
    "rum": "ron",
    "cze": "ces",
    "slo": "slk",
    "hye": "arm",
    "kat": "geo",
    "bod": "tib",
    "mya": "bur",
    "msa": "may",
    "cym": "wel",
    "eus": "baq",
    "mkd": "mac",
}
UNKNOWN = "und"
"""A language that is none: MP4 has a place for one that is always filled."""
# Marks of a stream that players go by, and which of them each format holds (found with FFmpeg 8.1).
_MARKS = ("dub", "original", "comment", "lyrics", "karaoke", "forced", "hearing_impaired", "visual_impaired")
_MARKS_HELD: dict[str, tuple[str, ...]] = {
    "mp4": ("dub", "comment", "forced", "hearing_impaired", "visual_impaired"),
    "matroska": ("dub", "original", "comment", "forced", "hearing_impaired", "visual_impaired"),
    "webm": ("forced",),
    "mpegts": ("hearing_impaired", "visual_impaired"),
    "nut": ("dub", "original", "comment", "lyrics", "karaoke"),
}


def stream_tags(muxer: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a stream under the names by which a muxer finds them."""
    named = dict(tags)
    # FFmpeg writes a title as the name of a track in MP4 and MOV, and reads that as another tag.
    if "name" in named and "title" not in named:
        named["title"] = named.pop("name")
    if muxer == "mov" and "language" in named:
        named["language"] = _QUICKTIME.get(named["language"], named["language"])
    return named


def lost_tags(muxer: str, tags: Mapping[str, str], picture_tags: Mapping[str, str]) -> list[str]:
    """Return the names of tags that a format has no place for: those of the file, and of its picture."""
    if muxer not in _HELD:
        return []
    lost = {
        name
        for given, held in zip((tags, picture_tags), _HELD[muxer], strict=True)
        for name, value in given.items()
        if held is not None and name.lower() not in held and value != UNKNOWN
    }
    return sorted(lost)


def lost_marks(muxer: str, disposition: int) -> list[str]:
    """Return which marks of a stream a format does not hold, such as that it is a comment or forced."""
    flags = getattr(av.stream, "Disposition", None)  # not every PyAV has them
    marks = [name for name in _MARKS if flags is not None and disposition & int(flags[name])]
    return [name for name in marks if name not in _MARKS_HELD.get(muxer, ())]
