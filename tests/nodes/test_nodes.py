"""The nodes without ComfyUI. In a real one: test_comfyui.py."""

import inspect
import json
from fractions import Fraction

import pytest
import torch
from midframe import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS, interpolate, load_model
from midframe.errors import BadInputError
from midframe.inputs.pairs import parse_pairs
from midframe.inputs.rates import rate_or_zero
from midframe.memory.cache import MODELS
from midframe.nodes import _host
from midframe.nodes._inputs import changed_options
from midframe.nodes._timeline import timeline_and_fps
from midframe.nodes.states import NodeStates
from midframe.vfi_models import architectures, build, detect
from midframe.vfi_models.film.session import FilmOptions
from midframe.vfi_models.rife.session import RifeOptions
from midframe.vfi_utils import Settings, by_fps
from midframe.weights.synthetic import synthetic_state_dict

RIFE = NODE_CLASS_MAPPINGS["MidframeRIFE"]
NODES = pytest.mark.parametrize("name", NODE_CLASS_MAPPINGS)


@pytest.fixture(autouse=True)
def _outside_comfyui():
    assert not _host.inside_comfyui()
    yield
    MODELS.clear()


def clip(frames=3, height=24, width=40, channels=3):
    return torch.rand(frames, height, width, channels)


def run(frames, **widgets):
    made, fps, count, _ = RIFE().interpolate(frames, "default", **widgets)
    assert count == len(made)
    return made, fps


# --- what ComfyUI reads off the classes


@NODES
def test_definitions_are_complete(name, root):
    node, inputs = NODE_CLASS_MAPPINGS[name], NODE_CLASS_MAPPINGS[name].INPUT_TYPES()
    json.dumps(inputs)
    assert name in NODE_DISPLAY_NAME_MAPPINGS
    assert node.CATEGORY.startswith("video")
    assert node.DESCRIPTION
    assert node.SEARCH_ALIASES
    assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES) == len(node.OUTPUT_TOOLTIPS)
    page = (root / "web" / "docs" / f"{name}.md").read_text()
    for widget, row in {**inputs.get("required", {}), **inputs.get("optional", {})}.items():
        assert row[1]["tooltip"].endswith("."), widget
        assert name == "MidframeClearCache" or f"| {widget} |" in page, widget
    # The side panel is narrow: what is longer stands below the table.
    assert not [line for line in page.splitlines() if line.startswith("|") and len(line) > 330]


@NODES
def test_the_function_takes_what_the_widgets_give(name):
    node, inputs = NODE_CLASS_MAPPINGS[name], NODE_CLASS_MAPPINGS[name].INPUT_TYPES()
    rows = {**inputs.get("required", {}), **inputs.get("optional", {})}
    parameters = dict(inspect.signature(getattr(node, node.FUNCTION)).parameters)
    del parameters["self"]
    assert set(parameters) == {*rows, *inputs.get("hidden", {})}
    for widget, (kind, options) in rows.items():
        default = options.get("default")
        given = parameters[widget].default
        assert given in (inspect.Parameter.empty, default), widget
        if isinstance(kind, list):
            assert default in kind
        if "min" in options:
            assert options["min"] <= default <= options["max"]


def test_the_built_in_model_comes_first_and_every_rife_is_offered():
    names = RIFE.INPUT_TYPES()["required"]["model"][0]
    assert names[0] == "default"
    assert {"rife-hd-3.6", "rife-4.0", "rife-4.6", "rife-4.25", "rife-4.26"} <= set(names)


@pytest.mark.parametrize(
    ("name", "architecture", "options"),
    [
        ("MidframeRIFE", "rife", {"ensemble": "ensemble"}),
        ("MidframeFILM", "film", {"align": "align"}),
        (
            "MidframeTLBVFI",
            "tlbvfi",
            {
                "seed": "seed",
            },
        ),
        (
            "MidframeTLBVFISettings",
            "tlbvfi",
            {
                **{name: name for name in ("eta", "sample_steps", "published_range")},
                "tile_overlap": "overlap",
            },
        ),
    ],
)
def test_widgets_begin_with_the_options_of_the_network(name, architecture, options):
    (found,) = (a for a in architectures() if a.name == architecture)
    spec = build(detect(synthetic_state_dict(found.shapes(found.families[-1]), 0, 1.0))).spec
    inputs = NODE_CLASS_MAPPINGS[name].INPUT_TYPES()["optional"]
    for widget, option in options.items():
        default = inputs[widget][1]["default"]
        assert type(spec.options[option])(default) == spec.options[option], widget


def test_only_changed_options_are_passed_on():
    assert changed_options(RifeOptions()) == {}
    assert changed_options(RifeOptions(ensemble=True)) == {"ensemble": True}
    assert changed_options(FilmOptions(align=True, strips=False)) == {"align": True}


# --- running


@pytest.mark.parametrize("shape", [(3, 24, 40, 3), (2, 33, 47, 4), (2, 1, 1, 3), (3, 17, 64, 1)])
def test_the_node_does_what_the_api_does(shape):
    frames = torch.rand(shape)
    made, fps = run(frames, multiplier=3)
    assert torch.equal(made, interpolate(frames, load_model(), 3))
    assert torch.equal(made[::3], frames)
    assert (made.dtype, made.shape[1:]) == (torch.float32, frames.shape[1:])
    assert fps == 72  # three times 24, where nobody says


