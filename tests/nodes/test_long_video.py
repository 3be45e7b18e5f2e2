"""The node for long videos, outside ComfyUI: what it writes, and that it goes on."""

from datetime import datetime, timezone
from fractions import Fraction as Fr
from types import SimpleNamespace

import pytest
from clips import frames_of, pictures, times_of, write_clip
from midframe import NODE_CLASS_MAPPINGS
from midframe.errors import BadInputError
from midframe.memory.cache import MODELS
from midframe.nodes import _host, _progress
from midframe.nodes._chunk_run import dated, place_of
from midframe.nodes.long_video import MidframeChunks


@pytest.fixture
def clip(tmp_path, monkeypatch):
    monkeypatch.setattr(_host, "output_folder", lambda: tmp_path / "output")
    return write_clip(tmp_path / "in.mp4", pictures(11, (64, 96)), rate=Fr(25), sound="aac")


def video(path, *, window=(0.0, 0.0)):
    return SimpleNamespace(get_stream_source=lambda: str(path), get_active_trim_window=lambda: window)


def run(path, **widgets):
    return MidframeChunks().interpolate(video(path), "default", **{"pairs_per_chunk": 3, **widgets})


def test_it_makes_a_file_and_finds_it_again(clip):
    got = run(clip)
    file, path, fps = got["result"]
    assert str(file) == path
    assert file.parent == clip.parent / "output" / "midframe"
    assert (times_of(file), fps) == ([Fr(k, 50) for k in range(22)], 50.0)
    shown = got["ui"]["images"][0]
    assert (shown["subfolder"], shown["filename"], shown["type"]) == ("midframe", file.name, "output")
    written, loads = file.stat().st_mtime_ns, MODELS.loads
    assert run(clip, after_run="unload")["result"][1] == path
    assert (file.stat().st_mtime_ns, MODELS.loads) == (written, loads)  # a job that is done loads no model
    other = run(clip, target_fps=60.0)["result"][1]
    assert other != path
    assert len(frames_of(other)) == 27


def test_dates_in_the_prefix_are_filled_in(clip):
    now = datetime(2031, 2, 3, 4, 5, 6, tzinfo=timezone.utc)
    assert dated("%year%-%month%/%date:yyyyMMdd_hhmmss%", now) == "2031-02/20310203_040506"
    assert dated("100%/%date%/%date:../..%", now) == "100%/%date%/%date:../..%"
    file = run(clip, filename_prefix="%date:yyyy%/clip")["result"][0]
    assert file.parent.name == str(datetime.now().astimezone().year)


@pytest.mark.parametrize(
    ("prefix", "parts"),
    [
        ("h/%date:hh:mm%", ("h", None)),
        ("a<b>:c|d?*", ("a_b__c_d__",)),
        ("h\\win\\x", ("h", "win", "x")),
        ("x\ny", ("x_y",)),
        ("a/../b/x", ("b", "x")),
        ("é漢字 😀", ("é漢字 😀",)),
    ],
)
def test_a_name_is_one_that_every_system_can_write(monkeypatch, tmp_path, prefix, parts):
    monkeypatch.setattr(_host, "output_folder", lambda: tmp_path)
    place = place_of(prefix).relative_to(tmp_path.resolve())
    assert not set('<>:"|?*\\') & set(str(place.as_posix()))
    assert all(part == expected for part, expected in zip(place.parts, parts, strict=True) if expected)


@pytest.mark.parametrize(
    "prefix", ["", "../x", "/x", "..\\x", "x" * 201, "h/" + "漢" * 100 + "/x", "a\0b", 5]
)
def test_a_name_that_cannot_be_is_refused_at_validation(monkeypatch, tmp_path, prefix):
    monkeypatch.setattr(_host, "output_folder", lambda: tmp_path)
    links = {"video": "VIDEO"}
    with pytest.raises(BadInputError):
        MidframeChunks.VALIDATE_INPUTS("default", 2, input_types=links, filename_prefix=prefix)
    assert MidframeChunks.VALIDATE_INPUTS("default", 2, input_types=links, filename_prefix="h/x") is True


@pytest.mark.long  # two jobs; test_it_makes_a_file_and_finds_it_again has one
def test_a_file_that_was_deleted_is_made_again(clip):
    """ComfyUI keeps a result for as long as IS_CHANGED says the same: not once the file is gone."""

    def asked():
        return MidframeChunks.IS_CHANGED(node_id="7", model="default")

    before = asked()
    file = run(clip, node_id="7")["result"][0]
    assert asked() == before
    file.unlink()
    gone = asked()
    assert gone != before
    assert asked() == gone
    assert run(clip, node_id="7")["result"][0].is_file()
    assert asked() == gone


def test_lists_and_states_reach_every_chunk(clip):
    (states,) = NODE_CLASS_MAPPINGS["MidframeStates"]().states("2, 7, 8", True)
    whole = run(clip, states=states, pairs_per_chunk=100)["result"][1]
    in_chunks = run(clip, states=states)["result"][1]
    assert times_of(in_chunks) == times_of(whole)
    assert len(times_of(whole)) == 22 - 3
    listed = run(clip, multiplier=[1, 3, 0, *[1] * 7])["result"][1]
    assert len(times_of(listed)) == 9 + 3 + 2  # the last frame is held as long as a pair past the list
    assert len({whole, in_chunks, listed, run(clip)["result"][1]}) == 4


@pytest.mark.long  # two jobs; test_lists_and_states_reach_every_chunk has states
def test_states_of_an_older_pack_are_another_job_than_none(clip):
    older = SimpleNamespace(
        frame_indices=[3], is_skip_list=True, is_frame_skipped=lambda frame_index: frame_index == 3
    )
    path = run(clip, states=older)["result"][1]
    (states,) = NODE_CLASS_MAPPINGS["MidframeStates"]().states("3", True)
    assert run(clip, states=states)["result"][1] == path
    assert run(clip)["result"][1] != path


def test_it_goes_on_after_cancel(clip, monkeypatch):
    class Cancelled(BaseException):
        pass

    done = []

    def progress(self, count, total, preview):
        done.append(count)
        if count > 10:
            raise Cancelled

    with monkeypatch.context() as patch:
        patch.setattr(_progress.NodeHost, "progress", progress)
        with pytest.raises(Cancelled):
            run(clip, format="mkv")
    assert not list((clip.parent / "output").rglob("*.mkv.tmp"))
    path = run(clip, format="mkv")["result"][1]
    assert len(frames_of(path)) == 22


@pytest.mark.parametrize(
    ("given", "widgets", "match"),
    [
        (lambda clip: video(clip, window=(1.0, 0.0)), {}, "whole video file"),
        (lambda clip: SimpleNamespace(get_stream_source=object), {}, "whole video file"),
        (video, {"filename_prefix": "../outside"}, "output folder"),
        (video, {"filename_prefix": ""}, "output folder"),
        (video, {"multiplier": [2, 2.5]}, "whole numbers"),
        (video, {"states": "1, 2"}, "interpolation states"),
        (video, {"pairs_per_chunk": 0}, "pairs of a chunk must be a whole number, 1 or more"),
    ],
)
def test_refusals(clip, given, widgets, match):
    with pytest.raises(BadInputError, match=match):
        MidframeChunks().interpolate(given(clip), "default", **widgets)
