"""What careless graphs pass to the nodes, and what their fps output and the text under them say."""

import json
import logging
from fractions import Fraction as Fr

import numpy as np
import pytest
import torch
from careless import NO_FRAMES, NO_MULTIPLIER, TWO, named
from clips import pictures, write_clip
from midframe import NODE_CLASS_MAPPINGS
from midframe.errors import BadInputError
from midframe.memory.cache import MODELS
from midframe.nodes import _host
from midframe.vfi_utils import by_multiplier

ON_FRAMES = ["MidframeRIFE", "MidframeFILM", "MidframeTLBVFI"]


@pytest.fixture(autouse=True)
def _folders(tmp_path, monkeypatch):
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr(_host, "temp_folder", lambda: tmp_path / "temp")
    monkeypatch.setattr(_host, "output_folder", lambda: tmp_path / "output")


@pytest.fixture(autouse=True, scope="module")
def _models():
    yield
    MODELS.clear()


def clip(n=3):
    return torch.rand(n, 8, 9, 3)


def run(frames, node="MidframeRIFE", model="default", **widgets):
    return NODE_CLASS_MAPPINGS[node]().interpolate(frames, model, **widgets)


class Video:
    def __init__(self, path):
        self.path = path

    def get_stream_source(self):
        return self.path


@pytest.fixture
def video(tmp_path):
    return Video(str(write_clip(tmp_path / "in.mp4", pictures(4), rate=25)))


@pytest.mark.parametrize("node", ON_FRAMES)
@pytest.mark.parametrize("name", NO_FRAMES)
def test_what_is_no_clip_is_refused_and_no_model_is_loaded(node, name):
    loads = MODELS.loads
    with pytest.raises(BadInputError) as caught:
        run(NO_FRAMES[name], node, multiplier=1)
    assert len(str(caught.value).splitlines()) == 3
    assert MODELS.loads == loads


@pytest.mark.parametrize(
    "widgets",
    [
        {"states": {"skip": [1]}},
        {"states": [1, 2]},
        {"states": "1, 2"},
        {"states": (1,)},
        {"states": 7},
        {"states": []},
        {"model_override": "default"},
        {"model_override": {}},
        {"model_override": torch.nn.Linear(1, 1)},
        {"meta_batch": {}},
        {"meta_batch": "manager"},
        {"storage": "cloud"},
        {"storage": None},
        {"device": "abacus"},
        {"device": "meta"},
        {"dtype": "float99"},
        {"dtype": "ones"},
        {"dtype": None},
        {"after_run": "explode"},
        {"last_frame": "at once"},
        {"batch": "many"},
        {"batch": 1.5},
        {"clear_cache_after_n_frames": None},
        {"scale": "large"},
        {"source_fps": "fast"},
        {"source_fps": -24.0},
        {"source_fps": 24.0, "target_fps": float("inf")},
        {"source_fps": 24.0, "target_fps": 1e9},
        {"model": None},
        {"model": 3},
    ],
    ids=repr,
)
def test_what_does_not_belong_into_an_input_is_refused(widgets):
    with pytest.raises(BadInputError) as caught:
        run(clip(), **widgets)
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("scale", ["large", None, True, [1]], ids=repr)
def test_a_scale_that_is_no_number_is_shown_as_it_came(scale):
    with pytest.raises(BadInputError, match="scale must be a number") as caught:
        run(clip(), scale=scale)
    assert caught.value.found == repr(scale)


@pytest.mark.parametrize("node", ["MidframeRIFE", "MidframeVideo", "MidframeChunks"])
def test_the_menu_of_scales_takes_a_number_however_it_was_saved(node):
    menu = NODE_CLASS_MAPPINGS[node].INPUT_TYPES()["optional"]["motion_resolution"][0]
    # As ComfyUI looks a value up: in the list, which goes to the browser as JSON.
    assert all(value in menu for value in ("auto", "1", 1, 1.0, "1.0", 0.25, "0.5", 4))
    assert not any(value in menu for value in ("large", 3, "16", None, True, [1], {}))
    assert json.loads(json.dumps(menu)) == ["auto", "0.25", "0.5", "1", "2", "4"]


