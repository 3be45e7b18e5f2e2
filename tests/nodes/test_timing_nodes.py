"""Clip Timing and Look at Clip, and what they change in the nodes that make frames."""

import numpy as np
import pytest
import torch
from fakes import LerpModel
from midframe import NODE_CLASS_MAPPINGS, interpolate, load_model
from midframe.analysis.notes import Analysis, PairNote
from midframe.analysis.parts import PartTimesteps
from midframe.analysis.timing import Timing
from midframe.errors import BadInputError
from midframe.nodes._meta_batch import Batches
from midframe.nodes._timing import ClipTiming
from midframe.vfi_utils import FrameLoop, Settings, by_multiplier

SHOT = 8


def clip(shots=3, size=(64, 96)):
    """Shots of moving blocks, each with blocks of its own."""
    frames = []
    for shot in range(shots):
        blocks = np.kron(np.random.default_rng(shot).random((4, 6)), np.ones((16, 16)))
        frames += [np.repeat(np.roll(blocks, i, 1)[..., None], 3, 2) for i in range(SHOT)]
    return torch.from_numpy(np.stack(frames)).float()


def node(name):
    return NODE_CLASS_MAPPINGS[name]()


def made(frames, **inputs):
    return node("MidframeRIFE").interpolate(frames, "default", multiplier=2, **inputs)[0]


def test_a_node_holds_the_nearer_frame_at_a_cut():
    frames = clip(2)[SHOT - 2 : SHOT + 2]
    held = made(frames)
    assert torch.equal(held[3], frames[2])
    (timing,) = node("MidframeTiming").timing("interpolate", "keep")
    mixed = made(frames, timing=timing)
    assert not torch.equal(mixed[3], frames[2])
    assert torch.equal(held[:3], mixed[:3])
    assert torch.equal(held[4:], mixed[4:])


def test_what_is_found_is_text_that_can_be_corrected():
    frames = clip()
    analysis, text = node("MidframeAnalyse").analyse(frames=frames)
    assert [note.index for note in analysis.pairs if note.cut] == [SHOT - 1, 2 * SHOT - 1]
    assert Analysis.from_json(text) == analysis
    none = Analysis(()).to_json()
    (timing,) = node("MidframeTiming").timing("hold", "keep", none, analysis)
    assert timing.analysis == Analysis(())
    (timing,) = node("MidframeTiming").timing("hold", "keep", " ", analysis)
    assert timing.analysis is analysis
    check = NODE_CLASS_MAPPINGS["MidframeTiming"].VALIDATE_INPUTS
    assert check(text) is True
    assert check(None) is True
    assert "no JSON" in check("{")


@pytest.mark.parametrize("links", [{}, {"frames": torch.zeros(1, 8, 8, 3), "video": object()}])
def test_one_clip_is_looked_at(links):
    with pytest.raises(BadInputError, match="One clip"):
        node("MidframeAnalyse").analyse(**links)


@pytest.mark.parametrize("bounds", [(5, 11, 24), (8, 16, 24), (1, 2, 9, 24), (7, 24)])
def test_batches_find_the_cuts_of_the_whole_clip(bounds):
    frames = clip()
    whole = interpolate(frames, LerpModel(), 3)
    manager, batches = Manager(), Batches()
    parts, start = [], 0
    for end in bounds:
        manager.has_closed_inputs = end == len(frames)
        with batches.loop(manager, None, lambda: FrameLoop(ClipTiming().in_parts(by_multiplier(3)))) as (
            loop,
            last,
        ):
            assert isinstance(loop.timeline, PartTimesteps)
            loop.timeline.look(frames[start:end], lambda: None)
            out = torch.empty(loop.count(end - start, last=last), *frames.shape[1:])
            loop.feed(frames[start:end], LerpModel(), Into(out), last=last)
            parts.append(out)
        start = end
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(whole[3 * SHOT - 2], frames[SHOT - 1])


class Manager:
    unique_id, has_closed_inputs = "1", False


class Into:
    def __init__(self, out):
        self.out = out

    def put(self, index, frames):
        self.out[index : index + len(frames)] = frames


def test_held_frames_are_not_re_timed_in_batches():
    with pytest.raises(BadInputError, match="batches"):
        ClipTiming(Timing(held="retime")).in_parts(by_multiplier(2))
    # What is known of a clip in advance needs no looking.
    known = Analysis((PairNote(0, held="equal"),))
    ClipTiming(Timing(held="retime"), known).in_parts(by_multiplier(2))


def test_levels_and_guard_reach_the_model():
    frames = clip(1)[:4]
    frames[:, :20] = torch.tensor([1.0, 1.0, 0.2])
    frames[1::2] *= 0.8
    timing = node("MidframeTiming").timing
    (plain,) = timing("hold", "keep")
    assert torch.equal(made(frames), made(frames, timing=plain))
    for inputs in ({"levels": "match"}, {"guard": "auto"}):
        (chosen,) = timing("hold", "keep", **inputs)
        expected = interpolate(frames, load_model("default"), settings=Settings(**inputs))
        assert torch.equal(made(frames, timing=chosen)[: len(expected)], expected)


@pytest.mark.parametrize("shape", [(64, 96), (1, 64, 96), (3, 32, 48)])
def test_a_linked_mask_says_where_the_source_stays(shape):
    mask = torch.zeros(shape)
    mask[..., : shape[-2] // 2, :] = 1.0
    (timing,) = node("MidframeTiming").timing("hold", "keep", mask=mask)
    frames = clip(1)[:3]
    result = made(frames, timing=timing)
    assert torch.equal(result[1][:32], torch.lerp(frames[0], frames[1], 0.5)[:32])
    assert torch.equal(result[1][34:], made(frames)[1][34:])


def test_what_is_no_mask_is_refused():
    with pytest.raises(BadInputError, match="MASK"):
        node("MidframeTiming").timing("hold", "keep", mask=torch.zeros(2, 3, 4, 5))
