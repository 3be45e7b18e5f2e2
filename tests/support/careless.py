"""Values that careless scripts and graphs pass, good and bad."""

from decimal import Decimal
from fractions import Fraction as Fr

import numpy as np
import torch
from PIL import Image

TWO = [
    2.0,
    np.float32(2),
    np.int64(2),
    np.uint8(2),
    np.array(2),
    np.array([2.0]),
    torch.tensor(2),
    torch.tensor(2.0),
    torch.tensor([2], dtype=torch.bfloat16),
    torch.tensor(2.0, requires_grad=True),
    Fr(2),
    Decimal("2.00"),
    "2",
    " 2 ",
    "2.0",
    "4/2",
]

NO_MULTIPLIER = [
    0,
    -1,
    0.5,
    -2.5,
    1e9,
    float("nan"),
    float("inf"),
    "nan",
    "inf",
    "abc",
    "",
    "1/0",
    "1e999999999",
    10**5000,
    True,
    np.True_,
    torch.tensor(True),
    torch.tensor(2, device="meta"),
    2 + 0j,
    None,
    b"2",
    {},
    {2},
    object(),
    Decimal("sNaN"),
    np.zeros((2, 2)),
    torch.ones(2, 2),
    [2, "x"],
    [2, 2.5],
    [2, -1],
    [10**9],
    [True],
    [[2]],
]

F = torch.rand(2, 6, 7, 3)
NO_FRAMES = {
    "list": [F[0], F[1]],
    "tuple": (F[0],),
    "empty list": [],
    "one picture": F[0],
    "mask": F[..., 0],
    "one mask": F[0, ..., 0],
    "scalar": torch.tensor(1.0),
    "empty": torch.zeros(0),
    "five dimensions": F[None],
    "channels first": torch.rand(2, 3, 64, 192),
    "channels first, small": torch.rand(2, 3, 8, 8),
    "grey, channels first": torch.rand(2, 1, 8, 8),
    "seventeen channels": torch.rand(2, 6, 7, 17),
    "two channels": F[..., :2],
    "one of two channels": F[:1, ..., :2],
    "none of two channels": F[:0, ..., :2],
    "int64": F.long(),
    "int8": F.to(torch.int8),
    "bool": F.bool(),
    "complex": F.to(torch.complex64),
    "sparse": F.to_sparse(),
    "meta": F.to("meta"),
    "no rows": F[:, :0],
    "no columns": F[:1, :, :0],
    "no channels": F[..., :0],
    "numpy": F.numpy(),
    "PIL": Image.new("RGB", (4, 4)),
    "latent": {"samples": F},
    "None": None,
    "text": "frames.mp4",
    "number": 3,
    "type": torch.Tensor,
}


def named(value: object) -> str:
    """A short name for a case; some have no text."""
    return type(value).__name__
