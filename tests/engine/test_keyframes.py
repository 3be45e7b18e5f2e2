"""Cuts, held frames and loops: each frame's brightness says where in the clip its picture belongs."""

from fractions import Fraction as Fr
from itertools import pairwise

import pytest
import torch
from fakes import LerpModel, ListSink
from hypothesis import given, settings
from hypothesis import strategies as st
from midframe.analysis.notes import Analysis, PairNote
from midframe.analysis.timing import Timing
from midframe.engine.keyframes import KeyedTimesteps, Keyframes
from midframe.vfi_utils import FrameLoop, by_fps, by_multiplier

some = settings(max_examples=40, deadline=None)
timelines = st.one_of(
    st.builds(by_multiplier, st.integers(1, 6), end=st.sampled_from(["end_on_last", "hold_last"])),
    st.builds(by_fps, st.just(16), st.sampled_from([24, 25, 30, 60, 12, Fr(24000, 1001)])),
)


@st.composite
def clips(draw):
    """A number of frames, and notes of some of the pairs."""
    count = draw(st.integers(1, 40))
    pairs = [
        PairNote(i, cut=kind == "cut", held="alike" if kind == "held" else "")
        for i in range(count - 1)
        if (kind := draw(st.sampled_from(["", "", "cut", "held", "held"])))
    ]
    return count, Analysis(tuple(pairs))


timings = st.builds(
    Timing,
    st.sampled_from(["hold", "blend", "extrapolate", "interpolate"]),
    st.sampled_from(["keep", "retime"]),
)


def frames_at(positions):
    return torch.tensor([float(p) for p in positions], dtype=torch.float64)[:, None, None, None].expand(
        -1, 4, 4, 3
    )


def run(frames, timeline, keyframes, parts=()):
    """Return the brightness of all output frames."""
    made, bounds = [], [0, *parts, len(frames)]
    loop = FrameLoop(KeyedTimesteps(timeline, keyframes) if keyframes is not None else timeline)
    with loop:
        for start, end in pairwise(bounds):
            last = end == len(frames)
            promised = loop.count(end - start, last=last)
            sink = ListSink()
            assert loop.feed(frames[start:end], LerpModel(), sink, last=last) == promised
            made += sink.frames
    return [float(frame[0, 0, 0]) for frame in made]


def retimed(count, starts, timeline):
    """Positions shown by a clip whose drawings begin at ``starts``, each as bright as its number over 100."""
    number = [sum(s <= i for s in starts) - 1 for i in range(count)]
    notes = [PairNote(i, held="equal") for i in range(count - 1) if number[i] == number[i + 1]]
    keyframes = Timing(held="retime").keyframes(Analysis(tuple(notes)))
    return [value * 100 for value in run(frames_at([n / 100 for n in number]), timeline, keyframes)]


@pytest.mark.long  # a hundred clips; test_a_clip_in_parts_gives_the_frames_of_one_run counts too
@some
@given(clips(), timings, timelines)
def test_the_number_of_frames_stays_whatever_is_noted(clip, timing, timeline):
    count, analysis = clip
    frames = frames_at([i / 100 for i in range(count)])
    plain = run(frames, timeline, None)
    keyed = run(frames, timeline, timing.keyframes(analysis))
    assert len(keyed) == len(plain) == timeline.count(count)
    # The picture never goes back in time, and never shows another shot before its cut.
    assert all(a <= b + 1e-7 for a, b in pairwise(keyed))
    assert all(abs(a - b) * 100 < count for a, b in zip(keyed, plain, strict=True))


@some
@given(clips(), st.sampled_from(["hold", "blend"]), timelines)
def test_a_pair_that_is_not_named_keeps_its_frames(clip, cuts, timeline):
    count, analysis = clip
    frames = frames_at([i / 100 for i in range(count)])
    plain = run(frames, timeline, None)
    keyed = run(frames, timeline, Timing(cuts).keyframes(analysis))
    for before, after in zip(plain, keyed, strict=True):
        pair = int(before * 100 + 1e-4)
        if not analysis.note(pair).cut:
            assert before == after


@some
@given(clips(), timelines)
def test_at_a_cut_the_nearer_frame_is_held(clip, timeline):
    count, analysis = clip
    frames = frames_at([i / 100 for i in range(count)])
    plain = run(frames, timeline, None)
    keyed = run(frames, timeline, Timing("hold").keyframes(analysis))
    for before, after in zip(plain, keyed, strict=True):
        position = before * 100
        pair = int(position + 1e-4)
        if analysis.note(pair).cut and abs(position - pair - 0.5) > 1e-3:
            assert after == pytest.approx((pair if position < pair + 0.5 else pair + 1) / 100)


