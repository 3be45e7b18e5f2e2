import logging
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction as Fr
from pathlib import Path

import pytest
from clips import pictures, times_of, write_clip
from midframe import cli
from midframe.cli import interpolate, options
from midframe.cli.progress import ProgressHost
from thin import thinned

FILM = Fr(24000, 1001)


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "in.mp4", pictures(3))


def run(*words):
    return cli.main([str(word) for word in words])


def test_interpolate(clip, capsys):
    assert run("interpolate", clip, clip.with_name("out.mkv"), "--fps", 60) == 0
    assert len(times_of(clip.with_name("out.mkv"))) == 8
    out, err = capsys.readouterr()
    assert "8 frames from 3" in out
    assert "8/8" in err


def test_default_names(clip, capsys):
    assert run("interpolate", clip, "--multiplier", 3, "--quiet") == 0
    assert len(times_of(clip.with_name("in_x3.mp4"))) == 9
    assert capsys.readouterr() == ("", "")
    name = options.default_target
    assert name(Path("a/b.mov"), 2, Fr(60000, 1001)) == Path("a/b_59.94fps.mov")
    assert name(Path("b.avi"), 2, Fr(60)) == Path("b_60fps.mp4")
    assert name(clip.parent, 4, None) == clip.parent.parent / f"{clip.parent.name}_x4"


def test_a_folder_of_pictures(clip):
    assert run("interpolate", clip, clip.with_name("pictures"), "-m", 1) == 0
    assert run("interpolate", clip.with_name("pictures"), clip.with_name("out.gif"), "--source-fps", 10) == 0
    assert times_of(clip.with_name("out.gif")) == [Fr(k, 20) for k in range(6)]


@pytest.mark.parametrize("command", ["interpolate", "chunks"])
def test_a_folder_of_tiff(clip, command):
    assert run(command, clip, clip.with_name("pictures"), "--images", "tiff", "--quiet") == 0
    names = sorted(path.name for path in clip.with_name("pictures").iterdir())
    assert names == [f"{k:08d}.tiff" for k in range(6)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("60", 60),
        ("24000/1001", FILM),
        ("23.976", FILM),
        ("23.98", FILM),
        ("59.94", Fr(60000, 1001)),
        ("119.88", Fr(120000, 1001)),
        ("29.97", Fr(30000, 1001)),
        ("ntsc", Fr(30000, 1001)),
        ("Film", 24),
        ("12.5", Fr(25, 2)),
        ("12.50", Fr(25, 2)),
        ("24.00", 24),
        ("29.9", Fr(299, 10)),
    ],
)
def test_rates(text, wanted):
    assert options._rate(text) == wanted


@pytest.mark.parametrize("text", ["0", "-24", "fast", "1/0", ""])
def test_rates_that_are_none(text):
    with pytest.raises(options.argparse.ArgumentTypeError, match="no frame rate"):
        options._rate(text)


@pytest.mark.parametrize(
    ("words", "status", "match"),
    [
        (["nothing.mp4"], 2, "no such file"),
        (["in.mp4", "in.mp4", "--overwrite"], 2, "are the same"),
        (["in.mp4", "there.mp4"], 2, "there already"),
        (["in.mp4", "out.doc"], 2, "cannot be written"),
        (["in.mp4", "--multiplier", "0"], 2, "multiplier"),
        (["in.mp4", "--device", "abacus"], 2, "no such device"),
        (["in.mp4", "--scale", "-1"], 2, "scale"),
        (["there.mp4", "out.mp4"], 2, "cannot be read"),
        (["in.mp4", "--model", "rife-99.9"], 1, "rife-99.9"),
    ],
)
def test_errors_are_three_lines(clip, monkeypatch, capsys, words, status, match):
    monkeypatch.chdir(clip.parent)
    Path("there.mp4").write_text("mine")
    assert run("interpolate", *words) == status
    out, err = capsys.readouterr()
    lines = err.strip().splitlines()
    assert out == ""
    assert match in err
    assert [line.partition(":")[0] for line in lines] == ["Error", "Found", "What to do"]
    assert sorted(os.listdir()) == ["in.mp4", "there.mp4"]
    assert run("interpolate", *words, "--verbose") == status
    assert "Traceback" in capsys.readouterr().err


def test_a_fault_says_how_to_report_it(clip, monkeypatch, capsys):
    monkeypatch.setattr(interpolate, "load_model", lambda *_, **__: 1 / 0)
    assert run("interpolate", clip) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err
    assert "--verbose" in err
    assert "Traceback" not in err


def test_usage(capsys):
    assert run() == 2
    assert "interpolate" in capsys.readouterr().out
    for words in (["--help"], ["interpolate", "--help"], ["parity", "--help"]):
        with pytest.raises(SystemExit) as caught:
            run(*words)
        assert caught.value.code == 0
    for words in (
        ["fly"],
        ["interpolate", "in.mp4", "--fps", "60", "--multiplier", "2"],
        ["interpolate", "in.mp4", "--fps", "x"],
    ):
        with pytest.raises(SystemExit) as caught:
            run(*words)
        assert caught.value.code == 2


def test_models(capsys):
    assert run("models") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("default")
    assert any(line.startswith("rife-4.25 ") for line in lines)


def test_nothing_of_the_process_is_left_changed(clip):
    logger = logging.getLogger("midframe")
    before = (list(logger.handlers), logger.level, signal.getsignal(signal.SIGTERM))
    run("interpolate", clip, "--multiplier", 1, "--quiet")
    assert (list(logger.handlers), logger.level, signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.skipif(
    sys.platform == "win32", reason="a process cannot be sent Ctrl-C there without its console"
)
@pytest.mark.parametrize(
    ("number", "status"),
    # The other one is raised in this process by test_workers.
    thinned([(signal.SIGINT, 130), (signal.SIGTERM, 143)], (0,)),
)
def test_ctrl_c_ends_at_once_and_leaves_nothing(tmp_path, command, number, status):
    write_clip(tmp_path / "in.mp4", pictures(40, (256, 448)), sound="aac")
    # A shell starts what runs in the background deaf to Ctrl-C, and so is what that starts.
    before = signal.signal(number, signal.default_int_handler)
    process = subprocess.Popen(
        [*command, "interpolate", "in.mp4", "out.mp4", "--fps", "1000"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(number, before)
    deadline = time.monotonic() + 120
    while not any(p.name.startswith(".out") and p.stat().st_size > 0 for p in tmp_path.iterdir()):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(number)
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 15
    assert process.returncode == status
    assert "Traceback" not in err
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


def test_missing_weights_are_said_before_a_long_clip_is_looked_at(clip, monkeypatch, capsys):
    monkeypatch.setenv("MIDFRAME_OFFLINE", "1")
    target = clip.with_name("missing.mp4")
    for words in (["chunks"], ["interpolate"]):
        assert run(*words, clip, target, "--model", "rife-4.6") == 1
        said = capsys.readouterr().err
        assert said.startswith("Error: rife46.pth is not on this computer")
        assert "Traceback" not in said
    assert not target.with_name("missing.mp4.chunks").exists()


def test_a_download_has_a_bar(capsys):
    host = ProgressHost()
    host.downloaded(0, 2**20)
    host.downloaded(2**20, 2**20)
    host.close()
    assert "downloading: 100%" in capsys.readouterr().err
    host = ProgressHost(quiet=True)
    host.downloaded(2**20, None)
    host.close()
    assert capsys.readouterr().err == ""
