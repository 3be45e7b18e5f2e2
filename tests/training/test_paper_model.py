"""The RIFE paper's ``Model``: its files load, its lists stay. Its losses and steps are compared in test_parity."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from midframe.errors import BadInputError, UnsupportedWeightsError
from midframe.parity.tolerances import bound
from midframe.training.model import Model
from midframe.training.paper_losses import distillation_loss, laplacian_loss
from midframe.vfi_models import build, detect


@pytest.mark.parametrize("size", [(32, 64), (96, 72)])
def test_a_size_without_a_pyramid_is_named(size):
    with pytest.raises(BadInputError, match="multiples of 32, 64 and up"):
        laplacian_loss(torch.rand(1, 3, *size), torch.rand(1, 3, *size))


def test_a_flow_that_is_the_teachers_has_a_gradient():
    flow = torch.zeros(1, 4, 8, 8, requires_grad=True)
    picture, truth = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    distillation_loss([flow], [picture], (flow, truth), truth).backward()
    assert flow.grad.isfinite().all()


@pytest.fixture(scope="module")
def arbitrary():
    return Model(arbitrary=True, device="cpu")


def test_what_was_saved_is_loaded_and_runs_in_the_pack(tmp_path, arbitrary):
    arbitrary.save_model(tmp_path)
    other = Model(arbitrary=True, device="cpu")
    other.load_model(tmp_path)
    state, loaded = arbitrary.flownet.state_dict(), other.flownet.state_dict()
    assert all(torch.equal(state[name], loaded[name]) for name in state)
    assert [path.name for path in tmp_path.iterdir()] == ["flownet.pkl"]
    detection = detect(torch.load(tmp_path / "flownet.pkl", weights_only=True))
    assert (detection.architecture, detection.family) == ("rife_paper", "paper_m")
    left, right = torch.rand(2, 1, 3, 40, 50)
    model = build(detection)
    session = model.open(40, 50)
    with torch.inference_mode():
        frame = session.between(session.encode(left), session.encode(right), torch.tensor([0.25]))
    made = arbitrary.inference(left, right, timestep=0.25)
    torch.testing.assert_close(made, frame, atol=bound("rounding"), rtol=0)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_files_for_inference_and_of_many_processes_load(tmp_path, caplog, arbitrary, prefix):
    state = {
        prefix + name: value + 1
        for name, value in arbitrary.flownet.state_dict().items()
        if not name.startswith("block_tea.")
    }
    torch.save(state, tmp_path / "any name.pkl")
    other = Model(arbitrary=True, device="cpu")
    teacher = other.flownet.block_tea.lastconv.bias.clone()
    other.load_model(tmp_path / "any name.pkl")
    assert torch.equal(other.flownet.unet.conv.bias, arbitrary.flownet.unet.conv.bias + 1)
    assert torch.equal(other.flownet.block_tea.lastconv.bias, teacher)
    assert "no teacher" in caplog.text


def test_weights_of_the_other_network_are_refused(tmp_path, arbitrary):
    arbitrary.save_model(tmp_path)
    model = Model(device="cpu")
    with pytest.raises(UnsupportedWeightsError, match=r"Model\(arbitrary=True\)"):
        model.load_model(tmp_path)
    model.load_model(tmp_path, rank=1)  # which reads nothing
    with pytest.raises(BadInputError, match="IFNet_2R"):
        Model(arbitrary=True, two_r=True, device="cpu")


def test_a_list_of_scales_is_not_written_to_and_no_call_changes_the_next(arbitrary):
    left, right = torch.rand(2, 1, 3, 37, 50)
    scales = [4, 2, 1]
    first = arbitrary.inference(left, right)
    half = arbitrary.inference(left, right, scale=0.5, scale_list=scales)
    assert scales == [4, 2, 1]
    assert torch.equal(arbitrary.inference(left, right), first)
    assert torch.equal(arbitrary.inference(left, right, scale_list=[8, 4, 2]), half)
    assert first.shape == left.shape
    assert (half - first).abs().max() > bound("rounding")


def test_averaging_is_the_mean_of_both_passes(arbitrary):
    left, right = torch.rand(2, 2, 3, 64, 64)
    turned = arbitrary.inference(left.flip(-2, -1), right.flip(-2, -1)).flip(-2, -1)
    expected = (arbitrary.inference(left, right) + turned) / 2
    assert torch.equal(arbitrary.inference(left, right, TTA=True), expected)


def test_every_pair_has_its_timestep(arbitrary):
    left, right = torch.rand(2, 2, 3, 64, 64)
    both = arbitrary.inference(left, right, timestep=torch.tensor([0.25, 0.75]).view(2, 1, 1, 1))
    alone = arbitrary.inference(left[1:], right[1:], timestep=0.75)
    torch.testing.assert_close(both[1:], alone, atol=bound("batch"), rtol=0)
    with pytest.raises(BadInputError, match="3 for 2 pairs"):
        arbitrary.inference(left, right, timestep=torch.rand(3))


_TWO = """
import os, sys
from packs import load_pack
load_pack()
import torch
import torch.distributed as dist
from midframe.training.model import Model
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
torch.manual_seed(7)  # both begin alike, as with a file that was loaded
model = Model(local_rank=rank, device="cpu")
torch.manual_seed(rank)
pictures, truth = torch.rand(1, 6, 64, 64), torch.rand(1, 3, 64, 64)
model.update(pictures, truth, 1e-3)
total = torch.stack([p.double().sum() for p in model.flownet.parameters()])
sums = [torch.empty_like(total) for _ in range(2)]
dist.all_gather(sums, total)
model.save_model(sys.argv[3], rank)
assert torch.equal(*sums), "the two processes took different steps"
print("the same")
"""


@pytest.mark.long  # two processes that import torch
def test_two_processes_take_the_same_step(tmp_path):
    support = str(Path(__file__).parents[1] / "support")
    path = os.pathsep.join([support, os.environ.get("PYTHONPATH", "")])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _TWO, str(rank), str(tmp_path / "meeting"), str(tmp_path / "saved")],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert said == ["the same\n"] * 2
    Model(device="cpu").load_model(tmp_path / "saved")