def test_a_list_of_pairs_that_runs_away_is_refused_before_anything_runs():
    node = NODE_CLASS_MAPPINGS["MidframeStates"]
    with pytest.raises(BadInputError, match="cannot be read") as caught:
        node().states("9" * 5000, True)
    assert len(str(caught.value)) < 400
    assert node.VALIDATE_INPUTS("9" * 5000) == str(caught.value)


@pytest.mark.parametrize(
    "widgets", [{"seed": "x"}, {"eta": None}, {"tile": "abc"}, {"sample_steps": 3.5}], ids=repr
)
def test_numbers_of_the_sampler_are_checked(widgets, tmp_path):
    with pytest.raises(BadInputError, match="must be a"):
        run(clip(), "MidframeTLBVFI", **widgets)


@pytest.mark.parametrize("node", ["MidframeVideo", "MidframeChunks"])
@pytest.mark.parametrize(
    "given",
    [None, {}, [], "in.mp4", torch.rand(2, 8, 8, 3), object()],
    ids=["none", "dict", "list", "name", "frames", "object"],  # the same in every worker
)
def test_what_is_no_video_is_refused(node, given):
    with pytest.raises(BadInputError, match="not a video"):
        run(given, node)


@pytest.mark.parametrize("node", ["MidframeVideo", "MidframeChunks"])
@pytest.mark.parametrize("value", NO_MULTIPLIER, ids=named)
def test_what_is_no_multiplier_of_a_video_is_refused(node, value, video):
    with pytest.raises(BadInputError, match="multiplier"):
        run(video, node, multiplier=value)


@pytest.mark.parametrize(
    "widgets",
    [
        {"format": "avi2"},
        {"format": None},
        {"executor": "cluster"},
        {"filename_prefix": None},
        {"filename_prefix": "a\0b"},
        {"pairs_per_chunk": "x"},
        {"after_run": "explode"},
        {"target_fps": "fast"},
        {"last_frame": None},
    ],
    ids=repr,
)
def test_what_does_not_belong_into_a_long_video_is_refused(widgets, video):
    with pytest.raises(BadInputError):
        run(video, "MidframeChunks", **widgets)


@pytest.mark.parametrize("value", TWO, ids=repr)
def test_whatever_equals_a_whole_number_is_one(value):
    made, fps, count, _ = run(clip(), multiplier=value, source_fps=24.0)
    assert (count, fps) == (5, 48.0)


def test_two_and_a_half_times_in_every_node(video):
    made, fps, count, _ = run(clip(5), multiplier=2.5, source_fps="24000/1001", last_frame="hold_last")
    assert (len(made), count, fps) == (13, 13, float(Fr(60000, 1001)))
    assert by_multiplier(2.5, end="hold_last").count(5) == 13
    made, fps = run(video, "MidframeVideo", multiplier=torch.tensor(2.5))
    assert (fps, made.get_frame_rate(), made.get_frame_count()) == (62.5, Fr(125, 2), 10)
    path = run(video, "MidframeChunks", multiplier="2.5", pairs_per_chunk=2.0)["result"][1]
    again, _ = run(Video(path), "MidframeVideo", multiplier=1)
    assert again.get_frame_count() == 10


@pytest.mark.parametrize(
    ("widgets", "expected"),
    [
        ({}, 48.0),
        ({"multiplier": 3}, 72.0),
        ({"multiplier": 2.5, "source_fps": 0}, 60.0),
        ({"source_fps": None}, 48.0),
        ({"source_fps": 16}, 32.0),
        ({"source_fps": np.float32(23.976)}, float(Fr(48000, 1001))),
        ({"source_fps": 25.0, "multiplier": [4, 4]}, 100.0),
        ({"source_fps": 25.0, "multiplier": [4, 4, 9]}, 100.0),  # there are only two pairs
        ({"source_fps": 24.0, "multiplier": [1, 2]}, 36.0),
        ({"source_fps": 24.0, "multiplier": [4]}, 72.0),  # the second pair gets 2
        ({"source_fps": 24.0, "multiplier": [0, 0]}, 24.0),
        ({"source_fps": 24.0, "multiplier": []}, 48.0),
        ({"multiplier": (2, 2)}, 48.0),
        ({"source_fps": 24.0, "target_fps": "59.94"}, float(Fr(60000, 1001))),
    ],
    ids=repr,
)
def test_the_fps_output_plays_at_natural_speed_and_is_never_zero(widgets, expected):
    assert run(clip(3), **widgets)[1] == expected


