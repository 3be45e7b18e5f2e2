"""Nodes of older packs under their own ids: the widget layouts of saved workflows, and what comes out."""

import numpy as np
import pytest
import torch
from midframe import interpolate
from midframe.errors import MidframeError
from midframe.nodes.old_ids import MISSING, OLD_NODES, REPLACEMENTS, RUN, stand_ins
from midframe.vfi_models import tlbvfi
from midframe.weights.synthetic import synthetic_state_dict
from safetensors.torch import save_file

CLASSES, NAMES = stand_ins(())

LAYOUTS = {
    "RIFE VFI": ["rife49.pth", 10, 2, True, True, 1.0, "float32", False, 1],
    "FILM VFI": ["film_net_fp32.pt", 10, 2],
    "TLBVFI_VFI": ["vimeo_unet.pth", 1, 10, 2, 0.5],
    "TLBVFI_VFI_TF32": ["vimeo_unet.pth", 1, 0],
    "TLBVFI_Interpolator": ["vimeo_unet.pth", 1, 0, False, False],
    "TLBVFI_Interpolator_V2": ["vimeo_unet.pth", 0, True, 10, 0.5, 0, True, 0],
    "TLBVFI_BatchInterpolator_V2": ["vimeo_unet.pth", 1, True, 10, 0.5, True, 0, True],
    "Make Interpolation State List": ["1,2,3", True],
    "VFI FloatToInt": [0.0],
}
"""Widgets in the order in which those packs' workflows hold them, at their defaults."""


def rows(key):
    inputs = CLASSES[key].INPUT_TYPES()
    return {**inputs["required"], **inputs.get("optional", {})}


def made(key, *values, **links):
    """Run a node with a saved workflow's values, of which there may be fewer than it has widgets."""
    widgets = [name for name, (_, options) in rows(key).items() if "default" in options]
    return CLASSES[key]().run(**links, **dict(zip(widgets, values, strict=False)))


def clip(frames=3):
    """A soft texture that moves, in which nobody finds a cut."""
    x = torch.arange(64.0)
    pictures = [0.5 + 0.3 * torch.sin((x[None, :] + x[:, None] + 2 * i) / 9) for i in range(frames)]
    return torch.stack(pictures)[..., None].expand(-1, -1, -1, 3).contiguous()


@pytest.fixture
def small_tlbvfi(tmp_path):
    path = tmp_path / "small.safetensors"
    save_file(synthetic_state_dict(tlbvfi.shapes("small"), 0, 0.7), path)
    return str(path)


@pytest.mark.parametrize("key", LAYOUTS)
def test_widgets_stand_where_the_older_pack_has_them(key):
    assert [options["default"] for _, options in rows(key).values() if "default" in options] == LAYOUTS[key]


@pytest.mark.parametrize("key", OLD_NODES)
def test_every_stand_in_is_deprecated_and_named(key):
    node = CLASSES[key]
    assert node.DEPRECATED
    assert len(node.RETURN_NAMES) == len(node.RETURN_TYPES)
    assert NAMES[key].startswith(OLD_NODES[key].name)


def test_an_id_that_is_taken_stays_its_packs():
    classes, names = stand_ins({"RIFE VFI"})
    assert "RIFE VFI" not in classes
    assert "RIFE VFI" not in names
    assert "FILM VFI" in classes


@pytest.mark.parametrize(
    "values", [[10, 3, True, True, 1], [10, 3, False, False, "1.0", "float32", False, 4]]
)
def test_rife_runs_with_six_values_and_with_nine(values):
    """Neither fast_mode, ensemble nor a batch size changes a picture: in the older pack they do not either."""
    (frames,) = made("RIFE VFI", "default", *values, frames=clip())
    assert torch.equal(frames, interpolate(clip(), "default", multiplier=3))


@pytest.mark.parametrize(
    ("multiplier", "count"), [(1, 5), (0, 5), (2, 9), (4, 17), ([3, 1, 2], 9), ([0], 8), ([2] * 9, 9)]
)
def test_rife_makes_as_many_frames_as_the_older_node(multiplier, count):
    """1 + the sum over all pairs; a list is padded with 2, and 0 and 1 in it make nothing."""
    (frames,) = made("RIFE VFI", "default", 10, multiplier, frames=clip(5))
    assert len(frames) == count


