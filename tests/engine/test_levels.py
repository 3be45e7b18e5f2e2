"""Steps of exposure between two frames are found, matched and put back; nothing else is touched."""

import itertools

import pytest
import torch
from clips import pictures
from midframe import interpolate, load_model
from midframe.engine.levels import Step, sampled, step_between
from midframe.errors import BadInputError
from midframe.vfi_utils import Settings

SIZE = 96, 128


def clip(count: int = 2, channels: int = 3) -> torch.Tensor:
    """Frames that move: (N, H, W, C) float32 in 0..0.6."""
    frames = torch.stack([torch.from_numpy(p) for p in pictures(count, SIZE, channels=channels)])
    return 0.1 + frames.float() / 510


def found(left: torch.Tensor, right: torch.Tensor) -> Step | None:
    return step_between(sampled(left), sampled(right))


@pytest.mark.parametrize("gain", [1.5, 1.1, 1.03, 1 / 1.03, 0.7])
def test_a_step_of_exposure_is_found_where_the_picture_moves(gain):
    left, right = clip()
    step = found(left, right * gain)
    assert step is not None
    assert step.gains == pytest.approx((gain,) * 3, rel=0.015)


def test_motion_alone_is_no_step():
    frames = clip(6)
    assert not any(found(a, b) for a, b in itertools.pairwise(frames))


def test_a_lamp_in_one_half_of_the_picture_is_no_step():
    left, right = clip()
    right[:, : SIZE[1] // 2 + 20] *= 1.2
    assert found(left, right) is None


def test_a_change_of_one_colour_alone_is_no_step():
    left, right = clip()
    right[..., 0] *= 1.3
    assert found(left, right) is None


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_a_step_is_found_in_whole_numbers_too(dtype):
    left, right = clip()
    full = 255 if dtype == torch.uint8 else 65535
    steps = found((left * full).round().to(dtype), (right * 1.1 * full).round().to(dtype))
    assert steps is not None
    assert steps.gains == pytest.approx((1.1,) * 3, rel=0.015)


def test_only_the_brighter_frame_is_darkened_and_alpha_is_left_alone():
    left, right = clip(channels=4)
    a, b = Step((1.25, 1.25, 1.25)).matched(left, right)
    assert a is left
    assert torch.equal(b[..., 3], right[..., 3])
    assert torch.allclose(b[..., :3], right[..., :3] / 1.25)
    a, b = Step((0.8, 0.8, 0.8)).matched(left, right)
    assert b is right
    assert torch.allclose(a[..., :3], left[..., :3] * 0.8)


def test_what_is_put_back_lies_on_the_line_between_both_levels():
    frames = torch.full((3, 2, 2, 4), 0.5)
    step = Step((1.2, 0.9, 1.0))
    step.put_back(frames, [0, 0.5, 1])
    expected = torch.tensor([[1.0, 1 / 0.9, 1.0], [1.1, 0.95 / 0.9, 1.0], [1.2, 1.0, 1.0]]) * 0.5
    assert torch.allclose(frames[:, 0, 0, :3], expected)
    assert bool((frames[..., 3] == 0.5).all())


@pytest.mark.parametrize("schedule", ["any_t", "bisect"])
def test_a_still_picture_under_a_step_changes_its_level_alone(schedule):
    model = load_model("default", "cpu", "float32")
    (left,) = clip(1)
    pair = torch.stack((left, left * 1.3))
    kept = interpolate(pair, model, 4, settings=Settings(schedule=schedule, levels="keep"))
    matched = interpolate(pair, model, 4, settings=Settings(schedule=schedule, levels="match"))
    expected = torch.stack([left * (1 + 0.3 * k / 4) for k in range(5)])
    assert torch.equal(matched[0], left)
    assert torch.equal(matched[4], pair[1])
    errors = [float((frames - expected).abs().max()) for frames in (matched, kept)]
    assert errors[0] < 0.005
    assert errors[1] > 2 * errors[0]


def test_frames_without_a_step_are_the_same_bit_for_bit():
    model = load_model("default", "cpu", "float32")
    frames = clip(3)
    kept = interpolate(frames, model, settings=Settings(levels="keep"))
    assert torch.equal(kept, interpolate(frames, model, settings=Settings(levels="match")))


def test_the_pair_after_a_step_is_made_of_the_frames_as_they_are():
    model = load_model("default", "cpu", "float32")
    frames = clip(4)
    frames[2:] *= 1.3
    kept = interpolate(frames, model, settings=Settings(levels="keep"))
    matched = interpolate(frames, model, settings=Settings(levels="match"))
    same = [torch.equal(a, b) for a, b in zip(kept, matched, strict=True)]
    assert same == [True, True, True, False, True, True, True]


def test_black_and_white_have_no_step():
    black, white = torch.zeros(*SIZE, 3), torch.ones(*SIZE, 3)
    assert found(black, white) is None
    assert found(black, black) is None
    assert found(white, white) is None


def test_flat_and_tiny_pictures_have_no_step():
    flat = torch.full((*SIZE, 3), 0.4)
    assert found(flat, flat * 1.25) is None
    assert found(torch.full((1, 1, 1), 0.4), torch.full((1, 1, 1), 0.5)) is None
    left, right = torch.rand(2, 7, 8, 3, generator=torch.Generator().manual_seed(1))
    assert found(left, right) is None


def test_another_word_for_levels_is_refused():
    with pytest.raises(BadInputError, match="way with levels"):
        Settings(levels="pinned")
