"""The finished chunks of a job on disk: segments, and a record of each that says what it must be.

The records are the manifest. Nothing else remembers what is finished, so nothing can disagree with them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import BadInputError, MidframeError
from ..video.read.images import is_pattern
from .documents import digest_of, read_document, settle, write_document
from .fingerprint import fingerprint

_LOG = logging.getLogger(__name__)

JOB = "job.json"
DONE = "done.json"
ANALYSIS = "analysis.json"
PICTURES = "pictures.json"
LOCK = "lock"
# For whoever looks into a work folder whose output is whole.
_WHY = (
    "The output is whole and its chunks are removed. What is left here tells Midframe that the job is done: "
    "run again, it makes nothing twice and does not look through the clip once more. Nothing else needs this "
    "folder; it can be removed at any time."
)
# Names in a work folder where nothing was finished.
# No numbers among them: a folder of pictures (000001.png, ...) given as work folder lost them all once.
_BEGUN = re.compile(r"\..+\.[0-9a-f]{8}\.tmp|job\.json|done\.json|analysis\.json|pictures\.json|lock")
# Names in a work folder.
_OURS = re.compile(
    rf"{_BEGUN.pattern}|\.\d{{6}}\.[0-9a-f]{{8}}\.tmp(\.\w+)?|\d{{6}}(\.(json|m4v|mkv|mov|mp4|webm))?"
)


@dataclass(frozen=True)
class Record:
    """A finished chunk."""

    chunk: int
    job: str
    """Digest of the identity of its job."""
    times: tuple[int, ...]
    """When each of its frames is shown, in ticks of the output."""
    durations: tuple[int, ...]
    """How long each is shown, in ticks."""
    ended: bool
    """Whether nothing is shown after it."""
    headers: str = ""
    """Digest of the encoder's headers."""
    file: str = ""
    """Name of the segment, a file or a folder of pictures; empty where no frame is in it."""
    bytes: int = 0
    sha256: str = ""


