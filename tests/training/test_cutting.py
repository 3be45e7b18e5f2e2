"""Clips are cut into sequences as Vimeo-90k has them, and read back."""

import numpy as np
import pytest
import torch
from midframe.cli import main
from midframe.errors import BadInputError
from midframe.training import cutting as cutting_module
from midframe.training.cutting import Cutting, clips_in, cut, sequences_of
from midframe.training.footage import Joined
from midframe.training.sequences import Sequences, fingerprint
from midframe.training.triplets import FootageSampler
from PIL import Image

HEIGHT, WIDTH, PAN = 96, 128, 3
"""Sides of the pictures, and the motion of the scene from frame to frame, in pixels."""


def panned(seed, frames):
    rng = np.random.default_rng(seed)
    scene = rng.integers(0, 256, (HEIGHT // 8 + 1, (WIDTH + PAN * frames) // 8 + 2, 3), dtype=np.uint8)
    scene = np.asarray(
        Image.fromarray(scene).resize((WIDTH + PAN * frames, HEIGHT), Image.Resampling.BICUBIC)
    )
    return [scene[:, PAN * i : PAN * i + WIDTH] for i in range(frames)]


def written(folder, frames):
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number:04}.png")
    return folder


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """Two shots of 24 frames in one clip, the sixth frame of the first one shown twice."""
    first, second = panned(1, 24), panned(2, 24)
    return written(tmp_path_factory.mktemp("clips") / "shots", [*first[:6], first[5], *first[6:], *second])


def number_of(frame, frames):
    return next(i for i, other in enumerate(frames) if np.array_equal(frame, other))


def test_no_sequence_has_a_cut_or_a_repeated_frame(shots, tmp_path):
    assert cut([shots], tmp_path / "out", Cutting()) == (5, 1)
    read = Sequences(tmp_path / "out")
    assert [clip.held_out for clip in read.clips] == [False] * 5 + [True]
    source = [panned(1, 24), panned(2, 24)]
    starts = []
    for clip in read.clips:
        frames = [read.frame(clip, n) for n in range(7)]
        shot = 0 if any(np.array_equal(frames[0], other) for other in source[0]) else 1
        numbers = [number_of(frame, source[shot]) for frame in frames]
        assert numbers == list(range(numbers[0], numbers[0] + 7))
        starts.append((shot, numbers[0]))
    assert starts == [(0, 0), (0, 7), (0, 14), (1, 0), (1, 7), (1, 14)]


def test_the_layout_is_that_of_vimeo(shots, tmp_path):
    assert main(["triplets", str(shots), "--out", str(tmp_path / "out"), "--frames", "3", "--quiet"]) == 0
    names = (tmp_path / "out" / "tri_trainlist.txt").read_text().split()
    held_out = (tmp_path / "out" / "tri_testlist.txt").read_text().split()
    assert names[0] == "00001/0001"
    assert (len(names), len(held_out)) == (14, 2)
    assert not set(names) & set(held_out)
    for name in (*names, *held_out):
        assert sorted(p.name for p in (tmp_path / "out" / "sequences" / name).iterdir()) == [
            "im1.png",
            "im2.png",
            "im3.png",
        ]


def test_it_cuts_the_same_every_time(shots, tmp_path):
    for name in ("one", "two"):
        cut([shots], tmp_path / name, Cutting(frames=3, held_out=4, shorter_side=72))
    one, two = (Sequences(tmp_path / name) for name in ("one", "two"))
    assert [(c.name, c.held_out, c.height, c.width) for c in one.clips] == [
        (c.name, c.held_out, 72, 96) for c in two.clips
    ]
    assert all(
        np.array_equal(one.frame(a, 1), two.frame(b, 1)) for a, b in zip(one.clips, two.clips, strict=True)
    )
    assert fingerprint(tmp_path / "one").split()[1] == fingerprint(tmp_path / "two").split()[1]


def test_frames_that_stand_or_jump_are_no_truth():
    moving = [torch.from_numpy(frame.copy()) for frame in panned(3, 12)]
    assert len(list(sequences_of(moving, 3))) == 4
    assert list(sequences_of([moving[0]] * 12, 3)) == []
    for values, even in (((10, 14, 18, 22), True), ((10, 14, 14, 18), False), ((10, 14, 18, 22, 60), False)):
        grey = [torch.full((8, 8, 3), value, dtype=torch.uint8) for value in values]
        assert cutting_module._moves_evenly(grey) == even


@pytest.mark.long  # decodes and cuts a clip of several shots
def test_samples_are_cut_from_sequences(shots, tmp_path):
    cut([shots], tmp_path / "three", Cutting(frames=3))
    cut([shots], tmp_path / "seven", Cutting())
    three = FootageSampler(Sequences(tmp_path / "three"), frozenset(), seed=1, size=64)
    assert {float(three.sample(i).timestep) for i in range(12)} == {0.5}
    both = Joined([Sequences(tmp_path / "three"), Sequences(tmp_path / "seven")])
    sampler = FootageSampler(both, frozenset(), seed=1, size=64)
    assert len({float(sampler.sample(i).timestep) for i in range(40)}) == 5
    assert torch.equal(sampler.sample(3).middle, sampler.sample(3).middle)
    used = {number for triplets, _ in sampler._by_span for number in (t.clip for t in triplets)}
    assert used == {i for i, clip in enumerate(both.clips) if not clip.held_out}


def test_what_is_found_in_a_folder(shots, tmp_path):
    written(tmp_path / "clips" / "b", panned(4, 3))
    (tmp_path / "clips" / "a.mp4").write_bytes(b"no film")
    assert [path.name for path in clips_in([tmp_path / "clips", shots])] == ["a.mp4", "b", "shots"]


def refusal(tmp_path, frames, cutting=Cutting()):  # noqa: B008 - frozen
    folder = written(tmp_path / "clip", frames)
    with pytest.raises(BadInputError) as caught:
        cut([folder], tmp_path / "out", cutting)
    assert not list(tmp_path.glob("out*"))
    return str(caught.value)


def test_clips_that_give_nothing_are_named(tmp_path):
    assert "no 7 frames in a row" in refusal(tmp_path / "short", panned(1, 6))
    assert "no 7 frames in a row" in refusal(tmp_path / "still", [panned(1, 1)[0]] * 12)
    assert "96 x 128 pixels, too small: at least 100" in refusal(
        tmp_path / "small", panned(1, 12), Cutting(least_side=100)
    )


def test_folders_that_are_empty_or_in_the_way(shots, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="empty"):
        cut([tmp_path / "empty"], tmp_path / "out", Cutting())
    with pytest.raises(BadInputError, match="there already"):
        cut([shots], tmp_path / "empty", Cutting())
    with pytest.raises(BadInputError, match=r"tri_trainlist\.txt"):
        Sequences(tmp_path / "empty")
    (tmp_path / "empty" / "tri_trainlist.txt").write_text("00001/0001\n")
    with pytest.raises(BadInputError, match="cannot be read"):
        Sequences(tmp_path / "empty")
