"""Imports the pack. In a file of its own, so that nothing imports conftest a second time."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def load_pack(root: Path = ROOT, name: str = "midframe") -> ModuleType:
    """Imports the pack the way ComfyUI does: from its file, under a name that its folder does not have."""
    spec = importlib.util.spec_from_file_location(
        name, root / "__init__.py", submodule_search_locations=[str(root)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
