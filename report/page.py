"""A report as one HTML page that holds everything it shows."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from .make import Comparison, Report
from .measure import Score
from .pictures import data_uri

_WIDTH, _HEIGHT, _MARGIN = 900, 220, 36
_COLOURS = ("#5ab0ff", "#ffb454", "#7fd962", "#f07178", "#c792ea", "#89ddff", "#d4bfff", "#aaaaaa")
_STYLE = """
body { background: #1c1c1e; color: #d8d8d8; font: 15px/1.5 system-ui, sans-serif;
       max-width: 960px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.3em } h2 { font-size: 1.1em; margin-top: 2em } b { color: #fff }
table { border-collapse: collapse } th, td { padding: .2em 1em .2em 0; text-align: right }
th:first-child, td:first-child { text-align: left } tr:nth-child(2) td { color: #fff }
img { max-width: 100% } figure { display: inline-block; margin: 0 .5em .5em 0 } svg { width: 100% }
figcaption, .note { color: #999 } figcaption { font-size: .85em }
"""
_METHOD = (
    "Frames of the clip were left out, made from their neighbours, and compared with what they are. They are "
    "spread over the clip; none lies at a cut, in a dissolve or beside its equal. The blend is the mean of "
    "both neighbours."
)
_LISTED = 20
"""Cuts that are listed by their times."""
# Share of the picture that a subtitle has.
_STANDS = 0.02


def page(report: Report) -> str:
    """Return the page; it asks for nothing from anywhere."""
    height, width = report.size
    facts = f"{width} x {height}, {len(report.times)} frames, {report.rate:.3f} a second"
    name = html.escape(report.name)
    found = "".join(f"<li>{html.escape(line)}</li>" for line in findings(report))
    parts = [
        f"<!DOCTYPE html><html lang=en><meta charset=utf-8><title>{name}</title><style>{_STYLE}</style>",
        f"<h1>{name}</h1><p class=note>{facts}</p><p><b>{html.escape(report.advice)}</b></p>",
        f"<h2>Models</h2>{_table(report.scores)}<p class=note>{_METHOD}</p>",
        f"<h2>Over time</h2>{_plot(report)}<h2>What is in it</h2><ul>{found}</ul>",
        f'<img src="{data_uri(report.sheet)}" alt="frames of the clip">',
        "<h2>The hardest frames</h2>" if report.comparisons else "",
        *_comparisons(report),
    ]
    return "".join(parts) + "</html>\n"


def findings(report: Report) -> list[str]:
    """Return what was seen in the clip, a line for each thing."""
    notes, times = report.analysis.pairs, report.times
    cuts = [times[note.index + 1] for note in notes if note.cut]
    listed = ", ".join(f"{at:.2f} s" for at in cuts[:_LISTED]) + (" ..." if len(cuts) > _LISTED else "")
    held = sum(bool(note.held) for note in notes)
    motions = sorted(note.motion for note in notes if not note.cut)
    fast = motions[int(0.95 * (len(motions) - 1))] if motions else 0.0
    still = sorted(note.still for note in notes if note.motion > 1)
    steps, slow = sum(note.gain != 1 for note in notes), sum(note.dissolve for note in notes)
    flashes = sum(note.flash for note in notes)
    share = still[len(still) // 2] if still else 0.0
    lines = [
        f"Cuts: {listed}. The nearer frame is held there; --cuts says otherwise." if cuts else "Cuts: none.",
        f"Frames that repeat the one before: {held} of {len(notes)}."
        + (" --held retime makes an even motion of the rest." if held > len(notes) / 5 else ""),
        f"Motion: {fast:.1f} pixels from frame to frame where it is fast.",
        f"Flashes: {flashes}; steps of brightness: {steps}; frames in dissolves: {slow}.",
        f"Plays as a loop: {'yes, --end close_loop has no seam' if report.analysis.loop else 'no'}.",
    ]
    if share > _STANDS:
        what = "a border, a subtitle or a still background"
        lines.append(f"While the rest moves, {share:.0%} of the picture stands: {what}.")
    return lines


def _table(scores: Sequence[Score]) -> str:
    head = "<tr><th>model<th>PSNR, dB<th>over a blend<th>SSIM<th>seconds a frame<th>frames</tr>"

    def number(value: float, places: int) -> str:
        return "" if math.isnan(value) else f"{value:.{places}f}"

    rows = [
        f"<tr><td>{html.escape(score.model)}<td>{number(score.psnr, 2)}<td>{number(score.over_blend, 2)}"
        f"<td>{number(score.ssim, 4)}<td>{number(score.seconds, 3)}<td>{len(score.rebuilt)}</tr>"
        + (f"<tr><td colspan=6 class=note>{html.escape(score.error)}</tr>" if score.error else "")
        for score in scores
    ]
    return f"<table>{head}{''.join(rows)}</table>"


def _plot(report: Report) -> str:
    """Return a drawing (SVG): motion, cuts and repeated frames over time, and each model's PSNR."""
    first, last = report.times[0], report.times[-1]
    motions = [(report.times[note.index], note.motion) for note in report.analysis.pairs if not note.cut]
    marks = [(report.times[one.frame], one.psnr) for score in report.scores for one in score.rebuilt]
    right = _scale(first, last, _MARGIN, _WIDTH - _MARGIN)
    up = _scale(0.0, max((motion for _, motion in motions), default=0.0), _HEIGHT - _MARGIN, 20)
    levels = [level for _, level in marks] or [0.0]
    above = _scale(min(levels), max(levels), _HEIGHT - _MARGIN, 20)
    parts = [_line([(right(at), up(motion)) for at, motion in motions], "#666")]
    bottom = _HEIGHT - _MARGIN
    for note, at in ((note, right(report.times[note.index + 1])) for note in report.analysis.pairs):
        if note.cut:
            ends = f'x1="{at:.1f}" x2="{at:.1f}" y1="16" y2="{bottom}"'
            parts.append(f'<line {ends} stroke="#f07178" stroke-dasharray="3"/>')
        if note.held:
            parts.append(f'<rect x="{at:.1f}" y="{bottom}" width="2" height="6" fill="#999"/>')
    for score, colour in zip(report.scores, _COLOURS * len(report.scores), strict=False):
        points = [(right(report.times[one.frame]), above(one.psnr)) for one in score.rebuilt]
        parts.append(_line(points, colour))
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
    legend = "".join(
        f'<tspan fill="{colour}">{html.escape(score.model)} </tspan>'
        for score, colour in zip(report.scores, _COLOURS * len(report.scores), strict=False)
    )
    text = 'font-size="12" fill="#999"'
    parts.append(
        f'<text x="{_MARGIN}" y="12" {text}>PSNR {min(levels):.1f} to {max(levels):.1f} dB: {legend}'
    )
    parts.append(f'</text><text x="{_MARGIN}" y="{_HEIGHT - 8}" {text}>{first:.2f} s</text>')
    parts.append(
        f'<text x="{_WIDTH - _MARGIN}" y="{_HEIGHT - 8}" text-anchor="end" {text}>{last:.2f} s</text>'
    )
    caption = "grey line: motion; red: cuts; ticks below: frames that repeat the one before"
    drawing = (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )
    return f"{drawing}<p class=note>{caption}</p>"


def _scale(low: float, high: float, at_low: float, at_high: float) -> Callable[[float], float]:
    """Return what maps ``low`` .. ``high`` to a range of pixels; all to the first where they are the same."""
    slope = (at_high - at_low) / (high - low) if high > low else 0.0
    return lambda value: at_low + (value - low) * slope


def _line(points: Sequence[tuple[float, float]], colour: str) -> str:
    listed = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{listed}" fill="none" stroke="{colour}"/>'


def _comparisons(report: Report) -> Iterator[str]:
    ordered = sorted(report.comparisons, key=lambda one: one.rebuilt.frame)
    for frame, shown in groupby(ordered, key=lambda one: one.rebuilt.frame):
        each = list(shown)
        yield f"<p>{report.times[frame]:.2f} s, frame {frame}</p>"
        yield _figure(each[0].truth, "what it is")
        for one in each:
            yield from _of_model(one)


def _of_model(one: Comparison) -> Iterator[str]:
    yield _figure(one.made, f"{one.model}, {one.rebuilt.psnr:.1f} dB")
    yield _figure(one.error, "where it is wrong")


def _figure(image: object, caption: str) -> str:
    text = html.escape(caption)
    return f'<figure><img src="{data_uri(image)}" alt="{text}"><figcaption>{text}</figcaption></figure>'
