"""At a cut the motion of either shot goes on: where things are is known to the pixel."""

import logging
from fractions import Fraction as Fr

import pytest
import torch
from fakes import ListSink, PanModel
from midframe import interpolate
from midframe.analysis.notes import Analysis, PairNote
from midframe.analysis.parts import PartTimesteps
from midframe.analysis.timing import Timing
from midframe.api import load_model
from midframe.engine.extrapolation import carried_on, velocity
from midframe.engine.keyframes import Keyframes, Sides
from midframe.vfi_models.interface import Session
from midframe.vfi_utils import FrameLoop, Settings, by_multiplier

WIDTH = 40
CUT = Analysis((PairNote(2, cut=True),))


def shot(brightness, places):
    """Frames of a bump that stands at ``places``; their mean brightness says how :class:`PanModel` moves them."""
    x = torch.arange(WIDTH, dtype=torch.float32)
    bump = torch.stack([torch.exp(-((x - place) ** 2) / 18) for place in places])[:, None, :, None]
    frames = torch.zeros(len(places), 6, WIDTH, 3)
    frames[..., 1] = bump[..., 0]
    frames[..., 2] = bump[..., 0]
    frames[..., 0] = torch.tensor(brightness)[:, None, None]
    return frames


def place(frame):
    """Return the column of the bump."""
    bump = frame[0, :, 1]
    return float((bump * torch.arange(WIDTH)).sum() / bump.sum())


def clip():
    """Two shots of three frames each: the model moves the first by 4 pixels a frame, the second by -2."""
    first = shot([0.1, 0.5, 0.9], [12, 16, 20])
    second = shot([0.9, 0.7, 0.5], [28, 26, 24])
    return torch.cat((first, second))


def places(frames, law="extrapolate", analysis=CUT, multiplier=4, **settings):
    made = interpolate(
        frames, PanModel(), multiplier, timing=Timing(law), analysis=analysis, settings=Settings(**settings)
    )
    return [place(frame) for frame in made]


@pytest.mark.parametrize("workers", [1, 2])
def test_both_shots_move_on_to_the_cut(workers):
    made = places(clip(), cpu_workers=workers)
    # Frames 8 to 12 lie between the last of one shot and the first of the next.
    assert made[8:13] == pytest.approx([20, 21, 29, 28.5, 28], abs=0.15)
    assert places(clip(), "hold")[8:13] == pytest.approx([20, 20, 28, 28, 28], abs=0.15)


def test_frames_away_from_cuts_keep_every_bit():
    clips = [
        interpolate(clip(), PanModel(), 4, timing=Timing(law), analysis=CUT)
        for law in ("hold", "extrapolate")
    ]
    same = [torch.equal(a, b) for a, b in zip(*clips, strict=True)]
    assert [i for i, each in enumerate(same) if not each] == [9, 10, 11]


@pytest.mark.parametrize(
    ("notes", "stands"),
    [
        ({"held": "alike"}, (True, True)),
        ({"flash": True}, (True, True)),
        ({"dissolve": True}, (True, True)),
        ({"cut": True}, (True, True)),
        ({}, (False, False)),
    ],
)
@pytest.mark.parametrize("side", [1, 3])
def test_a_frame_stands_where_its_shot_does_not_say_how_it_moves(side, notes, stands):
    analysis = Analysis(tuple(sorted((*CUT.pairs, PairNote(side, **notes)), key=lambda note: note.index)))
    made = places(clip(), analysis=analysis)
    held = abs(made[9] - 20) < 0.15, abs(made[11] - 28) < 0.15
    assert held == ((stands[0], False) if side == 1 else (False, stands[1]))


def test_a_drawing_that_follows_a_held_one_stands():
    notes = (PairNote(0, held="equal"), *CUT.pairs, PairNote(4, held="equal"))
    assert Timing("extrapolate").keyframes(Analysis(notes)).extrapolated == {2: Sides(False, False)}


@pytest.mark.parametrize(("first", "second"), [(1, 3), (3, 1), (1, 1), (2, 2)])
def test_a_shot_of_one_frame_stands(first, second):
    frames = torch.cat((clip()[3 - first : 3], clip()[3 : 3 + second]))
    at = 4 * (first - 1)
    made = places(frames, analysis=Analysis((PairNote(first - 1, cut=True),)))
    assert made[at + 1] == pytest.approx(20 if first == 1 else 21, abs=0.15)
    assert made[at + 3] == pytest.approx(28 if second == 1 else 28.5, abs=0.15)


