"""Make one chunk of a job in another process, which may not have loaded this package yet."""

from __future__ import annotations

import platform
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .. import errors
from ..errors import BadInputError, MidframeError
from ..vfi_utils import QuietHost
from .fingerprint import fingerprint
from .job import Job
from .make import make_chunks
from .store import Store

ROOT = str(Path(__file__).resolve().parents[1])
"""Where this package is on this machine."""

Task = Mapping[str, Any]
Failure = dict[str, Any]
"""An error of ours in types of Python alone."""


def task_of(job: Job, store: Store) -> Task:
    """Return what a worker needs besides the number of its chunk, in types of Python alone."""
    return {"job": job.absolute().as_data(), "identity": store.identity}


def portable() -> Callable[[str, Task, int], Failure | None]:
    """Return :func:`make_chunk` for a process that has not loaded this package.

    It takes (root, task, chunk) and returns the failure, if any.

    A function is sent to another process by its name, which would have to be the same there; this package's
    folder has any name, and ComfyUI makes a module's name of its path. A function that was made inside
    another is sent as code, if it refers to nothing around it. It loads the package from ``root``, or as it
    is installed where there is no such folder.
    """

    def run(root: str, task: Mapping[str, Any], chunk: int) -> dict[str, Any] | None:
        import importlib.util  # noqa: PLC0415 -- its code is all that is sent
        import os  # noqa: PLC0415
        import sys  # noqa: PLC0415

        name, start = "midframe", os.path.join(root, "__init__.py")
        try:
            if name not in sys.modules and os.path.isfile(start):
                spec = importlib.util.spec_from_file_location(name, start, submodule_search_locations=[root])
                if spec is None or spec.loader is None:
                    raise ImportError(f"{start} cannot be loaded")
                # Before it is executed: the modules of the package look it up while they are imported.
                sys.modules[name] = module = importlib.util.module_from_spec(spec)
                try:
                    spec.loader.exec_module(module)
                except BaseException:
                    # Half of a package would be taken for the whole by the next task in this process.
                    del sys.modules[name]
                    raise
            worker = importlib.import_module(f"{name}.chunks.worker")
            failure: dict[str, Any] | None = worker.make_chunk(task, chunk)
        except KeyboardInterrupt:
            # Cancelled, and cleaned up. What it was importing may be half there: this process is of no use.
            os._exit(1)
        return failure

    return run


def make_chunk(task: Task, chunk: int) -> Failure | None:
    """Make one chunk. The model stays in this process, for the next one.

    Returns:
        None where the chunk is in the work folder; else the error.
    """
    try:
        job = Job.from_data(task["job"])
        store = Store(job.workdir, task["identity"], shared=True)
        _require_same(job, task["identity"])
        model = job.model.load()
        host = QuietHost(model.device)
        make_chunks(job, store, (chunk, chunk + 1), model, host=host, done=lambda record: None)
    except MidframeError as error:
        # Without the finished frames: they are on disk, and too large for a message between processes.
        parts = {name: value for name, value in vars(error).items() if name != "partial"}
        return {"type": type(error).__name__, "parts": parts, "trace": traceback.format_exc()}
    return None


def error_of(failure: Failure) -> MidframeError:
    """Return the error that ended a task, as it was."""
    parts = failure["parts"]
    kind: type[MidframeError] = getattr(errors, failure["type"])
    error = kind(parts["wrong"], parts["found"], parts["advice"])
    vars(error).update(parts)
    return error


def _require_same(job: Job, identity: Mapping[str, Any]) -> None:
    """Check that this machine has the source and the model of the other chunks.

    Raises:
        BadInputError: it has others.
    """
    machine = platform.node()
    if not job.source.exists():
        raise BadInputError(
            "The source is not on every machine.",
            f"{job.source} is not on {machine}",
            "Put it into a folder that all of them have under the same name.",
        )
    for name, here in (("source", fingerprint(job.source)), ("model", job.model.identity())):
        if here != identity[name]:
            raise BadInputError(
                f"The {name} is not the same on every machine.",
                f"{here} on {machine}, {identity[name]} where the job was begun",
                "Put the same files on all of them, or give a folder that they share.",
            )
