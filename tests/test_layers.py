"""The laws of the house hold, and the test that says so can fail."""

import inspect
import json
import subprocess
import sys
import textwrap

import midframe.errors
import pytest
from imports import circles, pack_files, room_of
from laws import MOST_ROOT_ENTRIES, ROOMS, chosen_entries, error_classes, findings
from midframe.errors import MidframeError
from midframe.vfi_models import architectures
from midframe.vfi_models.interface import Architecture, ModelSpec
from references import unresolved


def test_the_laws_hold(root):
    assert findings(root) == []


def test_every_room_is_known(root):
    assert {room_of(path, root) for path in pack_files(root)} == set(ROOMS)


BREACHES = {
    "memory/a.py": ("from ..vfi_models import detect", "memory may not import vfi_models"),
    "vfi_models/a.py": ("from .. import memory", "vfi_models may not import memory"),
    "vfi_models/rife/a.py": ("from ...nodes import x", "vfi_models may not import nodes"),
    "errors.py": ("import torch", "errors imports no torch"),
    "video/a.py": ("from ..api import load_model", "video may not import api"),
    "video/b.py": ("from ... import x", "above the project"),
    "nodes/a.py": ("import comfy.utils", "names the host"),
    "nodes/b.py": ("from folder_paths import x", "names the host"),
    "api.py": ("from midframe.errors import X", "imports the pack by name"),
    "memory/b.py": ("import sys\nsys.path.insert(0, '.')", "sys.path"),
    "memory/c.py": ("try:\n    x = 1\nexcept:\n    pass", "bare except"),
    "memory/d.py": ("print('x')", "print"),
    "memory/e.py": ("def f(a, **rest):\n    return a", "swallows"),
    "nodes/c.py": ("def save_to(a, **rest):\n    return a", "swallows"),
    "nodes/_video_host.py": ("def get_dimensions(a, **rest):\n    return a", "swallows"),
    "memory/f.py": ("def f(a=[]):\n    return a", "mutable default"),
    "memory/g.py": ("import torch\ntorch.backends.cudnn.benchmark = True", "global switch"),
    "memory/h.py": ("import torch\ndef f():\n    torch.set_default_dtype(torch.half)", "global switch"),
    "memory/i.py": (
        "import torch\ndef f(p):\n    return torch.load(p, weights_only=False)",
        "weights_only is not True",
    ),
    "memory/j.py": ("import torch\ndef f(p):\n    return torch.load(p)", "without weights_only"),
    "memory/k.py": ("import torch\nCUDA = torch.cuda.is_available()", "is_available() at import"),
    "memory/l.py": ("TEXT = open('x').read()", "open() at import"),
    "memory/m.py": ("class A:\n    b = [open('x')]", "open() at import"),
    "memory/n.py": ("x = 1\n" * 401, "401 lines"),
    "memory/o.py": ("def f():\n" + "    x = 1\n" * 60, "f has 61 lines"),
    "memory/p.py": ("x = eval('1')", "eval"),
    "memory/q.py": ("import torch\ndef f():\n    torch.set_flush_denormal(True)", "global switch"),
    "memory/r.py": ("import torch\nx = torch.zeros(2, device='cpu')", "torch.zeros without dtype"),
    "memory/s.py": ("import torch\nx = torch.arange(2, dtype=torch.int64)", "torch.arange without device"),
    "vfi_models/b.py": ("import torch\nx = torch.tensor(2.0)", "torch.tensor without dtype and device"),
    "training/a.py": ("import torch\nx = torch.Tensor(3)", "torch.Tensor without dtype and device"),
    "video/c.py": ("import torch\nx = torch.fft.fftfreq(3)", "torch.fft.fftfreq without dtype and device"),
    "nodes/d.py": ("from torch import Tensor, ones", "imports ones by name"),
    "nodes/e.py": ("from ..vfi_models._ops.warp import backward_warp", "_ops is private to vfi_models"),
    "training/b.py": ("from ..vfi_models import _sampling", "_sampling is private to vfi_models"),
    "cli/a.py": ("from ..video.read._part import x", "_part is private to video.read"),
    "parity/a.py": ("from pathlib import Path\nx = Path('.') / 'tests/goldens'", "reads 'tests/goldens'"),
    "demo/a.py": ("from pathlib import Path\nx = Path('.') / 'tests'", "reads 'tests'"),
    "benchmarks/a.py": ("x = '../../tests/support/clips.py'", "what the product needs lies in the product"),
    "video/d.py": ("from ..tests.support import clips", "video may not import tests"),
}


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_is_found(tmp_path, name):
    text, what = BREACHES[name]
    for folder in ("vfi_models/_ops", "vfi_models/_sampling"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "__init__.py").touch()
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    (found,) = findings(tmp_path)
    assert found.startswith(f"{name}:")
    assert what in found


