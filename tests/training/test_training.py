"""The motion generator is exact and repeatable; the trainer learns, and goes on where it stopped."""

import json
import logging
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from midframe.errors import BadInputError
from midframe.training import batches as batches_module
from midframe.training import evaluation as evaluation_module
from midframe.training.atlas import make_atlas
from midframe.training.batches import Batches
from midframe.training.condensed import main as condense
from midframe.training.evaluation import Curve, Evaluation, psnr
from midframe.training.layers import Layer, Path, Wave
from midframe.training.losses import flow_loss, laplacian_loss, mask_loss
from midframe.training.motion import MotionGenerator
from midframe.training.networks import passes
from midframe.training.plan import TrainingPlan
from midframe.training.train import Run, Trainer, main, train
from midframe.vfi_models import build, detect
from midframe.vfi_models._ops.warp import backward_warp
from midframe.vfi_models.compact.flow import blend
from midframe.weights.checkpoint import read_checkpoint

TINY = TrainingPlan(steps=12, cool_down=1, batch=2, size=64, warm_up=2, seed=3)


@pytest.fixture(scope="module")
def atlas():
    return make_atlas(0, textures=10, shapes=6)


@pytest.fixture
def small_atlas(monkeypatch, atlas):
    monkeypatch.setattr(batches_module, "make_atlas", lambda seed: atlas)


@pytest.fixture(scope="module")
def batch(atlas):
    generator = MotionGenerator(atlas, seed=3, size=64, reach=8)
    samples = [generator.sample(i) for i in range(2)]
    names = ("left", "right", "middle", "timestep", "flow", "visible")
    batch = {name: torch.stack([getattr(s, name) for s in samples]) for name in names}
    return batch | {"step": torch.tensor(0)}


def error_of(sample, flow):
    """Mean difference of both warped frames from the middle, where they show the same layer."""
    total = 0.0
    for side, frame in ((0, sample.left), (1, sample.right)):
        seen = backward_warp(frame[None], flow[None, 2 * side : 2 * side + 2])[0]
        apart = (seen - sample.middle).abs().mean(0) * sample.visible[side]
        total += float(apart.sum() / sample.visible[side].sum()) / 2
    return total


def test_flow_brings_the_neighbours_to_the_middle(atlas):
    generator = MotionGenerator(atlas, seed=5, size=96)
    samples = [generator.sample(i) for i in range(24)]
    exact = np.array([error_of(s, s.flow) for s in samples])
    still = np.array([error_of(s, torch.zeros_like(s.flow)) for s in samples])
    off = np.array([error_of(s, s.flow + 1.0) for s in samples])
    assert exact.mean() < 0.01  # interpolation of the grid, edges of shapes and sensor noise
    assert (exact < off).all()
    assert still.mean() > 3 * exact.mean()
    assert {float(s.timestep) == 0.5 for s in samples} == {True, False}
    assert 0.5 < np.mean([s.visible.mean() for s in samples]) < 0.99


def test_a_layer_is_followed_both_ways():
    rng = np.random.default_rng(1)
    points = torch.rand(500, 2) * 160
    for _ in range(20):
        camera = Path.random(rng, 160, 40, under=None, still=False)
        layer = Layer(Path.random(rng, 160, 40, under=camera, still=False), Wave.random(rng), 0.3)
        for moment in (0.0, 0.3, 1.0):
            back = layer.backward(layer.forward(points, moment), moment)
            assert (back - points).norm(dim=-1).max() < 0.01
    assert (layer.forward(points, 1.0) - points).norm(dim=-1).max() > 1


