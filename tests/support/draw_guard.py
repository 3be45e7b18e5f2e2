"""Draw the picture of docs/timing.md about overlays: ``python tests/support/draw_guard.py``.

A ground of leaves moves behind a subtitle: the true frame, that of the built-in model, the same with the guard, and
where the guard took the source.
"""

# ruff: noqa: E402 -- the pack is loaded by its path first, whatever its folder is called

from pathlib import Path

import torch
from packs import load_pack

load_pack()

from midframe import interpolate
from midframe.benchmarks.overlays import overlay, under
from midframe.engine.guard import overlay_weight
from midframe.vfi_utils import Settings
from PIL import Image

SIZE, SPEED, ZOOM = (180, 320), 15.0, (slice(136, 176), slice(100, 220))


def ground(at: float) -> torch.Tensor:
    """Return leaves that move to the right: (H, W, 3) in 0..1."""
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in SIZE), indexing="ij")
    x = x - at
    waves = [
        torch.sin(x / a + y / b) * torch.sin(x / b - y / a) for a, b in ((9, 17), (13, 11), (21, 8), (6, 5))
    ]
    leaves = 0.5 + 0.25 * sum(waves)
    return leaves[..., None] * torch.tensor([0.55, 0.75, 0.35])


def clip() -> torch.Tensor:
    """Return three frames under a subtitle."""
    words = overlay("outlined subtitle", SIZE, 0)
    return torch.stack([under(ground(SPEED * i), words) for i in range(3)])


def sheet() -> Image.Image:
    """Return the words of the four pictures, enlarged, below each other."""
    frames = clip()
    made = [interpolate(frames[::2], "default", settings=Settings(guard=law))[1] for law in ("off", "auto")]
    left, right = (frame.permute(2, 0, 1)[None] for frame in frames[::2])
    weight = overlay_weight(left, right)[0, 0, ..., None].expand(-1, -1, 3)
    parts = torch.cat([picture[ZOOM] for picture in (frames[1], *made, weight)])
    pixels = Image.fromarray((parts.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
    return pixels.resize((pixels.width * 4, pixels.height * 4), Image.Resampling.BICUBIC)


def main() -> None:
    sheet().quantize(64).save(Path(__file__).parents[2] / "docs" / "guard.png", optimize=True)


if __name__ == "__main__":
    main()
