"""What people give for a checkpoint: folders, names that two files share, and what is no name at all."""

import contextlib
import os
import shutil
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import save, tiny
from fakes import LerpModel
from midframe import NODE_CLASS_MAPPINGS, interpolate
from midframe.api import load_model
from midframe.chunks import Job, ModelChoice
from midframe.cli import main
from midframe.errors import BadInputError, MidframeError, UnsupportedWeightsError, WeightsNotFoundError
from midframe.nodes._weights import choose, complaint, model_widget
from midframe.vfi_models.precision import dtype_named
from midframe.vfi_models.rife import shapes
from midframe.video import interpolate_video
from midframe.weights.checkpoint import read_checkpoint
from midframe.weights.convert import convert
from midframe.weights.find import CKPTS, available, find, find_listed
from midframe.weights.loading import usable_device
from midframe.weights.synthetic import synthetic_state_dict
from safetensors.torch import save_file
from servers import put

posix = pytest.mark.skipif(os.name != "posix", reason="permissions and devices of POSIX")


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setenv("MIDFRAME_OFFLINE", "1")


@pytest.fixture(scope="module")
def rife(tmp_path_factory):
    """Weights of two families, in files that are cheap to copy."""
    folder = tmp_path_factory.mktemp("rife")
    for family in ("4.25", "4.6"):
        torch.save(synthetic_state_dict(shapes(family), 0, 0.7), folder / f"{family}.pkl")
    return folder


def train_log(folder, rife, family="4.25"):
    """Make the folder that Practical-RIFE's users have."""
    folder.mkdir(parents=True)
    shutil.copy(rife / f"{family}.pkl", folder / "flownet.pkl")
    for name in ("IFNet_HDv3.py", "RIFE_HDv3.py", "refine.py", "._flownet.pkl"):
        (folder / name).write_text("pass")
    (folder / "__pycache__").mkdir()
    return folder


# --- folders


@pytest.mark.parametrize(
    "given", ["train_log", "train_log/", "./train_log", ".", "~/train_log", "", Path("train_log")]
)
def test_a_folder_with_one_checkpoint_is_that_checkpoint(tmp_path, monkeypatch, rife, given):
    folder = train_log(tmp_path / "train_log", rife)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert load_model(given or str(folder), "cpu").spec.family == "4.25"


def test_a_folder_below_a_searched_one_by_name(tmp_path, rife):
    train_log(tmp_path / "models" / "mine" / "train_log", rife)
    for name in ("mine", "mine/train_log", "mine/train_log/flownet.pkl"):
        assert find(name, [tmp_path / "models"]) == tmp_path / "models" / "mine" / "train_log" / "flownet.pkl"


def test_the_command_line_takes_a_folder(tmp_path, rife, root, capsys):
    train_log(tmp_path / "train_log", rife)
    out = tmp_path / "a" / "b" / "out.safetensors"
    out.parent.mkdir(parents=True)
    assert main(["convert", str(tmp_path), str(out)]) == 0
    assert read_checkpoint(out).keys() == shapes("4.25").keys()
    put(tmp_path / "train_log" / "other.pkl")
    words = [
        "interpolate",
        str(root / "demo" / "clip.mp4"),
        str(tmp_path / "x.mp4"),
        "--model",
        str(tmp_path),
    ]
    assert main(words) == 2
    assert "train_log/other.pkl" in capsys.readouterr().err


def test_files_right_in_a_folder_come_before_those_below_it(tmp_path):
    put(tmp_path / "old" / "flownet.pkl")
    assert find(put(tmp_path / "flownet.pkl").parent) == tmp_path / "flownet.pkl"