def test_a_sample_depends_on_seed_and_index_alone(atlas):
    first, again = MotionGenerator(atlas, seed=1, size=32), MotionGenerator(atlas, seed=1, size=32)
    first.sample(0)
    kept = first.sample(7)
    same, other = again.sample(7), MotionGenerator(atlas, seed=2, size=32).sample(7)
    for name in ("left", "right", "middle", "timestep", "flow", "visible"):
        assert torch.equal(getattr(kept, name), getattr(same, name))
    assert not torch.equal(kept.left, other.left)
    assert not torch.equal(kept.left, again.sample(8).left)
    for frame in (kept.left, kept.right, kept.middle):
        assert frame.shape == (3, 32, 32)
        assert frame.min() >= 0
        assert frame.max() <= 1


def test_atlas_is_repeatable(atlas):
    again = make_atlas(0, textures=10, shapes=6)
    assert torch.equal(atlas.textures, again.textures)
    assert torch.equal(atlas.shapes, again.shapes)
    assert atlas.textures.std(dim=(1, 2, 3)).min() > 0.005
    edge = torch.cat([atlas.shapes[..., 0, :], atlas.shapes[..., -1, :], atlas.shapes[..., 0]], -1)
    assert edge.max() == 0


def test_losses():
    expected = torch.rand(1, 3, 64, 64)
    assert laplacian_loss(expected, expected) == 0
    assert laplacian_loss(expected + 0.1, expected) > 0
    flow, seen = torch.zeros(1, 4, 8, 8), torch.ones(1, 2, 8, 8)
    torch.testing.assert_close(flow_loss(flow, flow + 3.0, seen), torch.tensor(18.0**0.5), atol=1e-3, rtol=0)
    assert flow_loss(flow, flow + 3.0, 0 * seen) < flow_loss(flow, flow + 3.0, seen)
    only_left = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8)
    assert mask_loss(torch.full((1, 1, 8, 8), 5.0), only_left) < mask_loss(
        torch.full((1, 1, 8, 8), -5.0), only_left
    )
    assert mask_loss(torch.full((1, 1, 8, 8), 5.0), seen) == 0


def test_learning_rate():
    plan = TrainingPlan(steps=100, horizon=200, warm_up=10, cool_down=30, rate=1.0)
    rates = [plan.rate_at(step) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert max(rates) == 1.0
    assert rates[70] > 0.5
    assert 0 < rates[-1] < 0.02


def test_it_learns(batch):
    trainer = Trainer(TINY)
    losses = [trainer.train_step(batch) for _ in range(12)]
    assert losses[-1] < 0.95 * losses[0]


def test_a_gradient_that_is_not_finite_changes_nothing(batch, caplog):
    trainer = Trainer(TINY)
    before = {k: v.clone() for k, v in trainer.net.state_dict().items()}
    with caplog.at_level(logging.WARNING):
        trainer.train_step({**batch, "middle": torch.full_like(batch["middle"], torch.nan)})
    assert "not finite" in caplog.text
    assert all(torch.equal(before[k], v) for k, v in trainer.net.state_dict().items())


@pytest.mark.usefixtures("small_atlas")
def test_resumed_is_uninterrupted(tmp_path):
    plan = TrainingPlan(steps=4, batch=1, size=64, warm_up=1)
    whole = Trainer(plan)
    train(whole, Run(tmp_path / "whole.safetensors", workers=0, evaluate_every=0))

    halted = Trainer(plan)
    parts = Run(tmp_path / "parts.safetensors", workers=0, evaluate_every=0)
    train(halted, replace(parts, until=time.time() - 1))
    assert halted.step == 1
    resumed = Trainer.resume(tmp_path / "parts.train")
    train(resumed, parts)
    assert resumed.step == whole.step == 4
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, resumed.net.state_dict()[name])
    written = [read_checkpoint(tmp_path / f"{n}.safetensors") for n in ("whole", "parts")]
    assert all(torch.equal(written[1][name], value) for name, value in written[0].items())
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.long  # three processes that each import torch and make an atlas
@pytest.mark.usefixtures("small_atlas")
def test_a_killed_training_goes_on_exactly(tmp_path, root):
    """SIGKILL at a moment of its own; what is left goes on to the same weights as a run that nobody killed."""
    plan = ["--model", "compact-v2", "--steps", "6", "--batch", "1", "--size", "64", "--warm_up", "2"]
    run = ["--workers", "0", "--examine", "0", "--keep", "0", "--threads", "1"]
    start = """
from packs import load_pack
load_pack()
from midframe.training import atlas, batches, train
small = atlas.make_atlas(0, textures=10, shapes=6)
batches.make_atlas = lambda seed: small
train.main()
"""
    command = [sys.executable, "-c", start, *run, *plan, "--out", str(tmp_path / "killed.safetensors")]
    with subprocess.Popen(command, cwd=root / "tests" / "support") as child:
        until = time.monotonic() + 120
        while not (tmp_path / "killed.train").exists() and time.monotonic() < until:
            time.sleep(0.01)
        child.kill()
    left_behind = Trainer.resume(tmp_path / "killed.train").step
    assert 1 <= left_behind < 6
    out = [str(tmp_path / name) for name in ("killed.safetensors", "whole.safetensors")]
    assert main([*run, "--out", out[0], "--resume"]) == 0
    assert main([*run, *plan, "--out", out[1]]) == 0
    killed, whole = (Trainer.resume(tmp_path / f"{name}.train") for name in ("killed", "whole"))
    assert killed.step == whole.step == 6
    for kept, expected in ((killed.net, whole.net), (killed.averaged, whole.averaged)):
        assert all(torch.equal(a, b) for a, b in zip(kept.parameters(), expected.parameters(), strict=True))


