"""Write folders of numbered pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, get_args

import av
import numpy as np
import torch
from PIL import Image, features
from torch import Tensor

from ...engine.light import SRGB, light_of
from ...engine.timeline import Moment
from ...errors import BadInputError, MidframeError
from ..read.clip import RGB_FORMATS, ClipInfo, Colour
from ..read.colour import Converter, is_rgb
from ..read.images import LIGHT_FORMATS, planes_of_light, split_pattern

Images = Literal["png", "tiff", "jpg", "webp", "avif", "exr"]
"""Files that a folder of pictures can be made of."""
IMAGES: tuple[Images, ...] = get_args(Images)

_SPELLINGS: dict[str, Images] = {"jpeg": "jpg", "tif": "tiff"}
_BYTE, _DEEP = 8, 16


@dataclass(frozen=True)
class _Kind:
    encoder: str
    """FFmpeg's name; empty where Pillow encodes."""
    formats: Mapping[tuple[int, int], str]
    """Pixel formats by the bits of a channel and the number of channels."""
    options: Mapping[str, str] = field(default_factory=dict)
    full_range: bool = False
    """Of YUV, whose matrix is that of BT.601 in picture files of any height."""
    quantizer: int | None = None


_RGB8 = {(8, 3): "rgb24", (8, 4): "rgba"}
_KINDS: dict[Images, _Kind] = {
    "png": _Kind("png", {**_RGB8, (16, 3): "rgb48be", (16, 4): "rgba64be"}),
    "tiff": _Kind(
        "tiff", {**_RGB8, (16, 3): "rgb48le", (16, 4): "rgba64le"}, {"compression_algo": "deflate"}
    ),
    "jpg": _Kind("mjpeg", {(8, 3): "yuvj444p", (8, 4): "yuvj444p"}, full_range=True, quantizer=2),
    "webp": _Kind("libwebp", {(8, 3): "yuv420p", (8, 4): "yuva420p"}, {"quality": "92"}),
    # FFmpeg's encoders of AV1 have 4:2:0 alone, no odd sizes and no transparency.
    "avif": _Kind("", _RGB8, {"quality": "90", "subsampling": "4:4:4"}),
    "exr": _Kind("exr", LIGHT_FORMATS, {"compression": "zip16"}),
}


def require_images(images: str) -> None:
    """Check that pictures of a type can be written here.

    Raises:
        BadInputError: there is no such type, or this PyAV or Pillow cannot encode it.
    """
    kind = next((kind for name, kind in _KINDS.items() if name == images), None)
    if kind is None:
        raise BadInputError(
            "Pictures of this type cannot be written.", repr(images), f"Use {', '.join(IMAGES)}."
        )
    here = kind.encoder in av.codecs_available if kind.encoder else bool(features.check(images))
    if not here:
        wanted = (
            f"PyAV with FFmpeg's encoder {kind.encoder}" if kind.encoder else "Pillow 11.3 or later with AVIF"
        )
        raise BadInputError(
            f"{images.upper()} pictures cannot be written here.", f"no {wanted}", "Use png or tiff."
        )


def picture_bits(bits: int, images: Images) -> int:
    """Return 8 or 16, the bits of a channel in a folder of pictures from a source that has ``bits``."""
    depths = {depth for depth, _ in _KINDS[images].formats}
    return max(depths) if bits > _BYTE else min(depths)


@dataclass(frozen=True)
class Numbering:
    """The names of numbered pictures."""

    before: str = ""
    digits: int = 8
    after: str = ".png"
    first: int = 0

    def __call__(self, index: int) -> str:
        """Return the name of picture ``index``, counted from 0."""
        return f"{self.before}{self.first + index:0{self.digits}d}{self.after}"

    @classmethod
    def of(cls, path: Path, images: Images, first: int) -> Numbering:
        """Return the numbering of an output: that of a pattern, or of a folder."""
        if images_named(path) is None:
            return cls(after=f".{images}", first=first)
        before, digits, after = split_pattern(path.name)
        return cls(before, int(digits or 1), after, first)

    def holds(self, name: str) -> bool:
        """Tell whether a file has a name of this kind."""
        return bool(re.fullmatch(f"{re.escape(self.before)}[0-9]+{re.escape(self.after)}", name))


