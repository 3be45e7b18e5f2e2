import argparse

from clips import pictures, times_of, write_clip
from midframe.cli import demo


def test_the_demo_names_what_it_made(tmp_path, monkeypatch, root):
    frames = pictures(7)
    monkeypatch.setattr(demo, "CLIP", write_clip(tmp_path / "clip.mp4", frames[::2]))
    monkeypatch.setattr(demo, "TRUTH", write_clip(tmp_path / "truth.mp4", frames[1::2]))
    said = []
    parser = argparse.ArgumentParser()
    parser.add_argument("--quiet", default=True)
    demo.add_arguments(parser)
    assert demo.run(parser.parse_args(["--out", str(tmp_path / "out")]), said.append) == 0
    film, sheet = tmp_path / "out/midframe_demo.mp4", tmp_path / "out/midframe_demo.png"
    assert len(times_of(film)) == 8
    with demo.Image.open(sheet) as image:
        assert image.size == (3 * 48, 2 * (32 + 26))
    assert str(film) in said[0]
    assert str(sheet) in said[1]
    assert "dB" in said[2]


def test_the_clip_is_what_the_demo_expects(root):
    clip, truth = times_of(demo.CLIP), times_of(demo.TRUTH)
    assert len(truth) == len(clip) - 1
    assert demo.CLIP.stat().st_size + demo.TRUTH.stat().st_size < 2**20