@pytest.mark.parametrize(
    ("files", "kind", "words"),
    [
        ([], WeightsNotFoundError, r"no weights[\s\S]*empty"),
        (["readme.md", "a/b/flownet.pkl"], WeightsNotFoundError, r"no weights[\s\S]*readme\.md[\s\S]*\.safetensors"),
        (["contextnet.pkl", "flownet.pkl"], BadInputError, r"several[\s\S]*contextnet\.pkl, flownet\.pkl[\s\S]*one of"),
        (["a/flownet.pkl", "b/flownet.pkl"], BadInputError, r"several[\s\S]*a/flownet\.pkl, b/flownet\.pkl"),
        ([f"{i}.pth" for i in range(20)], BadInputError, r"several[\s\S]* and 12 more"),
        (["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"], BadInputError, "in several pieces"),
        (["model-00002-of-00002.safetensors"], BadInputError, "in several pieces"),
        (["archive/data.pkl", "archive/data/0", "archive/version"], BadInputError, "unpacked"),
    ],
)  # fmt: skip
def test_a_folder_that_does_not_say_which(tmp_path, files, kind, words):
    for name in files:
        put(tmp_path / "x" / name)
    (tmp_path / "x").mkdir(exist_ok=True)
    with pytest.raises(kind, match=words):
        load_model(tmp_path / "x", "cpu")
    assert "This folder holds" in complaint(str(tmp_path / "x"))


def test_a_known_name_never_means_a_folder(tmp_path, monkeypatch):
    put(tmp_path / "rife-4.7" / "flownet.pkl")
    put(tmp_path / "default" / "flownet.pkl")
    monkeypatch.chdir(tmp_path)
    assert find("rife-4.7", [tmp_path]) is None
    assert find("default", [tmp_path]) == CKPTS / "default.safetensors"


# --- one name, two files


def roots(tmp_path, *files):
    """Make searched folders with these files, each with weights of its own; the folders, in order."""
    for number, name in enumerate(files):
        put(tmp_path / name, bytes([65 + number]))
    return list(dict.fromkeys(tmp_path / Path(name).parts[0] / Path(name).parts[1] for name in files))


@pytest.mark.parametrize(
    "files",
    [
        ["a/one/flownet.pkl", "a/two/flownet.pkl"],
        ["a/rife/flownet.pkl", "b/rife/flownet.pkl", "c/rife/flownet.pkl"],
        ["a/one/rife/flownet.pkl", "b/rife/flownet.pkl"],
        ["a/one/x/flownet.pkl", "a/two/x/flownet.pkl", "a/two/y/flownet.pkl"],
        ["a/one/rife47.pth", "a/two/rife47.pth", "b/one/sub/rife47.pth"],
        ["a/one/rife425.pth", "a/two/rife_v4.25.safetensors", "b/two/rife_v4.25.safetensors"],
        ["a/one/two/x.pth", "a/two/x.pth", "b/one/x.pth"],
        ["a/one/X.pth", "a/two/x.pth"],
        ["a/one/x.pth", "a/two/x.safetensors"],
    ],
)
def test_every_file_is_offered_and_its_name_means_it_alone(tmp_path, files, monkeypatch):
    folders = roots(tmp_path, *files)
    choices = [choice for choice in available(folders) if choice.path is not None]
    assert {choice.path for choice in choices} >= {tmp_path / name for name in files}
    assert len({choice.name for choice in choices}) == len(choices)
    for choice in choices:
        assert find(choice.name, folders) == choice.path, choice.name
        assert find(choice.name.replace("/", "\\"), folders) == choice.path
        # What the menu of a node offers is not what lies under that name in the working directory.
        with monkeypatch.context() as moved:
            moved.chdir(tmp_path)
            put(Path(choice.name), b"another")
            assert find_listed(choice.name, folders) in (choice.path, None)


def test_the_first_keeps_the_plain_name_and_the_second_is_told_apart_by_its_folder(tmp_path):
    folders = roots(
        tmp_path, "models/rife/flownet.pkl", "models/interpolation/flownet.pkl", "old/rife/flownet.pkl"
    )
    names = {choice.path: choice.name for choice in available(folders)}
    assert [names[folder / "flownet.pkl"] for folder in folders] == [
        "flownet.pkl",
        "interpolation/flownet.pkl",
        "old/rife/flownet.pkl",
    ]
    assert find("flownet", folders) == folders[0] / "flownet.pkl"
    # A workflow that was saved with the longer name still finds its file when the first is gone.
    (folders[0] / "flownet.pkl").unlink()
    assert find("interpolation/flownet.pkl", folders) == folders[1] / "flownet.pkl"


