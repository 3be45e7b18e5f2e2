"""Loads the pack as ``midframe``, whatever its folder is called, and seeds every test."""

import gc
import os
import random
import sys

import pytest
from packs import ROOT, load_pack

# Before torch: spinning threads stop a shared machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pytest_configure(config):
    """Load the pack, but in the process that only hands tests to others: torch is five seconds there too."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return
    import hypothesis

    load_pack()
    # By the clock of a machine that runs other tests meanwhile, an example may take any time.
    hypothesis.settings.register_profile("midframe", deadline=None)
    hypothesis.settings.load_profile("midframe")


def pytest_collection_finish(session):
    """Keep torch, the pack and thousands of tests out of garbage collection, which runs at the end of many tests."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="device of the tests that run a network")
    parser.addoption("--dtype", default="float32", help="dtype of their convolutions")


@pytest.fixture(scope="session")
def device(request):
    import torch

    return torch.device(request.config.getoption("--device"))


@pytest.fixture(scope="session")
def dtype(request):
    import torch

    return getattr(torch, request.config.getoption("--dtype"))


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def shared():
    """The folder of clips, goldens and tools that may lie beside a checkout."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("there is no folder shared/ beside this checkout")
    return folder


@pytest.fixture
def renamed():
    """Name of the pack loaded a second time, by its path, as ComfyUI does: no identifier."""
    name = "/a folder/my-nodes 2"
    load_pack(name=name)
    yield name
    for module in [m for m in sys.modules if m.startswith(name)]:
        del sys.modules[module]


@pytest.fixture(autouse=True)
def _seed():
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 -- the global one is what a library under test may use
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def command():
    """argv of ``midframe`` in a process of its own, without an installation."""
    load = (
        "import importlib.util, sys; root = sys.argv.pop(1)\n"
        "spec = importlib.util.spec_from_file_location('midframe', root + '/__init__.py',"
        " submodule_search_locations=[root])\n"
        "sys.modules['midframe'] = module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "from midframe.cli import main; sys.exit(main())"
    )
    return [sys.executable, "-c", load, str(ROOT)]


@pytest.fixture(scope="session")
def comfyui(tmp_path_factory):
    """A running ComfyUI; see tests/support/comfyui.py."""
    if not os.environ.get("COMFYUI_PATH"):
        pytest.skip(
            "not run in a real ComfyUI: COMFYUI_PATH is not set (see the first lines of tests/support/comfyui.py)"
        )
    from comfyui import running

    with running(ROOT, tmp_path_factory.mktemp("comfyui")) as server:
        yield server


def pytest_make_parametrize_id(config, val, argname):
    """Files have no place in the name of a test: some are 300 kB, and a zip holds the time."""
    return f"{len(val)} bytes" if isinstance(val, bytes) and len(val) > 20 else None
