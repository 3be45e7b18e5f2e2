"""Folders of images as clips."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from math import floor
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import av.container
import av.error
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ...engine.light import SRGB, stored_of
from ...errors import BadInputError
from .clip import RGB_FORMATS, ClipInfo, Frame, FrameTime
from .colour import Converter, colour_of, has_alpha
from .opening import file_address
from .orientation import orientation_of_picture

_LOG = logging.getLogger(__name__)

# %d, %4d or %04d: the number of digits, if any, is its group.
_PATTERN = re.compile(r"%0?([0-9]*)d")
_EXTENSIONS = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".avif", ".exr"}
LIGHT_FORMATS = {(16, 3): "gbrpf32le", (16, 4): "gbrapf32le"}
"""FFmpeg's names of pixels of light in EXR files, by the bits that frames of them have here, and channels."""
_HALF, _DEEP = 16, 16
_FULL = 2**_DEEP - 1
# Above 1 by less than half a step of 16 bits is no light that is lost.
_ROUNDING = 0.5 / _FULL


def natural_key(name: str) -> list[tuple[int, str]]:
    """Return a sort key by which ``frame2`` comes before ``frame10``."""
    # The split gives text and digits by turns, so that at any place numbers meet numbers. Only the digits of
    # ASCII: str.isdigit() holds for a raised 2 as well, of which int() makes no number.
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if index % 2 else (-1, part.lower()) for index, part in enumerate(parts)]


def _gap(names: list[str]) -> str:
    """Return which number is missing first in a numbered sequence; empty where none is, or no sequence."""
    numbers = [found[-1] for name in names if (found := re.findall(r"[0-9]+", name))]
    if len(numbers) != len(names):
        return ""
    pairs = ((int(a), int(b)) for a, b in pairwise(numbers))
    missing = [(a, b) for a, b in pairs if b > a + 1]
    steps = sum(b == a + 1 for a, b in ((int(a), int(b)) for a, b in pairwise(numbers)))
    # Where numbers that follow each other are the exception, they count something else than frames.
    return f"{missing[0][0] + 1}" if missing and steps >= len(missing) else ""


def split_pattern(name: str) -> list[str]:
    """Return what is before the number of a pattern such as ``f_%04d.png``, its digits, and what is after it.

    Returns:
        Empty where the name is no pattern.
    """
    parts = _PATTERN.split(name, maxsplit=1)
    return parts if len(parts) > 1 else []


def is_pattern(path: Path) -> bool:
    """Tell whether a path means numbered pictures, as ``shot_%04d.png`` does, and is no file itself."""
    return bool(split_pattern(path.name)) and path.parent.is_dir() and not path.exists()


def pictures_of(path: Path) -> list[Path]:
    """Return the pictures of a folder, or those that a pattern means, in natural order of their names."""
    if path.is_dir():
        folder, wanted = path, re.compile(".*")
    else:
        before, digits, after = split_pattern(path.name)
        # As FFmpeg counts: %04d is four digits, or more where the number has more.
        least = int(digits or 1)
        number = f"([1-9][0-9]{{{least},}}|[0-9]{{{least}}})"
        folder, wanted = path.parent, re.compile(re.escape(before) + number + re.escape(after))
    return sorted(
        (
            file
            for file in folder.iterdir()
            if file.suffix.lower() in _EXTENSIONS
            and not file.name.startswith(".")
            and wanted.fullmatch(file.name)
        ),
        key=lambda file: natural_key(file.name),
    )