def test_a_file_that_two_folders_reach_is_offered_once(tmp_path):
    put(tmp_path / "a" / "rife" / "mine.pth")
    folders = [tmp_path / "a", tmp_path / "a" / "rife"]
    with contextlib.suppress(OSError):  # Windows lets few people make links
        (tmp_path / "link").symlink_to(tmp_path / "a", target_is_directory=True)
        folders.append(tmp_path / "link")
    assert [c.name for c in available(folders) if c.path and tmp_path in c.path.parents] == ["rife/mine.pth"]
    assert find("mine.pth", folders) == find("rife/mine.pth", folders) == tmp_path / "a" / "rife" / "mine.pth"


def test_the_default_of_the_menu_is_the_built_in_one_wherever_files_of_that_name_lie(tmp_path):
    put(tmp_path / "default.safetensors")
    choices = {choice.name: choice.path for choice in available([tmp_path])}
    assert choices["default"] == CKPTS / "default.safetensors"
    assert choices["default.safetensors"] == tmp_path / "default.safetensors"


def test_the_command_line_lists_both_and_loads_the_chosen_one(tmp_path, rife, capsys):
    one, two = train_log(tmp_path / "one", rife, "4.25"), train_log(tmp_path / "two", rife, "4.6")
    folders = ["--models-folder", str(one), "--models-folder", str(two)]
    assert main(["models", *folders]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    shown = {line[-1]: line[0] for line in lines}
    assert shown[str(one / "flownet.pkl")] == "flownet.pkl"
    assert shown[str(two / "flownet.pkl")] == "two/flownet.pkl"
    families = [
        load_model(name, "cpu", folders=[one, two]).spec.family for name in ("flownet.pkl", "two/flownet.pkl")
    ]
    assert families == ["4.25", "4.6"]


def test_the_nodes_menu_offers_both_and_loads_the_chosen_one(tmp_path, rife, monkeypatch):
    one, two = train_log(tmp_path / "one", rife, "4.25"), train_log(tmp_path / "two", rife, "4.6")
    comfyui = types.SimpleNamespace(
        models_dir=str(tmp_path),
        get_folder_paths=lambda kind: [str(one), str(two)] if kind == "frame_interpolation" else [],
    )
    monkeypatch.setitem(sys.modules, "folder_paths", comfyui)
    monkeypatch.setitem(sys.modules, "comfy.model_management", types.ModuleType("comfy.model_management"))
    names, _ = model_widget("All.")
    assert {"flownet.pkl", "two/flownet.pkl"} <= set(names)
    monkeypatch.chdir(put(tmp_path / "elsewhere" / "two" / "flownet.pkl").parent.parent)
    for name, folder in (("flownet.pkl", one), ("two/flownet.pkl", two)):
        assert complaint(name) is None
        assert choose(name, "cpu", "float32").path == folder / "flownet.pkl"


# --- what is no name


NO_NAMES = {
    "": WeightsNotFoundError,
    "  \n": WeightsNotFoundError,
    "x" * 300: WeightsNotFoundError,
    "a" * 300 + "/b.pth": WeightsNotFoundError,
    "/" + "a" * 5000: WeightsNotFoundError,
    "rife\0.pth": WeightsNotFoundError,
    "rife\n4.25.pth": WeightsNotFoundError,
    "\ud800.pth": WeightsNotFoundError,
    "🦊": WeightsNotFoundError,
    "../nothing.pth": WeightsNotFoundError,
    "~nobody-of-that-name/x.pth": WeightsNotFoundError,
    "~/no such file.pth": WeightsNotFoundError,
    "C:\\models\\flownet.pkl": WeightsNotFoundError,
    "..\\x.pth": WeightsNotFoundError,
    "https://example.org/flownet.pkl": WeightsNotFoundError,
    "flownet.pkl/inside.pth": WeightsNotFoundError,
    b"default": BadInputError,
    None: BadInputError,
    3: BadInputError,
    2.5: BadInputError,
    (): BadInputError,
    LerpModel: BadInputError,
}


@pytest.mark.parametrize("name", NO_NAMES, ids=lambda name: ascii(name)[:30])
def test_what_is_no_name_is_our_error_everywhere(tmp_path, monkeypatch, name):
    put(tmp_path / "flownet.pkl")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NO_NAMES[name]) as caught:
        load_model(name, "cpu")
    assert len(str(caught.value)) < 1200
    with pytest.raises(MidframeError):
        load_model(name, "cpu", folders=[tmp_path])
    with pytest.raises(MidframeError):
        choose(name, "auto", "auto")
    if isinstance(name, str):
        assert complaint(name)
        assert NODE_CLASS_MAPPINGS["MidframeRIFE"].VALIDATE_INPUTS(model=name) is not True
        with pytest.raises(MidframeError):
            interpolate(torch.rand(2, 8, 8, 3), name)


