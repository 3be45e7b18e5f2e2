"""Interpolate Video without ComfyUI. In a real one: test_comfyui_video.py."""

import gc
import inspect
import json
from fractions import Fraction as Fr
from io import BytesIO
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from clips import frames_of, pictures, times_of, write_clip
from midframe import NODE_CLASS_MAPPINGS, load_model
from midframe.errors import BadInputError
from midframe.memory.cache import MODELS
from midframe.nodes import _host
from midframe.nodes._video_host import MadeVideo
from midframe.video import Plan, interpolate_video, open_clip
from thin import thinned


@pytest.fixture(autouse=True)
def _folders(tmp_path, monkeypatch):
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr(_host, "temp_folder", lambda: tmp_path / "temp")
    yield
    MODELS.clear()


class Given:
    """A VIDEO of a file, as ComfyUI hands it on; ``window`` as later versions, ``hidden`` as earlier ones do."""

    def __init__(self, source, window=None, hidden=None):
        self.source = source
        if window:
            self.get_active_trim_window = lambda: window
        if hidden:
            self._VideoFromFile__start_time, self._VideoFromFile__duration = hidden

    def get_stream_source(self):
        return self.source

    def _get_raw_duration(self):
        return 2.0


@pytest.fixture
def source(tmp_path):
    return str(write_clip(tmp_path / "in.mp4", pictures(12, (48, 64)), rate=6, sound="aac"))


def run(video, **widgets):
    made, fps = NODE_CLASS_MAPPINGS["MidframeVideo"]().interpolate(video, "default", **widgets)
    assert fps == float(made.get_frame_rate())
    return made


def test_it_is_what_the_command_line_makes(source, tmp_path):
    video = run(Given(source), multiplier=3)
    assert not list((tmp_path / "temp").iterdir())
    assert video.get_dimensions() == (64, 48)
    assert (video.get_frame_rate(), video.get_frame_count(), video.get_duration()) == (18, 36, 2.0)
    assert (video.get_bit_depth(), video.get_active_trim_window()) == (8, (0.0, 0.0))
    video.save_to(str(tmp_path / "a.mp4"))
    interpolate_video(source, tmp_path / "b.mp4", load_model(), Plan(3))
    assert abs(np.array(frames_of(tmp_path / "a.mp4")).astype(int) - frames_of(tmp_path / "b.mp4")).max() < 20
    assert times_of(tmp_path / "a.mp4") == times_of(tmp_path / "b.mp4")
    with av.open(str(tmp_path / "a.mp4")) as file:
        assert file.format.name == video.get_container_format()
    with pytest.raises(BadInputError, match="codec"):
        video.save_to(str(tmp_path / "c.mp4"), codec="no such")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "b.mp4", "in.mp4", "temp"]


@pytest.mark.long  # each container; test_it_is_what_the_command_line_makes has one
def test_every_way_of_saving(tmp_path):
    source = write_clip(tmp_path / "in.mp4", pictures(4, (48, 64)), rate=12, sound="aac")
    video = run(Given(BytesIO(source.read_bytes())), target_fps=59.94)
    buffer = BytesIO()
    video.save_to(buffer, "mp4", "h264", {"prompt": {"1": {}}, "note": "text"}, 10)
    buffer.seek(0)
    with av.open(buffer) as file:
        assert json.loads(file.metadata["prompt"]) == {"1": {}}
        assert file.metadata["note"] == "text"
        assert file.streams.video[0].average_rate == Fr(60000, 1001)
        assert file.streams.video[0].codec_context.pix_fmt == "yuv420p10le"
        assert len(list(file.decode(video=0))) == video.get_frame_count() == 20
    assert not list((tmp_path / "temp").iterdir())
    for name, codec in (("a.webm", "vp9"), ("a.mkv", "h264"), ("a.mov", "h264")):
        video.save_to(str(tmp_path / name))
        with av.open(str(tmp_path / name)) as file:
            assert file.streams.video[0].codec_context.name == codec


def test_a_file_for_readers_is_made_once_and_goes_with_the_video(source, tmp_path):
    video = run(Given(source))
    path = Path(video.get_stream_source())
    before = path.stat().st_mtime_ns
    assert path.parent == tmp_path / "temp"
    assert len(times_of(path)) == 24
    assert (video.get_stream_source(), path.stat().st_mtime_ns) == (str(path), before)
    path.unlink()  # as ComfyUI does with its temporary files
    assert Path(video.get_stream_source()).exists()
    del video
    gc.collect()
    assert not list((tmp_path / "temp").iterdir())


def test_frames_and_sound(source):
    parts = run(Given(source)).get_components()
    assert parts.images.shape == (24, 48, 64, 3)
    assert (parts.images.dtype, parts.frame_rate, parts.alpha) == (torch.float32, 12, None)
    waveform = parts.audio["waveform"]
    assert (waveform.ndim, len(waveform), parts.audio["sample_rate"]) == (3, 1, 48000)
    assert abs(waveform.shape[2] / 48000 - 2) < 0.05
    with open_clip(source) as clip:
        assert torch.equal(parts.images[::2], torch.stack([frame.pixels for frame in clip]) / 255)


def test_transparency(tmp_path):
    clip = write_clip(tmp_path / "in.mov", pictures(3, channels=4), codec="prores_ks", pix_fmt="yuva444p10le")
    video = run(Given(str(clip)))
    parts = video.get_components()
    assert (parts.images.shape, parts.alpha.shape) == ((6, 32, 48, 3), (6, 32, 48, 1))
    assert parts.alpha.min() < 0.5 < parts.alpha.max()
    assert video.get_bit_depth() == 10