@pytest.mark.usefixtures("small_atlas")
@pytest.mark.long  # trains twice; its shorter sister is the one that resumes exactly
def test_a_condensed_state_goes_on_nearly(tmp_path):
    plan = TrainingPlan(steps=8, batch=1, size=64, warm_up=1, rate=1e-4, model="compact-v2", cool_down=1)
    exact, made = Trainer(plan), Batches(plan)
    for step in range(4):
        exact.train_step(made[step])
    exact.save(tmp_path / "run.train")
    assert condense([str(tmp_path / "run.train"), str(tmp_path / "state.train")]) == 0
    near = Trainer.resume(tmp_path / "state.train")
    parameters = list(exact.net.parameters())
    assert (tmp_path / "state.train").stat().st_size < 3.1 * sum(p.numel() for p in parameters) + 200_000
    assert near.step == exact.step == 4
    for kept, expected in zip(near.net.parameters(), exact.averaged.parameters(), strict=True):
        torch.testing.assert_close(kept, expected, atol=1e-4, rtol=1e-3)
    for kept, expected in zip(near.net.parameters(), exact.net.parameters(), strict=True):
        moments = [t._optimiser.state[p]["exp_avg_sq"] for t, p in ((near, kept), (exact, expected))]
        known = moments[1] > 1e-20
        ratio = (moments[0][known] / moments[1][known]).sqrt()
        assert ((ratio > 0.9) & (ratio < 1.1)).all()
    assert np.isfinite(near.train_step(made[4]))
    assert near.step == 5


def test_a_curve_forgets_what_a_killed_run_wrote_too_much(tmp_path):
    path = tmp_path / "net.csv"
    for start, steps in ((0, (10, 20, 30)), (20, (30, 40))):
        curve = Curve(path, start)
        for step in steps:
            curve.add(step, 0.5, 1e-3, 30.0, 31.0, 60.0)
    rows = path.read_text().splitlines()
    assert rows[0] == "step,loss,rate,held_out_db,generated_db,seconds"
    assert [int(row.split(",")[0]) for row in rows[1:]] == [10, 20, 30, 40]


