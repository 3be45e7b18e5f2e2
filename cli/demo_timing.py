"""``midframe demo --timing``: an animation on twos with a cut and a subtitle, before and after.

The clip is made of the frames of the demo's own: every second one, shown twice, in two shots of which the
second is mirrored; the frames that are left out are the true ones of the motion between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ..analysis.timing import Timing
from ..vfi_models.interface import Interpolator
from ..vfi_utils import Host, Settings
from ..video import Plan, interpolate_video

Picture = npt.NDArray[np.float32]

RATE = 16
_SHOT = 18
"""Frames of a shot, nine drawings."""
_FIRST, _SECOND = 2, 12
"""Frames of the demo's clip at which the two shots begin."""
_LABEL = 26
_BELOW = 24
"""Pixels from the middle of the subtitle to the lower edge."""
_SHOWN = 8
"""Output frames in a row of the picture."""


def make_clip(path: Path, frames: Sequence[Picture]) -> None:
    """Write the animation.

    Args:
        path: of the video.
        frames: of the demo's clip, (H, W, 3) in 0..255.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(RATE), options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        for picture in drawings(frames):
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def drawings(frames: Sequence[Picture]) -> list[npt.NDArray[np.uint8]]:
    """Return the frames of the animation, (H, W, 3)."""
    places = [first + i // 2 * 2 for first in (_FIRST, _SECOND) for i in range(_SHOT)]
    return [_titled(frames[place], mirrored=i >= _SHOT) for i, place in enumerate(places)]


def true_frames(frames: Sequence[Picture]) -> list[npt.NDArray[np.uint8]]:
    """Return what a motion without halts would show at each frame, as far as the demo's clip has it."""
    places = [first + i for first in (_FIRST, _SECOND) for i in range(_SHOT)]
    return [_titled(frames[place], mirrored=i >= _SHOT) for i, place in enumerate(places)]


def _titled(frame: Picture, *, mirrored: bool) -> npt.NDArray[np.uint8]:
    picture = Image.fromarray(np.rint(frame[:, ::-1] if mirrored else frame).astype(np.uint8))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(20)
    text = "Where do they roll?" if not mirrored else "Back again."
    middle = (picture.width / 2, picture.height - _BELOW)
    draw.text(middle, text, "white", font, "mm", stroke_width=2, stroke_fill="black")
    return np.asarray(picture)


def run(
    folder: Path,
    frames: Sequence[Picture],
    model: Interpolator,
    host: Host,
    read: Callable[[Path], list[Picture]],
    say: Callable[[str], None],
) -> None:
    """Make the animation, interpolate it without and with timing, and write both and a picture.

    Args:
        folder: for what is made.
        frames: of the demo's clip, (H, W, 3) in 0..255.
        model: makes the frames.
        host: may cancel.
        read: returns the frames of a video.
        say: takes a line.
    """
    source = folder / "midframe_timing.mp4"
    make_clip(source, frames)
    ways = {
        "before": ("cuts, held frames and subtitle not looked at", Timing("interpolate", "keep"), "off"),
        "after": ("cut held, held frames re-timed, subtitle guarded", Timing("hold", "retime"), "auto"),
    }
    truth, rows = true_frames(frames), {}
    for name, (text, timing, guard) in ways.items():
        path = folder / f"midframe_timing_{name}.mp4"
        plan, settings = Plan(2, overwrite=True, timing=timing), Settings(guard=guard)
        interpolate_video(source, path, model, plan, settings=settings, host=host)
        rows[text] = made = read(path)
        # Every second output frame is at the time of a source frame; the last drawing of a shot stands.
        places = [i for i in range(2 * _SHOT) if i % _SHOT < _SHOT - 2]
        psnr = np.mean([_psnr(made[2 * i], truth[i]) for i in places])
        title = np.mean([_psnr(_title(made[2 * i]), _title(truth[i])) for i in places])
        still = sum(float(abs(a - b).mean()) < 1 for a, b in pairwise(made))
        say(
            f"{path}: {psnr:.1f} dB to the true motion, {still} of {len(made) - 1} steps stand still, "
            f"{title:.1f} dB around the subtitle ({text})"
        )
    sheet = folder / "midframe_timing.png"
    _sheet(rows).save(sheet)
    say(f"{sheet}: the frames around the cut, before and after")


def _psnr(picture: Picture, truth: npt.NDArray[np.uint8]) -> float:
    error = float(((picture - truth.astype(np.float32)) ** 2).mean())
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def _title(picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the part of a frame that the subtitle is in, half as wide."""
    height, width = picture.shape[:2]
    return picture[height - 2 * _BELOW :, width // 4 : width // 4 + width // 2]


def _sheet(rows: dict[str, list[Picture]]) -> Image.Image:
    """Draw the output frames around the cut at half size, the subtitle below them; a row for each way."""
    start = 2 * _SHOT - _SHOWN // 2 - 1
    height, width = (side // 2 for side in next(iter(rows.values()))[0].shape[:2])
    below = 2 * _BELOW
    sheet = Image.new("RGB", (_SHOWN * width, len(rows) * (height + below + _LABEL)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for row, (label, made) in enumerate(rows.items()):
        top = row * (height + below + _LABEL)
        draw.text((8, top + 7), label, fill="black", font=font)
        for column, picture in enumerate(made[start : start + _SHOWN]):
            whole, title = (Image.fromarray(np.rint(x).astype(np.uint8)) for x in (picture, _title(picture)))
            sheet.paste(whole.resize((width, height)), (column * width, top + _LABEL))
            sheet.paste(title, (column * width, top + _LABEL + height))
    return sheet
