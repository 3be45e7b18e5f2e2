"""Another checkout of this project as a peer: to measure a change beside the commit before it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from ...errors import BadInputError
from .peer import Interpolate, Task

# Not `midframe`: ours is loaded in the same process, and modules are found by name.
_NAME = "midframe_of_another_checkout"


class OtherCheckout:
    """Midframe from another folder, by the Python API that its README documents.

    Args:
        checkout: the folder, for example a git worktree of an older commit.
    """

    def __init__(self, checkout: Path) -> None:
        self._checkout = checkout

    def open(self, task: Task) -> Interpolate:
        """Load the weights; see :class:`~.peer.Peer`.

        Raises:
            BadInputError: the folder is no checkout of this project.
        """
        package = self._package()
        file = task.folder / f"other_{task.network}.safetensors"
        # safetensors refuses tensors that are not contiguous.
        save_file({name: value.contiguous() for name, value in task.weights.items()}, file)
        model = package.load_model(file, task.device, task.dtype)
        settings = importlib.import_module(f"{_NAME}.vfi_utils").Settings(options=dict(task.options))

        def run(frames: Tensor, multiplier: int) -> Tensor:
            result: Tensor = package.interpolate(frames, model, multiplier, settings=settings)
            return result

        return run

    def options(self, network: str, height: int, width: int) -> dict[str, Any]:
        """Return none: it does as ours does."""
        return {}

    def _package(self) -> Any:
        start = self._checkout / "__init__.py"
        if not (self._checkout / "vfi_utils.py").is_file() or not start.is_file():
            raise BadInputError(
                "This is no checkout of Midframe.", str(self._checkout), "Give the folder of an older commit."
            )
        if _NAME not in sys.modules:
            # As a package under the other name: its modules import one another relatively, and so find their
            # own.
            folders = [str(self._checkout)]
            spec = importlib.util.spec_from_file_location(_NAME, start, submodule_search_locations=folders)
            if spec is None or spec.loader is None:
                raise BadInputError("This checkout cannot be loaded.", str(start), "Look at the folder.")
            sys.modules[_NAME] = module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        return sys.modules[_NAME]
