"""Counts what a GPU has to do for a made frame, launches of kernels and bytes moved, without a GPU.

See :mod:`.fake_device` for what counts as a launch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..vfi_models import build, detect
from ..vfi_models.torch_interpolator import module_of
from ..vfi_utils import Settings, Timeline, by_multiplier, run_timeline
from .fake_device import DEVICE, Count, Counting, fake_cuda
from .work import Work


@dataclass(frozen=True)
class Launches:
    """Counts for one made frame; work that a pair shares is divided among its frames."""

    launches: float
    bytes: float
    uploaded: float
    downloaded: float

    def as_row(self) -> dict[str, float]:
        """Return the columns of ``midframe bench``."""
        return {"launches_per_made_frame": self.launches, "moved_gb_per_made_frame": self.bytes / 1e9}


class _Nowhere:
    """A sink that drops all frames."""

    def put(self, index: int, frames: Tensor) -> None:
        """Drop frames."""


def _place(module: nn.Module, dtype: torch.dtype) -> None:
    """Put a network on the device; ``Module.to`` cannot do that with fake tensors."""

    def placed(x: Tensor) -> Tensor:
        return torch.empty(x.shape, dtype=dtype if x.is_floating_point() else x.dtype, device=DEVICE)

    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            setattr(part, name, nn.Parameter(placed(parameter), requires_grad=False))
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, placed(buffer))


def run(
    work: Work, *, channels: int = 3, timeline: Timeline | None = None, settings: Settings | None = None
) -> Count:
    """Run the loop over a clip on the fake device, and return the counts.

    Args:
        work: model, size, dtype and number of frames.
        channels: of the frames.
        timeline: by the work's multiplier where it is left out.
        settings: of the loop.

    Raises:
        DeviceWaitError: the host would wait for the device between upload and hand-over.
    """
    # Only shapes and dtypes, taken before there is a fake device, on which no tensor holds numbers.
    shapes = {name: (value.shape, value.dtype) for name, value in work.weights().items()}
    with fake_cuda() as count:
        state = {
            name: torch.empty(shape, dtype=dtype, device="cpu") for name, (shape, dtype) in shapes.items()
        }
        model = build(detect(state))
        _place(module_of(model), getattr(torch, work.dtype))

        def clip() -> Iterator[Tensor]:
            for i in range(work.frames):
                # Everything after the last source frame is read is the work of one more pair.
                if i == work.frames - 1:
                    count.note_last_pair()
                yield torch.empty((*work.size, channels), dtype=torch.float32, device="cpu")

        timeline = timeline or by_multiplier(work.multiplier)
        with Counting(count):
            run_timeline(clip(), timeline, model, _Nowhere(), settings=settings)
    return count


def launches(work: Work, options: Mapping[str, Any] | None = None) -> Launches:
    """Count the work of the second pair of a clip, for each of its made frames."""
    # The second pair, for the first also encodes the first source frame and sets up what later pairs find.
    count = run(replace(work, frames=3), settings=Settings(options=dict(options or {})))
    first, frames = count.before_last, work.multiplier - 1
    return Launches(
        (count.launches - first.launches) / frames,
        (count.bytes - first.bytes) / frames,
        (count.uploaded - first.uploaded) / frames,
        (count.downloaded - first.downloaded) / frames,
    )
