"""A watcher and the cuts, flashes, dissolves, held frames, motion and loops that it is to see."""

import pytest
import torch
import torch.nn.functional as F
from clips import write_clip
from hypothesis import given, settings
from hypothesis import strategies as st
from midframe.analysis.notes import PairNote
from midframe.analysis.watch import Watcher, analyse
from midframe.errors import BadInputError
from midframe.video import open_clip

HEIGHT, WIDTH = 160, 240


def scene(seed: int, width: int = 3 * WIDTH) -> torch.Tensor:
    """Return a picture (HEIGHT, width, 3) uint8 with detail at three sizes."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(1, 3, HEIGHT, width)
    for cells in (5, 12, 40):
        noise = torch.rand(1, 3, cells, cells * width // HEIGHT, generator=generator)
        total += F.interpolate(noise, (HEIGHT, width), mode="bicubic") / 3
    return total.clamp(0, 1).mul(255).to(torch.uint8)[0].permute(1, 2, 0).contiguous()


def pan(seed: int, frames: int, speed: int = 3) -> list[torch.Tensor]:
    whole = scene(seed)
    return [whole[:, i * speed : i * speed + WIDTH].clone() for i in range(frames)]


def grain(frames: list[torch.Tensor], size: float) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [
        (frame + size * torch.randn(frame.shape, generator=generator)).clamp(0, 255).to(torch.uint8)
        for frame in frames
    ]


def test_a_cut_is_seen_where_it_is():
    notes = analyse(pan(1, 10) + pan(2, 10)).pairs
    assert [note.index for note in notes if note.cut] == [9]


@pytest.mark.parametrize("only_cuts", [True, False])
@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_short_shot_begins_and_ends_with_a_cut(length, only_cuts):
    """Each of its cuts stands near the other one, which is no motion that it has to stand out from."""
    notes = analyse(pan(1, 10) + pan(2, length) + pan(3, 10), only_cuts=only_cuts).pairs
    assert [note.index for note in notes if note.cut] == [9, 9 + length]


def test_short_shots_follow_each_other():
    notes = analyse(pan(1, 10) + pan(2, 3) + pan(3, 2) + pan(4, 3) + pan(5, 10)).pairs
    assert [note.index for note in notes if note.cut] == [9, 12, 14, 17]


def test_where_every_picture_is_another_one_none_is_a_shot():
    """Slides, or a generator's noise, have no shots; nor have drawings on threes that have nothing in common."""
    pictures = [pan(seed, 1)[0] for seed in range(14)]
    for frames in (pictures, [picture for picture in pictures for _ in range(3)]):
        assert not any(note.cut for note in analyse(frames).pairs)


def jump(before: list[int], after: list[int]) -> list[torch.Tensor]:
    """Return frames of a take, by how far it has moved; after the jump a part of the picture is another one."""
    one, other = scene(1), scene(2)
    late = [one[:, at : at + WIDTH].clone() for at in after]
    for frame in late:
        frame[40:110, 60:160] = other[40:110, 60:160]
    return [one[:, at : at + WIDTH].clone() for at in before] + late


def test_a_jump_within_a_slow_take_is_a_cut():
    """Motion would explain most of it; but the take moves by a pixel a frame, and jumps by twelve."""
    frames = jump([*range(10)], [*range(21, 31)])
    for only_cuts in (True, False):
        notes = analyse(frames, only_cuts=only_cuts).pairs
        assert [note.index for note in notes if note.cut] == [9]


def test_a_jump_is_no_cut_between_drawings_nor_where_motion_begins():
    """The same step after frames that stand, and among steps as large."""
    stands = jump([9] * 10, [*range(21, 31)])
    begins = jump([*range(10)], [*range(21, 141, 12)])
    for frames in (stands, begins):
        assert not any(note.cut for note in analyse(frames, only_cuts=True).pairs)


def test_cuts_into_and_out_of_black_are_cuts():
    black = [torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8)] * 9
    notes = analyse(pan(1, 10) + black + pan(2, 10)).pairs
    assert [note.index for note in notes if note.cut] == [9, 18]


@pytest.mark.parametrize("speed", [1, 8, 20])
def test_a_pan_is_no_cut_and_its_speed_is_told(speed):
    notes = analyse(pan(1, 12, speed)).pairs
    assert not any(note.cut or note.held for note in notes)
    assert all(abs(note.motion - speed) < 2 for note in notes)


def test_a_flash_is_no_cut():
    frames = pan(1, 16)
    for i in (7, 8):
        frames[i] = (frames[i].float() * 0.1 + 255 * 0.9).to(torch.uint8)
    notes = analyse(frames).pairs
    assert not any(note.cut for note in notes)
    assert notes[6].flash
    assert notes[8].flash


def dissolved(left, right):
    share = [min(max((i - 9) / 10, 0), 1) for i in range(30)]
    mixed = [(a * (1 - s) + b * s).to(torch.uint8) for a, b, s in zip(left, right, share, strict=True)]
    return analyse(mixed).pairs


def test_a_dissolve_is_no_cut():
    assert not any(note.cut for note in dissolved(pan(1, 30), pan(2, 30)))


def test_a_dissolve_between_still_shots_is_seen():
    left, right = (pan(seed, 1) * 30 for seed in (1, 2))
    assert sum(note.dissolve for note in dissolved(left, right)[9:20]) >= 5


