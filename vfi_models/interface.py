"""The protocols between a network and everything that runs it.

An *architecture* recognises a state dict and builds an *interpolator* from it. An interpolator
opens a *session* for one picture size; a session encodes each source frame once and makes the
frames between two encoded ones. Features, and motion where a network has it, are values that the
caller holds: a session never remembers a frame, so pairs may come in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

StateDict = Mapping[str, Tensor]
Options = Mapping[str, Any]

# The features of a frame: only the session that made them knows what they are.
F = TypeVar("F")


@dataclass(frozen=True)
class ModelSpec:
    """Facts of a model: which network it is, and what it can do."""

    architecture: str
    """Folder of the network under ``vfi_models``: ``rife``."""
    family: str
    """Which member of the architecture: ``4.25``."""
    any_timestep: bool
    """True: ``between`` takes any t in (0, 1). False: only 1/2, and the frame loop bisects."""
    follows_extra: bool
    """True: channels past RGB are moved by the flow of the picture. False: the loop blends them."""
    dtypes: tuple[torch.dtype, ...]
    """dtypes that the convolutions may run in; flow and coordinates are float32 in all of them."""
    safe_dtypes: tuple[torch.dtype, ...]
    """Those that may be chosen for the user: in them pictures stay within 45 dB (PSNR) of float32's."""
    options: Options
    """Every option that ``open`` takes, with its default value."""
    licence: str
    """SPDX name of the licence of the network as published."""
    source: str
    """Paper and repository of the network."""


class Session(Protocol[F]):
    """One interpolator at one picture size. It owns what depends on the size, and keeps no frame."""

    def encode(self, frames: Tensor) -> F:
        """Compute what the network needs of source frames, once for both pairs of each.

        Args:
            frames: (N, C, H, W) float32 on the model's device, C >= 3, RGB first, values 0..1,
                H x W the size the session was opened for. Never written to.

        Returns:
            The features of the N frames. They stay valid until the session is closed.
        """
        ...

    def between(self, left: F, right: F, timestep: Tensor) -> Tensor:
        """Make the frames between two encoded ones.

        Args:
            left, right: features of N frames each; N is 1 (shared by all K timesteps) or K.
            timestep: (K,) float32 on the model's device, each in (0, 1); 0 is left.

        Returns:
            (K, C, H, W) float32 on the model's device, not clamped; the caller's own, which no later
            call writes over.
        """
        ...

    def close(self) -> None:
        """Release everything that the session holds on the device. May be called twice."""
        ...


@runtime_checkable
class PairSession(Session[F], Protocol[F]):
    """A session of a network part of whose work depends on the pair alone, and not on the timestep.

    The frame loop has that part computed once, however many batches the timesteps of the pair take.
    """

    def motion(self, left: F, right: F) -> Any:
        """Compute the part that depends on the pair alone: a value for :meth:`between`, valid for these
        two.
        """
        ...

    def between(self, left: F, right: F, timestep: Tensor, motion: Any = None) -> Tensor:
        """Make the frames between two encoded ones; see :class:`Session`. ``motion`` is computed where it is
        left out.
        """
        ...


@runtime_checkable
class RecordingSession(Protocol):
    """A session that may record its passes, and replay them: recordings keep memory from call to call.

    A session that records nothing need not have these methods.
    """

    def held_bytes(self) -> int:
        """Return what its recordings took from the device's driver, in bytes; 0 where there are none."""
        ...

    def drop_recordings(self) -> bool:
        """Drop all recordings, and record no more: passes run kernel by kernel from then on.

        Returns:
            Whether there were any, so that memory was given back to the driver.
        """
        ...


class Interpolator(Protocol):
    """A network with its weights.

    What runs it knows nothing of torch modules: a network compiled by another library fits as well. It can be
    copied by :func:`copy.deepcopy`.
    """

    @property
    def spec(self) -> ModelSpec:
        """Return what the model is and can do."""
        ...

    @property
    def device(self) -> torch.device:
        """Return where the model runs. Read at each use: a host may move a model."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Return what the convolutions run in; one of ``spec.dtypes``."""
        ...

    @property
    def weight_bytes(self) -> int:
        """Return the bytes that the weights take on their device."""
        ...

    def to(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Interpolator:
        """Move or convert the weights in place, and return this model.

        Raises:
            BadInputError: weights that are infinite or not a number in ``dtype``.
        """
        ...

    def open(self, height: int, width: int, options: Options | None = None) -> Session[Any]:
        """Open a session for frames of ``height`` x ``width`` (1 x 1 and up; the session pads and crops).

        Args:
            options: some of ``spec.options`` with other values.

        Raises:
            BadInputError: an option that the model does not have, or a value it cannot take.
        """
        ...

    def activation_bytes(self, height: int, width: int, options: Options | None = None) -> int:
        """Estimate the device memory, in bytes, that one timestep of one pair takes while it is computed."""
        ...

    def low_memory(self, options: Options) -> Options | None:
        """Return options for about the same picture in less memory, or None where there are none left.

        They are only used where the user allowed a changed picture.
        """
        ...


@runtime_checkable
class InterruptibleInterpolator(Protocol):
    """A model whose forward passes can be ended half-way. One that is always quick need not have this."""

    def interruptible(self, check: Callable[[], None]) -> AbstractContextManager[None]:
        """Call ``check`` often during passes of this thread while the context is open.

        Args:
            check: raises to end the pass.
        """
        ...


@dataclass(frozen=True)
class Detection:
    """The outcome of recognising a state dict."""

    architecture: str
    family: str
    state_dict: StateDict
    """The parameters under the network's own names; what only training needs is removed."""


@dataclass(frozen=True)
class Architecture:
    """An architecture: the object that a folder under ``vfi_models`` exports as ``ARCHITECTURE``."""

    name: str
    families: tuple[str, ...]
    """Every family that ``detect`` can name."""
    shapes: Callable[[str], Mapping[str, tuple[int, ...]]]
    """Names and shapes of the parameters of a family: what tests and benchmarks make weights from."""
    detect: Callable[[StateDict], Detection | None]
    """Returns None where the names say that it is another network. Raises UnsupportedWeightsError where
    the names say that it is this one and the shapes do not fit any family."""
    build: Callable[[Detection], Interpolator]
    """Returns an interpolator on the CPU in float32, loaded strictly, in eval mode, without gradients."""