class Store:
    """The work folder of a job.

    Args:
        folder: is there.
        identity: of the job, see :meth:`.Job.identity`.
        shared: another process owns this folder; only chunks are added to it.

    Raises:
        BadInputError: the folder holds another job, whose differences are named, or something else.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, shared: bool = False) -> None:
        self.folder = folder
        self.identity = dict(identity)
        self.job = digest_of(identity)
        self._records: dict[int, Record] = {}
        if not shared:
            self._require_same(identity)
        elif read_document(folder / JOB) != identity:
            # A worker writes no job.json: another there, or none, means another folder of the same name.
            raise BadInputError(
                "The work folder is not that of the job.",
                f"{folder} on {platform.node()}",
                "Choose one that every machine has under the same name: a folder that they share.",
            )

    def _require_same(self, identity: Mapping[str, Any]) -> None:
        before = read_document(self.folder / JOB)
        # Where nothing is finished there is nothing to go on with, and nothing to lose.
        owners = {r.get("job") for path in record_files(self.folder) if (r := read_document(path))}
        if before is None:
            # Nothing here says that numbered files are chunks: they may be the user's own.
            self._require_names(_OURS if owners or (self.folder / JOB).exists() else _BEGUN)
        if owners - {self.job}:
            names = [n for n in {**(before or {}), **identity} if (before or {}).get(n) != identity.get(n)]
            changes = [f"{n} was {before.get(n)}, is now {identity.get(n)}" for n in names] if before else []
            raise _another_job(self.folder, "; ".join(changes) or "made from other settings or a source")
        if before != identity:
            write_document(self.folder / JOB, identity)

    def _require_names(self, ours: re.Pattern[str]) -> None:
        strange = sorted(path.name for path in self.folder.iterdir() if not ours.fullmatch(path.name))
        if strange:
            raise BadInputError(
                "The work folder holds something else.",
                f"{self.folder}: {', '.join(strange[:3])}",
                "Give an empty folder, or one that is not there yet.",
            )

    def load(self, *, clean: bool) -> None:
        """Read the records of finished chunks; one whose segment is not as it says does not count.

        Args:
            clean: see :meth:`clean`.
        """
        self._records = {}
        for path in record_files(self.folder):
            self.read(int(path.stem))
        if clean:
            self.clean()

    def read(self, chunk: int) -> Record | None:
        """Return the record of a chunk, which another process may have finished; None where it is not."""
        path = _record_file(self.folder, chunk)
        if not path.exists():
            return None
        record = _record(read_document(path))
        if record is None or record.job != self.job or record.chunk != chunk:
            _LOG.warning("%s is damaged; its chunk is made again.", path)
        elif record.file and not _is_as_recorded(self.folder / record.file, record):
            _LOG.warning("%s is not what its record says; it is made again.", self.folder / record.file)
        else:
            self._records[chunk] = record
            return record
        return None

    def clean(self) -> None:
        """Remove what runs that were stopped have left; only while no other process works here."""
        kept = {JOB, DONE, ANALYSIS, PICTURES, LOCK} | {record.file for record in self._records.values()}
        kept |= {_record_file(self.folder, chunk).name for chunk in self._records}
        for path in self.folder.iterdir():
            if path.name not in kept and _OURS.fullmatch(path.name):
                _remove(path)

    @property
    def records(self) -> list[Record]:
        """Return the finished chunks, in order."""
        return [self._records[chunk] for chunk in sorted(self._records)]

    def missing(self, count: int | None = None) -> list[int]:
        """Return the chunks below ``count`` that are not finished; where it is None, the first one alone.

        There are none once every chunk up to the one with which the clip ends is finished.
        """
        last = min((record.chunk for record in self.records if record.ended), default=None)
        stop = last + 1 if last is not None else count
        if stop is None:
            return [next(k for k in range(len(self._records) + 1) if k not in self._records)]
        return [chunk for chunk in range(stop) if chunk not in self._records]

    @property
    def frames(self) -> int:
        """Return the number of frames in all finished chunks."""
        return sum(len(record.times) for record in self._records.values())

    @property
    def complete(self) -> bool:
        """Tell whether all of the clip is finished."""
        return any(record.ended for record in self.records) and not self.missing()

    def after(self, chunk: int) -> int | None:
        """Return the first finished chunk after ``chunk``; None where there is none."""
        return min((k for k in self._records if k > chunk), default=None)

    def temporary(self, chunk: int, suffix: str) -> Path:
        """Return a name for a segment that is being written; no two are the same."""
        return self.folder / f".{chunk:06d}.{uuid.uuid4().hex[:8]}.tmp{suffix}"

    def add(self, record: Record, segment: Path | None) -> Record:
        """Add a finished chunk: its segment gets its name, then its record is written.

        Args:
            record: without the segment's name, bytes and hash.
            segment: under its temporary name, closed; None where no frame is in it.

        Raises:
            OSError: the disk is full, for example; the chunk is not finished then.
        """
        content = asdict(record)
        if segment is not None:
            for path in sorted(segment.iterdir()) if segment.is_dir() else [segment]:
                settle(path)
            # Named before it is recorded: a crash in between leaves a segment without a record, which is
            # made again.
            size, digest = _measured(segment)
            file = self.folder / f"{record.chunk:06d}{segment.suffix.removesuffix('.tmp')}"
            # What an earlier try has left: os.replace puts no folder onto one that is not empty.
            _remove(file)
            os.replace(segment, file)
            content |= {"file": file.name, "bytes": size, "sha256": digest}
        write_document(_record_file(self.folder, record.chunk), content)
        added = Record(**content)
        self._records[record.chunk] = added
        return added

    def discard(self, segment: Path) -> None:
        """Remove a segment that will not be finished."""
        _remove(segment)

    def finish(self, target: Path, temporary: Path) -> None:
        """Note, before the output gets its name, what it must be to be the end of this job."""
        output = {"job": self.job, "name": target.name, "fingerprint": fingerprint(temporary)}
        write_document(self.folder / DONE, {**output, "frames": self.frames, "why this stays": _WHY})

    def finished(self, target: Path) -> int | None:
        """Return the number of frames of the output if the job is done and it is there as it was written."""
        done = read_document(self.folder / DONE)
        if done is None or not (target.exists() or is_pattern(target)):
            return None
        written = {"job": self.job, "name": target.name, "fingerprint": fingerprint(target)}
        return int(done["frames"]) if written.items() <= done.items() else None

    def drop_segments(self) -> None:
        """Remove segments and their records: the output holds everything."""
        for record in self.records:
            # The record first: a segment without one is a leftover, a record without its segment is damage.
            _remove(_record_file(self.folder, record.chunk))
            if record.file:
                _remove(self.folder / record.file)
        if self._records:
            _LOG.info(
                "%s: the output is whole, its chunks are removed; %s says what stays", self.folder, DONE
            )
        self._records = {}


def _record_file(folder: Path, chunk: int) -> Path:
    return folder / f"{chunk:06d}.json"


def record_files(folder: Path) -> list[Path]:
    """Return the records in a work folder, in order of their chunks."""
    return sorted(path for path in folder.glob("*.json") if path.stem.isdigit())


def _record(content: dict[str, Any] | None) -> Record | None:
    if content is None:
        return None
    try:
        lists = {name: tuple(content[name]) for name in ("times", "durations")}
        return Record(**{**content, **lists})
    except (TypeError, KeyError):  # of another version of this code
        return None


def _is_as_recorded(path: Path, record: Record) -> bool:
    try:
        return _measured(path) == (record.bytes, record.sha256)
    except OSError:
        return False


def _measured(path: Path) -> tuple[int, str]:
    """Return the bytes and the SHA-256 of a file, or of the files of a folder in order.

    Raises:
        OSError: it is not there or cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        with file.open("rb") as opened:
            while block := opened.read(2**20):
                digest.update(block)
                size += len(block)
    return size, digest.hexdigest()


def _remove(path: Path) -> None:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise MidframeError(
            "Something in the work folder cannot be removed.", f"{path}: {error}", "Close what has it open."
        ) from error


def _another_job(folder: Path, found: str) -> BadInputError:
    return BadInputError(
        "The work folder holds the chunks of another job.",
        f"{folder}: {found}",
        "Give the same source and settings to go on with it; or another work folder; or remove this one.",
    )