@pytest.mark.parametrize(
    "given",
    [
        {"window": (0.5, 1.0)},
        {"hidden": (0.5, 1.0)},
        {"hidden": (-1.5, 1.0)},
    ],
)
def test_a_trimmed_input(source, given):
    video = run(Given(source, **given))
    assert (video.get_frame_count(), video.get_duration()) == (12, 1.0)
    whole = run(Given(source)).get_components().images
    assert torch.equal(video.get_components().images[:11], whole[6:17])


def test_trimming_the_output(source, tmp_path):
    video = run(Given(source))
    whole = video.get_components().images
    for start, length, first, count in (
        (0.5, 0.5, 6, 6),
        (-0.5, 0, 18, 6),
        (None, None, 0, 24),
        (1.75, 1.0, 21, 3),
    ):
        part = video.as_trimmed(start, length)
        assert (part.get_frame_count(), part.get_duration()) == (count, count / 12)
        assert torch.equal(part.get_components().images, whole[first : first + count])
    assert video.as_trimmed(1.75, 1.0, strict_duration=True) is None
    assert video.as_trimmed(1.75, 0.25, strict_duration=True).get_frame_count() == 3
    assert video.as_trimmed(5, 0) is None


@pytest.mark.parametrize(
    ("widgets", "skip"),
    # Each once.
    thinned(
        [*product([{"multiplier": [3, 1, 0, 4]}, {"multiplier": 3}, {"target_fps": 30.0}], (True, False))],
        (0, 3, 4),
    ),
    ids=repr,
)
def test_lists_and_states_make_the_frames_that_the_nodes_for_frames_make(tmp_path, widgets, skip):
    path = write_clip(tmp_path / "in.mp4", pictures(7, (48, 64)), rate=12)
    (states,) = NODE_CLASS_MAPPINGS["MidframeStates"]().states("1, 4-5", skip)
    video = run(Given(str(path)), states=states, **widgets)
    with open_clip(path) as clip:
        frames = torch.stack([frame.pixels for frame in clip]) / 255
    expected, _, count, _ = NODE_CLASS_MAPPINGS["MidframeRIFE"]().interpolate(
        frames, "default", states=states, source_fps=12.0, last_frame="hold_last", **widgets
    )
    assert video.get_frame_count() == count
    assert torch.equal(video.get_components().images, expected)


def test_states_of_a_part_are_those_of_the_whole_video(source):
    (states,) = NODE_CLASS_MAPPINGS["MidframeStates"]().states("7, 10", True)
    video = run(Given(source), states=states)
    part = video.as_trimmed(0.5, 1.0)
    images = video.get_components().images
    first = next(k for k, moment in enumerate(video.lazy.moments) if moment.time == Fr(1, 2))
    assert torch.equal(part.get_components().images, images[first : first + part.get_frame_count()])
    assert len(images) == 24 - 2


@pytest.mark.long  # three videos; test_lazy has one out of another
def test_one_after_another(source, tmp_path):
    video = run(run(Given(source)), target_fps=30.0)
    assert isinstance(video, MadeVideo)
    video.save_to(str(tmp_path / "out.mp4"))
    assert times_of(tmp_path / "out.mp4") == [Fr(k, 30) for k in range(60)]


def test_what_is_wrong_is_said_before_anything_is_made(source, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    for video, widgets, words in (
        (Given(str(tmp_path / "broken.mp4")), {}, "cannot be read"),
        (Given(str(tmp_path / "gone.mp4")), {}, "no such file"),
        (Given(source), {"multiplier": [2, 2.5]}, "whole numbers"),
        (Given(source), {"states": [1, 2]}, "interpolation states"),
        (Given(source), {"multiplier": 0}, "multiplier"),
        (Given(source), {"scale": "16"}, "scale"),
        (Given(source, window=(9.0, 0.0)), {}, "Nothing is left"),
    ):
        with pytest.raises(BadInputError, match=words):
            run(video, **widgets)


def test_cancel_and_failure_leave_no_half_file(source, tmp_path, monkeypatch):
    video = run(Given(source))

    class Stop(BaseException):
        pass

    def stop(after):
        left = [after]

        def check():
            left[0] -= 1
            if left[0] < 0:
                raise Stop

        return check

    for after in (0, 5, 20):
        monkeypatch.setattr(_host, "check_cancelled", stop(after))
        for save in (
            lambda: video.save_to(str(tmp_path / "out.mp4")),
            video.get_stream_source,
            lambda: video.save_to(BytesIO()),
        ):
            with pytest.raises(Stop):
                save()
            assert sorted(p.name for p in tmp_path.rglob("*")) == ["in.mp4", "temp"]


def test_its_methods_take_what_comfyui_gives():
    """Names and order of parameters in ComfyUI 0.33; earlier ones give fewer, later ones more."""
    save = ["path", "format", "codec", "metadata", "bit_depth", "crf", "color_space", "later"]
    wanted = {
        "save_to": ["self", *save],
        "as_trimmed": ["self", "start_time", "duration", "strict_duration"],
    }
    for name, parameters in wanted.items():
        assert list(inspect.signature(getattr(MadeVideo, name)).parameters) == parameters
