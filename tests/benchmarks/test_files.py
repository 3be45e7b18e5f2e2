"""The command that takes a folder of files through both ways."""

import argparse

from midframe.benchmarks import files, sweep
from odd_files import film


def test_every_file_has_a_row(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    film(folder / "a.mkv", sound="flac", count=8)
    (folder / "b.txt").write_text("no film")
    parser, said = argparse.ArgumentParser(), []
    files.add_arguments(parser)
    assert files.run(parser.parse_args([str(folder)]), said.append) == 0
    _, film_row, other = said
    assert "8 -> 16" in film_row
    assert "copied" in film_row
    assert "cannot be read" in other


def test_what_is_wrong_is_found():
    source = files.Content("h264", 3, [0.0, 1.0, 2.0], [(0.0, 3.0, "aac")])
    made = files.Content("h264", 6, [0.0, 0.5, 1.0, 1.5, 2.0, 2.5], [(0.0, 3.0, "aac")])
    assert list(files.wrong_in(source, made, made, whole=True)) == []
    late = files.Content("h264", 5, [0.0, 0.5, 0.5, 1.5, 4.0], [(1.0, 3.0, "aac")])
    found = list(files.wrong_in(source, late, made, whole=True))
    assert found == ["chunks differ", "times do not rise", "number of frames", "duration", "aac is elsewhere"]


def test_the_sweep_says_what_came(tmp_path, capsys):
    assert sweep.main(["--kinds", "1", "--to", "mkv", "gif", "--out", str(tmp_path / "table")]) == 0
    text = (tmp_path / "table.md").read_text()
    assert "| mp4, libx264 yuv420p, aac stereo 44100 | h264 yuv420p + aac | gif bgra; without" in text
    assert len(sweep.KINDS) > 50
    assert len(set(sweep.KINDS)) == len(sweep.KINDS)
