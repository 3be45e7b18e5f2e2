"""Sinks: where finished frames go, in main memory or on the disk."""

from __future__ import annotations

import logging
import math
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from torch import Tensor

from ..errors import BadInputError, MidframeError, OutOfMemoryError
from .available import available_memory, available_with_swap
from .mapped import mapped_tensor
from .staging import as_dtype, narrowed

_LOG = logging.getLogger(__name__)

FrameShape = tuple[int, int, int]
"""(H, W, C)."""
Place = Literal["memory", "disk", "auto"]
"""``auto``: main memory where the frames fit and leave some, else the disk."""

_DTYPES = (torch.float32, torch.float16, torch.uint8)
# Bytes of main memory that ``auto`` leaves for what else runs and for what follows.
_RESERVE = 2 * 2**30


class Sink(Protocol):
    """A place for the output frames: gets each index once, in order."""

    def put(self, index: int, frames: Tensor) -> None:
        """Take output frames ``index``, ``index + 1``, ...

        Args:
            index: of the first one.
            frames: (K, H, W, C) on the host: interpolated frames float32 in 0..1, source frames as they came;
                for a :class:`NarrowSink` either may be in its dtype. Only valid until the call returns.
        """
        ...


@runtime_checkable
class NarrowSink(Sink, Protocol):
    """A sink whose frames may take fewer bytes than float32: fewer to copy from the device."""

    def narrowed(self, frames: Tensor) -> Tensor:
        """Return frames in the dtype of the sink where that takes fewer bytes, else as they are.

        Called with every interpolated frame, and with source frames that lie on a device, in order, before
        :meth:`put`.

        Args:
            frames: (K, H, W, C) on any device, as for :meth:`put`. Not written to.
        """
        ...


class BatchSink(Sink, Protocol):
    """A sink whose frames are one tensor, (N, H, W, C)."""

    @property
    def frames(self) -> Tensor:
        """(N, H, W, C) on the host; frames that are not finished yet are not defined."""
        ...


class TensorSink:
    """A sink of one tensor in main memory for all frames, allocated at once.

    Args:
        count: number of output frames.
        frame_shape: (H, W, C).
        dtype: of the result; float32 is what ComfyUI's IMAGE is. uint8 is rounded.
    """

    def __init__(self, count: int, frame_shape: FrameShape, dtype: torch.dtype = torch.float32) -> None:
        self.frames = torch.empty((count, *frame_shape), dtype=dtype, device="cpu")

    def narrowed(self, frames: Tensor) -> Tensor:
        """Return frames in the dtype of this sink where that takes fewer bytes."""
        return narrowed(frames, self.frames.dtype)

    def put(self, index: int, frames: Tensor) -> None:
        """Copy frames into the tensor."""
        self.frames[index : index + len(frames)].copy_(as_dtype(frames, self.frames.dtype))


class MappedSink:
    """A sink of one tensor in a file without a name for all frames; see :func:`.mapped.mapped_tensor`.

    It reads as a tensor like any other. Its pages are the system's file cache: they come into memory when
    they are used, and go when memory is needed for something else.

    Args:
        count: number of output frames, not 0.
        frame_shape: (H, W, C).
        folder: where the file lies.
        dtype: of the result; uint8 is rounded.

    Raises:
        MidframeError: no room on the disk, or, later, not written.
    """

    def __init__(
        self, count: int, frame_shape: FrameShape, folder: Path, dtype: torch.dtype = torch.float32
    ) -> None:
        self.frames, self._file = mapped_tensor((count, *frame_shape), dtype, folder)
        self._folder = folder
        weakref.finalize(self, self._file.close)  # the tensor may outlive this sink, and needs no open file

    def narrowed(self, frames: Tensor) -> Tensor:
        """Return frames in the dtype of this sink where that takes fewer bytes."""
        return narrowed(frames, self.frames.dtype)

    def put(self, index: int, frames: Tensor) -> None:
        """Write frames to the file.

        Raises:
            MidframeError: the disk does not take them.
        """
        pixels = as_dtype(frames, self.frames.dtype).contiguous()
        try:
            self._file.seek(index * (pixels.nbytes // len(pixels)))
            # Written and not copied into the tensor: those pages would stay the process's own.
            self._file.write(pixels.view(-1).view(torch.uint8).numpy().data)
            self._file.flush()  # the tensor must show it
        except OSError as error:
            raise MidframeError(
                "Frames cannot be written to the disk.",
                f"output frame {index}, in {self._folder}: {error}",
                "Free some room there, or choose another folder for temporary files.",
            ) from error


@dataclass(frozen=True)
class Storage:
    """Place and dtype of an output that is one tensor."""

    place: Place = "memory"
    dtype: torch.dtype = torch.float32
    """float32; float16 has half its size and steps of at most 1/2048; uint8 a quarter and steps of 1/255,
    with values 0..255."""
    folder: Path | None = None
    """For the disk; the system's folder for temporary files where it is left out."""

    def __post_init__(self) -> None:
        if self.place not in get_args(Place):
            raise BadInputError(
                "Frames cannot be stored there.", repr(self.place), f"Use one of {get_args(Place)}."
            )
        if self.dtype not in _DTYPES:
            raise BadInputError(
                "Frames cannot be stored as that.",
                str(self.dtype),
                f"Use one of {', '.join(map(str, _DTYPES))}.",
            )

    def sink(self, count: int, frame_shape: FrameShape) -> BatchSink:
        """Return a sink for ``count`` frames (H, W, C), with room for all of them.

        Raises:
            OutOfMemoryError: they do not fit into main memory, where they shall lie there.
            MidframeError: nor on the disk.
        """
        needed = count * math.prod(frame_shape) * self.dtype.itemsize
        height, width, _ = frame_shape
        demand = f"{count} frames of {width}x{height} take {needed / 2**30:.1f} GiB"
        fits = needed + _RESERVE <= available_memory()
        if needed and (self.place == "disk" or (self.place == "auto" and not fits)):
            folder = self.folder or Path(tempfile.gettempdir())
            _LOG.info("%s: they go to the disk, in %s", demand, folder)
            return MappedSink(count, frame_shape, folder, self.dtype)
        try:
            # The system would grant more than it has, and later end the process instead of the run.
            if needed <= available_with_swap():
                return TensorSink(count, frame_shape, self.dtype)
        except (RuntimeError, MemoryError):
            pass  # torch's allocator for the CPU fails with a plain RuntimeError
        raise OutOfMemoryError(
            "The output does not fit into main memory.",
            f"{demand}, {available_with_swap() / 2**30:.1f} GiB are free",
            "Let it lie on the disk, or use a lower multiplier or target fps, smaller frames or a part of "
            "the clip, or stream from file to file.",
        )
