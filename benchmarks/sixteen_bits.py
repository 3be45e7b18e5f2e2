"""Measures the error of 16 bits against float32: ``python -m midframe.benchmarks.sixteen_bits``.

    python -m midframe.benchmarks.sixteen_bits --weights FILE --clips demo/clip.mp4 FOLDER ... --out OUT.md

Of each clip a few pairs of frames are taken, evenly over its length, and the frame in the middle is made with
weights rounded to float16, and with convolutions in float16 and in bfloat16. Slow on a processor without
instructions for these.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..api import interpolate
from ..errors import BadInputError
from ..report.quality import difference
from ..vfi_models.interface import Interpolator
from ..vfi_models.torch_interpolator import module_of
from ..video import open_clip
from ..weights.loading import open_weights

KINDS: dict[str, Callable[[torch.nn.Module], object]] = {
    "weights rounded to float16": lambda module: module.half().float(),
    "float16": lambda module: module.half(),
    "bfloat16": lambda module: module.bfloat16(),
}
"""Change a network that is in float32, by name."""


@dataclass(frozen=True)
class PairSelection:
    """The pairs of a clip that are compared."""

    pairs: int = 2
    """Number of pairs."""
    gap: int = 2
    """Frames from the first of a pair to the second."""
    most: tuple[int, int] = (256, 448)
    """(height, width) that larger frames are cut to, from the upper left."""


def pairs_of(path: Path, chosen: PairSelection) -> dict[int, Tensor]:
    """Read some pairs of a clip: by the number of their first frame, (2, H, W, 3) in 0..1.

    Raises:
        BadInputError: a clip that is too short, or no clip.
    """
    with open_clip(path, alpha=False) as clip:
        frames = [frame.pixels[: chosen.most[0], : chosen.most[1]] for frame in clip]
    room = len(frames) - chosen.gap
    if room < chosen.pairs:
        raise BadInputError(
            "The clip is too short.",
            f"{path}: {len(frames)} frames",
            f"Give one of {chosen.gap + chosen.pairs}.",
        )
    # In the middle of equal parts of the clip: titles and fades at its ends say little.
    firsts = [room * (2 * i + 1) // (2 * chosen.pairs) for i in range(chosen.pairs)]
    return {i: _in_unit(torch.stack((frames[i], frames[i + chosen.gap]))) for i in firsts}


def _in_unit(pixels: Tensor) -> Tensor:
    return pixels.float() / float(torch.iinfo(pixels.dtype).max)


def compared(weights: Path, pair: Tensor) -> dict[str, float]:
    """Return dB (PSNR) of the middle frame to float32's, for each of :data:`KINDS`."""
    expected = interpolate(pair, open_weights(weights), 2)
    return {
        kind: difference(interpolate(pair, _converted(weights, kind), 2), expected, 2).psnr for kind in KINDS
    }


def _converted(weights: Path, kind: str) -> Interpolator:
    # Anew for each kind: `half` and `bfloat16` convert a module in place, and what is rounded stays so.
    model = open_weights(weights)
    KINDS[kind](module_of(model))
    return model


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="midframe.benchmarks.sixteen_bits", description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE")
    parser.add_argument("--clips", type=Path, nargs="+", required=True, metavar="CLIP")
    parser.add_argument("--pairs", type=int, default=PairSelection.pairs, help="of each clip")
    parser.add_argument("--out", type=Path, help="a Markdown file to write besides")
    options = parser.parse_args(arguments)
    lines = ["| pair | size | " + " | ".join(KINDS) + " |", "|---" * (len(KINDS) + 2) + "|"]
    for clip in options.clips:
        for first, pair in pairs_of(clip, PairSelection(options.pairs)).items():
            found = compared(options.weights, pair).values()
            size = f"{pair.shape[1]}x{pair.shape[2]}"
            lines.append(
                f"| {clip.stem} {first} | {size} | " + " | ".join(f"{dB:.1f}" for dB in found) + " |"
            )
            sys.stderr.write(lines[-1] + "\n")
    sys.stdout.write("\n".join(lines) + "\n")
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
