"""ComfyUI's AUDIO, as other packs make it too, as the sound of a clip."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from ..errors import BadInputError
from ..inputs.numbers import whole
from ..inputs.objects import described
from ..video.read.clip import Waveform

_LOG = logging.getLogger(__name__)

_BATCH = 3
_CHANNELS = 2


def sound_of(audio: Any) -> Waveform | None:
    """Return the sound that an AUDIO holds; None where it holds none.

    Args:
        audio: a mapping with ``waveform``, (B, C, T) of which a clip has the first, or (C, T), and
            ``sample_rate``. None and an empty mapping are no sound, as for ComfyUI's own nodes.

    Raises:
        BadInputError: it is something else.
    """
    if audio is None or (hasattr(audio, "__len__") and not len(audio)):
        return None
    if isinstance(audio, Tensor):
        audio = {"samples": audio}
    try:
        samples, rate = audio["waveform"], audio["sample_rate"]
    except (TypeError, KeyError):
        samples, rate = audio, None
    if not isinstance(samples, Tensor) or rate is None or samples.ndim not in (_BATCH, _CHANNELS):
        raise BadInputError(
            "This is not the sound of a video.",
            described(samples),
            "Connect Load Audio, the audio of Get Video Components, or nothing.",
        )
    if samples.ndim == _BATCH:
        samples = samples[:1].flatten(0, 1)
    if not len(samples):
        return None
    samples = samples.detach().cpu().float()
    if not torch.isfinite(samples).all():
        # Encoders refuse it at the end of a film that is otherwise made.
        _LOG.warning("Sound without a value (NaN or infinity) is silence.")
        samples = samples.nan_to_num(0.0, 0.0, 0.0)
    return Waveform(samples, whole(rate, "the sample rate of the sound", least=1))