def images_named(path: Path) -> Images | None:
    """Return the type of pictures of a pattern such as ``out/frame_%04d.exr``; None where a path is none."""
    suffix = path.suffix[1:].lower()
    name = _SPELLINGS.get(suffix, suffix)
    images = next((each for each in IMAGES if each == name), None)
    return images if split_pattern(path.name) else None


def transfer_of(source: ClipInfo) -> int:
    """Return the transfer of a clip's frames, see :func:`~...engine.light.light_of`."""
    return SRGB if source.colour is None else source.colour.transfer


class FolderWriter:
    """A folder of numbered pictures.

    Args:
        path: the folder, which must not exist yet.
        bits: 8 or 16, of a channel.
        images: what they are.
        numbering: their names; numbers of 8 digits from 0 on where it is left out.
        transfer: of the frames, see :func:`~...engine.light.light_of`; EXR holds light.
    """

    def __init__(
        self,
        path: Path,
        bits: int,
        images: Images = "png",
        *,
        numbering: Numbering | None = None,
        transfer: int = SRGB,
    ) -> None:
        require_images(images)
        self._path = path
        self._bits = bits
        self._images = images
        self._numbering = numbering or Numbering(after=f".{images}")
        self._transfer = transfer
        self._count = 0
        self._encode: Callable[[Tensor], bytes] | None = None
        self.headers = b""
        path.mkdir()

    def write(self, pixels: Tensor, moment: Moment) -> None:
        """See :class:`~.encode.Writer`."""
        if self._encode is None:
            self._encode = self._encoder(pixels)
        data = self._encode(pixels)
        file = self._path / self._numbering(self._count)
        try:
            file.write_bytes(data)
        except OSError as error:
            raise MidframeError(
                "A picture cannot be written.", f"{file}: {error}", "Check that the disk has room."
            ) from error
        self._count += 1

    def close(self, *, whole: bool) -> None:
        """See :class:`~.encode.Writer`."""

    def drop(self) -> None:
        """See :class:`~.encode.Writer`."""

    def _encoder(self, pixels: Tensor) -> Callable[[Tensor], bytes]:
        if self._images == "exr":
            return _Light(self._transfer)
        if self._images == "avif":
            return _avif
        return _Stored(_KINDS[self._images], self._bits, pixels)


class _Stored:
    """Encodes stored values through FFmpeg.

    Args:
        kind: of picture.
        bits: 8 or 16, of a channel.
        pixels: (H, W, C), like those that come.
    """

    def __init__(self, kind: _Kind, bits: int, pixels: Tensor) -> None:
        height, width, channels = pixels.shape
        self._kind = kind
        self._source = RGB_FORMATS[bits, channels]
        # Frames of 16 bit are little-endian in memory; PNG wants the other order.
        target = kind.formats[bits, channels]
        colour = None if is_rgb(target) else Colour(matrix=5, full_range=kind.full_range)
        self._convert = Converter((height, width), self._source, target, colour)

    def __call__(self, pixels: Tensor) -> bytes:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels.numpy()), format=self._source)
        return _encoded(self._convert(frame), self._kind)


class _Light:
    """Encodes linear light, as EXR files hold it, with colours multiplied by alpha.

    Args:
        transfer: of the stored values, see :func:`~...engine.light.light_of`.
    """

    def __init__(self, transfer: int) -> None:
        self._transfer = transfer

    def __call__(self, pixels: Tensor) -> bytes:
        height, width, channels = pixels.shape
        light = light_of(pixels.to(torch.float32) / torch.iinfo(pixels.dtype).max, self._transfer).numpy()
        frame = av.VideoFrame(width, height, LIGHT_FORMATS[_DEEP, channels])
        for plane, values in planes_of_light(frame).items():
            values[:] = light[..., plane]
        return _encoded(frame, _KINDS["exr"])


def _encoded(frame: av.VideoFrame, kind: _Kind) -> bytes:
    # A new one for each picture: an encoder that was flushed takes no more frames.
    encoder: Any = av.CodecContext.create(kind.encoder, "w")
    encoder.options = dict(kind.options)
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, frame.format.name
    if kind.quantizer is not None:
        encoder.qmin = encoder.qmax = kind.quantizer
    # A picture has no time, but FFmpeg opens no encoder without a time base.
    encoder.time_base = Fraction(1, 1)
    return b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))


def _avif(pixels: Tensor) -> bytes:
    options = _KINDS["avif"].options
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.numpy())).save(
        file, "AVIF", quality=int(options["quality"]), subsampling=options["subsampling"]
    )
    return file.getvalue()
