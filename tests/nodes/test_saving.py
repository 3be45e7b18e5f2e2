"""What the nodes of ComfyUI ask of a VIDEO that they save. In a real one: test_comfyui_saving.py."""

import tempfile

import av
import numpy as np
import pytest
import torch
from clips import colours_of, pictures, planes_of, times_of, write_clip
from made_videos import video_of
from midframe.errors import BadInputError
from midframe.video import open_clip

SPACES = {"sRGB": (1, 1, 1, 13), "HDR": (9, 1, 9, 18), "HDR PQ": (9, 1, 9, 16)}
"""How ComfyUI 0.33 tags its colour spaces: matrix, range, primaries, transfer."""


@pytest.fixture
def frames():
    """Four pictures of noise on strong colours, in memory."""
    colours = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.2], [0.1, 0.2, 0.9], [0.9, 0.8, 0.1]])
    patches = colours.repeat_interleave(16, 0)[None, None].expand(4, 64, -1, -1)
    return (patches + 0.05 * torch.randn(4, 64, 64, 1)).clamp(0, 1)


def patches_in(picture):
    """The mean colours of the patches, without their edges: (4, 3) in 0..1."""
    return picture[:, [16 * i + k for i in range(4) for k in range(4, 12)]].view(64, 4, 8, 3).mean((0, 2))


def patches_of(path):
    """The same of the first frame of a file, shown with the matrix that its tags name."""
    with open_clip(path) as clip:
        return patches_in(next(iter(clip)).pixels / (255 if clip.info.bits == 8 else 65535))


def saved(video, path, **options):
    video.save_to(str(path), **options)
    return path


@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "vp9"])
def test_crf_reaches_the_encoder(tmp_path, frames, codec):
    fine, coarse = (
        saved(video_of(frames), tmp_path / f"{crf}.mp4", codec=codec, crf=crf).stat().st_size
        for crf in (4.0, 45.0)
    )
    assert fine > 2 * coarse


def test_a_fraction_of_crf_counts(tmp_path, frames):
    data = saved(video_of(frames), tmp_path / "out.mp4", codec="h264", crf=21.5).read_bytes()
    assert b"crf=21.5" in data  # x264 writes its options into the stream


def test_quality_0_loses_nothing(tmp_path, frames):
    video = video_of(frames)
    first, second = (saved(video, tmp_path / f"{c}.mp4", codec=c, crf=0.0) for c in ("h264", "av1"))
    assert np.array_equal(planes_of(first), planes_of(second))


@pytest.mark.parametrize("codec", ["h264", "av1"])
@pytest.mark.parametrize("space", SPACES)
def test_frames_in_memory_are_tagged_with_the_space_that_is_asked_for(tmp_path, frames, space, codec):
    path = saved(video_of(frames), tmp_path / "out.mp4", codec=codec, crf=2, color_space=space)
    assert colours_of(path) == SPACES[space]
    with open_clip(path) as clip:
        assert clip.info.bits == (8 if space == "sRGB" else 10)
    assert abs(patches_of(path) - patches_in(frames[0])).max() < 0.01


def test_frames_in_memory_are_srgb_where_nothing_is_asked_for(tmp_path, frames):
    video = video_of(frames)
    assert (video.get_color_space(), video.get_bit_depth()) == ("sRGB", 8)
    assert colours_of(saved(video, tmp_path / "a.mp4")) == SPACES["sRGB"]
    assert colours_of(saved(video, tmp_path / "b.mp4", color_space="auto")) == SPACES["sRGB"]


@pytest.mark.parametrize(
    ("tags", "space", "bits"),
    [
        ((1, 1, 1, 1), "sRGB", 8),
        ((5, 1, 6, 13), "sRGB", 8),
        ((9, 1, 9, 18), "HDR", 10),
        ((9, 1, 9, 16), "HDR PQ", 10),
    ],
)
def test_a_file_stays_in_the_space_that_it_says(tmp_path, tags, space, bits):
    pix_fmt = "yuv420p" if bits == 8 else "yuv420p10le"
    source = write_clip(tmp_path / "in.mp4", pictures(3), colour=tags, pix_fmt=pix_fmt)
    video = video_of(source)
    assert (video.get_color_space(), video.get_bit_depth()) == (space, bits)
    for asked in (None, "auto", space):
        assert colours_of(saved(video, tmp_path / "out.mp4", color_space=asked)) == tags
    for other in SPACES.keys() - {space}:
        with pytest.raises(BadInputError, match="converted"):
            video.save_to(str(tmp_path / "other.mp4"), color_space=other)
    assert not (tmp_path / "other.mp4").exists()


