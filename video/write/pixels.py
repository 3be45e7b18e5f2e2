"""Choose the pixel format of an output: the depth and chroma of the source if the encoder has them."""

from __future__ import annotations

import logging

import av

from ..read.clip import ClipInfo

_LOG = logging.getLogger(__name__)

# Depths that encoders have, and how FFmpeg names their formats.
_DEPTHS = {8: "", 10: "10le", 12: "12le"}
_CHROMA = {(2, 2): "420", (2, 1): "422", (1, 1): "444"}


def chroma_of(pixel_format: str) -> str:
    """Return ``420``, ``422`` or ``444``; what is no such YUV counts as 420, which every player shows."""
    described = av.VideoFormat(pixel_format) if pixel_format else None
    if described is None or described.is_rgb or described.has_palette or len(described.components) < 3:  # noqa: PLR2004
        return "420"
    # How many luma samples share one of chroma, across and down.
    shared = (16 // (described.chroma_width(16) or 16), 16 // (described.chroma_height(16) or 16))
    return _CHROMA.get(shared, "420")


def kept_format(encoder: str, source: ClipInfo | None, bits: int, fallback: str) -> str:
    """Return the format of an encoder that loses least of a source's depth and chroma.

    Args:
        encoder: FFmpeg's name.
        source: what is encoded; None where only its depth is known.
        bits: of a channel that are wanted.
        fallback: where the encoder has none that is known here.
    """
    held = {f.name for f in av.Codec(encoder, "w").video_formats or ()}
    # Depth before chroma: bands are seen sooner than the edges of colours.
    deep_enough = [depth for depth in _DEPTHS if depth >= bits] or [max(_DEPTHS)]
    depths = sorted(_DEPTHS, key=lambda depth: (depth not in deep_enough, abs(depth - bits)))
    chroma = chroma_of(source.stored if source else "")
    names = (
        f"yuv{each}p{_DEPTHS[depth]}" for depth in depths for each in dict.fromkeys((chroma, "444", "420"))
    )
    # 4:4:4 holds 4:2:2 whole; a source of 4:2:0 is not blown up.
    names = (name for name in names if chroma == "422" or "444" not in name or chroma == "444")
    return next((name for name in names if name in held), fallback)


def losses(source: ClipInfo, pixel_format: str, encoder: str) -> str:
    """Return what is lost of a source's depth, chroma and transparency, in a sentence; else nothing."""
    kept = av.VideoFormat(pixel_format)
    if pixel_format == "pal8" or kept.is_rgb:
        return ""
    lost = []
    # Every picture of a GIF could be transparent; of those that can, few with a palette are.
    stored = av.VideoFormat(source.stored) if source.stored else kept
    if _alpha(stored) and not source.alpha and not _alpha(kept):
        lost.append("no transparency")
    depth = max(component.bits for component in kept.components)
    if depth < min(source.bits, max(_DEPTHS)) or (source.bits > max(_DEPTHS) > depth):
        lost.append(f"{depth} of {source.bits} bits")
    wide = chroma_of(pixel_format) == "420" and (chroma_of(source.stored) != "420" or _halved_once(stored))
    if wide:
        lost.append(f"4:2:0 of {source.stored}")
    return f"{encoder} keeps {' and '.join(lost)}" if lost else ""


def _halved_once(pixel_format: av.VideoFormat) -> bool:
    """Tell whether YUV has all of its chroma along one side alone, as 4:1:1 and 4:4:0 have."""
    sides = (pixel_format.chroma_width(16), pixel_format.chroma_height(16))
    return len(pixel_format.components) > 2 and not pixel_format.is_rgb and 16 in sides  # noqa: PLR2004


def _alpha(pixel_format: av.VideoFormat) -> bool:
    return not pixel_format.has_palette and any(component.is_alpha for component in pixel_format.components)


def say_conversion(source: ClipInfo, pixel_format: str, codec: str, *, asked: bool) -> None:
    """Log what becomes of the source's pixels, as a warning where something of them is lost.

    Args:
        source: what is encoded.
        pixel_format: as what.
        codec: our name of it.
        asked: the user chose the format, and knows.
    """
    said = "" if asked else losses(source, pixel_format, codec)
    if said:
        _LOG.warning("%s: %s.", source.path.name, said)
    converted = from_rgb(source, pixel_format)
    if converted:  # not a warning: it is what everybody expects of a video
        _LOG.info("%s is %s.", source.path.name, converted)


def from_rgb(source: ClipInfo, pixel_format: str) -> str:
    """Return that pixels of RGB become YUV, in words; empty where they do not."""
    if source.colour is not None or "yuv" not in pixel_format:
        return ""
    quarter = ", a quarter of its colour resolution" if chroma_of(pixel_format) == "420" else ""
    return f"RGB; it is written as {pixel_format}{quarter}"


def mastering_options(source: ClipInfo, encoder: str) -> dict[str, str]:
    """Return the options by which an encoder writes the mastering display and light levels of HDR."""
    found = source.mastering
    if found is None or encoder not in ("libx265", "libsvtav1"):
        return {}
    x265 = encoder == "libx265"
    parts = ["hdr10=1"] if x265 else []
    if found.display is not None:
        # H.265 counts chromaticities in 0.00002 and light in 0.0001 cd/m2; SVT-AV1 takes decimals.
        places = (
            [round(v * 50000) for v in found.display[:8]] if x265 else [float(v) for v in found.display[:8]]
        )
        light = (
            [round(v * 10000) for v in found.display[8:]] if x265 else [float(v) for v in found.display[8:]]
        )
        red, green, blue, white = ("({},{})".format(*places[i : i + 2]) for i in range(0, 8, 2))
        parts.append(
            f"{'master' if x265 else 'mastering'}-display="
            f"G{green}B{blue}R{red}WP{white}L({light[1]},{light[0]})"
        )
    if found.light is not None:
        parts.append(f"{'max-cll' if x265 else 'content-light'}={found.light[0]},{found.light[1]}")
    return {"x265-params" if x265 else "svtav1-params": ":".join(parts)}