def test_what_is_allowed_is_not_found(tmp_path):
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes/_host.py").write_text(
        "import comfy.utils\nfrom ..api import load_model\nfrom .x import y\n"
    )
    (tmp_path / "nodes/_video_host.py").write_text("def save_to(path, **later):\n    return path\n")
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli/__init__.py").write_text("print('x')\n")
    (tmp_path / "api.py").write_text(
        textwrap.dedent("""
        import torch
        def f(path):
            with open(path) as file:
                return torch.load(file, weights_only=True), torch.cuda.is_available()
        def g(x):
            like = x.new_zeros(3), torch.zeros_like(x), torch.from_numpy(x)
            return like, torch.zeros(3, dtype=torch.float32, device=x.device)
        """)
    )
    (tmp_path / "vfi_models/rife").mkdir(parents=True)
    (tmp_path / "vfi_models/rife/net.py").write_text(
        '"""The tests are in tests/vfi_models."""\nfrom .._ops.warp import backward_warp\n'
    )
    (tmp_path / "dev.py").write_text("x = 'tests/support/real_weights.py'\n")
    assert findings(tmp_path) == []


def test_the_root_stays_small(root, tmp_path):
    assert len(chosen_entries(root)) <= MOST_ROOT_ENTRIES
    for name in ("README.md", "py.typed", ".github", "nodes", "build", "midframe.egg-info"):
        (tmp_path / name).touch()
    for i in range(MOST_ROOT_ENTRIES):
        (tmp_path / f"entry{i}").touch()
    assert findings(tmp_path) == []
    (tmp_path / "one_more").mkdir()
    assert findings(tmp_path) == [".: 19 entries of the root are our choice, at most 18"]


def test_cross_references_name_something(root):
    assert [
        f"{path.relative_to(root)}:{line}: {what}"
        for path in pack_files(root)
        for line, what in unresolved(path, root)
    ] == []


REFERENCES = {
    ":class:`Own`": True,
    ":class:`~.other.Thing`": True,
    ":meth:`.other.Thing.method`": True,
    ":meth:`.other.Thing.inherited`": True,
    ":attr:`~.other.Thing.value`": True,
    ":meth:`inherited`": True,
    ":mod:`..room`": True,
    ":mod:`.other`": True,
    ":func:`copy.deepcopy`": True,
    ":class:`Imported.method`": True,
    ":class:`Missing`": False,
    ":class:`.Thing`": False,
    ":meth:`.other.Thing.missing`": False,
    ":class:`...other.Thing`": False,
    ":mod:`..rooms`": False,
    ":func:`copy.deeper`": False,
    ":class:`Imported.missing`": False,
}


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_cross_reference_that_names_nothing_is_found(tmp_path, reference):
    room = tmp_path / "room"
    room.mkdir()
    (room / "__init__.py").touch()
    (room / "base.py").write_text("class Base:\n    def inherited(self): ...\n")
    (room / "other.py").write_text(
        "from .base import Base\nclass Thing(Base):\n    value: int\n    def method(self): ...\n"
    )
    file = room / "here.py"
    file.write_text(f"from .other import Thing as Imported\nclass Own(Imported):\n    'See {reference}.'\n")
    found = [] if REFERENCES[reference] else [(3, f"{reference} names nothing")]
    assert list(unresolved(file, tmp_path)) == found


