"""The table of quality: true frames score best, a blend of what moves worse, and a line has all clips."""

import json
import sys

import pytest
from clips import pictures
from midframe.benchmarks import quality
from PIL import Image


@pytest.fixture
def clips(tmp_path):
    for name, step in (("slow", 1), ("fast", 6)):
        folder = tmp_path / "clips" / name
        folder.mkdir(parents=True)
        for number, picture in enumerate(pictures(5, (48, 64), step=step)):
            Image.fromarray(picture).save(folder / f"{number:03d}.png")
    return tmp_path / "clips"


def test_what_moves_more_is_made_worse_and_the_truth_is_best(clips):
    by = {"PSNR": quality.psnr, "SSIM": quality.ssim}
    frames = quality.clips_in(clips)
    blended = quality.rows_of(quality.blend, frames, 10, by)
    assert blended["slow"]["PSNR"] > blended["fast"]["PSNR"]
    assert blended["mean"]["SSIM"] == pytest.approx((blended["slow"]["SSIM"] + blended["fast"]["SSIM"]) / 2)
    true = quality.rows_of(lambda triplet: triplet[1], frames, 10, by)
    assert true["mean"]["PSNR"] >= 120
    assert true["mean"]["SSIM"] == pytest.approx(1.0)


def test_the_command_writes_a_line_for_each_model_and_measure(clips, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "stlpips_pytorch", None)
    out = tmp_path / "out"
    words = ["quality", "--clips", str(clips), "--model", "default", "--most", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    quality.main()
    said = capsys.readouterr()
    assert "LPIPS is left out" in said.err
    lines = out.with_suffix(".md").read_text().splitlines()
    assert said.out.splitlines() == lines
    assert lines[0] == "| model | measure | fast | slow | mean |"
    assert [line.split(" | ")[:2] for line in lines[2:]] == [
        ["| blend", "PSNR"],
        ["| blend", "SSIM"],
        ["| default", "PSNR"],
        ["| default", "SSIM"],
    ]
    results = json.loads(out.with_suffix(".json").read_text())
    assert results["default"]["mean"]["PSNR"] > results["blend"]["mean"]["PSNR"]


def test_what_looks_alike_is_near(clips):
    pytest.importorskip("stlpips_pytorch", reason="stlpips_pytorch is not installed")
    looks = quality.perceptual()
    picture = quality.clips_in(clips)["slow"][0].float() / 255
    assert looks(picture, picture) == pytest.approx(0.0, abs=1e-6)
    assert looks(picture, picture.flip(0)) > 0.01
