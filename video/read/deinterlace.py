"""Make whole pictures of interlaced ones, through FFmpeg's filter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import av.error
import av.filter


def deinterlaced(frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Yield a whole picture for each frame of two fields, at its own time.

    Args:
        frames: as they are decoded; size and format may change between two.
    """
    graph: av.filter.Graph | None = None
    form: tuple[int, int, str] | None = None
    for frame in frames:
        if graph is None or form != (frame.width, frame.height, frame.format.name):
            # The filter holds the last frame back until it has the next.
            yield from _rest(graph)
            form = (frame.width, frame.height, frame.format.name)
            graph = _graph(frame)
        graph.push(frame)
        yield from _ready(graph)
    yield from _rest(graph)


def _graph(frame: av.VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    base = frame.time_base or Fraction(1, 1000)
    into = graph.add(
        "buffer",
        f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:"
        f"time_base={base.numerator}/{base.denominator}:pixel_aspect=1/1",
    )
    # bwdif weighs three fields on either side; one frame comes out for each that goes in.
    last = graph.add("bwdif", "mode=send_frame:deint=all")
    into.link_to(last)
    last.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


def _ready(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        assert isinstance(frame, av.VideoFrame)  # noqa: S101 -- narrows PyAV's type
        yield frame


def _rest(graph: av.filter.Graph | None) -> Iterator[av.VideoFrame]:
    if graph is not None:
        graph.push(None)
        yield from _ready(graph)
