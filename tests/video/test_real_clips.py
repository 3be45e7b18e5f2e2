"""A real clip with sound, through the node's save_to and through interpolate_video: every time is checked.

The clip is the middle of one of shared/clips where that folder is there; a generated one always runs.
"""

from fractions import Fraction as Fr
from math import ceil

import av
import numpy as np
import pytest
import torch
from clips import NTSC, audio_packets, frames_of, pictures, times_of, write_clip
from midframe import NODE_CLASS_MAPPINGS, load_model
from midframe.analysis.timing import Timing
from midframe.analysis.watch import analyse
from midframe.memory.cache import MODELS
from midframe.vfi_utils import by_multiplier
from midframe.video import Plan, interpolate_video
from PIL import Image
from thin import thinned

CLICK = 5
"""The frame with which something is heard."""


@pytest.fixture(autouse=True)
def _clear():
    yield
    MODELS.clear()


@pytest.fixture(
    params=[
        "generated",
        *(pytest.param(name, marks=pytest.mark.long) for name in ("s02_ship_ai", "s04_carphone")),
    ]
)
def frames(request):
    if request.param == "generated":
        return pictures(8, (96, 160), step=5)
    folder = request.getfixturevalue("shared") / "clips" / request.param
    stills = [Image.open(path) for path in sorted(folder.glob("*.png"))[:8]]
    left, top = (stills[0].width - 160) // 2, (stills[0].height - 96) // 2
    return [np.asarray(picture.crop((left, top, left + 160, top + 96))) for picture in stills]


def encode(path, frames, rate):
    samples = np.zeros(int(len(frames) / rate * 48000), np.int16)
    begin = int(CLICK / rate * 48000)
    samples[begin : begin + 200] = 28000
    return write_clip(path, frames, rate=rate, sound="aac", wave=samples, options={"crf": "8", "g": "6"})


def heard(path):
    """When the click begins to be heard."""
    with av.open(str(path)) as file:
        for frame in file.decode(audio=0):
            loud = np.nonzero(abs(frame.to_ndarray()).max(0) > 0.3)[0]
            if len(loud):
                return frame.pts * frame.time_base + Fr(int(loud[0]), frame.sample_rate)
    raise AssertionError("nothing is heard")


class FromFile:
    """What Load Video hands on."""

    def __init__(self, path):
        self.path = path

    def get_stream_source(self):
        return str(self.path)


def by_node(source, target, plan):
    widgets = {"multiplier": plan.multiplier, "target_fps": float(plan.fps or 0), "last_frame": plan.end}
    video, _ = NODE_CLASS_MAPPINGS["MidframeVideo"]().interpolate(FromFile(source), "default", **widgets)
    video.save_to(str(target))
    assert video.get_frame_count() == len(times_of(target))


def by_file(source, target, plan):
    interpolate_video(source, target, load_model(), plan)


@pytest.mark.parametrize("make", [by_node, by_file])
@pytest.mark.parametrize(
    ("rate", "plan"),
    thinned(
        [(NTSC, Plan(2)), (Fr(25), Plan(3)), (NTSC, Plan(fps=60)), (NTSC, Plan(fps=60, end="end_on_last"))],
        (2,),
    ),
    ids=["x2", "x3", "60", "60-end"],
)
def test_times_counts_and_sound(tmp_path, frames, rate, plan, make):
    source, target = encode(tmp_path / "in.mp4", frames, rate), tmp_path / "out.mp4"
    make(source, target, plan)
    step = 1 / Fr(plan.fps or rate * plan.multiplier)
    held = plan.end == "hold_last"
    count = ceil(len(frames) / rate / step) if held else int((len(frames) - 1) / rate / step) + 1
    assert times_of(target) == [k * step for k in range(count)]
    with av.open(str(target)) as file, av.open(str(source)) as given:
        stream = file.streams.video[0]
        assert (stream.frames, stream.average_rate) == (count, 1 / step)
        assert stream.duration * stream.time_base == count * step
        if held:
            assert (
                0 <= count * step - given.streams.video[0].duration * given.streams.video[0].time_base < step
            )
        sound, was = file.streams.audio[0], given.streams.audio[0]
        assert sound.duration * sound.time_base == was.duration * was.time_base
    assert audio_packets(target) == audio_packets(source)
    assert heard(target) == heard(source)
    made, given = frames_of(target), frames_of(source)
    for i in range(len(given)):
        place = Fr(i) / rate / step
        if place.denominator == 1:  # shown as it is: like no other
            unlike = [abs(made[int(place)].astype(int) - other).mean() for other in given]
            assert np.argmin(unlike) == i
            assert unlike[i] < 5  # of encoding


@pytest.mark.parametrize("name", ["s01_bear", "s02_ship_ai", "s03_cockatoo", "s04_carphone", "s05_blocks"])
def test_nothing_is_noted_of_a_clean_clip(shared, name):
    # Then the loop is given the timeline itself: what comes out is what came out without looking.
    frames = [
        torch.from_numpy(np.array(Image.open(path)))
        for path in sorted((shared / "clips" / name).glob("*.png"))
    ]
    timeline = by_multiplier(2)
    assert Timing().timesteps(timeline, lambda: analyse(frames, only_cuts=True)) is timeline
    assert Timing().timesteps(timeline, lambda: analyse(frames)) is timeline
