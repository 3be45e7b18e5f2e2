"""``midframe train``: what a configuration may say, and that a training goes on where it was."""

import csv
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from midframe.cli import main
from midframe.errors import BadInputError, MidframeError
from midframe.training import batches as batches_module
from midframe.training import evaluation as evaluation_module
from midframe.training import watching
from midframe.training.atlas import make_atlas
from midframe.training.command import prepare
from midframe.training.networks import network_of
from midframe.training.plan import TrainingPlan
from midframe.training.recipe import read_recipe
from midframe.training.trainer import Trainer
from midframe.vfi_models import architectures, build, detect
from midframe.weights.checkpoint import read_checkpoint
from midframe.weights.synthetic import synthetic_state_dict
from PIL import Image
from safetensors.torch import save_file

SIDE = 64
PLAN = {
    "out": "net.safetensors",
    "network": "compact-v2",
    "steps": 4,
    "batch": 2,
    "size": SIDE,
    "warm_up": 1,
    "workers": 0,
    "device": "cpu",
    "data": {"sequences": ["cut"]},
    "written": {"every": 1, "generated": 0, "tensorboard": "no"},
}


def changed(plan, **values):
    """A configuration with other values; None takes a key out."""
    return {name: value for name, value in {**plan, **values}.items() if value is not None}


def write(folder, plan):
    (folder / "plan.json").write_text(json.dumps(plan))
    return folder / "plan.json"


@pytest.fixture
def folder(tmp_path):
    """A folder with four triplets, one of them held out."""
    rng = np.random.default_rng(0)
    for number in range(1, 5):
        scene = rng.integers(0, 256, (10, 12, 3), dtype=np.uint8)
        scene = np.asarray(Image.fromarray(scene).resize((96, 80), Image.Resampling.BICUBIC))
        place = tmp_path / "cut" / "sequences" / "00001" / f"{number:04}"
        place.mkdir(parents=True)
        for frame in range(3):
            Image.fromarray(scene[:, 2 * frame : 2 * frame + 80]).save(place / f"im{frame + 1}.png")
    (tmp_path / "cut" / "tri_trainlist.txt").write_text("00001/0001\n00001/0002\n00001/0003\n")
    (tmp_path / "cut" / "tri_testlist.txt").write_text("00001/0004\n")
    return tmp_path


@pytest.fixture
def small_atlas(monkeypatch):
    atlas = make_atlas(0, textures=4, shapes=3)
    for module in (batches_module, evaluation_module):
        monkeypatch.setattr(module, "make_atlas", lambda seed, **size: atlas)


def rows_of(path):
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def same_weights(one, two):
    first, second = read_checkpoint(one), read_checkpoint(two)
    return all(torch.equal(value, second[name]) for name, value in first.items())


def refused(folder, capsys, plan):
    assert main(["train", str(write(folder, plan)), "--quiet"]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"stesp": 3}, "Did you mean `steps`?"),
        ({"data": {"clip": "x"}}, "Did you mean `data.clips`?"),
        ({"steps": "many"}, "`steps` of the configuration must be a whole number"),
        ({"steps": True}, "must be a whole number"),
        ({"steps": 0}, "must be 1 or more"),
        ({"rate": "fast"}, "must be a number"),
        ({"network": None}, "one of them"),
        ({"start": "rife-4.25"}, "one of them"),
        ({"out": None}, "no file to write"),
        ({"network": "rife-5"}, "no such network"),
        ({"precision": "int8"}, "no such precision"),
        ({"precision": "float16"}, "float16 trains on CUDA alone"),
        ({"data": {"generated": 2}}, "nothing to train on"),
        ({"data": {"sequences": ["nothing"]}}, "no folder of septuplets or triplets"),
        ({"data": {"clips": ["nothing"]}}, "no such file or folder"),
        ({"data": "cut"}, "must be a table"),
        ({"size": 96}, "Take a multiple of 64"),
        ({"size": 128}, "smaller than the samples"),
    ],
    ids=str,
)
def test_what_is_wrong_in_a_configuration_is_said(folder, capsys, values, said):
    error = refused(folder, capsys, changed(PLAN, **values))
    assert said in error
    assert "What to do: " in error
    assert not (folder / "net.train").exists()


