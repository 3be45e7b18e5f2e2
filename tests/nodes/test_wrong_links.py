"""Links that do not fit, in every node: by hand, or in a graph in the API's format, which may hold anything there."""

import json

import pytest
import torch
from midframe import NODE_CLASS_MAPPINGS
from midframe.errors import MidframeError
from midframe.nodes.old_ids import OLD_NODES, stand_ins

STAND_INS, _ = stand_ins(())
USUAL = {"INT", "FLOAT", "BOOLEAN", "STRING", "*"}
NODES = [key for key in NODE_CLASS_MAPPINGS if key.startswith("Midframe")]


def _inputs(node):
    inputs = node.INPUT_TYPES()
    return {**inputs.get("required", {}), **inputs.get("optional", {})}


def rows(key):
    return _inputs(NODE_CLASS_MAPPINGS[key])


VALUES = {"number": 5, "text": "text", "dict": {"x": 1}, "tensor": torch.zeros(3)}
CASES = [
    (key, name, value)
    for key in NODES
    for name, (kind, _) in rows(key).items()
    if isinstance(kind, str) and str(kind) not in USUAL
    for value in VALUES
    if (name, value) != ("source_fps", "number")
]


@pytest.mark.parametrize(("key", "name", "value"), CASES, ids=["-".join(case) for case in CASES])
def test_what_does_not_fit_is_refused_by_our_words(key, name, value):
    node = NODE_CLASS_MAPPINGS[key]
    inputs = {
        widget: options["default"] for widget, (_, options) in rows(key).items() if "default" in options
    }
    if "model" in inputs:
        inputs["model"] = "default"
    if "frames" in rows(key) and name != "video":
        inputs["frames"] = torch.rand(2, 32, 32, 3)
    if getattr(node, "CLIP", "") == "video" and name != "video":
        inputs["video"] = None  # nobody has made it yet: all else is checked before
        run = node().check_lazy_status
    else:
        run = getattr(node(), node.FUNCTION)
    with pytest.raises(MidframeError):
        run(**{**inputs, name: VALUES[value]})


@pytest.mark.parametrize("key", ["MidframeInterpolate", "MidframeRIFE"])
def test_every_output_is_there_whatever_is_linked(key):
    """ComfyUI takes an output by its number: one that is not there ends the run of whatever is linked to it."""
    node = NODE_CLASS_MAPPINGS[key]
    frames = torch.rand(2, 32, 48, 3)
    for mask in (None, torch.ones(1, 32, 48)):
        made = node().interpolate(frames, "default", mask=mask)
        assert len(made) == len(node.RETURN_TYPES)
    masks = node().interpolate(frames, "default")[3]
    assert masks.shape == (1, 32, 48)
    assert not masks.any()


@pytest.mark.parametrize("key", list(OLD_NODES))
def test_outputs_of_older_nodes_have_types_that_inputs_have(key):
    """A link is compared with the input's type letter by letter."""
    kinds = {str(kind) for node in STAND_INS.values() for kind, _ in _inputs(node).values()}
    kinds |= {"IMAGE", "INT", "FLOAT", "BOOLEAN", "STRING", "VAE", "MODEL"}
    assert set(STAND_INS[key].RETURN_TYPES) <= kinds


@pytest.mark.parametrize("key", ["MidframeInterpolate", "MidframeTLBVFI", "MidframeVideo", "MidframeChunks"])
def test_numbers_of_both_kinds_may_be_linked_and_nothing_else(key):
    """The definition says INT or FLOAT all the same: other programs tell widgets by it."""
    for name, kind in (("multiplier", "INT"), ("target_fps", "FLOAT")):
        found = rows(key)[name][0]
        assert json.dumps(found) == f'"{kind}"'
        # As ComfyUI compares: the type of the link first, a plain text.
        assert [linked for linked in ("INT", "FLOAT", "IMAGE", "SIGMAS") if "".join(linked) != found] == [
            "IMAGE",
            "SIGMAS",
        ]


@pytest.mark.parametrize(
    ("target", "count"), [("60", 4), (60, 4), (None, 3), ("ntsc", 2), (0, 3), ("", None), (-1, None)]
)
def test_a_target_rate_is_read_however_it_is_spelt(target, count):
    node = NODE_CLASS_MAPPINGS["MidframeRIFE"]
    widgets = {"multiplier": 2, "source_fps": 16, "target_fps": target}
    if count is None:
        with pytest.raises(MidframeError):
            node.VALIDATE_INPUTS("default", **widgets, input_types={})
        return
    assert node.VALIDATE_INPUTS("default", **widgets, input_types={}) is True
    assert len(node().interpolate(torch.rand(2, 32, 32, 3), "default", **widgets)[0]) == count
