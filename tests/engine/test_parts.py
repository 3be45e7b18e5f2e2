"""A clip that comes in parts: the parts together are one single run."""

import gc
import itertools
import weakref
from fractions import Fraction as Fr

import pytest
import torch
from fakes import LerpModel, ListSink, RecordingHost
from midframe import load_model
from midframe.errors import BadInputError, OutOfMemoryError
from midframe.vfi_utils import FrameLoop, Settings, States, by_fps, by_multiplier, run_timeline
from thin import thinned

TIMELINES = {
    "x2": by_multiplier(2),
    "x3 held": by_multiplier(3, end="hold_last"),
    "list": by_multiplier([3, 1, 4, 2, 0, 5, 2, 2, 3]),
    "to 60": by_fps(Fr(24000, 1001), 60, end="hold_last"),
    "fewer": by_fps(30, 12),
    "states": by_multiplier(2, states=States(frozenset({2, 6, 7}))),
    "states to 60": by_fps(24, 60, states=States(frozenset({6, 7}))),
}

HELD = [0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 4, 5, 5, 6, 7, 7]
"""Which of a clip's pictures is shown, 16 frames long."""


def clip(n=16, size=(6, 7), channels=3):
    return torch.rand(n, *size, channels)


def single(frames, timeline, model, settings=None):
    sink = ListSink()
    run_timeline(frames, timeline, model, sink, settings=settings)
    return torch.stack(sink.frames)


def joined(parts):
    return torch.stack([*itertools.chain.from_iterable(parts)])


def in_parts(loop, parts, model):
    """What comes out of each part. Nobody else keeps the parts."""
    made = []
    for i, part in enumerate(parts):
        last, sink = i == len(parts) - 1, ListSink()
        count = loop.count(len(part), last=last)
        assert loop.feed(part.clone(), model, sink, last=last) == len(sink.frames) == count
        made.append(sink.frames)
    return made


@pytest.mark.parametrize("name", TIMELINES)
@pytest.mark.parametrize("sizes", [[7, 7, 2], [1] * 16, [1, 15], [5, 0, 11, 0], [16]])
def test_parts_together_are_the_single_run(name, sizes):
    frames, timeline, once, model = clip(), TIMELINES[name], LerpModel(), LerpModel()
    made = in_parts(FrameLoop(timeline), frames.split(sizes), model)
    assert torch.equal(joined(made), single(frames, timeline, once))
    assert model.calls == once.calls  # encodes too: once a frame
    assert model.live == 0


@pytest.mark.parametrize("name", TIMELINES)
@pytest.mark.parametrize("sizes", [[1] * 16, [3, 13], [4, 0, 4, 8], [5, 6, 5]])
def test_a_frame_may_be_held_from_one_part_to_the_next(name, sizes):
    frames, timeline, once, model = clip()[HELD], TIMELINES[name], LerpModel(), LerpModel()
    made = in_parts(FrameLoop(timeline), frames.split(sizes), model)
    assert torch.equal(joined(made), single(frames, timeline, once))
    assert model.calls == once.calls
    assert model.calls["encode"] <= len(set(HELD))


def test_no_part_is_empty_where_the_rate_does_not_fall():
    for name in set(TIMELINES) - {"fewer"}:
        assert all(in_parts(FrameLoop(TIMELINES[name]), clip().split(1), LerpModel()))


@pytest.mark.parametrize(
    "settings", thinned([Settings(), Settings(schedule="bisect"), Settings(batch=3)], (1,))
)
def test_parts_are_bitwise_equal_with_the_built_in_model(settings):
    frames, timeline, model = clip(5, (40, 56), 4), by_multiplier(4), load_model(device="cpu")
    made = in_parts(FrameLoop(timeline, settings=settings), frames.split(2), model)
    assert torch.equal(joined(made), single(frames, timeline, model, settings))


def test_a_model_that_was_let_go_or_replaced_encodes_the_kept_frame_again():
    frames, timeline = clip(), TIMELINES["list"]
    expected = single(frames, timeline, LerpModel())
    for change in ("let go", "replaced"):
        models, loop, made = [LerpModel()] * 2, FrameLoop(timeline), []
        if change == "replaced":
            models[1] = LerpModel()
        for i, part in enumerate(frames.split(8)):
            sink = ListSink()
            loop.feed(part, models[i], sink, last=i == 1)
            made += sink.frames
            if change == "let go":
                loop.release()
                assert models[0].live == 0
        assert torch.equal(torch.stack(made), expected)
        assert sum(model.calls["encode"] for model in set(models)) == 16 + 1


def test_between_parts_only_the_last_frame_and_its_features_are_alive():
    gc.collect()
    gc.disable()  # nothing may wait for the collector
    try:
        features = weakref.WeakSet()

        class Watched(LerpModel):
            def encode(self, frames):
                made = super().encode(frames)
                features.add(made)
                return made

        loop, model, part, sink, host = (
            FrameLoop(by_multiplier(3)),
            Watched(),
            clip(5),
            ListSink(),
            RecordingHost(),
        )
        loop.feed(part, model, sink, host=host)
        gone = [weakref.ref(thing) for thing in (part, sink, host)]
        del part, sink, host
        assert [ref() for ref in gone] == [None] * 3
        assert len(features) == 1
        model = weakref.ref(model)
        assert model() is not None
        del loop
        assert model() is None
        assert len(features) == 0
    finally:
        gc.enable()


def test_an_error_counts_in_its_part_and_leaves_the_loop_as_new():
    frames, loop, model = clip(8), FrameLoop(by_multiplier(2)), LerpModel()
    for error, bad in (
        (BadInputError, [*clip(2), torch.rand(3, 3, 3)]),
        (KeyError, (clip(3)[i] if i < 2 else {}[i] for i in range(3))),
    ):
        loop.feed(frames[:4], model, ListSink())
        sink = ListSink()
        with pytest.raises(error) as caught:
            loop.feed(bad, model, sink)
        assert len(sink.frames) == 3  # 3.5, 4, 4.5: frame 5 was being held for what follows it
        assert model.live == 0
        if error is BadInputError:
            assert caught.value.finished == 3
            assert "Source frame 6" in str(caught.value)
        assert torch.equal(
            torch.stack(in_parts(loop, [frames], model)[0]), single(frames, by_multiplier(2), LerpModel())
        )


def test_cancel_and_memory_in_a_later_part():
    for error in (KeyboardInterrupt(), MemoryError()):
        fails = []

        def before(step, fails=fails):
            if step == "between" and fails:
                raise fails[0]

        loop, model, sink = FrameLoop(by_multiplier(2)), LerpModel(before), ListSink()
        loop.feed(clip(4), model, ListSink())
        fails.append(error)
        with pytest.raises((KeyboardInterrupt, OutOfMemoryError)):
            loop.feed(clip(4), model, sink)
        assert (len(sink.frames), model.live) == (0, 0)


def test_progress_is_of_the_part():
    loop, model = FrameLoop(by_multiplier(2)), LerpModel()
    for last, expected in ((False, 7), (False, 8), (True, 8)):
        host = RecordingHost()
        loop.feed(clip(4), model, ListSink(), last=last, host=host)
        assert [done for done, _, _ in host.seen] == list(range(1, expected + 1))
        assert {total for _, total, _ in host.seen} == {expected}
