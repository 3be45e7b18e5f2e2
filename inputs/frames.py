"""Check frames from links and scripts: whether they are pictures, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
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


def clip_of(frames: Any) -> Tensor:
    """Return frames as one batch (N, H, W, C), as video generators and image libraries hand them over.

    Args:
        frames: a tensor or array (N, H, W, C) or (N, C, H, W), or a list of pictures: PIL images, arrays or
            tensors of one size; also a batch of one such clip. Floats are in 0..1. Where channels may be
            first or last, they are last.

    Raises:
        BadInputError: it is none of these.
    """
    if isinstance(frames, (list, tuple)) and frames:
        frames = _stacked(frames)
    if isinstance(frames, np.ndarray):
        # A copy: an array may be read-only, with its rows in another order.
        frames = torch.from_numpy(np.array(frames, order="C"))
    if isinstance(frames, Tensor):
        frames = frames[0] if frames.ndim > _CLIP and len(frames) == 1 else frames
        channels_first = frames.ndim == _CLIP and frames.shape[1] in _CHANNELS
        if channels_first and frames.shape[-1] not in _CHANNELS:
            frames = frames.movedim(1, -1)
        frames = frames.detach().cpu()
        frames = frames.float() if frames.dtype.is_floating_point else frames
    return require_clip(frames)


def _stacked(pictures: Sequence[Any]) -> Any:
    """Return pictures of one size as one tensor or array; a list of clips is its only one."""
    if len(pictures) == 1 and (isinstance(pictures[0], (list, tuple)) or np.ndim(pictures[0]) == _CLIP):
        return _stacked(pictures[0]) if isinstance(pictures[0], (list, tuple)) else pictures[0]
    if any(hasattr(picture, "convert") for picture in pictures):  # PIL: palettes and the like are no pixels
        pictures = [
            picture.convert("RGBA" if "A" in picture.getbands() else "RGB")
            if hasattr(picture, "convert")
            else picture
            for picture in pictures
        ]
    try:
        if isinstance(pictures[0], Tensor):
            return torch.stack(list(pictures))
        return np.stack([np.asarray(picture) for picture in pictures])
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadInputError(
            "These frames are not of one kind and size.",
            f"{len(pictures)}, the first is {described(pictures[0])}: {error}",
            "Give PIL images, arrays or tensors that all have the size of the first.",
        ) from error


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
