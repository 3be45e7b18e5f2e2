"""Conversion between the pixel formats of files and RGB."""

from __future__ import annotations

from typing import Any

import av
import av.filter

from .clip import UNSPECIFIED, Colour

# FFmpeg's AVCOL_RANGE_JPEG and AVCOL_SPC_RGB.
_FULL_RANGE = 2
_RGB_MATRIX = 0
# By number of ITU-T H.273: 5 (BT.470 BG) and 6 (SMPTE 170M) are the matrix of BT.601; 9 and 10 are BT.2020
# with non-constant and constant luminance.
_NAMES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
_HD_LINES = 720

# With FFmpeg's default flags, YUV 4:2:0 to RGB and back darkens 8-bit luma by 1.1 levels; with these, by
# nothing (measured over smooth pictures, both matrices, limited range). Bilinear with full chroma input
# returns garbage for 10 bit in FFmpeg 8.1.
_FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"


def matrix_name(colour: Colour, height: int) -> str:
    """Return the matrix of a clip; where it is not named, what players assume from its height."""
    return _NAMES.get(colour.matrix, "bt709" if height >= _HD_LINES else "bt601")


class Converter:
    """Converts frames of one size and format, one in and one out, through FFmpeg's scaler.

    Args:
        size: (height, width).
        source: pixel format of the frames that come in.
        target: pixel format that comes out.
        colour: of the YUV side. None where both sides are RGB.
        scaled_to: (height, width) of what comes out; the same where it is left out.
    """

    def __init__(
        self,
        size: tuple[int, int],
        source: str,
        target: str,
        colour: Colour | None,
        *,
        scaled_to: tuple[int, int] | None = None,
    ) -> None:
        height, width = size
        self._graph = graph = av.filter.Graph()
        # Any time base and aspect will do: neither is read from the frame that comes out.
        into = graph.add(
            "buffer", f"video_size={width}x{height}:pix_fmt={source}:time_base=1/1000000:pixel_aspect=1/1"
        )
        arguments = _scale_arguments(colour, height, to_rgb=is_rgb(target))
        if scaled_to is not None:
            arguments += f":w={scaled_to[1]}:h={scaled_to[0]}"
        scale = graph.add("scale", arguments)
        last = graph.add("format", f"pix_fmts={target}")
        into.link_to(scale)
        scale.link_to(last)
        last.link_to(graph.add("buffersink"))
        graph.configure()

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return the same picture in the other format. Timestamps are not kept."""
        frame.pts = None
        self._graph.push(frame)
        converted = self._graph.pull()
        assert isinstance(converted, av.VideoFrame)  # noqa: S101 -- narrows PyAV's type
        return converted


class Palette:
    """Converts frames of RGB or RGBA to 256 colours, chosen for each frame, for GIF."""

    def __init__(self, size: tuple[int, int], source: str) -> None:
        height, width = size
        self._graph = graph = av.filter.Graph()
        into = graph.add(
            "buffer", f"video_size={width}x{height}:pix_fmt={source}:time_base=1/100:pixel_aspect=1/1"
        )
        # split -> palettegen -> paletteuse, which takes the picture as input 0 and the palette as input 1.
        # Without single and new, one palette would be for all frames, and need the last one before the first.
        split = graph.add("split")
        choose = graph.add("palettegen", "stats_mode=single")
        use = graph.add("paletteuse", "new=1:dither=sierra2_4a")
        into.link_to(split)
        split.link_to(use, 0, 0)
        split.link_to(choose, 1, 0)
        choose.link_to(use, 0, 1)
        use.link_to(graph.add("buffersink"))
        graph.configure()
        self._count = 0

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return the picture with a palette of its own. Timestamps are not kept."""
        frame.pts, self._count = self._count, self._count + 1  # the filter pairs its two inputs by time
        self._graph.push(frame)
        converted = self._graph.pull()
        assert isinstance(converted, av.VideoFrame)  # noqa: S101 -- narrows PyAV's type
        return converted


def is_rgb(pixel_format: str) -> bool:
    """Tell whether a pixel format is RGB, with or without alpha."""
    return av.VideoFormat(pixel_format).is_rgb


def _scale_arguments(colour: Colour | None, height: int, *, to_rgb: bool) -> str:
    if colour is None:
        return f"flags={_FLAGS}"
    side, other = ("in", "out") if to_rgb else ("out", "in")
    levels = "full" if colour.full_range else "limited"
    matrix = matrix_name(colour, height)
    return f"flags={_FLAGS}:{side}_color_matrix={matrix}:{side}_range={levels}:{other}_range=full"


def colour_of(frame: av.VideoFrame, context: Any = None) -> Colour | None:
    """Return the tags of a decoded frame's YUV; None for RGB and palettes. Grey counts as YUV."""
    if frame.format.is_rgb or frame.format.has_palette:
        return None
    # 0, the matrix of RGB, says nothing about YUV. The yuvj formats are FFmpeg's older way to say full range.
    matrix = int(frame.colorspace)
    return Colour(
        matrix=UNSPECIFIED if matrix == _RGB_MATRIX else matrix,
        full_range=int(frame.color_range) == _FULL_RANGE or frame.format.name.startswith("yuvj"),
        primaries=int(getattr(context, "color_primaries", UNSPECIFIED) or UNSPECIFIED),
        transfer=int(getattr(context, "color_trc", UNSPECIFIED) or UNSPECIFIED),
    )


def has_alpha(pixel_format: av.VideoFormat) -> bool:
    """Tell whether a pixel format can be transparent; a palette can."""
    # FFmpeg describes pal8 by its one index; the 256 colours behind it are RGBA.
    return any(c.is_alpha for c in pixel_format.components) or pixel_format.name == "pal8"
