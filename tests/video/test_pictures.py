"""Pictures out: each type that is written is read again, with the names that are asked for."""

import av
import numpy as np
import pytest
import torch
from clips import pictures, write_clip
from fakes import LerpModel, RecordingHost
from midframe import cli
from midframe.chunks import Inline, Job, process
from midframe.engine.light import PQ, light_of
from midframe.errors import BadInputError
from midframe.video import Coding, Plan, interpolate_video, open_clip
from midframe.video.read.images import ImageFolder
from midframe.video.write.pictures import IMAGES, require_images

# Mean difference of 8 bits: none where nothing is lost.
ERRORS = {"png": 0, "tiff": 0, "exr": 0, "jpg": 4, "webp": 6, "avif": 4}


def source(folder, *, bits=8, channels=3):
    fmt = {(8, 3): "bgr0", (8, 4): "bgra", (16, 3): "gbrp14le"}[bits, channels]
    return write_clip(
        folder / "in.mkv", pictures(3, (31, 45), bits=bits, channels=channels), codec="ffv1", pix_fmt=fmt
    )


def frames(path, alpha=True):
    with open_clip(path) if alpha else ImageFolder(path, rate=24, alpha=False) as clip:
        return torch.stack([frame.pixels for frame in clip])


def eight(values):
    return values.to(torch.float64) * (255 / torch.iinfo(values.dtype).max)


@pytest.mark.parametrize(
    ("images", "channels"), [(name, n) for name in IMAGES for n in (3, 4) if (name, n) != ("jpg", 4)]
)
def test_pictures_are_read_as_they_were_written(tmp_path, images, channels):
    clip = source(tmp_path, channels=channels)
    interpolate_video(clip, tmp_path / "out", LerpModel(), Plan(coding=Coding(images=images)))
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        f"{k:08d}.{images}" for k in range(6)
    ]
    made, given = frames(tmp_path / "out"), frames(clip)
    assert made.shape == (6, 31, 45, channels)
    assert (eight(made)[::2] - eight(given)).abs().mean() <= ERRORS[images] + 0.002
    # In between, the mean of both: a picture, and not the one before once more.
    middle = (eight(given)[1:] + eight(given)[:-1]) / 2
    assert (eight(made)[1:-1:2] - middle).abs().mean() <= ERRORS[images] + 0.5


@pytest.mark.parametrize("images", ["png", "tiff", "exr"])
def test_sixteen_bits_are_kept(tmp_path, images):
    clip = source(tmp_path, bits=16)
    interpolate_video(clip, tmp_path / "out", LerpModel(), Plan(1, coding=Coding(images=images)))
    made, given = frames(tmp_path / "out"), frames(clip)
    assert made.dtype == torch.uint16
    assert (made.int() - given.int()).abs().max() <= (1 if images == "exr" else 0)


def planes(file):
    with av.open(str(file)) as container:
        frame = next(container.decode(video=0))
    values = [np.frombuffer(p, np.float32).reshape(p.height, -1)[:, : p.width] for p in frame.planes]
    return frame.format.name, np.stack([values[k] for k in (2, 0, 1, *range(3, len(values)))], -1)


def test_an_exr_holds_light_multiplied_by_alpha(tmp_path):
    clip = source(tmp_path, channels=4)
    interpolate_video(clip, tmp_path / "out", LerpModel(), Plan(1, coding=Coding(images="exr")))
    name, light = planes(tmp_path / "out" / "00000000.exr")
    assert name == "gbrapf32le"
    stored = pictures(3, (31, 45), channels=4)[0] / 255
    curve = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)
    # The curve in float32 and in float64; half a step of 16 bits is 8e-6.
    assert np.allclose(light[..., :3], curve[..., :3] * stored[..., 3:], atol=1e-5)
    assert np.allclose(light[..., 3], stored[..., 3], atol=1e-5)


def test_an_exr_of_high_dynamic_range_holds_the_light_of_its_curve(tmp_path):
    clip = write_clip(
        tmp_path / "in.mkv", pictures(2, bits=16), codec="ffv1", pix_fmt="yuv444p10le", colour=(9, 1, 9, PQ)
    )
    interpolate_video(clip, tmp_path / "out", LerpModel(), Plan(1, coding=Coding(images="exr")))
    expected = light_of(frames(clip)[0].float() / 65535, PQ).numpy()
    assert np.allclose(planes(tmp_path / "out" / "00000000.exr")[1], expected, atol=1e-4)


def exr(file, values, fmt="gbrpf32le", form="half"):
    """Write (H, W) or (H, W, C) of light as other programs do, in halves."""
    frame = av.VideoFrame(values.shape[1], values.shape[0], fmt)
    for plane, channel in zip(frame.planes, (1, 2, 0, 3) if values.ndim == 3 else (None,), strict=False):
        view = np.frombuffer(plane, np.float32).reshape(plane.height, -1)[:, : plane.width]
        view[:] = values if channel is None else values[..., channel]
    encoder = av.CodecContext.create("exr", "w")
    encoder.options = {"format": form}
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = frame.width, frame.height, fmt, 1
    file.write_bytes(b"".join(bytes(p) for p in (*encoder.encode(frame), *encoder.encode(None))))


