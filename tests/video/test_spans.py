"""Parts of a clip: any cut of the output, each part made by itself, is the whole."""

from fractions import Fraction as Fr
from itertools import pairwise, product

import pytest
import torch
from clips import KINDS, NTSC, h264, pictures, write_clip
from fakes import LerpModel, RecordingHost
from midframe.analysis.notes import Analysis, PairNote
from midframe.analysis.timing import Timing
from midframe.vfi_utils import States
from midframe.video import Plan, open_clip
from midframe.video.read.part import Part
from midframe.video.read.span import Span
from midframe.video.read.uniform import Uniform
from midframe.video.stream.pipeline import Stream
from thin import thinned


def written(folder, kind):
    how = KINDS[kind]
    return write_clip(folder / kind, pictures(len(how.get("times", range(30))), (64, 96)), **how)


class Kept:
    def __init__(self):
        self.frames, self.ended = [], None

    def write(self, pixels, moment):
        self.frames.append((moment, pixels.clone()))

    def close(self, *, whole):
        self.ended = whole

    def drop(self):
        self.ended = None


def made(path, plan, span=None):
    """What is written of a part, whether the clip ended in it, and how many source frames were read."""
    kept = Kept()
    with open_clip(path) as opened:
        reading = plan.read(opened, span, reopen=lambda: open_clip(path))
        done = Stream(reading, kept, bits=8, host=RecordingHost())(LerpModel(), None)
    assert kept.ended
    return kept.frames, reading.exhausted and not reading.clock.cut, done.source_frames


NOTED = Analysis(
    tuple(
        PairNote(
            i, cut=i in (6, 13, 14, 20), held="alike" if i in (1, 3, 5, 8, 11, 16, 17, 18, 25, 26) else ""
        )
        for i in range(29)
    )
)
PLANS = {
    "x3": Plan(3),
    "fps": Plan(fps=NTSC * 2),
    "slower": Plan(fps=10, end="end_on_last"),
    "a loop": Plan(3, end="close_loop"),
    "cuts held": Plan(4, analysis=NOTED),
    "cuts blended": Plan(fps=NTSC * 3, timing=Timing("blend"), analysis=NOTED),
    "held frames re-timed": Plan(3, timing=Timing(held="retime"), analysis=NOTED),
    "re-timed, through cuts, slower": Plan(fps=17, timing=Timing("interpolate", "retime"), analysis=NOTED),
    "list and states": Plan([3, 1, 4, 0, 2, 5, 1, 3, 1, 2, 6], states=States({5, 9, 12, 13})),
}


@pytest.mark.parametrize(
    ("kind", "plan"),
    # By turns: every kind with a plan of its own, and every plan.
    thinned([*product(KINDS, PLANS)], range(0, len(KINDS) * len(PLANS), len(PLANS) + 1)),
)
def test_parts_are_the_whole(tmp_path, kind, plan):
    clip, plan = written(tmp_path, kind), PLANS[plan]
    whole, ended, _ = made(clip, plan)
    assert ended
    with open_clip(clip) as opened:
        start, rate = opened.info.start, opened.info.rate
    cuts = [start + Fr(k, 1) / rate for k in (0, 1, 7, 8, 13, 29, 30, 31)]
    parts = [made(clip, plan, Span(a, b)) for a, b in pairwise(cuts)] + [made(clip, plan, Span(cuts[-1]))]
    joined = [frame for frames, _, _ in parts for frame in frames]
    assert [moment for moment, _ in joined] == [moment for moment, _ in whole]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(joined, whole, strict=True))
    over = [ended for _, ended, _ in parts]
    assert over == sorted(over)
    assert over[-1]
    assert not any(frames for frames, _, _ in parts[over.index(True) + 1 :])


def test_a_part_does_not_read_the_whole_clip(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "in.mp4", pictures(90), **h264(10))
    decoded, convert = [], Uniform.__call__
    monkeypatch.setattr(
        Uniform, "__call__", lambda self, frame: decoded.append(frame.pts) or convert(self, frame)
    )
    with open_clip(path) as opened:
        part = Part(opened, Span(Fr(70, 24), Fr(72, 24)))
        assert [f.pts * 24 for f in part] == [70, 71, 72]
    assert 3 <= len(decoded) < 45
