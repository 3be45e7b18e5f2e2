"""The table of known checkpoints: ``ckpts/manifest.json`` as rows."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache, cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import BadInputError, WeightsNotFoundError

CKPTS = Path(__file__).resolve().parents[1] / "ckpts"
"""The pack's own folder of weights."""
EXTENSIONS = (".safetensors", ".sft", ".pth", ".pkl", ".pt", ".ckpt", ".bin")
"""Ends of names that weights have, the safest first."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SUGGESTIONS = 3

_Key = tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One file that somebody publishes. Files of the same network are rows of the same model."""

    file: str
    """Name that the file has here and where it comes from: ``rife_v4.25.safetensors``."""
    model: str
    """What it is called in menus: ``rife-4.25``. The first row of a model is the one to prefer."""
    architecture: str
    """Folder of the network under ``vfi_models``."""
    family: str
    """Member of the architecture: ``4.25``."""
    aliases: tuple[str, ...] = ()
    """Names that older packs have for the same file."""
    urls: tuple[str, ...] = ()
    """Where it can be had, the first to try first. None: it comes with the pack, or see ``page``."""
    licence: str | None = None
    """SPDX name of the licence of the weights as published, None where nobody says."""
    bytes: int | None = None
    """Size of the file, None where it is not known."""
    sha256: str | None = None
    """Hash of the file, None where it is not known."""
    page: str | None = None
    """Where people get it themselves: for weights whose terms have to be read first."""
    sha256_verified: bool = False
    """Whether hash and size were taken from the file. If they are from somebody's page, another hash is
    reported and not refused."""


@dataclass(frozen=True)
class Manifest:
    """Every known checkpoint, in the order of menus."""

    entries: tuple[Entry, ...]

    @staticmethod
    def load(path: Path = CKPTS / "manifest.json") -> Manifest:
        """Return the rows of a manifest file. It is read once, and again when it has changed.

        Raises:
            BadInputError: a file that is missing or is not a manifest; the row and the field are named.
        """
        try:
            return _load(path, path.stat().st_mtime_ns)
        except (OSError, ValueError) as error:
            # A BadInputError is a ValueError too, and this one names the row already.
            if isinstance(error, BadInputError):
                raise
            raise _bad(path, str(error)) from error

    def lookup(self, name: str) -> tuple[Entry, ...]:
        """Return the rows that a name means, the preferred one first; none for a name that is not known.

        A file's full name means that row alone. A model's name means every row of the model. Any other
        spelling (case, separators, a ``v`` before the number, no extension) is found too: ``RIFE 4.25``,
        ``rife_v4.25`` and ``rife-4.25`` are the same.
        """
        if not re.search(r"\w", name):  # its key would be empty
            return ()
        exact = self._exact.get(name.casefold())
        if exact is not None:
            return (exact,)
        key = _key(name)
        model = self._models.get(key)
        if model is not None:
            return model
        loose = self._loose.get(key)
        return (loose,) if loose is not None else ()

    def by_name(self, name: str) -> Entry:
        """Return the preferred row that a name means.

        Raises:
            WeightsNotFoundError: a name that is not known; the closest known ones are in the advice.
        """
        rows = self.lookup(name)
        if not rows:
            raise self.unknown(name)
        return rows[0]

    def unknown(self, name: str, looked: str = "") -> WeightsNotFoundError:
        """Return the error for a name that no row has, with the closest names in the advice."""
        names = [
            *dict.fromkeys(entry.model for entry in self.entries),
            *(entry.file for entry in self.entries),
        ]
        close = difflib.get_close_matches(name, names, _SUGGESTIONS, cutoff=0.6)
        advice = (
            f"Did you mean {' or '.join(close)}?" if close else "Choose a model of the list, or give a file."
        )
        found = f"no known checkpoint has that name{looked}"
        return WeightsNotFoundError(f"There are no weights called {name!r}.", found, advice)

    @cached_property
    def _exact(self) -> Mapping[str, Entry]:
        return {name.casefold(): entry for entry in self.entries for name in (entry.file, *entry.aliases)}

    @cached_property
    def _models(self) -> Mapping[_Key, tuple[Entry, ...]]:
        models: dict[_Key, tuple[Entry, ...]] = {}
        for entry in self.entries:
            key = _key(entry.model)
            models[key] = (*models.get(key, ()), entry)
        return models

    @cached_property
    def _loose(self) -> Mapping[_Key, Entry]:
        # Reversed, so that of two names with one key the first row counts.
        return {
            _key(name): entry for entry in reversed(self.entries) for name in (entry.file, *entry.aliases)
        }


