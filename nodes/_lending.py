"""Lends a model of the cache for a run, whatever it is that runs: a batch of frames, a video, a chunk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import OutOfMemoryError
from ..vfi_models.interface import Interpolator, Options
from ..vfi_utils import FrameLoop
from ..weights.loading import ModelSource
from . import _host
from ._models import AfterRun, obtain


@dataclass(frozen=True)
class ModelLender:
    """Brings a model to its device for the time of a run, and does with it then what the user chose."""

    weights: ModelSource
    options: Options
    """Of the model, those that differ from ``spec.options``."""
    after_run: AfterRun = "keep loaded"

    def check(self, height: int, width: int) -> None:
        """Load the model and ask it about a picture size, so that what it cannot do is found out now.

        Raises:
            MidframeError: a file or options that cannot be used.
        """
        interpolator = obtain(self.weights).shell.interpolator
        if interpolator is not None:
            interpolator.activation_bytes(height, width, self.options)

    @contextmanager
    def __call__(self, height: int, width: int, loop: FrameLoop | None = None) -> Iterator[Interpolator]:
        """Lend the model while the context is open; see :data:`~..video.stream.lazy.Borrow`.

        Args:
            height, width: of the pictures, for which room is made on the device.
            loop: one that keeps features of the model after the run. ComfyUI may unload the model then, and
                these must go with it.

        Raises:
            MidframeError: a file or options that cannot be used.
        """
        loaded = obtain(self.weights)
        if loop is not None:
            loaded.shell.loops.add(loop)
        try:
            yield loaded.ready(height, width, self.options)
        except OutOfMemoryError:
            # As ComfyUI does after its own nodes: the next run begins with an empty device.
            _host.make_room()
            raise
        finally:
            loaded.done(self.after_run)
            # Hundreds of freed frames leave gaps in the heap, which glibc keeps.
            _host.trim_heap()