class ImageFolder:
    """The images of a folder, or those that a pattern means, in natural order, at a constant rate.

    The first one says size, depth and transparency of all; the others are converted to its depth.
    """

    def __init__(self, path: Path, *, rate: Fraction, alpha: bool) -> None:
        self._files = pictures_of(path)
        if not self._files:
            raise BadInputError(
                "There are no images in this folder.",
                str(path),
                f"Give a folder of {', '.join(sorted(_EXTENSIONS))} files.",
            )
        missing = _gap([file.stem for file in self._files])
        if missing:
            _LOG.warning("%s: picture %s is missing; the next one is taken for it.", path.name, missing)
        # Of the others, none is opened yet: a folder may hold a hundred thousand.
        first = _decode(self._files[0])
        transposed = orientation_of_picture(first, self._files[0]).transposed
        self._first = 0
        self._cut = False
        self.info = ClipInfo(
            path=path,
            height=first.width if transposed else first.height,
            width=first.height if transposed else first.width,
            bits=_DEEP if _is_light(first) else max(c.bits for c in first.format.components),
            alpha=alpha and has_alpha(first.format),
            rate=rate,
            tick=1 / rate,
            frames_estimate=len(self._files),
        )

    def start_at(self, time: Fraction) -> None:
        """See :class:`~.clip.Clip`."""
        self._first = max(0, min(floor(time * self.info.rate), len(self._files) - 1))

    def __iter__(self) -> Iterator[Frame]:
        """See :class:`~.clip.Clip`."""
        duration = 1 / self.info.rate
        for index in range(self._first, len(self._files)):
            yield Frame(self._read(self._files[index]), index * duration, duration)

    def times(self) -> Iterator[FrameTime]:
        """See :class:`~.clip.TimedClip`."""
        duration = 1 / self.info.rate
        return (FrameTime(index * duration, duration) for index in range(len(self._files)))

    def __enter__(self) -> ImageFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: no file is open."""

    def _read(self, file: Path) -> Tensor:
        frame = _decode(file)
        if _is_light(frame):
            frame = self._graded(frame)
        size = (frame.height, frame.width)
        # One for each picture: files of a folder may differ in format. JPEG is YUV, though the clip is
        # RGB: its matrix and range are those of the file.
        convert = Converter(size, frame.format.name, self.info.pixel_format, colour_of(frame))
        return torch.from_numpy(orientation_of_picture(frame, file).apply(convert(frame).to_ndarray()))

    def _graded(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return a picture of linear light as sRGB of 16 bits; light above 1 is cut, which is said once."""
        planes = planes_of_light(frame)
        alpha = has_alpha(frame.format)
        # One plane is grey: of all three colours.
        channels = [planes.get(index, planes[0]) for index in range(4 if alpha else 3)]
        light = torch.from_numpy(np.stack(channels, -1).astype(np.float32))
        stored = stored_of(light.nan_to_num().clamp(min=0), SRGB)
        if not self._cut and bool((stored > 1 + _ROUNDING).any()):
            self._cut = True
            _LOG.warning("%s has light above 1, which is cut.", self.info.path.name)
        deep = (stored.clamp(0, 1) * _FULL).round().to(torch.uint16).numpy()
        return av.VideoFrame.from_ndarray(deep, format=RGB_FORMATS[_DEEP, len(channels)])


def _is_light(frame: av.VideoFrame) -> bool:
    """Tell whether the samples of a picture are floats, which are linear light."""
    return bool(re.search("f(16|32)(le|be)$", frame.format.name))


def planes_of_light(frame: av.VideoFrame) -> dict[int, npt.NDArray[Any]]:
    """Return views of the samples of a picture of light, (H, W), by channel: RGB and alpha, or grey alone."""
    kind = np.float16 if frame.format.components[0].bits == _HALF else np.float32
    # FFmpeg keeps green first.
    order = (1, 2, 0, 3) if len(frame.planes) > 1 else (0,)
    return {
        channel: np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : plane.width]  # type: ignore[call-overload]
        for channel, plane in zip(order, frame.planes, strict=False)
    }


def _decode(file: Path) -> av.VideoFrame:
    try:
        if file.suffix.lower() == ".avif":
            # FFmpeg reads its transparency as a second film.
            with Image.open(file) as picture:
                if picture.has_transparency_data:
                    return av.VideoFrame.from_ndarray(np.array(picture.convert("RGBA")), format="rgba")
        with av.open(file_address(file)) as container:
            frame: av.VideoFrame = next(container.decode(video=0))
            return frame
    except (av.error.FFmpegError, OSError, StopIteration) as error:
        raise BadInputError(
            "This image cannot be read.", f"{file}: {error}", "Save it again, or take it out of the folder."
        ) from error