def without_extension(name: str) -> str:
    """Return a file's name without the extension of weights; ``rife-4.25`` stays as it is."""
    end = next((end for end in EXTENSIONS if name.lower().endswith(end)), "")
    return name[: len(name) - len(end)]


def allowed_url(url: str) -> bool:
    """Tell whether weights may come from an address: over HTTPS, or from this very machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


def _key(name: str) -> _Key:
    """Return the words and numbers of a name: the same for ``rife_v4.25_lite`` and ``RIFE 4.25 lite``."""
    words = re.findall(r"[^\W\d_]+|\d+", without_extension(name).casefold())
    return tuple(
        word
        for word, after in zip_longest(words, words[1:], fillvalue="")
        if not (word == "v" and after.isdigit())
    )


# The time of the last change is an argument so that a changed file is read again.
@cache
def _load(path: Path, _changed: int) -> Manifest:
    table = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(table, dict) or not isinstance(table.get("checkpoints"), list):
        raise _bad(path, 'there is no list "checkpoints"')
    entries = tuple(_entry(path, number, row) for number, row in enumerate(table["checkpoints"], 1))
    _refuse_doubles(path, entries)
    return Manifest(entries)


def _entry(path: Path, number: int, row: Any) -> Entry:
    if not isinstance(row, dict):
        raise _bad(path, f"row {number} is not an object")
    where = f"row {number} ({row.get('file', 'no file')})"
    unknown = row.keys() - {field.name for field in fields(Entry)}
    missing = {"file", "model", "architecture", "family"} - row.keys()
    if unknown or missing:
        raise _bad(path, f"{where}: missing {sorted(missing)}, unknown {sorted(unknown)}")
    row = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    entry = Entry(**row)
    complaint = _complaint(entry)
    if complaint:
        raise _bad(path, f"{where}: {complaint}")
    return entry


def _complaint(entry: Entry) -> str:
    """Return the first rule that a row breaks, or an empty text."""
    texts = (entry.file, entry.model, entry.architecture, entry.family, *entry.aliases, *entry.urls)
    # All are worked out whatever a row holds, the later ones too: hence str() around what may be no text.
    rules = {
        "a name, alias or url that is not a text": all(isinstance(text, str) and text for text in texts),
        "aliases and urls must be lists": isinstance(entry.aliases, tuple) and isinstance(entry.urls, tuple),
        "file must be a plain name with a known extension": Path(str(entry.file)).name == entry.file
        and without_extension(str(entry.file)) != entry.file,
        "a url that is not https": all(allowed_url(str(url)) for url in entry.urls),
        "page must be an address or null": entry.page is None or allowed_url(str(entry.page)),
        "licence must be a text or null": isinstance(entry.licence, str | None),
        "bytes must be a positive number or null": entry.bytes is None
        or (type(entry.bytes) is int and entry.bytes > 0),
        "sha256 must be 64 lower-case hexadecimal digits or null": entry.sha256 is None
        or _SHA256.fullmatch(str(entry.sha256)) is not None,
        "sha256_verified without sha256": isinstance(entry.sha256_verified, bool)
        and not (entry.sha256_verified and entry.sha256 is None),
    }
    return next((rule for rule, kept in rules.items() if not kept), "")


def _refuse_doubles(path: Path, entries: tuple[Entry, ...]) -> None:
    owners: dict[str, str] = {}
    models = {_key(entry.model): entry.model for entry in entries}
    for entry in entries:
        # Without regard to case: two such names would be one file on Windows and macOS.
        for name in (entry.file, *entry.aliases):
            if name.casefold() in owners:
                raise _bad(path, f"{name} is a name of both {owners[name.casefold()]} and {entry.file}")
            owners[name.casefold()] = entry.file
            if models.get(_key(name), entry.model) != entry.model:
                raise _bad(path, f"{name}, a name of {entry.file}, reads like the model {models[_key(name)]}")


def _bad(path: Path, found: str) -> BadInputError:
    return BadInputError(
        "The list of known checkpoints cannot be used.", f"{path}: {found}", "Restore the file."
    )