def test_light_above_one_is_cut_and_that_is_said_once(tmp_path, caplog):
    (tmp_path / "in").mkdir()
    for k in range(2):
        exr(tmp_path / "in" / f"{k}.exr", np.array([[[0, 0.5, 4], [1, 0.25, 0.001]]] * 2))
    first = frames(tmp_path / "in")[0].double() / 65535
    assert np.allclose(first[0, 0], [0, 0.7354, 1], atol=2e-3)
    assert np.allclose(first[0, 1], [1, 0.5371, 0.01292], atol=2e-3)
    assert caplog.text.count("light above 1") == 1


def test_a_grey_exr_is_read(tmp_path):
    (tmp_path / "in").mkdir()
    exr(tmp_path / "in" / "0.exr", np.full((4, 6), 0.5), "grayf32le", "float")
    assert np.allclose(frames(tmp_path / "in")[0] / 65535, 0.7354, atol=1e-3)


def test_what_cannot_be_encoded_here_is_said_first(monkeypatch):
    from midframe.video.write import pictures as writing

    monkeypatch.setattr(writing.features, "check", lambda name: False)
    with pytest.raises(BadInputError, match="AVIF pictures cannot be written here"):
        Coding(images="avif")
    monkeypatch.setattr(writing.av, "codecs_available", {"png"})
    with pytest.raises(BadInputError, match="EXR pictures cannot be written here"):
        require_images("exr")


def names(folder):
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize("command", ["interpolate", "chunks"])
@pytest.mark.parametrize(
    ("out", "words", "expected"),
    [
        ("new/f_%05d.png", (), [f"f_{k:05d}.png" for k in range(6)]),
        ("there/f%d.jpeg", ("--start-number", "98"), ["f100.jpeg", "f101.jpeg", "f102.jpeg", "f103.jpeg", "f98.jpeg", "f99.jpeg", "notes.txt"]),
        ("new", ("--start-number", "1", "--images", "tiff"), [f"{k:08d}.tiff" for k in range(1, 7)]),
    ],
)  # fmt: skip
def test_a_pattern_names_the_pictures(tmp_path, command, out, words, expected):
    clip, target = source(tmp_path), tmp_path / out
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "notes.txt").write_text("mine")
    assert cli.main([command, str(clip), str(target), *words, "--quiet"]) == 0
    folder = target if target.is_dir() else target.parent
    assert [name for name in names(folder) if not name.endswith(".chunks")] == expected
    assert not [path.name for path in tmp_path.rglob(".*")]
    read = target if "%" in out else folder
    assert len(frames(read)) == 6


def test_a_pattern_replaces_only_when_it_may_and_only_its_own_pictures(tmp_path):
    clip, target = source(tmp_path), tmp_path / "out" / "f_%03d.png"
    interpolate_video(clip, target, LerpModel())
    (tmp_path / "out" / "g_000.png").write_text("mine")
    with pytest.raises(BadInputError, match="there already"):
        interpolate_video(clip, target, LerpModel())
    interpolate_video(clip, target, LerpModel(), Plan(1, overwrite=True))
    assert names(tmp_path / "out") == ["f_000.png", "f_001.png", "f_002.png", "g_000.png"]


@pytest.mark.parametrize("given", ["in", "in/f_%03d.png"])
def test_pictures_never_take_the_place_of_their_source(tmp_path, given):
    interpolate_video(source(tmp_path), tmp_path / "in" / "f_%03d.png", LerpModel())
    with pytest.raises(BadInputError, match="Source and output are the same"):
        interpolate_video(tmp_path / given, tmp_path / "in" / "f_%04d.png", LerpModel(), Plan(overwrite=True))
    assert len(names(tmp_path / "in")) == 6


def test_a_pattern_that_fails_is_kept_beside_its_place(tmp_path):
    def fail(*_):
        raise BadInputError("It failed.", "a test", "Nothing.")

    with pytest.raises(BadInputError):
        interpolate_video(source(tmp_path), tmp_path / "out" / "f_%03d.png", LerpModel(fail))
    assert names(tmp_path) in (["in.mkv"], ["in.mkv", "out.partial"])


def test_done_is_done_for_a_pattern_too(tmp_path):
    clip, target = source(tmp_path), tmp_path / "out" / "f_%03d.exr"
    job = Job(clip, target, tmp_path / "work", pairs=2)
    first = process(job, Inline(LerpModel), host=RecordingHost())
    again = process(job, Inline(lambda: pytest.fail("nothing is left to make")), host=RecordingHost())
    assert again.frames == first.frames == len(names(tmp_path / "out")) == 6
