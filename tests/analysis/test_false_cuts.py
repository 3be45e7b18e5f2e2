"""What only looks like a cut is none, on both ways to look for cuts."""

import pytest
import torch
import torch.nn.functional as F
from midframe.analysis.watch import analyse

SIDE = 160


def picture(seed, side=SIDE):
    """Return soft blobs (side, side, 3) in 0..1."""
    noise = torch.rand(1, 3, side // 8, side // 8, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, (side, side), mode="bicubic").clamp(0, 1)[0].permute(1, 2, 0)


def shot(count=16):
    """Return a window (SIDE, SIDE) that moves slowly over a larger picture."""
    large = picture(0, SIDE + 64)
    return torch.stack([large[i : i + SIDE, 2 * i : 2 * i + SIDE] for i in range(count)])


def strobe(period):
    frames = shot()
    frames[4:-4:period] = torch.lerp(frames[4:-4:period], torch.ones(()), 0.6)
    return frames


def shaking():
    large = picture(0, SIDE + 64)
    moves = torch.randint(0, 24, (16, 2), generator=torch.Generator().manual_seed(1)).tolist()
    return torch.stack([large[y : y + SIDE, x : x + SIDE] for y, x in moves])


def explosion():
    frames = shot(20)
    line = torch.arange(SIDE, dtype=torch.float32)
    far = torch.hypot(line[:, None] - 60, line[None] - 90)
    for i in range(12):
        disc = torch.sigmoid((18.0 * min(i + 1, 6) - far) / 8)[..., None] * min(1.0, (12 - i) / 8)
        frames[4 + i] = torch.lerp(frames[4 + i], torch.ones(()), disc)
    return frames


def held(length):
    frames = shot()[torch.arange(16) // length * length]
    grain = torch.randn(frames.shape, generator=torch.Generator().manual_seed(2))
    return (frames + grain * 3 / 255).clamp(0, 1)


CLIPS = {
    "a strobe": lambda: strobe(3),
    "shaking": shaking,
    "an explosion": explosion,
    "animation on twos with grain": lambda: held(2),
    "animation on threes with grain": lambda: held(3),
}


@pytest.mark.parametrize("only_cuts", [True, False])
@pytest.mark.parametrize("name", CLIPS)
def test_what_only_looks_like_a_cut_is_none(name, only_cuts):
    notes = analyse(CLIPS[name](), only_cuts=only_cuts).pairs
    assert [note.index for note in notes if note.cut] == []


@pytest.mark.parametrize("only_cuts", [True, False])
def test_a_cut_beside_a_strobe_is_still_one(only_cuts):
    other = torch.stack([torch.roll(picture(7), i, 1) for i in range(12)])
    notes = analyse(torch.cat((strobe(4), other)), only_cuts=only_cuts).pairs
    assert [note.index for note in notes if note.cut] == [15]


@pytest.mark.parametrize("curve", [1.0, 1 / 2.2], ids=["linear", "linear light"])
@pytest.mark.parametrize("only_cuts", [True, False])
def test_the_last_step_of_a_fade_is_none(only_cuts, curve):
    share = (torch.arange(7, -1, -1) / 8) ** curve
    other = torch.stack([torch.roll(picture(7), i, 1) for i in range(16)])
    out, back = shot(), other.clone()
    out[-8:] *= share[:, None, None, None]
    back[:8] *= share.flip(0)[:, None, None, None]
    notes = analyse(torch.cat((out, torch.zeros(4, SIDE, SIDE, 3), back)), only_cuts=only_cuts).pairs
    assert [note.index for note in notes if note.cut] == []


@pytest.mark.parametrize("level", [0.0, 1.0], ids=["black", "white"])
@pytest.mark.parametrize("only_cuts", [True, False])
def test_a_cut_with_a_frame_of_one_colour_in_it_is_found(only_cuts, level):
    other = torch.stack([torch.roll(picture(7), i, 1) for i in range(12)])
    clip = torch.cat((shot(), torch.full((1, SIDE, SIDE, 3), level), other))
    notes = analyse(clip, only_cuts=only_cuts).pairs
    assert [note.index for note in notes if note.cut] == [15, 16]
