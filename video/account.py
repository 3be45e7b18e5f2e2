"""Say what becomes of everything in a source, without making anything."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from .read.clip import ClipInfo
from .read.images import is_pattern, other_sizes_of
from .read.uniform import other_sizes
from .stream.expected import frames_expected
from .stream.plan import Plan
from .write.carry import FOLDER, Entry, account_of
from .write.formats import choose_encoding, file_suffix, holds_alpha, images_of
from .write.pixels import from_rgb, losses


def describe_output(source: Path, target: Path, plan: Plan) -> tuple[Entry, ...]:
    """Return a line for the picture, for each other stream, for chapters and for tags.

    Args:
        source: what is read, see :func:`~.read.decode.open_clip`.
        target: what would be written; nothing is.
        plan: what would be made.

    Raises:
        BadInputError: source, target or plan cannot be worked with.
    """
    with plan.open(source, alpha=holds_alpha(target)) as clip:
        info, frames = clip.info, frames_expected(plan, clip)
    rate, _ = plan.rate_and_tick(info)
    stored = " ".join(part for part in (info.codec, info.stored) if part) or "pictures"
    what = f"picture, {stored}, {info.width} x {info.height}, {float(info.rate):.6g} frames a second"
    count = "" if frames is None else f", about {frames} frames"
    if not file_suffix(target):
        others = account_of(info, FOLDER, None, plan.coding.choice)
        picture = Entry(
            what, "encoded", f"{images_of(target, plan.coding)}, {float(rate):.6g} frames a second{count}"
        )
        return picture, *_resized(info), *others.entries
    size = (info.height, info.width)
    encoding = choose_encoding(
        target, plan.coding, size, bits=plan.coding.bits or info.bits, alpha=info.alpha, source=info
    )
    made = f"{encoding.encoder} {encoding.pixel_format}, {float(rate):.6g} frames a second{count}"
    rgb = from_rgb(info, encoding.pixel_format)
    made += f"; the source is {rgb}" if rgb else ""
    lost = losses(info, encoding.pixel_format, encoding.encoder)
    made += f"; {lost}" if lost else ""
    account = account_of(info, encoding.muxer, encoding.audio_encoder, encoding.choice)
    return Entry(what, "encoded", made), *_resized(info), *account.entries


def _resized(info: ClipInfo) -> tuple[Entry, ...]:
    """Return a line for each other size of the picture that a short look into the file finds."""
    if info.codec:
        sizes = other_sizes(info.sound_from if isinstance(info.sound_from, BytesIO) else info.path)
    elif info.path.is_dir() or is_pattern(info.path):
        sizes = other_sizes_of(info.path)
    else:  # an animated picture, or frames in memory
        return ()
    return tuple(
        Entry(f"frames of {width} x {height} further on", "converted", "scaled to the size of the first")
        for height, width in sizes
    )