def test_the_rule_for_an_unknown_rate_is_said_where_users_look(root, caplog):
    node = NODE_CLASS_MAPPINGS["MidframeRIFE"]
    assert "24 frames a second" in node.OUTPUT_TOOLTIPS[1]
    for name in ON_FRAMES:
        rows = NODE_CLASS_MAPPINGS[name].INPUT_TYPES()["optional"]
        assert "24" in rows["source_fps"][1]["tooltip"]
        assert "24 frames a second" in (root / "web" / "docs" / f"{name}.md").read_text()
    caplog.set_level(logging.INFO)
    run(clip(1))
    assert "source_fps is not set" in caplog.text


@pytest.mark.parametrize(
    ("frames", "widgets", "reason"),
    [
        (1, {}, "one frame came in"),
        (1, {"last_frame": "hold_last"}, "one frame came in"),
        (0, {}, "no frame came in"),
        (3, {"multiplier": 1}, "leave no moment"),
        (3, {"multiplier": [1, 0]}, "leave no moment"),
    ],
)
def test_a_run_that_makes_nothing_says_why(frames, widgets, reason, monkeypatch, caplog):
    told = []
    monkeypatch.setattr(_host, "show_text", lambda text, node_id: told.append((text, node_id)))
    run(clip(frames), node_id="7", **widgets)
    assert reason in caplog.text
    assert any(reason in text and node == "7" for text, node in told)


def test_a_run_that_makes_something_does_not(caplog):
    run(clip(2))
    assert "Nothing was made" not in caplog.text


def test_a_list_fed_node_says_so_each_time(caplog):
    for frame in clip(3).split(1):
        assert run(frame)[2] == 1
    assert caplog.text.count("join them first") == 3


def test_a_float_may_be_linked_to_a_multiplier_and_nothing_else_where_it_does_not_fit():
    for name in [*ON_FRAMES, "MidframeVideo", "MidframeChunks"]:
        kinds = NODE_CLASS_MAPPINGS[name].INPUT_TYPES()
        kind = {**kinds["required"], **kinds.get("optional", {})}["multiplier"][0]
        # As ComfyUI compares: the type of the link first, a plain text.
        assert not kind != "FLOAT"  # noqa: SIM202
        assert not kind != "INT"  # noqa: SIM202
        assert kind != "IMAGE"
        # What is equal to INT it converts: 2.5 becomes 2 without a word, "3.0" refuses the graph.
        assert (kind == "INT", json.dumps(kind), hash(kind)) == (False, '"INT"', hash("INT"))


def test_a_multiplier_is_checked_at_validation_and_may_be_any_number_there():
    for name in [*ON_FRAMES, "MidframeVideo", "MidframeChunks"]:
        check = NODE_CLASS_MAPPINGS[name].VALIDATE_INPUTS
        for value in (2.5, "2.5", "3.0", [2, 3], None):
            assert check(multiplier=value, input_types={}) is True
        for value in (0, "often", float("nan")):
            with pytest.raises(BadInputError, match="multiplier"):
                check(multiplier=value, input_types={})


def test_a_wrong_model_is_said_once():
    for name in [*ON_FRAMES, "MidframeVideo", "MidframeChunks"]:
        check = NODE_CLASS_MAPPINGS[name].VALIDATE_INPUTS
        # ComfyUI repeats what comes back for each parameter that has a value; what is raised it says once.
        with pytest.raises(BaseException, match="no-such-model"):
            check(model="no-such-model", input_types={})
        assert check(model="no-such-model", input_types={"model_override": "MIDFRAME_MODEL"}) is True


def test_a_target_rate_without_a_source_rate_is_refused_at_validation():
    check = NODE_CLASS_MAPPINGS["MidframeRIFE"].VALIDATE_INPUTS
    with pytest.raises(BadInputError, match="source fps"):
        check(model="default", target_fps=60.0, input_types={})
    assert check(model="default", target_fps=60.0, input_types={"source_fps": "FLOAT"}) is True