def test_alpha_moves_along():
    frames = torch.zeros(2, 64, 64, 4)
    frames[0, 20:40, 16:36] = 1
    frames[1, 20:40, 24:44] = 1
    made, _ = run(frames)
    assert made[1, 30, :, 3].round().nonzero().flatten().float().mean() == pytest.approx(29.5, abs=2)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_frames_come_back_and_no_model_is_loaded(count):
    frames, loads = clip(count), MODELS.loads
    assert run(frames)[0] is frames
    assert MODELS.loads == loads


def test_a_list_sets_each_pair_by_itself():
    frames = clip(4)
    made, fps = run(frames, multiplier=[1, 3.0], source_fps=24.0)
    assert len(made) == 1 + 3 + 2 + 1  # the third pair gets 2
    assert fps == 48  # six steps in the time of three
    assert torch.equal(made[[0, 1, 4, 6]], frames)


@pytest.mark.parametrize("bad", [0.5, "two", [2, "x"], [2, 2.5], True, None, 0, -1, [-1]])
def test_a_multiplier_that_cannot_be_is_named(bad):
    with pytest.raises(BadInputError, match="multiplier"):
        run(clip(2), multiplier=bad)


def test_target_rate():
    frames = clip(5)
    made, fps = run(frames, source_fps=23.976, target_fps=60.0, multiplier=7)
    assert fps == 60
    assert len(made) == by_fps(Fraction(24000, 1001), 60).count(5)
    with pytest.raises(BadInputError, match="source"):
        run(frames, target_fps=60.0)


def test_the_fps_output_and_the_last_frame():
    made, fps = run(clip(3), source_fps=29.97, multiplier=4, last_frame="hold_last")
    assert fps == float(Fraction(120000, 1001))
    assert len(made) == 12
    assert torch.equal(made[-1], made[-4])


@pytest.mark.parametrize(
    ("typed", "exact"),
    [
        (23.976, Fraction(24000, 1001)),
        (23.976023976, Fraction(24000, 1001)),
        (23.98, Fraction(24000, 1001)),
        (29.97, Fraction(30000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (119.88, Fraction(120000, 1001)),
        (24.0, 24),
        (60.0, 60),
        (12.5, Fraction(25, 2)),
        (0.5, Fraction(1, 2)),
        (0.0, 0),
    ],
)
def test_rates_as_people_type_them(typed, exact):
    assert rate_or_zero(typed) == exact


def test_rates_that_are_no_numbers():
    with pytest.raises(BadInputError, match="rate"):
        timeline_and_fps(2, (float("nan"), 60.0), states=None, end="end_on_last", frames=3)


def test_options_reach_the_model():
    frames = clip(2, 64, 96)
    made, _ = run(frames, scale=0.5, ensemble=True)
    wanted = interpolate(frames, load_model(), settings=Settings({"flow_scale": 0.5, "ensemble": True}))
    assert torch.equal(made, wanted)
    assert not torch.equal(made, run(frames)[0])
    with pytest.raises(BadInputError, match="scale"):
        run(frames, scale=9.0)


def test_a_loaded_model_overrides_the_widget():
    weights, _ = NODE_CLASS_MAPPINGS["MidframeModelLoader"]().load("default")
    loads, frames = MODELS.loads, clip(2)
    made, *_ = RIFE().interpolate(frames, "no such model", model_override=weights)
    assert MODELS.loads == loads
    assert torch.equal(made, run(frames)[0])


# --- states


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", set()),
        (" \n", set()),
        ("1,2,3", {1, 2, 3}),
        ("1, 2,\n3", {1, 2, 3}),
        ("5-9", {5, 6, 7, 8, 9}),
        ("0; 4 - 6\t8", {0, 4, 5, 6, 8}),
        ("3-3", {3}),
    ],
)
def test_lists_of_pairs(text, pairs):
    assert parse_pairs(text) == pairs


@pytest.mark.parametrize("text", ["a", "1,b", "9-5", "-3", "1-", "1.5", "1--2", "0-99999999999"])
def test_lists_that_cannot_be_read_are_refused_before_the_run(text):
    node = NODE_CLASS_MAPPINGS["MidframeStates"]
    with pytest.raises(BadInputError):
        parse_pairs(text)
    assert "What to do" in node.VALIDATE_INPUTS(text)
    assert node.VALIDATE_INPUTS("1-3") is True
    assert node.VALIDATE_INPUTS(None) is True  # it comes by a link


def test_states_are_those_of_older_packs_too():
    (states,) = NODE_CLASS_MAPPINGS["MidframeStates"]().states("2, 0-1", True)
    assert (states.frame_indices, states.is_skip_list) == ([0, 1, 2], True)
    assert [states.is_frame_skipped(i) for i in range(4)] == [True, True, True, False]
    (states,) = NODE_CLASS_MAPPINGS["MidframeStates"]().states("1", False)
    assert [states.is_frame_skipped(i) for i in range(3)] == [True, False, True]


def test_foreign_states_work():
    class OlderStates:
        def is_frame_skipped(self, frame_index):
            return frame_index == 1

    frames = clip(3)
    made, _ = run(frames, states=OlderStates())
    assert len(made) == 4
    assert torch.equal(made[2:], frames[1:])
    assert torch.equal(made, run(frames, states=NodeStates(frozenset({1})))[0])