def test_a_dissolve_between_moving_shots_is_seen():
    assert sum(note.dissolve for note in dissolved(pan(1, 30), pan(2, 30))[9:20]) >= 5


def test_frames_on_twos_are_equal_and_under_grain_alike():
    frames = [frame for frame in pan(1, 10) for _ in range(2)]
    expected = ["equal" if i % 2 == 0 else "" for i in range(19)]
    assert [note.held for note in analyse(frames).pairs] == expected
    grainy = [note.held for note in analyse(grain(frames, 4.0)).pairs]
    assert grainy == ["alike" if held else "" for held in expected]


@pytest.mark.parametrize("crf", [18, 23])
def test_frames_on_threes_are_alike_under_a_codec(tmp_path, crf):
    frames = [frame for frame in grain(pan(1, 8), 2.0) for _ in range(3)]
    path = write_clip(tmp_path / "in.mp4", [frame.numpy() for frame in frames], options={"crf": str(crf)})
    with open_clip(path) as clip:
        notes = analyse(frame.pixels for frame in clip).pairs
    assert [bool(note.held) for note in notes] == [i % 3 != 2 for i in range(23)]


def test_what_moves_a_little_beside_what_moves_much_is_not_held():
    """A ball that moves in every frame while the camera moves in every third; a slow pan that ends at a cut."""
    frames = [frame for frame in pan(1, 8, 6) for _ in range(3)]
    for i, frame in enumerate(frames := [frame.clone() for frame in frames]):
        frame[80:90, 20 + 7 * i : 30 + 7 * i] = 250
    assert not any(note.held for note in analyse(frames).pairs)
    slow = [
        F.interpolate(frame[None].permute(0, 3, 1, 2).float(), scale_factor=0.5) for frame in pan(1, 12, 1)
    ]
    small = [frame[0].permute(1, 2, 0).to(torch.uint8) for frame in slow]
    other = [frame[::2, ::2].contiguous() for frame in pan(2, 12, 1)]
    assert not any(note.held for note in analyse(small + other).pairs)


def test_a_small_ball_is_not_held():
    frames = [pan(1, 1)[0] for _ in range(10)]
    for i, frame in enumerate(frames):
        frame[80:86, 60 + 3 * i : 66 + 3 * i] = 250
    assert not any(note.held for note in analyse(grain(frames, 2.0)).pairs)


def test_a_slow_pan_is_not_held():
    whole = scene(1, WIDTH + 4).float()
    frames = []
    for i in range(10):
        left, share = divmod(i * 0.25, 1)
        a, b = whole[:, int(left) :][:, :WIDTH], whole[:, int(left) + 1 :][:, :WIDTH]
        frames.append((a * (1 - share) + b * share).to(torch.uint8))
    assert not any(note.held for note in analyse(grain(frames, 2.0)).pairs)


def test_a_step_of_brightness_is_told_with_its_size():
    frames = pan(1, 12)
    frames[6:] = [(frame * 0.9).to(torch.uint8) for frame in frames[6:]]
    notes = analyse(frames).pairs
    assert notes[5].gain == pytest.approx(0.9, abs=0.02)
    assert all(note.gain == 1.0 for note in notes if note.index != 5)


def test_a_circle_is_a_loop_and_a_line_is_none():
    whole = scene(3, 2 * WIDTH)
    circle = [whole.roll(-40 * i, 1)[:, :WIDTH] for i in range(12)]
    assert analyse(circle).loop
    assert not analyse(pan(3, 12, 8)).loop


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=10))
def test_every_pair_is_noted_once_in_order_and_in_time(picks):
    pictures = [scene(seed, WIDTH)[:40, :60].contiguous() for seed in range(6)]
    watcher = Watcher()
    noted = []
    for given_frames, pick in enumerate(picks, 1):
        noted += watcher.push(pictures[pick])
        assert len(noted) == max(0, given_frames - Watcher.LOOK_AHEAD)
    noted += watcher.finish()
    assert [note.index for note in noted] == list(range(max(0, len(picks) - 1)))
    # The same of copies, of a batch, and of other memory layouts.
    if picks:
        clip = torch.stack([pictures[pick] for pick in picks])
        assert analyse(clip).pairs == tuple(noted)
        assert analyse(clip.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)).pairs == tuple(noted)


def test_dtypes_and_channels_see_the_same_cut():
    frames = torch.stack(pan(1, 8) + pan(2, 8))
    for clip in (frames, frames / 255, frames.int().mul(257).to(torch.uint16), frames[..., :1]):
        assert [note.index for note in analyse(clip).pairs if note.cut] == [7]


def test_tiny_pictures_are_watched_too():
    for shape in ((6, 1, 1, 3), (6, 2, 9, 1), (6, 31, 5, 4)):
        assert len(analyse(torch.rand(shape, generator=torch.Generator().manual_seed(1))).pairs) == 5


def test_the_older_measure_goes_by_its_name():
    frames = [frame for frame in pan(1, 6) for _ in range(2)] + pan(2, 6)
    notes = analyse(frames, "ssim32").pairs
    assert notes[0] == PairNote(0, held="equal")
    with pytest.raises(BadInputError, match="measure"):
        Watcher("ssim33")


def test_another_size_is_refused_with_its_number():
    watcher = Watcher()
    watcher.push(torch.zeros(8, 8, 3))
    with pytest.raises(BadInputError, match="frame 1"):
        watcher.push(torch.zeros(8, 9, 3))
