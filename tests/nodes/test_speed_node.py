"""Speed Curve, and what it changes in the nodes that make frames."""

from pathlib import Path

import pytest
import torch
from midframe import NODE_CLASS_MAPPINGS, interpolate
from midframe.engine.shutter import Shutter
from midframe.errors import BadInputError
from midframe.nodes import _host
from midframe.vfi_utils import by_fps
from PIL import Image

ENDS = ("linear", "stretch")


def node(name):
    return NODE_CLASS_MAPPINGS[name]()


def timing(curve="1", *, keyframes=None, angle=0.0, samples=8):
    speed = node("MidframeSpeed").speed(curve, *ENDS, angle, samples, keyframes)["result"][0]
    return node("MidframeTiming").timing("hold", "keep", speed=speed)[0]


def made(frames, **inputs):
    return node("MidframeRIFE").interpolate(frames, "default", **inputs)


@pytest.fixture
def frames():
    base = torch.rand(64, 96, 3)
    return torch.stack([base.roll(2 * i, 1) for i in range(6)])


@pytest.mark.long  # test_image_video_and_chunks_agree has the same curve
def test_a_curve_gives_the_frames_of_python(frames):
    curve = "0:1, 2:0.5, 4:-1"
    out, fps, count, _ = made(frames, multiplier=2, source_fps=10, timing=timing(curve))
    assert fps == 20
    assert count == len(out)
    assert torch.equal(out, interpolate(frames, "default", timeline=by_fps(10, 20), speed=curve))
    both = made(frames, multiplier=1, timing=timing("0.5", angle=180, samples=2))[0]
    assert torch.equal(both, interpolate(frames, "default", 1, speed="0.5", shutter=Shutter(180, 2)))


def test_a_list_by_link_goes_before_the_text(frames):
    out = made(frames, multiplier=1, timing=timing("4", keyframes=[1.0, 0.5]))[0]
    assert len(out) == len(interpolate(frames, "default", 1, speed=[1, 0.5]))
    pairs = made(frames, multiplier=1, timing=timing("4", keyframes=[["50%", 0.5]]))[0]
    assert len(pairs) == 11


def test_a_clip_at_its_own_speed_is_as_without_the_node(frames):
    assert torch.equal(made(frames, multiplier=2, timing=timing("1"))[0], made(frames, multiplier=2)[0])


def test_slow_motion_at_multiplier_1_makes_frames(frames, monkeypatch):
    warned = []
    monkeypatch.setattr(_host, "warn", lambda text, node_id: warned.append(text))
    assert len(made(frames, multiplier=1, timing=timing("0.5"))[0]) == 11
    assert not warned


def test_what_cannot_be_is_said_before_the_clip_is_made(frames):
    check = NODE_CLASS_MAPPINGS["MidframeSpeed"].VALIDATE_INPUTS
    assert check("0:1, 2s:0.25") is True
    assert check(None) is True
    assert ">>2s:x<<" in check("0:1, 2s:x")
    rife = node("MidframeRIFE")
    waiting = {"frames": None, "model": "default"}
    with pytest.raises(BadInputError, match="counts in seconds"):
        rife.check_lazy_status(**waiting, multiplier=2, timing=timing("0:1, 2s:0.5"))
    with pytest.raises(BadInputError, match="list of multipliers"):
        rife.check_lazy_status(**waiting, multiplier=[2, 3], timing=timing("0.5"))
    assert rife.check_lazy_status(**waiting, multiplier=2, timing=timing("0.5")) == ["frames"]


def test_it_does_not_go_with_meta_batch():
    class Manager:
        unique_id, has_closed_inputs = "1", False

    with pytest.raises(BadInputError, match="Meta Batch"):
        node("MidframeRIFE").check_lazy_status(
            frames=None, model="default", multiplier=2, meta_batch=Manager(), timing=timing("0.5")
        )


def test_the_node_shows_the_curve():
    shown = node("MidframeSpeed").speed("0:1, 2s:0.25, 4s:-1", *ENDS)["ui"]["images"]
    with Image.open(Path(_host.temp_folder()) / shown[0]["filename"]) as picture:
        assert picture.size == (480, 240)
        assert len(picture.getcolors()) > 3
    assert node("MidframeSpeed").speed("1", *ENDS)["ui"]["images"] == []
