"""Progress on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

import torch
from torch import Tensor
from tqdm import tqdm

from ..engine.host import QuietHost


class ProgressHost(QuietHost):
    """A host that shows a bar with speed and remaining time on standard error.

    Args:
        device: where the model runs.
        quiet: show nothing.
    """

    def __init__(self, device: torch.device | None = None, *, quiet: bool = False) -> None:
        super().__init__(device)
        self._quiet = quiet
        self._bar: tqdm[NoReturn] | None = None
        self._look: tqdm[NoReturn] | None = None
        self._download: tqdm[NoReturn] | None = None

    def downloaded(self, done: int, total: int | None) -> None:
        """Show how many bytes of a model have come; see :data:`~..weights.download.Progress`."""
        if self._download is None:
            self._download = tqdm(
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                desc="downloading",
                disable=self._quiet,
                dynamic_ncols=True,
            )
        self._download.total = total
        self._download.update(done - self._download.n)

    def looked(self, done: int, total: int | None) -> None:
        """Show how far the clip has been looked at; see :class:`~..engine.host.LookingHost`."""
        if self._look is None:
            self._look = tqdm(
                unit=" frames", desc="looking for cuts", leave=False, disable=self._quiet, dynamic_ncols=True
            )
        self._look.total = total
        self._look.update(done - self._look.n)

    def progress(self, done: int, total: int | None, preview: Callable[[], Tensor] | None) -> None:
        """Update the bar; see :class:`~..engine.host.Host`."""
        if self._look is not None:
            self._look.close()
            self._look = None
        if self._bar is None:
            # Created at the first frame: before that the model is loaded, which the rate must not count.
            self._bar = tqdm(unit=" frames", disable=self._quiet, dynamic_ncols=True, smoothing=0.1)
        self._bar.total = total
        # tqdm counts by differences, the frame loop by sums.
        self._bar.update(done - self._bar.n)

    def say(self, line: str) -> None:
        """Write a line above the bar."""
        if not self._quiet:
            tqdm.write(line, file=sys.stderr)

    def close(self) -> None:
        """Leave the bar where it is; the next line goes below it."""
        for bar in (self._download, self._look, self._bar):
            if bar is not None:
                bar.close()
