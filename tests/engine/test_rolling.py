"""Tickers and credits, which roll past as one, are moved by their own shift; nothing else is."""

import pytest
import torch
from midframe import interpolate, load_model
from midframe.benchmarks.overlays import overlay, under
from midframe.engine.rolling import rolling
from midframe.vfi_utils import Settings

SIZE = 128, 192


def textured(at: float) -> torch.Tensor:
    """A frame of two textures that move by ``at`` pixels to either side: (H, W, 3) in 0..1."""
    y, x = torch.meshgrid(*(torch.arange(side, dtype=torch.float32) for side in SIZE), indexing="ij")
    right, left = x - at, x + at
    waves = [torch.sin(right / a + y / b) + torch.sin(left / b - y / a) for a, b in ((5, 9), (7, 6), (11, 4))]
    return 0.5 + 0.2 * torch.stack(waves, -1)


def ticker(at: float) -> torch.Tensor:
    return under(textured(4.0 * at), overlay("ticker", SIZE, at))


def credits(at: float) -> torch.Tensor:
    """A texture, and right of it letters that move up over black."""
    words = overlay("ticker", (SIZE[1], SIZE[0]), at)
    bar = (slice(round(0.86 * SIZE[1]), None), slice(None))
    frame = textured(4.0 * at)
    frame[:, bar[0]] = (words[0] * words[1])[bar].transpose(0, 1)
    return frame


def put(frames: list[torch.Tensor], onto: torch.Tensor, time: float) -> torch.Tensor:
    """Return a frame with what rolls between the first and the last of some frames put over it."""
    left, right = (frame.permute(2, 0, 1)[None] for frame in (frames[0], frames[-1]))
    made = onto.clone()
    for rows in rolling(left, right):
        rows.put_over(made, time)
    return made


@pytest.mark.parametrize("drawn", [ticker, credits])
@pytest.mark.parametrize("middle", [1, 2])
def test_letters_are_where_they_are_in_the_middle_and_all_else_keeps_every_bit(drawn, middle):
    frames = [drawn(at) for at in range(4)]
    nothing = torch.full_like(frames[0], 0.25)
    made = put(frames, nothing, middle / 3)
    put_there = (made != nothing).any(-1)
    bar = slice(round(0.86 * SIZE[0 if drawn is ticker else 1]) + 1, None)
    band = (bar, slice(None)) if drawn is ticker else (slice(None), bar)
    assert float(put_there[band].float().mean()) > 0.95
    assert float((made - frames[middle])[put_there].abs().max()) < 1e-5
    outside = put_there.clone()
    outside[band] = False
    assert float(outside.float().mean()) < 0.02


def test_a_row_that_a_codec_has_changed_rolls_too():
    frames = [ticker(at) for at in range(3)]
    row = round(0.93 * SIZE[0])
    frames[2][row] += 0.1 * (torch.rand(SIZE[1], 1) - 0.5)
    made = put(frames, torch.full_like(frames[0], 0.25), 0.5)
    assert float((made[row] - frames[1][row])[8:-8].abs().max()) < 0.05


def test_letters_between_pixels_are_as_sharp_as_a_cubic_makes_them():
    frames = [ticker(at) for at in (0, 1)]
    half = put(frames, torch.zeros_like(frames[0]), 0.25)
    bar = slice(round(0.9 * SIZE[0]), None)
    # 1.5 pixels on: near the mean of the letters one and two pixels on, and sharper.
    linear = (torch.roll(frames[0], -1, 1) + torch.roll(frames[0], -2, 1)) / 2
    half, linear = half[bar, 8:-8], linear[bar, 8:-8]
    assert float((half - linear).abs().mean()) < 0.05
    assert float(half.std()) > 1.02 * float(linear.std())


@pytest.mark.parametrize("speed", [0.0, 0.5, 3.0, 8.0])
def test_nothing_rolls_in_a_picture_without(speed):
    frames = [textured(0.0), textured(speed)]
    assert torch.equal(put(frames, torch.zeros(*SIZE, 3), 0.5), torch.zeros(*SIZE, 3))


def test_a_subtitle_that_stands_and_a_ball_that_flies_do_not_roll():
    for kind in ("bare subtitle", "logo", "borders", "ball"):
        frames = [under(textured(4.0 * at), overlay(kind, SIZE, at)) for at in (0, 2)]
        assert torch.equal(put(frames, torch.zeros(*SIZE, 3), 0.5), torch.zeros(*SIZE, 3)), kind


def test_of_a_pattern_that_repeats_the_shorter_way_is_taken():
    x = torch.arange(SIZE[1]) % 16 < 8
    stripes = [torch.roll(x, 3 * at).float().expand(*SIZE)[..., None].repeat(1, 1, 3) for at in (0, 1, 2)]
    made = put(stripes, torch.zeros(*SIZE, 3), 0.5)
    assert float((made - stripes[1])[:, 8:-8].abs().max()) < 1e-5


def test_tiny_and_still_pictures_are_none():
    for size in ((1, 1), (1, 7), (3, 2), (9, 8), (1, 200), (200, 1)):
        frames = list(torch.rand(2, *size, 3))
        put(frames, torch.zeros(*size, 3), 0.5)
    still = [textured(0.0)] * 2
    assert torch.equal(put(still, torch.zeros(*SIZE, 3), 0.5), torch.zeros(*SIZE, 3))


@pytest.fixture(scope="module")
def model():
    return load_model("default", "cpu", "float32")


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_guarded_clip_has_its_ticker(model, channels):
    frames = torch.stack([ticker(at) for at in (0, 2)])
    frames = frames[..., :channels] if channels < 4 else torch.cat((frames, frames[..., :1]), -1)
    truth = ticker(1)
    truth = truth[..., :channels] if channels < 4 else torch.cat((truth, truth[..., :1]), -1)
    bar = slice(round(0.88 * SIZE[0]), None)
    errors = {}
    for guard in ("off", "auto"):
        made = interpolate(frames, model, settings=Settings(guard=guard))[1]
        errors[guard] = float((made - truth)[bar].square().mean())
    assert errors["auto"] < 0.1 * errors["off"]
