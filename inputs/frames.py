"""Check frames from links and scripts: whether they are pictures, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..errors import BadInputError
from .objects import described

MOST_CHANNELS = 16
"""RGB, alpha and a dozen masks. Where there are more, another dimension was taken for the channels."""

_CLIP = 4
_PICTURE = 3
# Channels of a flow field, which is no picture.
_FLOW = 2
_INTEGERS = (torch.uint8, torch.uint16)
_ALPHA = 4
# Pictures of so few rows and more channels than RGBA are pictures whose channels come first.
_CHANNELS = (1, 3, _ALPHA)

_LAYOUT = "Give float frames in 0..1, uint8 or uint16, with 1, 3 or more channels, which come last."
# By the type of what arrived in place of frames.
_ADVICE = {
    "list": "Make one tensor of them: torch.stack(frames); in ComfyUI, a batch.",
    "tuple": "Make one tensor of them: torch.stack(frames); in ComfyUI, a batch.",
    "ndarray": "Use torch.from_numpy(frames).",
    "dict": "Take the frames out of it; a latent goes through VAE Decode first.",
    "NoneType": "Connect frames.",
}
_DIMENSIONS = {
    2: "One mask has no batch and no channels: frames[None, ..., None].",
    3: "One picture has no batch: frames.unsqueeze(0). Masks have no channels: frames.unsqueeze(-1), or "
    "Convert Mask to Image.",
    5: "Join the clips, which come first: frames.flatten(0, 1).",
}


def require_clip(frames: Any) -> Tensor:
    """Return ``frames`` if they are a batch of pictures.

    Args:
        frames: (N, H, W, C), N of 0 or more; see :func:`checked_pictures`.

    Raises:
        BadInputError: another type or number of dimensions, or no pictures.
    """
    if not isinstance(frames, Tensor) or frames.ndim != _CLIP:
        kind = (
            _DIMENSIONS.get(frames.ndim) if isinstance(frames, Tensor) else _ADVICE.get(type(frames).__name__)
        )
        raise BadInputError(
            "Frames must be one tensor (frames, height, width, channels).",
            described(frames),
            kind or "Stack pictures (height, width, channels) into one tensor.",
        )
    _require_picture(frames, "These frames are no pictures.")
    return frames


def checked_pictures(source: Any, *, first: int = 0, like: Tensor | None = None) -> Iterator[Tensor]:
    """Return an iterator of the frames of ``source``, each looked at before it is used.

    Args:
        source: a clip (N, H, W, C), or an iterable of frames (H, W, C), dense tensors with data: float in
            0..1, uint8 or uint16; C of 1, or 3 to :data:`MOST_CHANNELS`.
        first: number of its first one in the clip.
        like: an earlier frame of the clip.

    Raises:
        BadInputError: not that, at once; or a frame that is no picture or has another size than the first,
            when its turn comes.
    """
    if isinstance(source, Tensor):
        require_clip(source)
    elif not isinstance(source, Iterable):
        raise BadInputError(
            "Frames must be a tensor (frames, height, width, channels), or tensors one by one.",
            described(source),
            _ADVICE.get(type(source).__name__, _LAYOUT),
        )
    return _checked(source, first, like)


def _checked(source: Iterable[Any], first: int, like: Tensor | None) -> Iterator[Tensor]:
    shape = None if like is None else like.shape
    for i, frame in enumerate(source, first):
        wrong = f"Source frame {i} is not a picture."
        if not isinstance(frame, Tensor) or frame.ndim != _PICTURE:
            advice = _ADVICE["ndarray"] if hasattr(frame, "__array__") else _LAYOUT
            raise BadInputError(wrong, f"{described(frame)}; expected (height, width, channels)", advice)
        _require_picture(frame, wrong)
        if shape is not None and frame.shape != shape:
            raise BadInputError(
                f"Source frame {i} has another size than the first.",
                f"{tuple(frame.shape)}, expected {tuple(shape)}",
                "Scale all frames to one size, or cut the clip where the size changes.",
            )
        shape = frame.shape
        yield frame


def _require_picture(frames: Tensor, wrong: str) -> None:
    """Check the type of ``frames`` (..., H, W, C), and these three."""
    found = f"{described(frames)}; expected (height, width, channels)"
    picture = frames.dtype in _INTEGERS or frames.dtype.is_floating_point
    # Sparse, nested and quantized ones, and those without data, are Tensors too, but cannot be read as
    # frames.
    dense = frames.layout == torch.strided and not (frames.is_nested or frames.is_quantized or frames.is_meta)
    if not dense:
        kind = f"{frames.layout} on {frames.device}" + (", quantized" if frames.is_quantized else "")
        raise BadInputError(wrong, f"{found}, dense and with data; these are {kind}", _LAYOUT)
    height, width, channels = frames.shape[-3:]
    if not picture or 0 in (height, width, channels) or channels == _FLOW:
        raise BadInputError(wrong, found, _LAYOUT)
    if channels > MOST_CHANNELS or (channels > _ALPHA and height in _CHANNELS):
        raise BadInputError(
            wrong,
            f"{found}, at most {MOST_CHANNELS} channels",
            "Where the channels come first, move them to the end: frames.movedim(-3, -1).",
        )