def test_all_but_the_clip_is_checked_before_the_clip_is_made():
    node = NODE_CLASS_MAPPINGS["MidframeRIFE"]()
    with pytest.raises(BadInputError, match="source fps"):
        node.check_lazy_status(frames=None, model="default", target_fps=60.0)
    assert node.check_lazy_status(frames=None, model="default") == ["frames"]
    assert node.check_lazy_status(frames=clip(), model="default") == []


@pytest.mark.parametrize(
    "given", [[1, 2.0, "5"], (1, 2, 5), torch.tensor([1, 2, 5]), np.array([1, 2, 5]), "1, 2, 5"]
)
def test_pairs_may_come_as_lists(given):
    (states,) = NODE_CLASS_MAPPINGS["MidframeStates"]().states(given, True)
    assert states.frame_indices == [1, 2, 5]


@pytest.mark.parametrize("given", [None, {"a": 1}, [1.5], ["x"], [-1], object(), True])
def test_what_lists_no_pairs_is_refused(given):
    with pytest.raises(BadInputError):
        NODE_CLASS_MAPPINGS["MidframeStates"]().states(given, True)


def test_the_loader_refuses_what_is_no_name():
    for model in (None, 3, ["default"]):
        with pytest.raises(BadInputError, match="must be a name"):
            NODE_CLASS_MAPPINGS["MidframeModelLoader"]().load(model)
    for widgets in ({"dtype": "x"}, {"device": "x"}):
        with pytest.raises(BadInputError):
            NODE_CLASS_MAPPINGS["MidframeModelLoader"]().load("default", **widgets)


# --- what is linked to source_fps, masks


class RatedVideo:
    """A VIDEO that knows its rate alone."""

    def __init__(self, rate):
        self.rate = rate

    def get_frame_rate(self):
        return self.rate


@pytest.mark.parametrize(
    "source",
    [
        RatedVideo(Fr(24000, 1001)),
        {
            "source_fps": 59.94,
            "loaded_fps": 23.976,
        },
        {"source_fps": 23.976},
        "23.976",
    ],
    ids=["video", "info", "older info", "text"],
)
def test_the_rate_is_taken_from_what_is_linked(source):
    _, fps, _, _ = run(clip(), source_fps=source, multiplier=2)
    assert fps == float(Fr(48000, 1001))


@pytest.mark.parametrize(
    "source", [RatedVideo(0), {"loaded_fps": 0}, {}, [24.0]], ids=["video", "info", "nothing", "list"]
)
def test_what_knows_no_rate_is_refused_and_never_counts_as_0(source):
    with pytest.raises(BadInputError, match="rate") as caught:
        run(clip(), source_fps=source)
    assert len(str(caught.value).splitlines()) == 3


def test_a_mask_moves_along_as_a_channel_of_the_picture_would():
    frames, masks = clip(), torch.rand(len(clip()), *clip().shape[1:3])
    pictures, _, count, moved = run(frames, mask=masks)
    together, *_ = run(torch.cat((frames, masks.unsqueeze(-1)), dim=-1))
    assert torch.equal(torch.cat((pictures, moved.unsqueeze(-1)), dim=-1), together)
    assert torch.equal(moved[::2], masks)
    assert len(moved) == count
    assert torch.equal(run(frames, mask=masks[:1])[3][0], masks[0])


@pytest.mark.parametrize("mask", [torch.rand(2, 9, 9), torch.rand(9, 9), "mask"], ids=["size", "one", "text"])
def test_a_mask_of_other_pictures_is_refused(mask):
    with pytest.raises(BadInputError, match="mask does not belong"):
        run(clip(), mask=mask)


@pytest.mark.parametrize("linked", [{}, {"mask": None}], ids=["frames", "frames and mask"])
def test_frames_and_a_mask_are_asked_for_after_everything_else_was_checked(linked):
    node = NODE_CLASS_MAPPINGS["MidframeInterpolate"]()
    assert node.check_lazy_status(frames=None, model="default", **linked) == ["frames", *linked]
    with pytest.raises(BadInputError):
        node.check_lazy_status(frames=None, model="default", multiplier=-1, **linked)
    assert node.check_lazy_status(frames=clip(), model="default") == []
