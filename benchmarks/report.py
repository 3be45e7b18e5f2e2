"""Formats results as Markdown, and writes them to files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .plot import as_svg

Row = Mapping[str, Any]

_NOT = "-"


def write(report: Mapping[str, Any], path: Path) -> None:
    """Write the report as JSON, beside it as a table (``.md``) and a plot (``.svg``), each whole or not at
    all.
    """
    texts = {
        path: json.dumps(report, indent=1) + "\n",
        path.with_suffix(".md"): as_table(report) + "\n",
        path.with_suffix(".svg"): as_svg(report),
    }
    for place, text in texts.items():
        # A run that is killed while it writes must not leave half a report.
        unfinished = place.with_name(place.name + ".part")
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, place)


def as_table(report: Mapping[str, Any]) -> str:
    """Format everything as Markdown: speed, errors of the pictures, memory, the network alone, loading."""
    about = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    parts = [about, _table(report["rows"], _SPEED), _table(report["rows"], _INSIDE)]
    parts += [_table(report["loading"], _LOADING)] if report.get("loading") else []
    return "\n\n".join(parts)


def line(row: Row) -> str:
    """Format a row in a few words, for the terminal."""
    text = f"{title(row)}: {row['made_frames_per_second']:.2f} made frames a second"
    if row["pictures_agree"] is False:
        return f"{text}; pictures differ, so there is no comparison with {row['against']}"
    if row.get("speedup"):
        return f"{text}, {row['speedup']:.2f} times {row['against']}"
    return text


def title(row: Row) -> str:
    """Describe the work of a row."""
    options = "".join(f" {name}={value}" for name, value in row["options"].items())
    # Only a file is named: synthetic weights are the rule, and the built-in model has no others.
    weights = f" {row['weights']}" if row["weights"] not in ("synthetic", "its own") else ""
    capped = f" in {row['vram_gib']:g} GiB" if row.get("vram_gib") else ""
    return f"{row['model']}{weights}{options} {row['size']} x{row['multiplier']} {row['dtype']}{capped}"


def _table(rows: list[Any], columns: Mapping[str, Callable[[Row], str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        lines.append("| " + " | ".join(column(row) for column in columns.values()) + " |")
    return "\n".join(lines)


def _number(name: str, pattern: str = ".3f") -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        value = row.get(name)
        return _NOT if value is None else format(value, pattern)

    return cell


def _against(row: Row) -> str:
    if row["against"] == "nothing":
        return _NOT
    text = str(row["against"])
    if row["their_dtype"] != row["dtype"]:
        text += f" in {row['their_dtype']}"
    if row["pictures_agree"] is False:
        return text + " (pictures differ: no comparison)"
    return text + (" (another network)" if row["their_network"] != row["model"] else "")


def _theirs(row: Row) -> str:
    return row.get("their_failure") or _number("their_seconds_per_made_frame")(row)


def _processor(row: Row) -> str:
    # On an accelerator the processor's seconds measure nothing.
    return _number("processor_speedup", ".2f")(row) if row["device"] == "cpu" else _NOT


def _milliseconds(name: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        value = row.get(name)
        return _NOT if value is None else f"{1000 * value:.1f}"

    return cell


def _percent(row: Row) -> str:
    return f"{100 * row['fraction_of_bound']:.0f}%"


_SPEED: dict[str, Callable[[Row], str]] = {
    "work": title,
    "against": _against,
    "ours, s a made frame": _number("seconds_per_made_frame"),
    "theirs": _theirs,
    "speed-up": _number("speedup", ".2f"),
    "in processor time": _processor,
    "ours, peak MiB": _number("peak_mib", ".0f"),
    "theirs, MiB": _number("their_peak_mib", ".0f"),
    "max error": _number("max_error", ".1e"),
    "PSNR, dB": _number("psnr", ".0f"),
    "SSIM": _number("ssim", ".5f"),
}
_INSIDE: dict[str, Callable[[Row], str]] = {
    "work": title,
    "made frames a second": _number("made_frames_per_second", ".2f"),
    "network alone, ms": _milliseconds("network_seconds_per_made_frame"),
    "GFLOP": _number("gflop_per_made_frame", ".1f"),
    "least MB": _number("least_mb_per_made_frame", ".0f"),
    "launches": _number("launches_per_made_frame", ".0f"),
    "moved GB": _number("moved_gb_per_made_frame", ".2f"),
    "bound, ms": _milliseconds("bound_seconds_per_made_frame"),
    "reached": _percent,
    "host MiB": _number("host_peak_mib", ".0f"),
    "device MiB": _number("device_peak_mib", ".0f"),
    "reserved MiB": _number("device_reserved_mib", ".0f"),
    "load cold, ms": _milliseconds("load_cold_seconds"),
    "warm": _milliseconds("load_warm_seconds"),
    "cached": _milliseconds("load_cached_seconds"),
}
_LOADING: dict[str, Callable[[Row], str]] = {
    "model": lambda row: str(row["model"]),
    "file": lambda row: str(row["file"]),
    "MB": lambda row: f"{row['bytes'] / 1e6:.1f}",
    "load, cold, s": _number("cold_seconds"),
    "warm, s": _number("warm_seconds"),
}