@pytest.mark.parametrize("name", [" default ", "default\n", "DEFAULT", np.str_("default")])
def test_names_as_people_paste_them(name):
    assert load_model(name, "cpu").spec.architecture == "compact"


@posix
def test_devices_pipes_and_links_in_a_circle_end_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "zero.pth").symlink_to("/dev/zero")
    (tmp_path / "circle.pth").symlink_to("circle.pth")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "up").symlink_to(".", target_is_directory=True)
    for name in ("pipe.pth", "zero.pth", "circle.pth", "circle", "gone.pth"):
        for use in (load_model, read_checkpoint, lambda path: convert(path, tmp_path / "out.safetensors")):
            with pytest.raises(MidframeError):
                use(tmp_path / name)
    with pytest.raises(MidframeError, match="device"):
        load_model("/dev/zero")
    with pytest.raises(WeightsNotFoundError, match="no weights"):
        load_model(tmp_path)
    assert not [choice for choice in available([tmp_path]) if choice.path and tmp_path in choice.path.parents]


@pytest.fixture
def locked():
    """A folder that everybody may see, and this process as somebody who owns nothing in it."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    put(folder / "rife47.pth").chmod(0)
    put(folder / "mine.pth").chmod(0)
    put(folder / "closed" / "x.pth")
    (folder / "closed").chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield folder
    if root:
        os.seteuid(0)
    (folder / "closed").chmod(0o755)
    shutil.rmtree(folder)


@posix
@pytest.mark.parametrize("name", ["rife47.pth", "mine.pth", "closed", "closed/x.pth"])
def test_what_may_not_be_read(locked, name):
    with pytest.raises(BadInputError, match="Permission denied"):
        load_model(locked / name, "cpu")
    assert not [choice for choice in available([locked]) if choice.path == locked / "closed" / "x.pth"]


def test_an_empty_file_is_called_empty(tmp_path):
    put(tmp_path / "x.pth", b"")
    for given in (tmp_path / "x.pth", str(tmp_path / "x.pth")):
        with pytest.raises(MidframeError, match="an empty file"):
            load_model(given, "cpu")


@pytest.mark.parametrize("name", ["_.pth", "--.safetensors", "().pkl", "\udcff.pth", "\u00bd.pth"])
def test_a_file_without_a_word_in_its_name_is_offered_and_loads(tmp_path, name):
    if "\udcff" in name and sys.platform != "linux":
        pytest.skip("names of files are Unicode here")
    kind = "safetensors" if name.endswith("safetensors") else "zip"
    save(tmp_path / name, synthetic_state_dict(shapes("4.25"), 0, 0.7), kind)
    assert tmp_path / name in [choice.path for choice in available([tmp_path])]
    assert load_model(tmp_path / name).spec.architecture == "rife"
    assert find(name, [tmp_path]) == tmp_path / name


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are Unicode")
def test_a_whole_file_under_a_name_that_safetensors_cannot_open_is_not_called_damaged(tmp_path):
    save_file(tiny(), tmp_path / "x.safetensors")
    path = (tmp_path / "x.safetensors").rename(tmp_path / os.fsdecode(b"\xff.safetensors"))
    with pytest.raises(UnsupportedWeightsError, match="UTF-8") as caught:
        load_model(path)
    assert caught.value.advice == "Rename the file or its folder."


@pytest.mark.parametrize("name", ["_", "___.pth"])
def test_a_name_without_a_word_is_our_error(name):
    with pytest.raises(WeightsNotFoundError, match="no weights called"):
        load_model(name)


def test_a_file_with_any_end_of_its_name(tmp_path, monkeypatch):
    save_file(synthetic_state_dict(shapes("4.25"), 0, 0.7), tmp_path / "weights of mine")
    monkeypatch.chdir(tmp_path)
    assert load_model("weights of mine", "cpu").spec.family == "4.25"
    monkeypatch.chdir("/")
    assert load_model("weights of mine", "cpu", folders=[tmp_path]).spec.family == "4.25"
    assert load_model("weights of mine", "cpu", folders=str(tmp_path)).spec.family == "4.25"


# --- dtypes and devices by name


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("float16", torch.float16),
        ("half", torch.float16),
        ("fp16", torch.float16),
        ("FP16", torch.float16),
        ("torch.float16", torch.float16),
        (torch.half, torch.float16),
        (np.float16, torch.float16),
        (np.dtype("float16"), torch.float16),
        ("bf16", torch.bfloat16),
        ("bfloat16", torch.bfloat16),
        (" fp32 ", torch.float32),
        ("float", torch.float32),
        (np.float32, torch.float32),
        ("auto", None),
        (None, None),
    ],
)
def test_dtypes_by_any_of_their_names(name, dtype):
    assert dtype_named(name) is dtype
    model = load_model("default", "cpu", name)
    assert dtype is None or next(model.module.parameters()).dtype == dtype


@pytest.mark.parametrize(
    "name",
    ["float17", "", "Tensor", "load", "nn", 16, 2.0, b"half", object, [], "int8", np.int8, "fp64", "half\0"],
)
def test_what_is_no_dtype_for_a_network(name):
    with pytest.raises(BadInputError) as caught:
        load_model("default", "cpu", name)
    wrong, rest = str(caught.value).split("\n", 1)
    assert "dtype" in wrong or str(dtype_named(name)) not in rest  # never: cannot run in x, it runs in x


@pytest.mark.parametrize(
    "name",
    ["", "cuda:99", "cuda:-1", "cpu:x", "meta", "mps:9", "xla", "hpu", "opengl", "privateuseone", b"cpu", 7.5, -1, 10**30,
     [], "cpu\0", "🦊", "auto:0", "c" * 9999],
    ids=lambda name: ascii(name)[:20],
)  # fmt: skip
def test_what_is_no_device(name):
    for use in (usable_device, lambda device: load_model("default", device)):
        with pytest.raises(BadInputError, match="no such device") as caught:
            use(name)
        assert len(str(caught.value)) < 800
    with pytest.raises(BadInputError, match="no such device"):
        choose("default", name, "auto")


def test_auto_is_a_device():
    assert usable_device("auto") == usable_device()


# --- a name where a model is expected


def test_a_name_where_a_model_is_expected(tmp_path, rife, root):
    frames = torch.rand(2, 32, 32, 3)
    path = shutil.copy(rife / "4.25.pkl", tmp_path / "mine.pkl")
    for given in ("default", str(path), Path(path)):
        assert torch.equal(interpolate(frames, given), interpolate(frames, load_model(given)))
    with pytest.raises(WeightsNotFoundError, match="no such model"):
        interpolate_video(root / "demo" / "clip.mp4", tmp_path / "out.mp4", "no such model")
    assert not (tmp_path / "out.mp4").exists()


def test_a_state_dict_of_tensors_that_belong_to_nothing_is_said(tmp_path):
    torch.save(tiny(), tmp_path / "flownet.pkl")
    with pytest.raises(MidframeError, match=r"flownet\.pkl"):
        load_model(tmp_path, "cpu")


def test_a_job_names_its_checkpoint_so_that_any_process_finds_it(tmp_path, monkeypatch, rife):
    file = train_log(tmp_path / "train_log", rife) / "flownet.pkl"
    monkeypatch.chdir(tmp_path)
    names = {
        "train_log": str(file),
        "./train_log/flownet.pkl": str(file),
        "default": "default",
        "rife-4.9": "rife-4.9",
    }
    for name, absolute in names.items():
        job = Job(tmp_path / "a.mp4", tmp_path / "b.mp4", tmp_path / "work", ModelChoice(name))
        assert job.absolute().model.name == absolute
