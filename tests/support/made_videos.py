"""Interpolated videos for tests, made by the tiny model of fakes.py."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path

import torch
from fakes import LerpModel
from midframe.nodes._video_host import MadeVideo
from midframe.video import Plan, open_clip
from midframe.video.read.tensor import TensorClip
from midframe.video.stream.lazy import LazyVideo


@contextmanager
def lend(height: int, width: int, model: LerpModel | None = None) -> Iterator[LerpModel]:
    yield model or LerpModel()


def video_of(source: Path | str | torch.Tensor) -> MadeVideo:
    """A VIDEO of ours that interpolates a file or frames in memory."""
    opener = (
        partial(TensorClip, source, Fraction(24)) if torch.is_tensor(source) else partial(open_clip, source)
    )
    return MadeVideo(LazyVideo(lambda alpha: opener(alpha=alpha), Plan(), lend))
