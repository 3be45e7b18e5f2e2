"""Sets the project up in an environment of its own and runs the demo or the tests there.

    python dev.py demo      interpolate the clip that ships with the project
    python dev.py lint      format and lint
    python dev.py types     types
    python dev.py test      format, lint, types, tests
    python dev.py test-all  the same with the tests that take minutes
    python dev.py setup     only make the environment
    python dev.py clean     remove everything that these commands made

Needs Python 3.10 or newer with pip and nothing else; ``make demo`` and ``make test`` call it. What follows
``test`` goes to pytest. ``MIDFRAME_TORCH`` chooses torch: a version such as 2.7.0, the oldest that Midframe
promises to run with, or ``newest``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "midframe.stamp"
TYPES = VENV / "types"
WINDOWS = os.name == "nt"
PYTHON = VENV / ("Scripts/python.exe" if WINDOWS else "bin/python")

USUAL_TORCH = "2.13.0"
TORCH_VERSION = os.environ.get("MIDFRAME_TORCH", USUAL_TORCH)
TORCH = "torch" if TORCH_VERSION == "newest" else f"torch=={TORCH_VERSION}"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"

# One more than there are processors: tests wait for files and for processes of their own.
PROCESSES = (os.cpu_count() or 1) + 1
CHECKS = {
    "format": ["-m", "ruff", "format", "--check", "."],
    "lint": ["-m", "ruff", "check", "."],
    "types": ["-m", "mypy"],
    "tests": ["-m", "pytest", f"--numprocesses={PROCESSES}", "--dist=loadgroup"],
}
COMMANDS = {
    "lint": ("format", "lint"),
    "types": ("types",),
    "test": tuple(CHECKS),
    "test-all": tuple(CHECKS),
}
"""The checks that a command runs."""
# Tests that take more than a few seconds, each marked with its reason.
LONG = "long"


def main() -> int:
    """Run one command, and return its exit status."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("command", choices=("demo", *COMMANDS, "setup", "clean"))
    arguments, rest = parser.parse_known_args()
    if sys.version_info < (3, 10):  # noqa: UP036 -- this file is what an older Python is told by
        print(f"Midframe needs Python 3.10 or newer, this is {sys.version.split()[0]}.", file=sys.stderr)
        return 2
    if arguments.command == "clean":
        return clean()
    try:
        set_up()
    except subprocess.CalledProcessError as error:
        print(f"Setting up failed: {' '.join(map(str, error.cmd))}", file=sys.stderr)
        return 1
    if arguments.command == "demo":
        return run("-m", "midframe", "demo", *rest)
    if arguments.command == "setup":
        return 0
    if "tests" in COMMANDS[arguments.command]:
        add_ray()
        add_real_weights()
    if arguments.command == "test":
        rest = ["-m", f"not {LONG}", *rest]
    names = COMMANDS[arguments.command]
    # torch and numpy say other things of their types in every version, and Python 3.10 has an older numpy.
    if "tests" in names and (TORCH_VERSION != USUAL_TORCH or sys.version_info < (3, 11)):
        print(f"Types are checked with torch {USUAL_TORCH} and Python 3.11 or newer: left out.", flush=True)
        names = tuple(name for name in names if name != "types")
    return check(names, rest)


def set_up() -> None:
    """Make ``.venv`` with torch's CPU build, the project and its tools; do nothing where that is done."""
    expected = fingerprint()
    if STAMP.is_file() and STAMP.read_text() == expected:
        return
    print(f"Setting up {VENV} ...", flush=True)
    if not PYTHON.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    STAMP.unlink(missing_ok=True)
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    # A wheel that lies ready on this machine, else the CPU build: on Linux the default index would bring
    # gigabytes of CUDA libraries. What torch depends on comes with the project, one line below.
    ready = TORCH_VERSION != "newest" and run(*pip, "--no-index", "--no-deps", TORCH, quiet=True) == 0
    if not ready and run(*pip, "--index-url", TORCH_CPU_INDEX, "--no-deps", "--upgrade", TORCH) != 0:
        print("The CPU build of torch cannot be had; taking the default one, which may be large.", flush=True)
        run(*pip, "--upgrade", TORCH, check=True)
    run(*pip, "--editable", f"{ROOT}[test]", check=True)
    link_types()
    STAMP.write_text(expected)


