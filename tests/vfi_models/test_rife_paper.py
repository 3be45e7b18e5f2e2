"""The networks of the RIFE paper: told from their names, run at any size, IFNet_2R where the user says so.

Their pictures are compared with published ones in test_parity, and any session's promises in
test_models_contract.
"""

import pytest
import torch
from checkpoints import save
from clips import pictures, write_clip
from midframe import cli, interpolate
from midframe.errors import BadInputError, UnsupportedWeightsError
from midframe.parity.tolerances import bound
from midframe.vfi_models import build, detect
from midframe.vfi_models.rife_paper import shapes
from midframe.vfi_utils import Settings
from midframe.weights.synthetic import synthetic_state_dict


@pytest.fixture(scope="module")
def weights():
    return synthetic_state_dict(shapes("paper"), 0, 0.65)


@pytest.fixture(scope="module")
def model(weights):
    return build(detect(weights))


def middle(model, frames, options=None):
    """The frame between two (1, C, H, W) each."""
    session = model.open(*frames.shape[-2:], options)
    with torch.inference_mode():
        left, right = session.encode(frames[:1]), session.encode(frames[1:])
        return session.between(left, right, torch.tensor([0.5]))


@pytest.mark.parametrize("prefix", ["", "module.", "flownet.", "module.flownet."])
@pytest.mark.parametrize("family", ["paper", "paper_m"])
def test_they_are_told_from_names_and_shapes(family, prefix):
    state = {prefix + name: torch.empty(shape, device="meta") for name, shape in shapes(family).items()}
    # The teacher's block is in every file that a training wrote.
    state[f"{prefix}block_tea.conv0.0.0.weight"] = torch.empty(45, 20, 3, 3, device="meta")
    detection = detect(state)
    assert (detection.architecture, detection.family) == ("rife_paper", family)
    assert detection.state_dict.keys() == shapes(family).keys()


def test_other_shapes_and_other_names_are_refused():
    meta = {name: torch.empty(shape, device="meta") for name, shape in shapes("paper").items()}
    for changes in (
        {"block1.conv0.1.0.weight": torch.zeros(64, 64, 3, 3)},
        {"block0.conv0.0.0.weight": torch.zeros(120, 9, 3, 3)},
        {"block0.conv0.0.0.weight": torch.zeros(120)},
    ):
        with pytest.raises(UnsupportedWeightsError, match="RIFE paper's model"):
            detect(meta | changes)
    with pytest.raises(UnsupportedWeightsError, match="contextnet and unet"):
        detect({name: value for name, value in meta.items() if not name.startswith("unet.")})


def test_a_file_runs_from_the_command_line_as_what_the_user_says(tmp_path, weights):
    file = save(tmp_path / "flownet.pkl", {f"module.{name}": value for name, value in weights.items()}, "zip")
    clip = write_clip(tmp_path / "in.mkv", pictures(2, (32, 48)), codec="ffv1", pix_fmt="bgr0")
    for name, words in (("plain", ()), ("2r", ("--option", "two_r=true")), ("tta", ("--option", "tta=true"))):
        out = tmp_path / f"{name}.mkv"
        command = ["interpolate", clip, out, "--model", file, "--codec", "ffv1", "--quiet", *words]
        assert cli.main([str(word) for word in command]) == 0
    made = {path.read_bytes() for path in tmp_path.glob("*.mkv")}
    assert len(made) == 4


def test_ifnet_m_is_never_taken_for_ifnet_2r():
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes("paper_m").items()}
    with pytest.raises(BadInputError, match="weights of IFNet_m"):
        build(detect(state)).open(64, 64, {"two_r": True})


def test_other_moments_are_reached_by_halving(model):
    frames = torch.rand(2, 24, 40, 3)
    made = interpolate(frames, model, 4)
    half = middle(model, frames.permute(0, 3, 1, 2).contiguous()).permute(0, 2, 3, 1)
    torch.testing.assert_close(made[2:3], half, atol=bound("rounding"), rtol=0)
    assert len(made) == 5


def test_channels_past_colour_move_with_the_picture(model):
    frames = torch.rand(2, 3, 64, 96)  # no padding: that is black for the picture and its edge for the rest
    both = middle(model, torch.cat((frames, torch.ones_like(frames[:, :1])), 1))
    assert torch.equal(both[:, :3], middle(model, frames))
    torch.testing.assert_close(both[:, 3:], torch.ones(1, 1, 64, 96), atol=bound("rounding"), rtol=0)


def test_averaging_over_both_ways_round_does_not_depend_on_the_way(model):
    frames = torch.rand(2, 3, 64, 64)
    averaged = middle(model, frames, {"tta": True})
    turned = middle(model, frames.flip(-2, -1), {"tta": True}).flip(-2, -1)
    torch.testing.assert_close(averaged, turned, atol=bound("rounding"), rtol=0)
    assert (averaged - middle(model, frames)).abs().max() > 1e-3


def test_less_memory_means_a_coarser_flow(model):
    options, scales = {}, []
    while options is not None:
        scales.append(options.get("flow_scale", 1.0))
        options = model.low_memory(options)
    assert scales == [1.0, 0.5, 0.25]
    frames = torch.rand(2, 24, 40, 3)
    coarse = interpolate(frames, model, settings=Settings({"flow_scale": 0.25}))
    assert (coarse - interpolate(frames, model)).abs().max() > 1e-3
