"""Standard input, standard output and named pipes as files."""

from __future__ import annotations

import contextlib
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PIPE = Path("-")
"""Standard input, or standard output."""
_OUTPUTS = (PIPE, Path("/dev/stdout"))


def is_pipe(path: Path) -> bool:
    """Tell whether a source can be read only once, from its beginning to its end."""
    if path == PIPE:
        return True
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except OSError:
        return False


def is_output(path: Path | None) -> bool:
    """Tell whether a target is standard output."""
    return path in _OUTPUTS


@contextlib.contextmanager
def as_files(source: Path, target: Path | None, kind: str) -> Iterator[tuple[Path, Path | None]]:
    """Give a source and a target that are files, in place of pipes.

    A clip is opened more than once (for its picture and for its sound), and the index of an output is often
    written last: what comes from a pipe, or goes to one, is a temporary file on the way.

    Args:
        source: a file, ``-`` for standard input, or a named pipe.
        target: a file, ``-`` for standard output, or None where a name is made from that of the source.
        kind: extension of what is written to standard output.
    """
    if not is_pipe(source) and not is_output(target):
        yield source, target
        return
    with tempfile.TemporaryDirectory(prefix="midframe-") as folder:
        if is_pipe(source):
            piped = Path(folder) / "input"
            with contextlib.ExitStack() as stack:
                stream = sys.stdin.buffer if source == PIPE else stack.enter_context(source.open("rb"))
                shutil.copyfileobj(stream, stack.enter_context(piped.open("wb")))
            source = piped
        if not is_output(target):
            yield source, target
            return
        made = Path(folder) / f"output.{kind}"
        yield source, made
        if made.exists():
            with made.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
