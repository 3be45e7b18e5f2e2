"""RIFE HD 3.x: told from its names, run on both orders of a pair, reached at other times by halving."""

import pytest
import torch
from checkpoints import save
from midframe import interpolate
from midframe.errors import BadInputError, UnsupportedWeightsError
from midframe.parity.tolerances import bound
from midframe.vfi_models import build, detect
from midframe.vfi_models.rife_hd import shapes
from midframe.weights.checkpoint import read_checkpoint
from midframe.weights.convert import convert
from midframe.weights.loading import open_weights
from midframe.weights.synthetic import synthetic_state_dict


def weights(gain=0.7):
    return synthetic_state_dict(shapes("hdv3"), 0, gain)


def published():
    """As files of it are: every name under ``module.``, with the teacher that only training uses."""
    teacher = {
        f"block_tea.{name.removeprefix('block2.')}": value
        for name, value in weights().items()
        if name.startswith("block2.")
    }
    teacher["block_tea.conv0.0.0.weight"] = torch.zeros(45, 14, 3, 3)
    return {f"module.{name}": value for name, value in {**weights(), **teacher}.items()}


@pytest.fixture(scope="module")
def model():
    return build(detect(weights()))


def middle(model, frames, options=None):
    """The frame between two (1, C, H, W) each."""
    session = model.open(*frames.shape[-2:], options)
    with torch.inference_mode():
        left, right = session.encode(frames[:1]), session.encode(frames[1:])
        return session.between(left, right, torch.tensor([0.5]))


@pytest.mark.parametrize("prefix", ["", "module.", "flownet.", "module.flownet."])
def test_it_is_told_from_names(prefix):
    detection = detect({prefix + name: value for name, value in weights().items()})
    assert (detection.architecture, detection.family) == ("rife_hd", "hdv3")


@pytest.mark.parametrize("kind", ["legacy", "zip", "safetensors"])
def test_a_published_file_loads_without_its_teacher(tmp_path, kind):
    path = save(tmp_path / f"flownet.{'safetensors' if kind == 'safetensors' else 'pkl'}", published(), kind)
    module = open_weights(path).module
    assert {name: value.shape for name, value in module.state_dict().items()} == shapes("hdv3")
    assert torch.equal(module.state_dict()["block1.conv1.2.bias"], weights()["block1.conv1.2.bias"])


def test_it_is_converted_to_a_clean_file(tmp_path):
    convert(save(tmp_path / "flownet.pkl", published(), "legacy"), tmp_path / "hd.safetensors")
    assert read_checkpoint(tmp_path / "hd.safetensors").keys() == shapes("hdv3").keys()


def test_other_shapes_and_other_names_are_refused():
    narrow = weights() | {"block1.convblock2.0.0.weight": torch.zeros(64, 64, 3, 3)}
    missing = {name: value for name, value in weights().items() if not name.startswith("block2.")}
    for state in (narrow, missing, {"block0.convblock0.0.0.weight": torch.zeros(1)}):
        with pytest.raises(UnsupportedWeightsError, match=r"RIFE HD 3\.x") as caught:
            detect(state)
        assert caught.value.nearest == "hdv3"


def test_the_order_of_the_pair_does_not_matter(model):
    frames = torch.rand(2, 3, 40, 72)
    made = middle(model, frames)
    torch.testing.assert_close(made, middle(model, frames.flip(0)), atol=bound("rounding"), rtol=0)
    assert (made - frames.mean(0)).abs().max() > 0.01


def test_other_moments_are_reached_by_halving(model):
    frames = torch.rand(2, 24, 40, 3)
    made = interpolate(frames, model, 4)
    pictures = frames.permute(0, 3, 1, 2)
    half = middle(model, pictures).clamp(0, 1)
    quarters = [
        middle(model, torch.cat(pair)).clamp(0, 1) for pair in ((pictures[:1], half), (half, pictures[1:]))
    ]
    expected = torch.cat((quarters[0], half, quarters[1])).permute(0, 2, 3, 1)
    torch.testing.assert_close(made[1:4], expected, atol=bound("rounding"), rtol=0)
    assert len(interpolate(frames, model, 3)) == 4


def test_channels_past_colour_move_with_the_picture(model):
    frames = torch.rand(2, 3, 64, 96)  # no padding: that is black for the picture and its edge for the rest
    both = middle(model, torch.cat((frames, frames[:, :2]), 1))
    assert torch.equal(both[:, :3], middle(model, frames))
    torch.testing.assert_close(both[:, 3:], both[:, :2], atol=bound("rounding"), rtol=0)


@pytest.mark.parametrize("scale", [0.25, 0.5, 2, 4])
def test_flow_scales(model, scale):
    frames = torch.rand(2, 3, 33, 41)
    made = middle(model, frames, {"flow_scale": scale})
    assert made.isfinite().all()
    assert (made - middle(model, frames)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"flow_scale": 0.75}, "flow scale"),
        ({"ensemble": False}, "both orders"),
        ({"padding": "mirror"}, "padding"),
        ({"restart": True}, "RIFE HD 3.x does not have this option"),
    ],
)
def test_what_it_cannot_do_is_said(model, options, words):
    with pytest.raises(BadInputError, match=words):
        model.open(64, 64, options)


def test_lighter_options_end(model):
    options, scales = {}, []
    while options is not None:
        scales.append(options.get("flow_scale", 1.0))
        options = model.low_memory(options)
    assert scales == [1.0, 0.5, 0.25]


@pytest.mark.long  # test_rife has the same layers
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_keep_straight_lines_straight(dtype):
    """Coordinates rounded to 16 bits are 0.06 pixels and more off at this width, float32 ones 1e-5."""
    still = build(detect({name: torch.zeros_like(value) for name, value in weights().items()}))
    still.module.to(dtype)
    frames = torch.rand(1, 3, 32, 512).expand(2, -1, -1, -1)
    assert (middle(still, frames) - frames[:1]).abs().max() < bound("nothing moves")