def test_states_and_a_list_of_multipliers_come_from_their_old_nodes():
    (states,) = made("Make Interpolation State List", "1, 2", True)
    (each,) = made("VFI FloatToInt", [3.9, 2.0, 2.0, 4.5])
    assert each == [3, 2, 2, 4]
    (frames,) = made("RIFE VFI", "default", 10, each, frames=clip(5), optional_interpolation_states=states)
    assert len(frames) == 1 + 3 + 1 + 1 + 4
    (kept,) = made("Make Interpolation State List", "1,2", False)
    (frames,) = made("RIFE VFI", "default", 10, 2, frames=clip(5), optional_interpolation_states=kept)
    assert len(frames) == 7


@pytest.mark.long  # ten passes; in the short run the nodes of one pair make what this joins
def test_tlbvfi_halves_each_pair_so_often(small_tlbvfi):
    frames = clip(3)
    for key, values, count in (
        ("TLBVFI_VFI", [small_tlbvfi, 2, 1, 2, 0.5], 9),  # one step: that pack fails on it
        ("TLBVFI_VFI_TF32", [small_tlbvfi, 1, 0], 5),
    ):
        assert len(made(key, *values, images=frames)[0]) == count
    whole = made("TLBVFI_BatchInterpolator_V2", small_tlbvfi, 1, True, 3, images=frames)
    between = made(
        "TLBVFI_BatchInterpolator_V2", small_tlbvfi, 1, True, 3, 0.5, True, 0, False, images=frames
    )
    assert (len(whole[0]), whole[1], len(between[0]), between[1]) == (5, 5, 2, 2)
    assert torch.equal(between[0], whole[0][1::2])


@pytest.mark.long  # the network four times; its node for batches is above
def test_tlbvfi_nodes_of_one_pair_give_what_a_loop_joins(small_tlbvfi):
    frames = clip(2)
    assert len(made("TLBVFI_Interpolator", small_tlbvfi, 1, 0, False, frame_pair=frames)[0]) == 2
    assert len(made("TLBVFI_Interpolator", small_tlbvfi, 1, 0, True, frame_pair=frames)[0]) == 3
    pair = {"prev_frame": frames[:1], "next_frame": frames[1:]}
    (middle,) = made("TLBVFI_Interpolator_V2", small_tlbvfi, 0, True, 3, **pair)
    (three,) = made("TLBVFI_Interpolator_V2", small_tlbvfi, 1, True, 3, **pair)
    assert torch.equal(middle, three[1:2])
    assert torch.equal(three[[0, 2]], frames)


def test_small_nodes_of_a_loop_work():
    frames = clip(4)
    pair, index, pairs, last = made("TLBVFI_FramePairSlicer", 2, images=frames)
    assert torch.equal(pair, frames[2:])
    assert (index, pairs, last) == (2, 3, True)
    with pytest.raises(MidframeError, match="no such pair"):
        made("TLBVFI_FramePairSlicer", 3, images=frames)
    assert torch.equal(made("TLBVFI_FrameFromBatch", 9, True, images=frames)[0], frames[3:])
    with pytest.raises(MidframeError, match="no such frame"):
        made("TLBVFI_FrameFromBatch", 9, False, images=frames)
    assert made("TLBVFI_ClearModelCache") == ()


@pytest.mark.parametrize("key", RUN)
def test_what_is_wrong_is_said_before_the_clip_is_made(key):
    clips = dict.fromkeys(RUN[key].clip)
    defaults = {name: options["default"] for name, (_, options) in rows(key).items() if "default" in options}
    broken = {**defaults, "times_to_interpolate": "often", "multiplier": "often", **clips}
    broken |= {"target_fps": "often"} if "target_fps" in broken else {}
    broken[RUN[key].widgets["model"]] = "default"
    with pytest.raises(MidframeError, match="often"):
        CLASSES[key]().check_lazy_status(**broken)
    good = CLASSES["RIFE VFI"]().check_lazy_status(ckpt_name="default", multiplier=2, frames=None)
    assert good == ["frames"]


@pytest.mark.parametrize("key", MISSING)
def test_a_node_without_a_network_says_before_the_run_what_to_use(key):
    with pytest.raises(MidframeError, match=r"Midframe\)"):
        CLASSES[key].VALIDATE_INPUTS(input_types={})
    with pytest.raises(MidframeError, match=r"Midframe\)"):
        CLASSES[key]().run()


def test_old_names_of_checkpoints_are_known_and_others_refused():
    validate = CLASSES["RIFE VFI"].VALIDATE_INPUTS
    for name in rows("RIFE VFI")["ckpt_name"][0]:
        assert validate(ckpt_name=name) is True
    assert "no-such-file" in validate(ckpt_name="no-such-file.pth")
    assert CLASSES["RifeTensorrt"].VALIDATE_INPUTS(engine="rife49_ensemble_True_scale_1_sim.engine") is True