@pytest.mark.long  # every sample of an examination; test_it_trains_and_writes_everything examines too
def test_an_examination_asks_the_same_every_time(monkeypatch, atlas):
    monkeypatch.setattr(evaluation_module, "make_atlas", lambda seed, **size: atlas)
    monkeypatch.setattr(evaluation_module, "_GENERATED", 2)
    net = Trainer(TrainingPlan(model="compact-v2")).averaged
    first, again = Evaluation(), Evaluation()
    assert first(net)[1] == again(net)[1]
    assert np.isnan(first(net)[0])
    middle = (first.generated[0].middle * 255).round() / 255
    assert psnr(middle, middle) == 60.0
    assert psnr((middle * 0 + 0.5), middle * 0) == pytest.approx(5.99, abs=0.1)


def test_the_length_may_change_until_the_cool_down(tmp_path):
    trainer = Trainer(TrainingPlan(steps=100, cool_down=20))
    trainer.step = 70
    trainer.save(tmp_path / "net.train")
    assert Trainer.resume(tmp_path / "net.train", 90).plan == TrainingPlan(steps=90, cool_down=20)
    shorter = Trainer.resume(tmp_path / "net.train", 75, 5)
    assert shorter.plan == TrainingPlan(steps=75, cool_down=5)
    assert shorter.plan.rate_at(69) == trainer.plan.rate_at(69)
    with pytest.raises(BadInputError, match="length"):
        Trainer.resume(tmp_path / "net.train", 75, 6)
    for steps in (89, 80):
        with pytest.raises(BadInputError, match="length"):
            Trainer.resume(tmp_path / "net.train", steps)
    trainer.step = 81
    trainer.save(tmp_path / "net.train")
    assert Trainer.resume(tmp_path / "net.train").step == 81
    with pytest.raises(BadInputError, match="cool-down"):
        Trainer.resume(tmp_path / "net.train", 200)


@pytest.mark.usefixtures("small_atlas")
def test_command_line(tmp_path):
    out = tmp_path / "net.safetensors"
    plan = ["--steps", "1", "--batch", "1", "--size", "64"]
    assert main(["--out", str(out), "--workers", "0", "--examine", "0", *plan]) == 0
    model = build(detect(read_checkpoint(out)))
    assert (model.spec.architecture, model.spec.family) == ("compact", "v2")
    with out.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))["__metadata__"]
    assert header["licence"] == "MIT"
    assert header["command"].startswith("python -m midframe.training.train --steps 1 ")
    assert "--seed 0 " in header["command"]
    assert str(tmp_path) not in json.dumps(header)
    assert main(["--out", str(out), "--workers", "0", "--examine", "0", "--resume"]) == 0
    with pytest.raises(SystemExit):
        main(["--out", str(out), "--resume", "--seed", "1"])


@pytest.mark.usefixtures("small_atlas")
def test_a_rife_network_can_be_trained(tmp_path):
    out = tmp_path / "net.safetensors"
    plan = ["--model", "rife-4.25", "--steps", "1", "--batch", "1", "--size", "64"]
    assert main(["--out", str(out), "--workers", "0", "--examine", "0", *plan]) == 0
    model = build(detect(read_checkpoint(out)))
    assert (model.spec.architecture, model.spec.family) == ("rife", "4.25")
    with pytest.raises(BadInputError, match="no such network"):
        Trainer(TrainingPlan(model="rife-5"))


@pytest.mark.parametrize("family", ["4.6", "4.25"])
def test_rife_is_trained_as_it_runs(family):
    trainer = Trainer(TrainingPlan(model=f"rife-{family}", batch=2, size=64))
    left, right = torch.rand(2, 2, 3, 64, 64)
    timestep = torch.tensor([0.3, 0.5])
    found = passes(trainer.net, {"left": left, "right": right, "timestep": timestep})[-1]
    session = build(detect(trainer.net.state_dict())).open(64, 64)
    with torch.inference_mode():
        made = session.between(session.encode(left), session.encode(right), timestep)
    torch.testing.assert_close(blend(found, left, right), made, atol=1e-4, rtol=0)
    assert found.flow.requires_grad