@pytest.mark.parametrize("bounds", [(1,), (2,), (3,), (4,), (5,), (1, 2, 3, 4, 5)])
@pytest.mark.parametrize("known", [True, False])
def test_a_clip_in_parts_gives_the_frames_of_one_run(bounds, known):
    frames, whole = clip(), ListSink()
    timeline = by_multiplier(3)
    timing = Timing("extrapolate")
    with FrameLoop(timing.timesteps(timeline, lambda: CUT)) as loop:
        loop.feed(frames, PanModel(), whole, last=True)
    steps = timing.timesteps(timeline, lambda: CUT) if known else PartTimesteps(timeline, timing)
    made = []
    with FrameLoop(steps) as loop:
        for begin, end in zip((0, *bounds), (*bounds, len(frames)), strict=True):
            if not known:  # as a batch that is looked at when it comes
                steps.keyframes = timing.keyframes(CUT) if end > 3 else Keyframes()
            sink, last = ListSink(), end == len(frames)
            promised = loop.count(end - begin, last=last)
            assert loop.feed(frames[begin:end].clone(), PanModel(), sink, last=last) == promised
            made += sink.frames
    assert torch.equal(torch.stack(made), torch.stack(whole.frames))


@pytest.mark.parametrize("channels", [1, 3, 4, 6])
@pytest.mark.parametrize("guard", ["off", "auto"])
@pytest.mark.parametrize("levels", ["keep", "match"])
def test_every_kind_of_picture_moves_on(channels, guard, levels):
    frames = clip()[..., 1:2].repeat(1, 1, 1, channels)
    frames[..., 0] = (frames[..., 0] + clip()[..., 0]) / 2
    made = interpolate(
        frames, PanModel(), 2, timing=Timing("extrapolate"), analysis=CUT,
        settings=Settings(guard=guard, levels=levels),
    )  # fmt: skip
    assert made.shape[-1] == channels
    assert torch.isfinite(made).all()
    assert not torch.equal(made[5], frames[3])


def test_a_model_that_moves_no_extra_channels_holds_and_says_so_once(caplog):
    model = PanModel(follows_extra=False)
    frames = torch.cat((clip(), clip()))
    cuts = Analysis((PairNote(2, cut=True), PairNote(5, cut=True), PairNote(8, cut=True)))
    with caplog.at_level(logging.WARNING):
        made = interpolate(frames, model, 4, timing=Timing("extrapolate"), analysis=cuts)
    held = interpolate(frames, PanModel(), 4, timing=Timing("hold"), analysis=cuts)
    assert torch.equal(made[8:13], held[8:13])
    assert sum("the nearer frame is held" in record.message for record in caplog.records) == 1


def test_a_model_of_middles_moves_on_by_any_part():
    class Middle(PanModel):
        def between(self, left, right, timestep):
            assert timestep.tolist() == [0.5]
            return super().between(left, right, timestep)

    made = interpolate(clip(), Middle(any_timestep=False), 4, timing=Timing("extrapolate"), analysis=CUT)
    assert [place(frame) for frame in made[8:13]] == pytest.approx([20, 21, 29, 28.5, 28], abs=0.15)


def test_the_built_in_model_says_how_a_picture_moves():
    noise = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(3))
    wide = torch.nn.functional.interpolate(noise, (96, 128), mode="bicubic", align_corners=False).clamp(0, 1)
    left, right = wide[..., 8:72, 8:104], wide[..., 6:70, 4:100]
    with torch.inference_mode():
        motion = velocity(load_model("default", "cpu").open(64, 96), left, right, lambda: None)
        moved = carried_on(right, motion, 1.5)
    inner = motion[..., 16:-16, 16:-16].flatten(2).median(2).values
    assert inner.flatten().tolist() == pytest.approx([4, 2], abs=0.3)
    error = (moved - wide[..., 5:69, 2:98])[..., 16:-16, 16:-16].abs().mean()
    assert error < 0.25 * (right - wide[..., 5:69, 2:98])[..., 16:-16, 16:-16].abs().mean()


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (9, 16)])
def test_velocity_is_that_of_the_flow_at_any_size(size):
    left, right = torch.rand(1, 3, *size) / 2, torch.rand(1, 3, *size) / 2
    right[:, 0] = left[:, 0] + 0.1
    session: Session = PanModel().open(*size)
    motion = velocity(session, left, right, lambda: None)
    inner = motion[..., size[1] // 4 : size[1] - size[1] // 4]
    expected = 1.0 if size[1] > 1 else 0.0
    # The map of places is 0..1 in float32: its last place is up to 1e-4 pixels at these widths.
    assert torch.allclose(inner[:, 0], torch.full_like(inner[:, 0], expected), atol=1e-3)
    assert float(motion[:, 1].abs().max()) < 1e-3
    for time in (Fr(1), Fr(0)):
        # At either end no motion is left: a warp by nothing, but for the rounding of its sampling.
        assert torch.allclose(carried_on(left, motion, float(time)), left, atol=1e-5)
