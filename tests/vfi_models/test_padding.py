"""Padding to the size that a network needs, for any picture and any target, against numpy's."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from midframe.vfi_models._ops.padding import pad_frames, pad_to, round_up

SIDES = st.integers(1, 9)
ROOM = st.integers(0, 40)
"""Padding: up to many times the side, so that a mirror has to be mirrored again."""
MODES = st.sampled_from(["zeros", "reflect"])
DTYPES = st.sampled_from([torch.float32, torch.float16, torch.uint8])


def picture(height, width, dtype=torch.float32, channels=3):
    count = channels * height * width
    return (torch.arange(1, count + 1) % 251).to(dtype).view(1, channels, height, width)


def padded(image, below, right, mode):
    return np.pad(image.numpy(), ((0, 0), (0, 0), (0, below), (0, right)), mode=mode)


@given(SIDES, SIDES, ROOM, ROOM, MODES, DTYPES)
def test_a_padded_picture_is_numpys(height, width, below, right, mode, dtype):
    image = picture(height, width, dtype)
    result = pad_to(image, height + below, width + right, mode)
    assert result.dtype == dtype
    expected = padded(image, below, right, {"zeros": "constant"}.get(mode, mode))
    assert np.array_equal(result.numpy(), expected)
    assert (result is image) == (below == right == 0)


@given(SIDES, SIDES, ROOM, ROOM, MODES, st.integers(3, 6))
def test_other_channels_are_padded_by_their_edge_whatever_the_picture_is(
    height, width, below, right, mode, channels
):
    frames = picture(height, width, channels=channels)
    size = height + below, width + right
    rgb, extra = pad_frames(frames, *size, mode)
    assert torch.equal(rgb, pad_to(frames[:, :3], *size, mode))
    if channels == 3:
        assert extra is None
    else:
        assert np.array_equal(extra.numpy(), padded(frames[:, 3:], below, right, "edge"))


@given(st.integers(0, 10_000), st.integers(1, 512))
def test_a_size_is_rounded_up_to_the_next_multiple(size, multiple):
    rounded = round_up(size, multiple)
    assert rounded % multiple == 0
    assert 0 <= rounded - size < multiple
