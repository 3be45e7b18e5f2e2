"""Draws results as an SVG: a bar for ours and a bar for the peer in every row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

# Pixels: the drawing with its margins, the heights of a row's parts, and the step from row to row. The right
# margin has room for the label of the longest bar.
_WIDTH, _LEFT, _RIGHT = 900, 24, 150
_TOP, _BAR, _GAP, _FOOT = 78, 15, 3, 34
_TITLE = 22
_STEP = _TITLE + 2 * _BAR + _GAP + 20
_OURS, _THEIRS, _INK, _PALE, _RULE = "#0f766e", "#b6bec9", "#1f2937", "#6b7280", "#e5e7eb"
# Distances of grid lines, in multiples of the peer's speed.
_MARKS = (1, 2, 5)


def as_svg(report: Mapping[str, Any]) -> str:
    """Draw speeds in multiples of the peer's, labelled with frames a second.

    Rows without a peer, or whose pictures differ, are left out.
    """
    # No speed-up where pictures differ: such a bar would compare different work.
    rows = [row for row in report["rows"] if row.get("speedup")]
    height = _TOP + max(len(rows), 1) * _STEP + _FOOT
    most = max([1.0, *(row["speedup"] for row in rows)])
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    about = report["machine"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
        f'height="{height}" font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        text(_LEFT, 32, "Made frames a second, end to end, in multiples of the other's", 18, weight="600"),
        text(_LEFT, 54, f"{about['name']}, {about['cores']} cores, torch {about['torch']}", 12, _PALE),
        *_grid(most, scale, height),
    ]
    for i, row in enumerate(rows):
        parts += _bars(row, _TOP + i * _STEP, scale)
    if not rows:
        parts.append(text(_LEFT, _TOP + 20, "No row has a peer to compare with.", 13, _PALE))
    return "\n".join([*parts, "</svg>", ""])


def _grid(most: float, scale: float, height: int) -> Iterable[str]:
    """Yield lines at whole multiples of the peer's speed, as many as are legible."""
    step = next((mark for mark in _MARKS if most / mark <= 6), 10)  # noqa: PLR2004 - six lines at most
    for i in range(0, int(most) + 1, step):
        x = _LEFT + i * scale
        bottom = height - _FOOT
        yield f'<line x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{bottom}" stroke="{_RULE}"/>'
        yield text(x - 5, bottom + 18, f"{i}x", 11, _PALE)


def _bars(row: Mapping[str, Any], top: int, scale: float) -> Iterable[str]:
    options = "".join(f" {name}={value}" for name, value in row["options"].items())
    capped = f", {row['vram_gib']:g} GiB" if row.get("vram_gib") else ""
    what = f"{row['model']}{options}, {row['size']}, x{row['multiplier']}, {row['dtype']}{capped}"
    yield text(_LEFT, top + 14, what, 13, weight="600")
    other = row["against"] + (f" ({row['their_dtype']})" if row["their_dtype"] != row["dtype"] else "")
    bars = (
        ("Midframe", row["made_frames_per_second"], row["speedup"], _OURS),
        (other, 1 / row["their_seconds_per_made_frame"], 1.0, _THEIRS),
    )
    for i, (who, rate, times, colour) in enumerate(bars):
        y = top + _TITLE + i * (_BAR + _GAP)
        width = times * scale
        yield f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2" fill="{colour}"/>'
        label = f"{who} {_rate(rate)}" + (f", {times:.2f}x" if i == 0 else "")
        yield text(_LEFT + width + 8, y + _BAR - 3, label, 12, _INK if i == 0 else _PALE)


def _rate(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 100 else f"{rate:#.3g}"  # noqa: PLR2004 - three digits


def text(x: float, y: float, what: str, size: int, fill: str = _INK, *, weight: str = "400") -> str:
    """Return a line of text in SVG, its baseline beginning at (x, y), ``size`` pixels high."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" font-weight="{weight}">'
        f"{escape(what)}</text>"
    )
