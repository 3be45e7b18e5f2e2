"""Size, pixel format and colours of a picture change in the middle of a file: all of it is made, and said."""

import numpy as np
import pytest
from fakes import LerpModel
from midframe.chunks import Inline, Job, process
from midframe.vfi_utils import QuietHost
from midframe.video import Coding, Plan, interpolate_video, open_clip
from midframe.video.account import describe_output
from odd_files import film
from PIL import Image

FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG


def put_together(folder, count=8, **second):
    """A recording that goes on as another, and the other."""
    first, other = film(folder / "first.ts", count=count), film(folder / "other.ts", count=count, **second)
    (folder / "in.ts").write_bytes(first.read_bytes() + other.read_bytes())
    return folder / "in.ts", other


def pixels_of(path):
    with open_clip(path) as clip:
        return [frame.pixels.numpy() for frame in clip]


@pytest.mark.parametrize("size", [(96, 128), (32, 40)])
def test_frames_of_another_size_are_scaled_to_the_first(tmp_path, caplog, size):
    source, other = put_together(tmp_path, size=size)
    frames = pixels_of(source)
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 16
    for frame, own in zip(frames[8:], pixels_of(other), strict=True):
        scaled = np.asarray(Image.fromarray(own).resize((64, 48), Image.Resampling.BICUBIC))
        # Levels of 255: two scalers round differently, and weigh edges differently where they make it smaller.
        assert abs(frame.astype(int) - scaled).mean() < 2
    assert caplog.text.count("changes its size") == 1


def test_chunks_go_on_where_the_size_changes(tmp_path, caplog):
    source, _ = put_together(tmp_path, 16, size=(96, 128), times=[*range(16, 32)])
    single, chunked = tmp_path / "single.mkv", tmp_path / "chunked.mkv"
    plan = Plan(coding=Coding(codec="ffv1"))
    lines = describe_output(source, single, plan)
    assert "frames of 128 x 96 further on: converted (scaled to the size of the first)" in map(str, lines)
    assert interpolate_video(source, single, LerpModel(), plan).frames == 64
    assert caplog.text.count("changes its size") == 1  # read twice, to look for cuts and to make frames
    process(Job(source, chunked, tmp_path / "work", plan=plan, pairs=9), Inline(LerpModel), host=QuietHost())
    assert all(map(np.array_equal, pixels_of(single), pixels_of(chunked)))


def _full_range(out, picture):
    picture.codec_context.color_range = FULL_RANGE


@pytest.mark.parametrize(
    "second", [{"prepare": _full_range}, {"pix_fmt": "yuv444p"}], ids=["range", "chroma"]
)
def test_colours_that_change_are_those_of_each_frame(tmp_path, second):
    source, other = put_together(tmp_path, **second)
    assert all(map(np.array_equal, pixels_of(source)[8:], pixels_of(other)))
