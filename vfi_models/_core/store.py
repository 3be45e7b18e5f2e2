"""Where weights are: finding them on disk, listing them, checking them, and fetching what is missing."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...errors import CorruptWeightsError
from .checkpoint import Hashes
from .download import fetch
from .manifest import CKPTS, EXTENSIONS, Entry, Manifest, without_extension

__all__ = ["CKPTS", "Choice", "Entry", "Manifest", "available", "check", "fetch", "find", "search_folders"]

_log = logging.getLogger(__name__)

_DEPTH = 2
"""Folders below a searched one that are looked into: older packs keep theirs in ckpts/rife."""
_MODEL_FOLDERS = ("frame_interpolation", "interpolation")
_PACK_FOLDERS = ("ckpts/rife", "ckpts/film")


@dataclass(frozen=True)
class Choice:
    """One line of a model menu."""

    name: str
    """What to show, and what :func:`find` and :func:`fetch` take."""
    entry: Entry | None
    """The known checkpoint, None for a file that only the user knows."""
    path: Path | None
    """Where it is, None if it would have to be downloaded."""


def find(name: str | Path, folders: Iterable[Path] = ()) -> Path | None:
    """The file that a name means, if it is on this computer.

    Args:
        name: a path (absolute, or beginning with a dot), which means that file alone; ``default``, the
            built-in model and no file of that name elsewhere; or a file's name, below one of the folders or
            as the manifest has it, in any case and with any extension of weights; or a model's name, for
            the first of its files that there is.
        folders: where to look, the first first, two levels deep; the pack's own ``ckpts`` comes last.

    Returns:
        The file, or None. Empty files and unfinished downloads are not found; nothing is opened.
    """
    given = Path(name).expanduser()
    if given.is_file() and (len(given.parts) > 1 or _usable(given)):
        return given
    if given.is_absolute() or str(name).startswith(("./", "../", ".\\", "..\\", "~")):
        return None  # a path means that file, never another of a similar name
    if str(name).casefold() == "default":
        folders = ()
    names = _names(str(name), Manifest.load())
    for folder in (*folders, CKPTS):
        found = folder / given if _usable(folder / given) else _match(list(_files(folder)), names)
        if found is not None:
            return found
    return None


def available(folders: Iterable[Path] = (), architectures: Collection[str] | None = None) -> list[Choice]:
    """What a menu can offer: known models, whether here or to be downloaded, then files that are just there.

    Args:
        folders: as for :func:`find`.
        architectures: only known models of these; files that nobody knows are listed whatever they are,
            for that they would have to be opened.
    """
    manifest = Manifest.load()
    here = {folder: list(_files(folder)) for folder in (*folders, CKPTS)}
    choices: dict[str, Choice] = {}
    for entry in manifest.entries:
        if entry.model in choices or not (architectures is None or entry.architecture in architectures):
            continue
        names = _names(entry.model, manifest)
        path = next(filter(None, (_match(files, names) for files in here.values())), None)
        if path is not None or entry.urls or entry.page:
            choices[entry.model] = Choice(entry.model, entry, path)
    listed = {choice.path for choice in choices.values()}
    for folder, files in here.items():
        for path in files:
            name = path.relative_to(folder).as_posix()
            row = next(iter(manifest.lookup(path.name)), None)
            wanted = row is None or architectures is None or row.architecture in architectures
            if wanted and path not in listed and name not in choices:
                choices[name] = Choice(name, row, path)
    return list(choices.values())


def search_folders(models: Iterable[Path] = (), custom_nodes: Iterable[Path] = ()) -> list[Path]:
    """The folders that weights of older packs and of ComfyUI's own nodes are in, of those that exist.

    Args:
        models: ComfyUI's model folders (those that hold ``checkpoints``, ``loras`` ...).
        custom_nodes: the folders that node packs are installed in.
    """
    candidates = [root / name for root in models for name in _MODEL_FOLDERS]
    for root in custom_nodes:
        # By what is inside and not by the pack's name: people rename the folder and there are forks.
        packs = sorted(root.iterdir()) if root.is_dir() else []
        candidates += [pack / name for pack in packs for name in _PACK_FOLDERS]
    return [folder for folder in candidates if folder.is_dir()]


def check(path: Path, hashes: Hashes) -> None:
    """Compares a file that the manifest knows by name with the hash that the manifest has for it.

    A hash from somebody's page and not from a file is no reason to refuse: a difference is logged.

    Args:
        path: the file; nothing happens for one that no row has the name of.
        hashes: the hashes that were computed before.

    Raises:
        CorruptWeightsError: another file than the one whose hash was verified.
    """
    rows = Manifest.load().lookup(path.name)
    entry = rows[0] if len(rows) == 1 else None
    if entry is None or entry.sha256 is None or path.name.casefold() != entry.file.casefold():
        return
    found = hashes.of(path)
    if found == entry.sha256:
        return
    if entry.sha256_verified:
        raise CorruptWeightsError(
            f"{path.name} is not the file that was published under this name.",
            f"{path}: sha256 {found}, expected {entry.sha256}",
            "Delete it and download it again; rename it if it is a file of your own.",
        )
    _log.warning(
        "%s has sha256 %s; third parties name %s for it, which nobody here has verified.",
        path,
        found,
        entry.sha256,
    )


def _names(name: str, manifest: Manifest) -> list[str]:
    """The names of files that a name means, the first to prefer."""
    return [*(known for row in manifest.lookup(name) for known in (row.file, *row.aliases)), name]


def _match(files: list[Path], names: list[str]) -> Path | None:
    """The first of ``names`` that is among ``files``: as it is, or else with another extension."""
    by_name = {file.name.casefold(): file for file in reversed(files)}
    for name in names:
        if name.casefold() in by_name:
            return by_name[name.casefold()]
        stem = without_extension(name).casefold()
        for extension in EXTENSIONS:
            if stem + extension in by_name:
                return by_name[stem + extension]
    return None


def _files(folder: Path, depth: int = _DEPTH) -> Iterator[Path]:
    """Weights in a folder, sorted, then those in the folders below it."""
    try:
        inside = sorted(os.scandir(folder), key=lambda item: item.name)
    except OSError as error:
        _log.debug("%s is not searched: %s", folder, error)
        return
    visible = [item for item in inside if not item.name.startswith(".")]
    yield from (Path(item.path) for item in visible if _usable(Path(item.path)))
    if depth:
        for item in visible:
            if item.is_dir():
                yield from _files(Path(item.path), depth - 1)


def _usable(path: Path) -> bool:
    """A file with the name of weights and something in it. Unfinished downloads have other names."""
    try:
        return path.suffix.lower() in EXTENSIONS and path.is_file() and path.stat().st_size > 0
    except OSError:
        return False
