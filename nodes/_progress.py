"""What a user sees of a run while it goes on: a bar, a line of text and a small picture; and Cancel."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..memory.budget import cached_bytes
from ..memory.staging import as_unit_float
from . import _host

_LOG = logging.getLogger(__name__)

# Least seconds between two of a kind. Each preview is encoded and sent to the browser while the run waits.
_PREVIEW_SECONDS = 0.4
_TEXT_SECONDS = 1.0
_LOG_SECONDS = 10.0
_LARGEST_SIDE = 512


def progress_line(done: int, total: int | None, seconds: float) -> str:
    """Return one line on a run.

    Args:
        done: finished output frames.
        total: output frames that there will be; None where that is not known.
        seconds: since the run began.
    """
    rate = done / seconds if seconds > 0 else 0.0  # two calls within one tick of the clock
    if done == total:
        return f"{done} frames in {seconds:.1f} s, {rate:.1f} frames/s"
    if total is None or rate == 0:
        return f"{done} frames, {rate:.1f} frames/s"
    left = round((total - done) / rate)
    return f"{done} of {total} frames, {rate:.1f} frames/s, {left // 60}:{left % 60:02d} left"


def memory_line(free: int | None, clearings: int) -> str:
    """Return what follows :func:`progress_line`: how memory stands.

    Args:
        free: bytes that the loop found free the last time it looked; None where it has not looked yet.
        clearings: how often cached memory was given back.
    """
    line = "" if free is None else f", {free / 2**30:.1f} GiB free"
    return line + (f", cache cleared {clearings} x" if clearings else "")


def download_line(name: str, done: int, total: int | None) -> str:
    """Return one line on a download of which ``done`` of ``total`` bytes have arrived; None: nobody says."""
    of_all = f" of {total / 2**20:.1f}" if total else ""
    return f"downloading {name}: {done / 2**20:.1f}{of_all} MiB"


def thumbnail(frame: Tensor) -> Any:
    """Return a small RGB picture (PIL) of a frame.

    Args:
        frame: (H, W, C) on the host, float in 0..1, uint8 or uint16; C of 1, or 3 and up.
    """
    from PIL import Image  # noqa: PLC0415 - ComfyUI has it, the pack alone need not

    # Every n-th pixel, without averaging: a preview must not cost the run anything.
    step = -(-max(frame.shape[:2]) // _LARGEST_SIDE)
    small = as_unit_float(frame[::step, ::step, :3])
    small = small.expand(-1, -1, 3) if small.shape[-1] == 1 else small
    return Image.fromarray((small.clamp(0, 1) * 255).round().to(torch.uint8).numpy())


class NodeHost:
    """ComfyUI as the :class:`~..engine.host.Host` of a run: progress, previews, cancelling, memory.

    Args:
        bar: ComfyUI's progress bar, None outside ComfyUI.
        node_id: of the node that runs, for the text under it.
        clock: seconds.
        note: stands in the text once the run is done.
    """

    def __init__(
        self,
        bar: _host.Bar | None,
        node_id: str | None = None,
        clock: Callable[[], float] = time.perf_counter,
        *,
        note: str = "",
    ) -> None:
        self._note = note
        self._bar = bar
        self._node_id = node_id
        self._clock = clock
        self._began = self._logged_at = clock()
        self._previewed_at = self._texted_at = float("-inf")
        self._free: int | None = None
        self._clearings = 0

    def progress(self, done: int, total: int | None, preview: Callable[[], Tensor] | None) -> None:
        """Show how many frames are finished, and a few times a second the newest of them."""
        now = self._clock()
        if self._bar is not None:
            self._bar.update_absolute(done, total or done, self._picture(preview, now))
        line = progress_line(done, total, now - self._began) + memory_line(self._free, self._clearings)
        if now - self._texted_at >= _TEXT_SECONDS or done == total:
            self._texted_at = now
            note = f"\n{self._note}" if self._note and done == total else ""
            _host.show_text(line + note, self._node_id)
        if now - self._logged_at >= _LOG_SECONDS:
            self._logged_at = now
            _LOG.info(line)

    def looked(self, done: int, total: int | None) -> None:
        """Show how many source frames were looked at; see :class:`~..engine.host.LookingHost`."""
        now = self._clock()
        if now - self._texted_at >= _TEXT_SECONDS:
            self._texted_at = now
            of_all = "" if total is None else f" of {total}"
            _host.show_text(f"looking for cuts: {done}{of_all} frames", self._node_id)
        # What is made afterwards has a speed of its own.
        self._began = now

    def _picture(self, preview: Callable[[], Tensor] | None, now: float) -> tuple[str, Any, int] | None:
        if preview is None or now - self._previewed_at < _PREVIEW_SECONDS:
            return None
        self._previewed_at = now
        picture = thumbnail(preview())
        return "JPEG", picture, max(picture.size)

    def check_cancelled(self) -> None:
        """Raise ComfyUI's InterruptProcessingException where the user cancelled."""
        _host.check_cancelled()

    def clear_cache(self) -> None:
        """Give memory that is only cached back to the device."""
        self._clearings += 1
        _host.clear_cache()

    def free_bytes(self, device: torch.device) -> int:
        """Return the bytes that an allocation on ``device`` can still get."""
        self._free = _host.free_memory(device)
        return self._free

    def cached_bytes(self, device: torch.device) -> int:
        """Return the part of :meth:`free_bytes` that :meth:`clear_cache` would give back to the driver.

        ComfyUI allocates with torch, whose cache all share.
        """
        return cached_bytes(device)


class DownloadHost:
    """ComfyUI as the host of a download: progress and cancelling.

    Args:
        name: of what is downloaded.
        node_id: of the node that runs, for the text under it.
    """

    def __init__(self, name: str, node_id: str | None = None) -> None:
        self._name = name
        self._node_id = node_id
        self._bar = _host.progress_bar(1)
        self._texted_at = float("-inf")
        self._first = ""
        _LOG.info("downloading %s", name)

    def announce(self, text: str) -> None:
        """Show under the node, above the progress, what the user should know before the first byte."""
        self._first = f"{text}\n"

    def progress(self, done: int, total: int | None) -> None:
        """Show that ``done`` of ``total`` bytes have arrived; None: the server does not say."""
        if self._bar is not None:
            # Never full while nobody knows the size.
            self._bar.update_absolute(done, total or done + 1)
        now = time.perf_counter()
        if now - self._texted_at >= _TEXT_SECONDS or done == total:
            self._texted_at = now
            _host.show_text(self._first + download_line(self._name, done, total), self._node_id)

    def check_cancelled(self) -> None:
        """Raise ComfyUI's InterruptProcessingException where the user cancelled."""
        _host.check_cancelled()


def watch(total: int, node_id: str | None = None, *, note: str = "") -> NodeHost:
    """Return the host of one run of ``total`` output frames; ``note`` is shown when it is done."""
    return NodeHost(_host.progress_bar(total), node_id, note=note)
