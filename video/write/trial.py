"""Try whether a format takes a stream, with a muxer that writes to memory."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import av.error

from ...errors import BadInputError
from ..read.opening import packets_of
from ..read.times import Rising

_LOG = logging.getLogger(__name__)

# What PyAV raises where a stream or packet cannot be taken.
REFUSALS = (av.error.FFmpegError, ValueError, TypeError, OSError, NotImplementedError)
# Packets of a stream that are tried, and packets of the file that are read to find them; more where sound
# begins late, which few formats take without having seen any of it.
_TRIED, _READ, _MOST_READ = 4, 400, 4000
# Pixels; no encoder is for less.
_SIDE = 64


def silence(encoder: str) -> None:
    """Have an encoder say nothing by itself; to be called before it is opened for the first time."""
    if encoder == "libsvtav1":
        # It writes 21 lines about itself to standard error, whoever asks, unless this says 1: errors. It
        # reads this once in a process.
        os.environ.setdefault("SVT_LOG", "1")


def refusal(muxer: str, write: Callable[[Any], Iterable[Any]]) -> str:
    """Return why a muxer does not take what ``write`` adds to an output; empty where it does."""
    try:
        with av.open(BytesIO(), "w", format=muxer) as output:
            packets, rising = iter(write(output)), Rising()
            # A generator adds its stream when it is first asked for a packet.
            first = next(packets, None)
            output.start_encoding()
            for packet in () if first is None else (first, *packets):
                rising(packet)
                output.mux(packet)
    except REFUSALS as error:
        return str(error) or type(error).__name__
    return ""


def check_picture(path: Path, codec: str, *, muxer: str, encoder: str, pixel_format: str) -> None:
    """Check that a format takes what an encoder makes.

    Args:
        path: of the output.
        codec: our name of it.
        muxer: FFmpeg's name of the format.
        encoder: FFmpeg's name.
        pixel_format: in which it is encoded.

    Raises:
        BadInputError: it does not.
    """
    refused = _picture_refused(muxer, encoder, pixel_format)
    if refused:
        raise BadInputError(
            f"{path.suffix} files hold no {codec}.",
            f"{path}: {refused}",
            "Leave the codec out, or write to .mp4 or .mkv.",
        )


@functools.cache
def _picture_refused(muxer: str, encoder: str, pixel_format: str) -> str:

    def add(output: Any) -> Iterable[Any]:
        silence(encoder)
        stream = output.add_stream(encoder, rate=24)
        stream.width, stream.height, stream.pix_fmt = _SIDE, _SIDE, pixel_format
        return ()

    return refusal(muxer, add)


def first_packets(source: Any) -> dict[int, list[Any]]:
    """Return the first packets of each stream, as far as they come near the beginning."""
    packets: dict[int, list[Any]] = {}
    streams = [stream for stream in source.streams if stream.type != "attachment"]
    sounds = {stream.index for stream in source.streams.audio}
    try:
        for count, packet in enumerate(packets_of(source, *streams)):
            mine = packets.setdefault(packet.stream.index, [])
            if packet.size and len(mine) < _TRIED:
                mine.append(packet)
            if count > (_READ if sounds <= packets.keys() else _MOST_READ):
                break
    except av.error.FFmpegError as error:
        _LOG.debug("the beginning of the file is damaged: %s", error)
    return packets


def moved_packet(packet: Any, stream: Any) -> Any:
    """Return a copy of a packet that belongs to another stream."""
    copy = av.Packet(bytes(packet))
    copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
    copy.duration, copy.is_keyframe = packet.duration, packet.is_keyframe
    copy.stream = stream
    return copy