def test_pictures_of_another_size_are_refused_by_our_words(small_tlbvfi):
    with pytest.raises(MidframeError, match="same size"):
        made("TLBVFI_Interpolator_V2", small_tlbvfi, prev_frame=clip(1), next_frame=clip(1)[:, :32])


def test_what_the_host_may_put_instead_names_inputs_that_both_have():
    from midframe import NODE_CLASS_MAPPINGS

    for offer in REPLACEMENTS:
        inputs = NODE_CLASS_MAPPINGS[offer.new].INPUT_TYPES()
        ours = {**inputs["required"], **inputs["optional"]}
        assert {*offer.inputs, *offer.values} <= set(ours)
        assert set(inputs["required"]) <= {*offer.inputs, *offer.values}
        if offer.old in RUN:
            assert set(offer.inputs.values()) <= set(rows(offer.old))
            assert list(offer.widgets) == [
                name for name, row in rows(offer.old).items() if "default" in row[1]
            ]


def test_every_id_is_in_the_table_of_the_documentation(root):
    text = (root / "docs" / "old_workflows.md").read_text(encoding="utf-8")
    assert [key for key in OLD_NODES if f"`{key}`" not in text] == []


def test_numbers_of_the_scale_menu_are_taken_as_any_version_saved_them():
    menu = rows("RIFE VFI")["scale_factor"][0]
    assert all(value in menu for value in (1, 1.0, "1", np.float32(0.5), 4))
    assert 3 not in menu


SPELT = {
    "texts": {"multiplier": "3.0", "clear_cache_after_n_frames": "10.0", "scale_factor": "1.0"},
    "a fraction, which ComfyUI cut off": {"multiplier": 3.7, "clear_cache_after_n_frames": 1.5},
    "null": {name: None for name in rows("RIFE VFI") if name != "frames"} | {"multiplier": 3},
    "nothing that is not needed": {"multiplier": 3},
    "out of the range of what nobody reads": {"multiplier": 3, "batch_size": 999, "torch_compile": "yes"},
    "no interval of clearing": {"multiplier": 3, "clear_cache_after_n_frames": 0},
}


@pytest.mark.parametrize("values", SPELT.values(), ids=SPELT)
def test_values_are_read_however_a_graph_spells_them(values):
    values = {**values, "ckpt_name": "default"}
    assert CLASSES["RIFE VFI"].VALIDATE_INPUTS(input_types={}, **values) is True
    assert len(CLASSES["RIFE VFI"]().run(frames=clip(2), **values)[0]) == 4


@pytest.mark.parametrize(
    "values",
    [
        {"multiplier": "often"},
        {"multiplier": -1},
        {"multiplier": True},
        {"clear_cache_after_n_frames": "never"},
        {"dtype": "float8"},
        {"scale_factor": 3},
        {"ckpt_name": ""},
        {"ckpt_name": 5},
    ],
)
def test_what_cannot_be_read_is_refused_at_validation(values):
    with pytest.raises(MidframeError):
        CLASSES["RIFE VFI"].VALIDATE_INPUTS(input_types={}, **{"ckpt_name": "default", **values})


def test_a_model_by_a_link_is_not_looked_up():
    links = {"ckpt_name": rows("RIFE VFI")["ckpt_name"][0], "multiplier": "FLOAT"}
    assert CLASSES["RIFE VFI"].VALIDATE_INPUTS(input_types=links, ckpt_name=None, multiplier=None) is True


def test_null_where_a_clip_belongs_is_refused_by_our_words():
    with pytest.raises(MidframeError, match="Connect frames"):
        made("RIFE VFI", "default", frames=None)
    with pytest.raises(MidframeError, match="Connect frames"):
        made("TLBVFI_Interpolator_V2", prev_frame=clip(1), next_frame=None)


def test_small_nodes_take_numbers_in_every_form():
    assert [made("VFI FloatToInt", value) for value in ("3.7", np.float32(2.0), torch.tensor(4.9))] == [
        (3,),
        (2,),
        (4,),
    ]
    assert made("VFI FloatToInt", torch.tensor([1.5, 2.0])) == ([1, 2],)
    assert made("TLBVFI_FramePairSlicer", "1.0", images=clip(3))[1:] == (1, 2, True)
    assert len(made("TLBVFI_FrameFromBatch", None, None, images=clip(2))[0]) == 1