def test_the_import_graph_finds_circles(root, tmp_path):
    assert circles(root) == []
    for name, text in {
        "a": "from .b import x",
        "b": "from . import c",
        "c": "from .a import y",
        "d": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .e import z",
        "e": "from . import d",
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
    assert circles(tmp_path) == [{("a",), ("b",), ("c",)}]


def test_every_error_is_of_the_family(root):
    # Caught inside their room, and turned into one of the family there.
    inside = {"AbandonedError", "StoppedError", "FormatError", "MirrorError"}
    family = {
        name
        for name, thing in vars(midframe.errors).items()
        if inspect.isclass(thing) and issubclass(thing, MidframeError)
    }
    assert {"MidframeError", "BadInputError", "OutOfMemoryError", "WeightsNotFoundError"} <= family
    for name, bases in error_classes(root).items():
        assert name in family | inside or bases & family, name


def test_an_error_has_three_parts():
    for name, thing in vars(midframe.errors).items():
        if inspect.isclass(thing) and issubclass(thing, MidframeError):
            error = thing("It is wrong.", "this", "Do that.")
            assert str(error).splitlines() == ["It is wrong.", "Found: this", "What to do: Do that."], name
            assert (error.wrong, error.found, error.advice) == ("It is wrong.", "this", "Do that.")


def test_every_architecture_fits_the_seam():
    found = architectures()
    assert {"rife", "compact", "film"} <= {a.name for a in found}
    for architecture in found:
        assert isinstance(architecture, Architecture)
        assert architecture.detect({}) is None
        assert architecture.families
        assert architecture.shapes(architecture.families[0])
        assert list(inspect.signature(architecture.build).parameters) == ["detection"]


def test_every_model_fits_the_seam():
    from midframe.vfi_models import build, detect
    from midframe.vfi_models.interface import Interpolator, PairSession, Session
    from midframe.weights.synthetic import synthetic_state_dict

    for architecture in architectures():
        shapes = architecture.shapes(architecture.families[-1])
        model = build(detect(synthetic_state_dict(shapes, 0, 1.0)))
        assert isinstance(model.spec, ModelSpec)
        assert model.spec.architecture == architecture.name
        session = model.open(8, 8)
        kind = PairSession if isinstance(session, PairSession) else Session
        for protocol, thing in ((Interpolator, model), (kind, session)):
            for method, wanted in inspect.getmembers(protocol, inspect.isfunction):
                if not method.startswith("_"):
                    got = list(inspect.signature(getattr(thing, method)).parameters.values())
                    names = list(inspect.signature(wanted).parameters)[1:]
                    assert [p.name for p in got[: len(names)]] == names, (architecture.name, method)
                    # What a model takes besides, a caller of the seam does not know.
                    assert all(p.default is not p.empty for p in got[len(names) :]), (
                        architecture.name,
                        method,
                    )


def test_importing_touches_no_device_and_no_network(command):
    """In a process of its own, where CUDA, sockets and writing raise."""
    program = textwrap.dedent("""
        import builtins, importlib.util, json, pkgutil, socket, sys
        import torch, av, huggingface_hub, tqdm, psutil, safetensors.torch  # theirs is not ours to judge

        def refuse(*_, **__):
            raise AssertionError("touched at import")

        torch.cuda.is_available = torch.cuda._lazy_init = torch.cuda.device_count = refuse
        torch.backends.mps.is_available = socket.socket.connect = refuse
        plain = builtins.open
        builtins.open = lambda file, mode="r", *a, **k: plain(file, mode, *a, **k) if set(mode) <= set("rbt") else refuse()
        before = (list(sys.path), torch.get_default_dtype(), torch.backends.cudnn.benchmark, torch.is_grad_enabled())
        root = sys.argv[1]
        spec = importlib.util.spec_from_file_location("pack", root + "/__init__.py", submodule_search_locations=[root])
        sys.modules["pack"] = pack = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(pack)
        for module in ("cli", "api", "parity", "video", "vfi_models", "memory", "nodes", "demo", "training.train", "benchmarks.bench"):
            importlib.import_module("pack." + module)
        assert before == (list(sys.path), torch.get_default_dtype(), torch.backends.cudnn.benchmark, torch.is_grad_enabled())
        print(json.dumps(sorted({m.split(".")[0] for m in sys.modules} & {"comfy", "folder_paths", "server", "midframe"})))
    """)
    done = subprocess.run(
        [sys.executable, "-c", program, command[-1]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