def test_text_that_is_no_configuration(tmp_path, capsys):
    (tmp_path / "plan.json").write_text("{")
    assert main(["train", str(tmp_path / "plan.json")]) == 2
    assert main(["train", str(tmp_path / "none.json")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_toml_and_json_say_the_same(tmp_path, root):
    text = (
        'out = "a.safetensors"\nnetwork = "compact-v2"\nrate = 1\n[data]\nsequences = "cut"\ngenerated = 1\n'
    )
    (tmp_path / "plan.toml").write_text(text)
    if sys.version_info < (3, 11):
        with pytest.raises(BadInputError, match=r"from 3\.11 on"):
            read_recipe(tmp_path / "plan.toml")
        return
    plan = {"out": "a.safetensors", "network": "compact-v2", "rate": 1.0}
    same = write(tmp_path, plan | {"data": {"sequences": ["cut"], "generated": 1}})
    assert read_recipe(tmp_path / "plan.toml") == read_recipe(same)
    assert read_recipe(root / "training" / "finetune.toml").data.generated == 1


def test_it_trains_and_writes_everything(folder, capsys, small_atlas):
    plan = changed(PLAN, data={"sequences": ["cut"], "generated": 1, "light": 0.5})
    plan["written"] = {"every": 2, "sheet_every": 4, "generated": 1, "tensorboard": "no"}
    assert main(["train", str(write(folder, plan))]) == 0
    told = capsys.readouterr()
    assert "4 steps, 4 of them now" in told.out
    assert "4/4" in told.err
    rows = rows_of(folder / "net.csv")
    assert [row["step"] for row in rows] == ["2", "4"]
    assert all(float(row["held_out_db"]) > 10 and float(row["generated_db"]) > 5 for row in rows)
    with Image.open(folder / "net_000004.png") as picture:
        # Five pictures a row; the triplet that is held out, and the generated sample.
        assert picture.size == (5 * 256, 80 + 192)
        assert np.asarray(picture).std() > 10
    model = build(detect(read_checkpoint(folder / "net.safetensors")))
    assert model.spec.architecture == "compact"


def test_ctrl_c_saves_and_the_same_command_goes_on(folder, monkeypatch, capsys):
    config = write(folder, PLAN)
    taken = Trainer.train_step

    def interrupted(self, batch):
        loss = taken(self, batch)
        if self.step == 2:
            signal.raise_signal(signal.SIGINT)
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", interrupted)
        assert main(["train", str(config), "--quiet"]) == 130
    assert "stopped at step 2 of 4" in capsys.readouterr().out
    assert Trainer.resume(folder / "net.train").step == 2
    assert main(["train", str(config), "--quiet"]) == 0
    write(folder, changed(PLAN, out="whole.safetensors"))
    assert main(["train", str(config), "--quiet"]) == 0
    assert rows_of(folder / "net.csv") == rows_of(folder / "whole.csv")
    assert len(rows_of(folder / "net.csv")) == 4
    assert same_weights(folder / "net.safetensors", folder / "whole.safetensors")


@pytest.mark.long  # three runs, one of them in a process of its own, which imports torch
def test_after_a_kill_the_next_loss_is_the_same(folder, root):
    plan = changed(PLAN, steps=8, written=PLAN["written"] | {"keep_seconds": 0.0})
    config = write(folder, plan)
    start = "from packs import load_pack\nload_pack()\nfrom midframe import cli\n"
    start += f"cli.main(['train', {str(config)!r}, '--quiet'])"
    with subprocess.Popen([sys.executable, "-c", start], cwd=root / "tests" / "support") as child:
        until = time.monotonic() + 120
        while not (folder / "net.train").exists() and time.monotonic() < until:
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
    left_behind = Trainer.resume(folder / "net.train").step
    assert 1 <= left_behind < 8
    assert main(["train", str(config), "--quiet"]) == 0
    write(folder, changed(plan, out="whole.safetensors"))
    assert main(["train", str(config), "--quiet"]) == 0
    assert rows_of(folder / "net.csv") == rows_of(folder / "whole.csv")
    assert same_weights(folder / "net.safetensors", folder / "whole.safetensors")


@pytest.mark.long  # torchrun and two processes that each import torch
def test_two_processes_train_as_one(folder, root):
    config = write(folder, PLAN)
    start = folder / "start.py"
    start.write_text(
        f"import sys\nsys.path.insert(0, {str(root / 'tests' / 'support')!r})\n"
        "from packs import load_pack\nload_pack()\nfrom midframe import cli\n"
        f"sys.exit(cli.main(['train', {str(config)!r}, '--quiet']))\n"
    )
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(start),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("4 steps, 4 of them now") == 1
    write(folder, changed(PLAN, out="alone.safetensors"))
    assert main(["train", str(config), "--quiet"]) == 0
    together, alone = (rows_of(folder / f"{name}.csv") for name in ("net", "alone"))
    for row, other in zip(together, alone, strict=True):
        # Halves of a batch are convolved apart: the last bits differ.
        assert float(row["loss"]) == pytest.approx(float(other["loss"]), rel=1e-3)
        assert float(row["held_out_db"]) == pytest.approx(float(other["held_out_db"]), abs=0.02)


def test_another_plan_does_not_go_on_from_this_one(folder, capsys):
    config = write(folder, changed(PLAN, steps=1, cosine=8))
    assert main(["train", str(config), "--quiet"]) == 0
    error = refused(folder, capsys, changed(PLAN, steps=1, cosine=8, rate=0.5))
    assert "rate 0.0001, now 0.5" in error
    write(folder, changed(PLAN, steps=2, cosine=8))
    assert main(["train", str(config), "--quiet"]) == 0
    assert len(rows_of(folder / "net.csv")) == 2
    (folder / "cut" / "tri_trainlist.txt").write_text("00001/0001\n")
    assert "data 'cut " in refused(folder, capsys, changed(PLAN, steps=2, cosine=8))
    assert main(["train", str(config), "--quiet", "--restart"]) == 0
    (folder / "net.train").write_bytes(b"no state")
    assert "state of this training cannot be read" in refused(
        folder, capsys, changed(PLAN, steps=2, cosine=8)
    )


@pytest.mark.long  # trains RIFE; the state of the built-in model goes on above
def test_it_goes_on_from_weights(folder):
    rife = next(a for a in architectures() if a.name == "rife")
    weights = synthetic_state_dict(rife.shapes("4.6"), 0, 0.7)
    save_file(weights, folder / "own.safetensors")
    config = write(folder, changed(PLAN, network=None, start="own.safetensors", steps=1, rate=1e-9))
    prepared = prepare(read_recipe(config), folder)
    assert prepared.plan.model == "rife-4.6"
    assert prepared.plan.start.startswith("own.safetensors ")
    assert main(["train", str(config), "--quiet"]) == 0
    made = read_checkpoint(folder / "net.safetensors")
    for name, value in weights.items():
        # The file is float16, of 11 bits: half of 2^-10, and twice that for the one step at a rate of 1e-9.
        torch.testing.assert_close(made[name].float(), value, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("name", ["rife_hd", "rife_paper"])
def test_networks_without_a_loss_of_their_own_learn_through_their_session(name):
    architecture = next(a for a in architectures() if a.name == name)
    family = architecture.families[0]
    weights = detect(synthetic_state_dict(architecture.shapes(family), 0, 0.7)).state_dict
    trainer = Trainer(TrainingPlan(model=name, size=SIDE, warm_up=0, rate=1e-4), weights)
    before = {k: v.clone() for k, v in trainer.net.state_dict().items()}
    pictures = {k: torch.rand(2, 3, SIDE, SIDE) for k in ("left", "right", "middle")}
    for times in ([0.5, 0.25], [0.25, 0.75]):
        assert np.isfinite(trainer.train_step(pictures | {"timestep": torch.tensor(times)}))
    moved = [k for k, v in trainer.net.state_dict().items() if not torch.equal(v, before[k])]
    assert len(moved) > 0.9 * len(before)


@pytest.mark.long  # trains twice
def test_sixteen_bits_learn_nearly_the_same(folder):
    losses = {}
    for precision in ("float32", "bfloat16"):
        config = write(folder, changed(PLAN, out=f"{precision}.safetensors", precision=precision, steps=3))
        assert main(["train", str(config), "--quiet"]) == 0
        losses[precision] = [float(row["loss"]) for row in rows_of(folder / f"{precision}.csv")]
        state = torch.load(folder / f"{precision}.train", weights_only=True)
        assert {value.dtype for value in state["net"].values()} == {torch.float32}
    assert losses["float32"] != losses["bfloat16"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05)


def test_a_full_disk_leaves_the_state_before(tmp_path):
    trainer = Trainer(TrainingPlan(model="compact-v2"))
    trainer.save(tmp_path / "net.train")
    before = (tmp_path / "net.train").read_bytes()
    # A device of the kernel that is always full.
    (tmp_path / "net.train.tmp").symlink_to("/dev/full")
    with pytest.raises(MidframeError, match="cannot be written") as caught:
        trainer.save(tmp_path / "net.train")
    assert "No space left" in caught.value.found
    assert (tmp_path / "net.train").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["net.train"]


def test_curves_for_tensorboard(folder, capsys):
    plan = changed(
        PLAN, steps=10, written=PLAN["written"] | {"every": 5, "tensorboard": "yes", "sheet_every": 10}
    )
    if not watching.has_tensorboard():
        assert "pip install tensorboard" in refused(folder, capsys, plan)
        pytest.skip("the package tensorboard is not there")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert main(["train", str(write(folder, plan)), "--quiet"]) == 0
    events = EventAccumulator(str(folder / "net.board"))
    events.Reload()
    rows = rows_of(folder / "net.csv")
    held_out = events.Scalars("held_out_db")
    assert [event.step for event in held_out] == [5, 10]
    assert [event.value for event in held_out] == pytest.approx(
        [float(r["held_out_db"]) for r in rows], abs=1e-3
    )
    assert [event.step for event in events.Scalars("loss")] == [10]
    assert [event.step for event in events.Images("samples")] == [10]


def test_an_installation_without_training_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "midframe.training.command", None)
    assert main(["train", "plan.toml", "--restart"]) == 2
    error = capsys.readouterr().err
    assert "does not have that command" in error
    assert "registry" in error


def test_a_network_and_weights_of_another(folder):
    rife = next(a for a in architectures() if a.name == "rife")
    with pytest.raises(MidframeError, match="do not fit"):
        network_of("rife-4.25", 4, synthetic_state_dict(rife.shapes("4.6"), 0, 0.7))
