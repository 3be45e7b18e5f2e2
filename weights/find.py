"""Find files of weights on the search path, list them, and compare them with the manifest."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import CorruptWeightsError
from .checkpoint import readable, sha256_file
from .download import fetch
from .manifest import CKPTS, EXTENSIONS, Entry, Manifest, without_extension
from .paths import as_path, as_text, is_weights_file, list_weights, resolve

__all__ = [
    "CKPTS",
    "Choice",
    "Entry",
    "Manifest",
    "available",
    "check",
    "fetch",
    "find",
    "find_listed",
    "search_folders",
]

_log = logging.getLogger(__name__)

# Folders below a searched one that are looked into: older packs keep theirs in ckpts/rife.
_DEPTH = 2
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
    """Its file, None if it would have to be downloaded."""


class SearchPath:
    """The files of weights below some folders, each under a name that no other has.

    A file's name is its path below its folder. Where an earlier folder has a file of that name, so much of
    its folder's path stands before it as tells them apart.

    Args:
        folders: in order of preference; two levels below each are searched.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        listed = {folder: list(list_weights(folder, _DEPTH)) for folder in folders}
        self._files: dict[Path, list[Path]] = {folder: [] for folder in listed}
        self.names: dict[str, Path] = {}
        """Every file by its name."""
        resolved: set[Path] = set()
        for folder, files in listed.items():
            for path in files:
                target = path.resolve()  # a folder may lie in another, or be a link to it
                if target not in resolved:
                    resolved.add(target)
                    self._files[folder].append(path)
        names = [(path, _tails(path, folder)) for folder, files in self._files.items() for path in files]
        self._by_tail: dict[str, Path] = {}
        for path, tails in names:  # below a folder a name is as the user sees it: these come first
            self._by_tail.setdefault(tails[0], path)
        for path, tails in names:
            for tail in tails[1:]:
                self._by_tail.setdefault(tail, path)
            name = next(tail for tail in tails if self._by_tail[tail] == path)
            self.names[name] = path

    def get(self, name: str) -> Path | None:
        """Return the file of that name; slashes may lean as they do on Windows."""
        return self._by_tail.get(name.replace("\\", "/"))

    def match(self, names: list[str]) -> Path | None:
        """Return the first file, folder by folder, that has one of some names, the preferred name first.

        Case and extension may be others, and the file may lie in any folder below.
        """
        return next(filter(None, (_match(files, names) for files in self._files.values())), None)


def _tails(path: Path, folder: Path) -> list[str]:
    """Return the trailing parts of a path, the shortest first: from below ``folder`` to the whole."""
    parts, below = path.parts, len(path.relative_to(folder).parts)
    return [*("/".join(parts[-count:]) for count in range(below, len(parts))), path.as_posix()]


def find_listed(name: str, folders: Iterable[Path] = ()) -> Path | None:
    """Return the file that :func:`available` lists under a name that is no known model's, or None.

    Raises:
        WeightsNotFoundError, BadInputError: see :func:`find`.
    """
    return SearchPath((*folders, CKPTS)).get(as_text(name))


def find(name: str | os.PathLike[str], folders: Iterable[Path] = ()) -> Path | None:
    """Return the file that a name means, if it is on this computer.

    Args:
        name: a path (absolute, or beginning with a dot), which means that file alone, or the only checkpoint
            in that folder; ``default``, the built-in model and no file of that name elsewhere; or what
            :func:`available` calls a file; or a file's name, below one of the folders or as the manifest has
            it, in any case and with any extension of weights; or a model's name, for the first of its files
            that there is; or else the path of a file or folder below one of the folders.
        folders: to search, in order of preference, two levels deep; the pack's own ``ckpts`` comes last.

    Returns:
        The file, or None. Under a known name, empty files and unfinished downloads are not found; nothing is
        opened.

    Raises:
        WeightsNotFoundError: what cannot be a name, or a folder without weights.
        BadInputError: neither a path nor a name; a folder with several checkpoints; a device or a pipe.
    """
    text = as_text(name)
    given = as_path(text)
    if given.is_absolute() or text in (".", "..") or text.startswith(("./", "../", ".\\", "..\\")):
        return resolve(given)  # a path means that file, never another of a similar name
    # A name without a folder is a file of the working directory only where it ends as weights do: rife-4.25
    # is a model, whatever lies there.
    if os.path.isfile(given) and (len(given.parts) > 1 or is_weights_file(given)):
        return given
    if text.casefold() == "default":
        folders = ()
    folders = tuple(folders)
    manifest = Manifest.load()
    searched = SearchPath((*folders, CKPTS))
    found = searched.get(text) or searched.match(_names(text, manifest))
    if found is not None or manifest.lookup(text):
        return found
    return next(filter(None, (resolve(folder / given) for folder in (*folders, Path()))), None)


def available(folders: Iterable[Path] = (), architectures: Collection[str] | None = None) -> list[Choice]:
    """List what a menu can offer: known models, here or to be downloaded, then files that are just there.

    Args:
        folders: as for :func:`find`.
        architectures: only known models of these; unknown files are listed whatever they are, as they
            would have to be opened for that.
    """
    manifest = Manifest.load()
    searched = SearchPath((*folders, CKPTS))
    built_in = SearchPath((CKPTS,))
    choices: dict[str, Choice] = {}
    for entry in manifest.entries:
        if entry.model in choices or not (architectures is None or entry.architecture in architectures):
            continue
        # A file of a user's own that is called default must not take the place of the built-in model.
        path = (built_in if entry.model == "default" else searched).match(_names(entry.model, manifest))
        if path is not None or entry.urls or entry.page:
            choices[entry.model] = Choice(entry.model, entry, path)
    known = {choice.path for choice in choices.values()}
    for name, path in searched.names.items():
        row = next(iter(manifest.lookup(path.name)), None)
        offered = row is None or architectures is None or row.architecture in architectures
        if offered and path not in known:
            choices[name] = Choice(name, row, path)
    return list(choices.values())


def search_folders(models: Iterable[Path] = (), custom_nodes: Iterable[Path] = ()) -> list[Path]:
    """Return the folders that weights of older packs and of ComfyUI's own nodes are in, of those that exist.

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


def check(path: Path) -> None:
    """Compare a file that the manifest knows by name with the hash that the manifest has for it.

    A hash from somebody's page and not from a file is no reason to refuse: a difference is logged.

    Args:
        path: the file; nothing happens for one that no row has the name of.

    Raises:
        CorruptWeightsError: another file than the one whose hash was verified.
        BadInputError: a file that may not be read.
    """
    rows = Manifest.load().lookup(path.name)
    entry = rows[0] if len(rows) == 1 else None
    if entry is None or entry.sha256 is None or path.name.casefold() != entry.file.casefold():
        return
    with readable(path):
        found = sha256_file(path)
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
    """Return the names of files that a name means, the preferred one first."""
    return [*(file for row in manifest.lookup(name) for file in (row.file, *row.aliases)), name]


def _match(files: list[Path], names: list[str]) -> Path | None:
    """Return the first file that has one of ``names``: as it is, or else with another extension."""
    # Reversed, so that of two names that differ in case alone the first file counts.
    by_name = {file.name.casefold(): file for file in reversed(files)}
    for name in names:
        if name.casefold() in by_name:
            return by_name[name.casefold()]
        stem = without_extension(name).casefold()
        for extension in EXTENSIONS:
            if stem + extension in by_name:
                return by_name[stem + extension]
    return None
