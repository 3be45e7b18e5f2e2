"""Pictures of a report: thumbnails, a contact sheet, and maps of where a made frame is wrong."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..memory.staging import as_dtype

_GAIN = 4
"""Errors are drawn so many times as large."""
_COLUMNS, _LABEL = 4, 16
_GROUND, _TEXT = (28, 28, 30), (210, 210, 210)


def thumbnail(frame: Tensor, width: int = 240) -> Any:
    """Return a small picture (PIL, RGB) of a frame (H, W, C), floats in 0..1 or uint8 or uint16."""
    from PIL import Image  # noqa: PLC0415 - ComfyUI has it, the pack alone need not

    pixels = as_dtype(frame[..., :3], torch.uint8)
    # A grey frame has its one channel three times.
    image = Image.fromarray(pixels.expand(-1, -1, 3).contiguous().numpy())
    image.thumbnail((width, 10 * width))
    return image


def error_map(made: Tensor, truth: Tensor, width: int = 240) -> Any:
    """Return a picture of the absolute difference of two frames (H, W, 3) in 0..1, four times as large."""
    return thumbnail((made - truth).abs().mean(-1, keepdim=True).mul(_GAIN).clamp(0.0, 1.0), width)


def data_uri(image: Any) -> str:
    """Return a picture as an address that holds it, as a JPEG."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def contact_sheet(thumbnails: Iterable[tuple[str, Any]]) -> Any:
    """Return one picture of thumbnails with a line of text each, four in a row."""
    from PIL import Image, ImageDraw  # noqa: PLC0415 - see above

    shown: Sequence[tuple[str, Any]] = list(thumbnails)
    width, height = (max(size) for size in zip(*(image.size for _, image in shown), strict=True))
    rows = -(-len(shown) // _COLUMNS)
    sheet = Image.new("RGB", (min(_COLUMNS, len(shown)) * width, rows * (height + _LABEL)), _GROUND)
    draw = ImageDraw.Draw(sheet)
    for index, (text, image) in enumerate(shown):
        left, top = index % _COLUMNS * width, index // _COLUMNS * (height + _LABEL)
        draw.text((left + 3, top + 2), text, _TEXT)
        sheet.paste(image, (left, top + _LABEL))
    return sheet