@some
@given(clips(), timings, timelines, st.lists(st.integers(1, 39), max_size=3, unique=True))
def test_a_clip_in_parts_gives_the_frames_of_one_run(clip, timing, timeline, cuts):
    count, analysis = clip
    parts = sorted(cut for cut in cuts if cut < count)
    frames, keyframes = frames_at([i / 100 for i in range(count)]), timing.keyframes(analysis)
    assert run(frames, timeline, keyframes, parts) == run(frames, timeline, keyframes)


def test_a_pair_that_is_blended_has_means_and_costs_no_pass():
    model, sink = LerpModel(), ListSink()
    frames = (torch.rand(2, 4, 5, 3) * 255).to(torch.uint8)
    keyframes = Timing("blend").keyframes(Analysis((PairNote(0, cut=True),)))
    with FrameLoop(KeyedTimesteps(by_multiplier(4), keyframes)) as loop:
        loop.feed(frames, model, sink, last=True)
    assert not model.calls["between"]
    for frame, weight in zip(sink.frames, (0, 0.25, 0.5, 0.75, 1), strict=True):
        mean = torch.lerp(frames[0].float(), frames[1].float(), weight)
        assert frame.dtype == torch.uint8
        assert float((frame - mean).abs().max()) < 0.501


@pytest.mark.parametrize("beat", [(2,), (3,), (2, 3), (1, 1, 1, 2), (2, 2, 2, 3), (4,)])
@pytest.mark.parametrize("timeline", [by_multiplier(2), by_multiplier(5), by_fps(24, 60)])
def test_a_steady_beat_of_held_frames_becomes_a_steady_motion(beat, timeline):
    starts, at = [], 0
    while at < 80:
        starts.append(at)
        at += beat[len(starts) % len(beat)]
    shown = retimed(80, starts, timeline)
    rate = len(shown) / 80
    speed = len(beat) / sum(beat) / rate
    inner = shown[int(20 * rate) : int(60 * rate)]
    steps = [b - a for a, b in pairwise(inner)]
    # A beat whose length does not divide the window is fitted a little differently around each drawing.
    assert all(step == pytest.approx(speed, rel=0.16) for step in steps)


def test_a_drawing_that_stands_long_goes_on_standing():
    shown = retimed(60, [0, 2, 4, 6, 8, 40, 42, 44], by_multiplier(2))
    assert shown[16:77] == [pytest.approx(4.0)] * 61
    assert shown[76:81] == pytest.approx([4, 4.25, 4.5, 4.75, 5])


def test_a_drawing_held_to_the_end_stays_and_one_repeated_frame_keeps_its_time():
    shown = retimed(12, [0, 2, 4, 6], by_multiplier(2))
    assert shown[12:] == [pytest.approx(3.0)] * 11
    # One frame more or less is no beat: frames that were dropped in recording.
    single = retimed(30, [i for i in range(30) if i != 15], by_multiplier(1))
    assert single[14:17] == pytest.approx([14, 14.5, 15])


@pytest.mark.parametrize("timeline", [by_multiplier(3, end="close_loop"), by_fps(16, 40, end="close_loop")])
@pytest.mark.parametrize("parts", [(), (1,), (3, 5)])
def test_a_loop_moves_from_the_last_frame_to_the_first(timeline, parts):
    frames = frames_at([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    shown = run(frames, timeline, None, parts)
    assert len(shown) == timeline.count(6) == int(6 * (3 if timeline.source_fps == 1 else 2.5))
    after = [out.timestep for out in timeline.outputs(_gap(5, timeline), last=True)]
    assert shown[-len(after) :] == pytest.approx([float(0.6 - 0.5 * t) for t in after])
    assert run(frames, timeline, Keyframes(), parts) == shown


def test_a_loop_of_one_frame_and_of_none():
    timeline = by_multiplier(3, end="close_loop")
    assert run(frames_at([0.3]), timeline, None) == pytest.approx([0.3] * 3)
    assert run(frames_at([]), timeline, None) == []


def _gap(index, timeline):
    from midframe.engine.timeline import gap_at

    return gap_at(index, timeline.source_fps)