def test_a_file_that_names_no_space_is_in_the_one_that_is_asked_for(tmp_path, frames):
    pixels = list((frames * 255).to(torch.uint8).numpy())
    source = write_clip(tmp_path / "in.mp4", pixels, colour=(2, 1, 2, 2))
    video = video_of(source)
    assert video.get_color_space() == "sRGB"
    assert colours_of(saved(video, tmp_path / "out.mp4")) == colours_of(source)
    for space, tags in SPACES.items():
        path = saved(video, tmp_path / "out.mp4", color_space=space, crf=0)
        assert colours_of(path) == tags
        # Another matrix, and pixels to go with it: with the tags alone they would be off by 0.06 and more.
        assert abs(patches_of(source) - patches_of(path)).max() < 0.01


def test_hdr_in_8_bits_is_written_in_10(tmp_path):
    source = write_clip(tmp_path / "in.mp4", pictures(3), colour=(9, 1, 9, 18))
    video = video_of(source)
    assert video.get_bit_depth() == 10
    with open_clip(saved(video, tmp_path / "out.mp4", bit_depth=8)) as clip:
        assert clip.info.bits == 10


def test_an_unknown_space_is_refused_before_anything_is_made(tmp_path, frames):
    with pytest.raises(BadInputError, match="colour space"):
        video_of(frames).save_to(str(tmp_path / "out.mp4"), color_space="Rec.1886")
    assert not list(tmp_path.iterdir())


def test_options_of_later_hosts_are_named_once_and_left_out(tmp_path, frames, caplog):
    video = video_of(frames)
    for _ in range(2):
        saved(video, tmp_path / "out.mp4", crf=20.0, film_grain=8, preset="slow")
    assert len(times_of(tmp_path / "out.mp4")) == 8
    assert sorted(record.args[0] for record in caplog.records) == ["film_grain", "preset"]
    assert "film_grain=8" in caplog.text


@pytest.mark.parametrize("codec", ["auto", "h264", "av1"])
@pytest.mark.parametrize("container", ["auto", "mp4", "mkv", "webm"])
def test_every_format_holds_every_codec_that_it_can(tmp_path, frames, container, codec):
    path, video = tmp_path / "out", video_of(frames)
    if (container, codec) == ("webm", "h264"):
        with pytest.raises(BadInputError, match="webm"):
            video.save_to(path, format=container, codec=codec, crf=30.0)
        assert not list(tmp_path.iterdir())
        return
    video.save_to(path, format=container, codec=codec, crf=30.0)
    with av.open(str(path)) as file:
        assert {"auto": "mp4", "mkv": "matroska"}.get(container, container) in file.format.name
        own = "vp9" if container == "webm" else "h264"
        assert file.streams.video[0].codec_context.codec.canonical_name == (own if codec == "auto" else codec)
    assert len(times_of(path)) == 8


@pytest.mark.parametrize("size", [(33, 47), (8, 8)])
@pytest.mark.parametrize("codec", ["h264", "av1"])
@pytest.mark.parametrize("space", ["sRGB", "HDR"])
def test_odd_and_small_sizes_are_saved(tmp_path, codec, size, space):
    if (codec, size) == ("av1", (8, 8)):  # the encoder of PyAV 19 would end the process
        with pytest.raises(BadInputError, match="as small as this"):
            saved(video_of(torch.rand(2, *size, 3)), tmp_path / "out.mkv", codec=codec, color_space=space)
        return
    path = saved(video_of(torch.rand(2, *size, 3)), tmp_path / "out.mkv", codec=codec, color_space=space)
    with open_clip(path) as clip:
        assert (clip.info.height, clip.info.width) == size
        assert len(list(clip)) == 4


def test_anything_that_can_be_written_to_takes_the_file(tmp_path, frames):
    video = video_of(frames)
    with tempfile.TemporaryFile() as file:
        video.save_to(file, format="webm", codec="av1", crf=40.0)
        file.seek(0)
        with av.open(file) as container:
            assert container.format.name == "matroska,webm"
            assert container.streams.video[0].codec_context.codec.canonical_name == "av1"
            assert len(list(container.decode(video=0))) == 8
