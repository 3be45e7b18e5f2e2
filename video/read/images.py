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
from .opening import open_image, open_source
from .orientation import orientation_of_picture

_LOG = logging.getLogger(__name__)

# %d, %4d or %04d: the number of digits, if any, is its group.
_PATTERN = re.compile(r"%0?([0-9]*)d")
_EXTENSIONS = {".png", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".bmp", ".webp", ".avif", ".exr"}
# Taken where there is none of the above: beside frames in PNG, a GIF is a preview of them.
_RARER = {
    *(".gif", ".jp2", ".j2k", ".j2c", ".dpx", ".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".pfm", ".pcx"),
    *(".sgi", ".ras", ".qoi", ".hdr", ".jls", ".psd", ".dds"),
}
LIGHT_FORMATS = {(16, 3): "gbrpf32le", (16, 4): "gbrapf32le"}
"""FFmpeg's names of pixels of light in EXR files, by the bits that frames of them have here, and channels."""
_HALF, _DEEP = 16, 16
_OPAQUE = 255
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


def _twins(names: list[str]) -> str:
    """Return the first two files of a name that differ only in their type; empty where none do."""
    same = ((a, b) for a, b in pairwise(names) if Path(a).stem == Path(b).stem)
    return next((f"{a} and {b}" for a, b in same), "")


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
    files = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in _EXTENSIONS | _RARER
        and not file.name.startswith(".")
        and wanted.fullmatch(file.name)
        # A link that leads nowhere stays: that a picture is missing is to be said.
        and not file.is_dir()
    ]
    usual = [file for file in files if file.suffix.lower() in _EXTENSIONS]
    return sorted(usual or files, key=lambda file: natural_key(file.name))


class ImageFolder:
    """The images of a folder, or those that a pattern means, in natural order, at a constant rate.

    The first one says size, depth and transparency of all; the others are converted to these.
    """

    def __init__(self, path: Path, *, rate: Fraction, alpha: bool) -> None:
        self._files = pictures_of(path)
        if not self._files:
            raise BadInputError(
                "There are no images in this folder.",
                str(path),
                f"Give a folder of {', '.join(sorted(_EXTENSIONS | _RARER))} files.",
            )
        missing = _gap([file.stem for file in self._files])
        if missing:
            _LOG.warning("%s: picture %s is missing; the next one is taken for it.", path.name, missing)
        twins = _twins([file.name for file in self._files])
        if twins:
            _LOG.warning("%s: %s are one after the other, though of one name.", path.name, twins)
        # Of the others, none is opened yet: a folder may hold a hundred thousand.
        first = _decode(self._files[0])
        _say_pages(self._files[0], path.name)
        transposed = orientation_of_picture(first, self._files[0]).transposed
        self._first = 0
        # Whether or not it is asked for.
        self._clear = has_alpha(first.format)
        self._said: set[str] = set()
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
        orientation = orientation_of_picture(frame, file)
        height, width = self.info.height, self.info.width
        stored = (width, height) if orientation.transposed else (height, width)
        size = (frame.height, frame.width)
        self._say_lost(file, frame, scaled=size != stored)
        # One for each picture: files of a folder may differ in format. JPEG is YUV, though the clip is
        # RGB: its matrix and range are those of the file.
        convert = Converter(
            size,
            frame.format.name,
            self.info.pixel_format,
            colour_of(frame),
            scaled_to=None if size == stored else stored,
        )
        return torch.from_numpy(orientation.apply(convert(frame).to_ndarray()))

    def _say_lost(self, file: Path, frame: av.VideoFrame, *, scaled: bool) -> None:
        """Say what a picture has that the first one has not, and the clip therefore loses."""
        info = self.info
        if scaled:
            size = f"{frame.width} x {frame.height}"
            self._say_once(size, f"{file.name} is {size}: it is scaled to the size of the first picture")
        bits = max(component.bits for component in frame.format.components)
        if bits > info.bits:
            self._say_once(
                "bits", f"{file.name} has {bits} bits, of which the {info.bits} of the first are kept"
            )
        # A palette may be transparent, and hardly ever is.
        if has_alpha(frame.format) and not self._clear and not frame.format.has_palette:
            self._say_once(
                "alpha", f"{file.name} is transparent, which the first picture is not; that is lost"
            )

    def _say_once(self, kind: str, text: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            _LOG.warning("%s: %s.", self.info.path.name, text)

    def _graded(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return a picture of linear light as sRGB of 16 bits; light above 1 is cut, which is said once."""
        planes = planes_of_light(frame)
        alpha = has_alpha(frame.format)
        # One plane is grey: of all three colours.
        channels = [planes.get(index, planes[0]) for index in range(4 if alpha else 3)]
        light = torch.from_numpy(np.stack(channels, -1).astype(np.float32))
        stored = stored_of(light.nan_to_num().clamp(min=0), SRGB)
        if bool((stored > 1 + _ROUNDING).any()):
            self._say_once("light", "there is light above 1, which is cut")
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


def other_sizes_of(path: Path) -> list[tuple[int, int]]:
    """Return the sizes, (height, width), of the middle and the last picture, but that of the first.

    A look and no proof: of a hundred thousand, three are opened.
    """
    files = pictures_of(path)
    first, *others = (_upright_size(file) for file in (files[0], files[len(files) // 2], files[-1]))
    return sorted({size for size in others if size not in (None, first)})


def _pages(picture: Image.Image) -> int:
    """Return how many pictures are in a file."""
    return int(getattr(picture, "n_frames", 1))


def _say_pages(file: Path, folder: str) -> None:
    """Say that only the first picture of a file is taken where it has more."""
    try:
        with open_image(file) as picture:
            count = _pages(picture)
    except OSError:  # what FFmpeg reads and Pillow does not
        return
    if count > 1:
        _LOG.warning("%s: %s holds %d pictures, of which the first is taken.", folder, file.name, count)


def _upright_size(file: Path) -> tuple[int, int] | None:
    try:
        frame = _decode(file)
    except BadInputError:  # said when it is read
        return None
    transposed = orientation_of_picture(frame, file).transposed
    return (frame.width, frame.height) if transposed else (frame.height, frame.width)


def _decode(file: Path) -> av.VideoFrame:
    try:
        if file.suffix.lower() in (".avif", ".webp"):
            with open_image(file) as picture:
                # FFmpeg reads the transparency of AVIF as a second film, and (8.1) no animated WebP at all.
                clear = file.suffix.lower() == ".avif" and picture.has_transparency_data
                if clear or (picture.format == "WEBP" and _pages(picture) > 1):
                    mode = "RGBA" if picture.has_transparency_data else "RGB"
                    pixels = np.array(picture.convert(mode))
                    return av.VideoFrame.from_ndarray(pixels, format="rgba" if mode == "RGBA" else "rgb24")
        with open_source(file) as container:
            frame: av.VideoFrame = next(container.decode(video=0))
            # JPEG of CMYK, and any GIF, comes with an alpha that is opaque: there is none in the file.
            codec = container.streams.video[0].codec_context.name
            if codec == "mjpeg" and has_alpha(frame.format):
                return frame.reformat(format="gbrp")
            opaque = codec == "gif" and bool((frame.to_ndarray(format="rgba")[..., 3] == _OPAQUE).all())
            return frame.reformat(format="rgb24") if opaque else frame
    except (av.error.FFmpegError, OSError, StopIteration) as error:
        empty = file.is_file() and not file.stat().st_size
        raise BadInputError(
            "This image cannot be read.",
            f"{file}: {'the file is empty' if empty else error}",
            "Save it again, or take it out of the folder.",
        ) from error