def add_ray() -> None:
    """Install Ray, for the tests that start workers. It is large, and not made for every system and
    Python.
    """
    there = "import importlib.util, sys; sys.exit(importlib.util.find_spec('ray') is None)"
    if run("-c", there) == 0:
        return
    print("Installing Ray for the tests ...", flush=True)
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    if run(*pip, "--only-binary", "ray", "ray", quiet=True) != 0:
        print("Ray cannot be installed here: the tests of workers are skipped.", flush=True)


def add_real_weights() -> None:
    """Fetch published checkpoints, once, for the tests that need them; without them these are skipped."""
    run("tests/support/real_weights.py")


def fingerprint() -> str:
    """Return a hash of what the environment depends on."""
    parts = [sys.version, str(ROOT), TORCH, (ROOT / "pyproject.toml").read_text(encoding="utf-8")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def link_types() -> None:
    """Link the project under its package name, for mypy: the folder's own name need not be an identifier."""
    TYPES.mkdir(exist_ok=True)
    link = TYPES / "midframe"
    if WINDOWS:
        import _winapi  # noqa: PLC0415 -- only there; a junction needs no administrator, a symlink does

        if not link.exists():
            _winapi.CreateJunction(str(ROOT), str(link))  # type: ignore[attr-defined,unused-ignore]
        return
    link.unlink(missing_ok=True)
    link.symlink_to(ROOT, target_is_directory=True)


def check(names: Sequence[str], pytest_arguments: list[str]) -> int:
    """Run the checks of these names, also after one failed; return 1 where one did.

    The tests keep every processor busy but while they start and end, and the others one at most: those run
    beside the tests, one after another, and what they say is printed last.
    """
    passed = {}
    with ThreadPoolExecutor(max_workers=1) as beside:
        others = {name: beside.submit(check_quietly, name) for name in names if name != "tests"}
        if "tests" in names:
            began = time.monotonic()
            # Processes take all processors: more threads in each would only wait for one another.
            passed["tests"] = run(*CHECKS["tests"], *pytest_arguments, threads=1) == 0
            print(f"--- tests: {outcome(passed['tests'])}, {time.monotonic() - began:.0f} s", flush=True)
        for name, other in others.items():
            passed[name], seconds, said = other.result()
            sys.stdout.buffer.write(said)
            print(f"--- {name}: {outcome(passed[name])}, {seconds:.0f} s", flush=True)
    failed = [name for name in names if not passed[name]]
    if failed:
        print(f"Failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def check_quietly(name: str) -> tuple[bool, float, bytes]:
    """Run the check of this name; return whether it passed, its seconds and what it wrote."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        passed = run(*CHECKS[name], output=output) == 0
        output.seek(0)
        return passed, time.monotonic() - began, output.read()


def outcome(passed: bool) -> str:
    """Return the word for a check that passed, or did not."""
    return "ok" if passed else "FAILED"


def run(
    *command: str,
    check: bool = False,
    quiet: bool = False,
    output: IO[bytes] | None = None,
    threads: int | None = None,
) -> int:
    """Run the environment's Python with ``command``, in the project's folder; it writes to ``output``."""
    # Threads that spin while they wait take the machine from every other process.
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPYCACHEPREFIX": str(VENV / "bytecode")}
    # Tests start hundreds of processes: without bytecode, each compiles the project anew.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if threads:
        environment.setdefault("OMP_NUM_THREADS", str(threads))
    sink = subprocess.DEVNULL if quiet else output
    return subprocess.run(
        [str(PYTHON), *command], cwd=ROOT, env=environment, check=check, stdout=sink, stderr=sink
    ).returncode


def clean() -> int:
    """Remove the environment, caches and the demo's output."""
    link = TYPES / "midframe"
    if link.exists():
        os.rmdir(link) if WINDOWS else link.unlink()  # the link first, or removing .venv might follow it
    for name in (
        ".venv",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
        ".hypothesis",
        "demo_output",
        "build",
    ):
        shutil.rmtree(ROOT / name, ignore_errors=True)
    for egg in ROOT.glob("*.egg-info"):
        shutil.rmtree(egg, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
