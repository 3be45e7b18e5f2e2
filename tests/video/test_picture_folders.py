"""Folders of pictures as people have them: of several sizes, depths and types, with other things among them."""

import os

import numpy as np
import pytest
from clips import pictures, times_of
from fakes import LerpModel, RecordingHost
from midframe.chunks import Inline, Job, process
from midframe.errors import BadInputError
from midframe.video import Plan, interpolate_video, open_clip
from midframe.video.account import describe_output
from PIL import Image

SIZE = (32, 48)
# A remark is said once by each of the two commands.
EACH = 2


def fill(folder, names, **how):
    folder.mkdir(exist_ok=True)
    for name, picture in zip(names, pictures(len(names), SIZE), strict=True):
        Image.fromarray(picture).save(folder / name, **how)
    return folder


def both_ways(source, folder):
    """Make a clip by both commands; return what `interpolate` made."""
    target = folder / "out"
    written = interpolate_video(source, target, LerpModel())
    job = Job(source, folder / "chunked", folder / "work", pairs=2)
    assert process(job, Inline(LerpModel), host=RecordingHost()).frames == written.frames
    with open_clip(target) as one, open_clip(folder / "chunked") as other:
        made = [frame.pixels.numpy() for frame in one]
        assert all(np.array_equal(a, b.pixels.numpy()) for a, b in zip(made, other, strict=True))
    return made


def test_a_picture_of_another_size_is_scaled_and_that_is_said(tmp_path, caplog):
    source = fill(tmp_path / "in", [f"{k}.png" for k in range(4)])
    Image.fromarray(pictures(3, SIZE)[2]).resize((24, 16)).save(source / "2.png")
    made = both_ways(source, tmp_path)
    assert {picture.shape for picture in made} == {(*SIZE, 3)}
    # The same picture, but for what was lost at half its size.
    assert abs(made[4].astype(int) - pictures(3, SIZE)[2]).mean() < 12
    assert caplog.text.count("2.png is 24 x 16: it is scaled") == EACH
    lines = describe_output(source, tmp_path / "out.mp4", Plan())
    assert [line.what for line in lines if line.fate == "converted"] == ["frames of 24 x 16 further on"]


def test_a_picture_that_is_turned_by_exif_alone_is_scaled_upright(tmp_path, caplog):
    source = fill(tmp_path / "in", [f"{k}.png" for k in range(3)])
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(pictures(2, SIZE)[1]))).save(source / "1.png", exif=exif)
    made = both_ways(source, tmp_path)
    assert np.array_equal(made[2], pictures(2, SIZE)[1])
    assert "scaled" not in caplog.text


def test_what_later_pictures_lose_is_said_once(tmp_path, caplog):
    source = fill(tmp_path / "in", [f"{k}.png" for k in range(5)])
    for number in (2, 3):
        clear = pictures(4, SIZE, channels=4)[number]
        Image.fromarray(clear).save(source / f"{number}.png")
    Image.fromarray(np.full(SIZE, 40_000, np.uint16)).save(source / "4.png")
    made = both_ways(source, tmp_path)
    assert abs(made[8].astype(int) - 156).max() <= 1
    assert caplog.text.count("2.png is transparent") == EACH
    assert "3.png" not in caplog.text
    assert caplog.text.count("4.png has 16 bits, of which the 8 of the first are kept") == EACH


def test_transparency_that_is_in_all_is_not_said_to_be_lost(tmp_path, caplog):
    folder = tmp_path / "in"
    folder.mkdir()
    for number, picture in enumerate(pictures(3, SIZE, channels=4)):
        Image.fromarray(picture).save(folder / f"{number}.png")
    assert both_ways(folder, tmp_path)[0].shape == (*SIZE, 4)
    assert "lost" not in caplog.text


def test_a_jpeg_of_ink_has_no_transparency(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    ink = np.stack([*np.moveaxis(pictures(1, SIZE)[0], -1, 0), np.full(SIZE, 90, np.uint8)], -1)
    for number in range(2):
        Image.fromarray(ink, "CMYK").save(folder / f"{number}.jpg", quality=95)
    with Image.open(folder / "0.jpg") as picture, open_clip(folder) as clip:
        expected = np.asarray(picture.convert("RGB")).astype(int)
        assert not clip.info.alpha
        assert abs(next(iter(clip)).pixels.numpy() - expected).mean() < 1


def test_a_folder_with_the_name_of_a_picture_is_none(tmp_path):
    source = fill(tmp_path / "in", ["0.png", "1.PNG", "2.Jpeg"])
    fill(source / "1x.png", ["0.png"])
    for name in ("notes.txt", ".0.png", "Thumbs.db"):
        (source / name).write_text("other")
    assert len(both_ways(source, tmp_path)) == 6


def test_pictures_that_are_there_in_two_types_are_said(tmp_path, caplog):
    source = fill(tmp_path / "in", ["0.png", "0.jpg", "1.png", "1.jpg"])
    assert len(both_ways(source, tmp_path)) == 8
    assert caplog.text.count("0.jpg and 0.png are one after the other") == EACH


@pytest.mark.parametrize("suffix", ["webp", "tif", "png"])
def test_of_files_with_several_pictures_the_first_is_taken_and_that_is_said(tmp_path, caplog, suffix):
    folder = tmp_path / "in"
    folder.mkdir()
    shown = pictures(3, SIZE)
    others = [Image.fromarray(picture) for picture in shown[1:]]
    for name in ("0", "1"):
        Image.fromarray(shown[0]).save(folder / f"{name}.{suffix}", save_all=True, append_images=others)
    for made in both_ways(folder, tmp_path):
        assert abs(made.astype(int) - shown[0]).mean() < 4
    assert caplog.text.count("holds 3 pictures, of which the first is taken") == EACH


@pytest.mark.parametrize(
    ("data", "said"), [(b"", "the file is empty"), (b"hello", "Invalid data"), (None, "Invalid data")]
)
def test_a_broken_picture_is_named_and_what_was_made_is_kept(tmp_path, data, said):
    source = fill(tmp_path / "in", [f"{k}.png" for k in range(6)])
    whole = (source / "4.png").read_bytes()
    (source / "4.png").write_bytes(whole[: len(whole) // 2] if data is None else data)
    with pytest.raises(BadInputError, match=r"4\.png") as caught:
        interpolate_video(source, tmp_path / "out.mkv", LerpModel())
    assert said in caught.value.found
    assert len(times_of(tmp_path / "out.partial.mkv")) == caught.value.finished >= 4
    job = Job(source, tmp_path / "out.mkv", tmp_path / "work", pairs=2)
    # It looks at all of the clip first: nothing is made in vain.
    with pytest.raises(BadInputError, match=r"4\.png"):
        process(job, Inline(lambda: pytest.fail("a model is loaded")), host=RecordingHost())
    (source / "4.png").write_bytes(whole)
    assert process(job, Inline(LerpModel), host=RecordingHost()).frames == 12


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_to_a_picture_that_is_gone_is_named(tmp_path):
    source = fill(tmp_path / "in", ["0.png", "1.png"])
    (source / "2.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(BadInputError, match=r"2\.png"):
        interpolate_video(source, tmp_path / "out.mkv", LerpModel())


def test_a_single_picture_is_said_to_be_one(tmp_path, caplog):
    assert len(both_ways(fill(tmp_path / "in", ["0.png"]), tmp_path)) == 2
    assert caplog.text.count("in has one frame: nothing was made") == EACH
