"""The text of subtitles, as FFmpeg's encoders take it."""

from __future__ import annotations

from typing import Any

# What the encoders of subtitles read styles from, where the source has none: one style, nothing in it.
_STYLE = (
    "Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold,",
    " Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment,",
    " MarginL, MarginR, MarginV, Encoding\r\n",
    "Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1\r\n",
)
_HEADER = (
    "[Script Info]\r\nScriptType: v4.00+\r\n\r\n[V4+ Styles]\r\n" + "".join(_STYLE) + "\r\n[Events]\r\n"
    "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\r\n"
).encode()


def styled_header(decoder: Any) -> bytes:
    """Return the header in the form of ASS that a decoder gives, or a plain one."""
    return getattr(decoder, "subtitle_header", None) or _HEADER


def text_of(decoder: Any, packet: Any) -> bytes:
    """Return the event in the form of ASS that a packet holds; empty where it has no text."""
    found = decoder.decode2(packet)
    texts = [rect.ass for rect in found or () if getattr(rect, "ass", b"")]
    return texts[0] if texts else b""
