"""The model widget: which models it offers, which file its value means, and downloading that file."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ..errors import BadInputError, MidframeError
from ..inputs.objects import described, require_like
from ..weights.download import downloads_allowed
from ..weights.find import CKPTS, Choice, Manifest, available, fetch, find, find_listed
from ..weights.loading import ModelSource
from . import _host, _progress
from ._core_models import is_core_model, source_of_core_model

_LOG = logging.getLogger(__name__)

DEFAULT = "default"
OLDER_RIFE = (
    *("rife40.pth", "rife41.pth", "rife42.pth", "rife43.pth", "rife44.pth", "rife45.pth", "rife46.pth"),
    *("rife47.pth", "rife48.pth", "rife49.pth", "rife417.pth", "rife426.pth"),
    "sudo_rife4_269.662_testV1_scale1.pth",
)
OLDER_FILM = ("film_net_fp32.pt",)
"""Names of checkpoints in ComfyUI-Frame-Interpolation."""


def model_widget(
    tooltip: str,
    architectures: Collection[str] | None = None,
    first: str = DEFAULT,
    *,
    older: Collection[str] = (),
) -> tuple[Any, ...]:
    """Return the widget that chooses a model: files on this computer, then what can be downloaded.

    Args:
        tooltip: its first sentences.
        architectures: known checkpoints of these only; None for all.
        first: the name to preselect, wherever its file is; the built-in model is only offered as this.
        older: names that other packs have for them, for the end of the menu. ComfyUI's browser hands them on
            when it replaces a node, and marks a value that is not in the menu as a missing model.
    """
    choices = _choices(architectures)
    here = [choice.name for choice in choices if choice.path is not None]
    elsewhere = [choice.name for choice in choices if choice.path is None]
    if any(choice.path is None and choice.entry and choice.entry.urls for choice in choices):
        listed = f"On this computer: {', '.join(here)}; others" if here else "Those that are not here yet"
        tooltip += f" {listed} are downloaded when first used."
    return list(dict.fromkeys([first, *here, *elsewhere, *older])), {"default": first, "tooltip": tooltip}


def check_available(model: str | None) -> None:
    """Check without the network that a widget's model is here or can be downloaded.

    Names that older packs have for a checkpoint are fine, whether the widget offers them or not.

    Args:
        model: value of the widget; None where it comes by a link.

    Raises:
        MidframeError: it cannot be had, or its name means nothing.
    """
    if model is None:
        return
    model = _without_folders(model)
    if _find(model) is not None:
        return
    manifest = Manifest.load()
    manifest.by_name(model)
    if not downloads_allowed() or not any(row.urls for row in manifest.lookup(model)):
        # For its error: offline nothing is fetched.
        fetch(model, _download_folder(), offline=True)


def complaint(model: str | None) -> str | None:
    """Return why a widget's model cannot be loaded, see :func:`check_available`; None if it can."""
    try:
        check_available(model)
    except MidframeError as error:
        return str(error)
    return None


def choose(model: str, device: str, dtype: str, node_id: str | None = None) -> ModelSource:
    """Return the source of three widgets' values; its file is downloaded if it is not on this computer.

    Raises:
        WeightsNotFoundError: an unknown name, or a download that failed.
        BadInputError: no name, or a device or dtype that there is not.
    """
    if not isinstance(model, str):
        raise BadInputError("A model must be a name.", described(model), "Choose one of the menu.")
    model = _without_folders(model)
    path = _find(model)
    if path is None:
        host = _progress.DownloadHost(model, node_id)
        path = fetch(
            model,
            _download_folder(),
            progress=host.progress,
            check_cancelled=host.check_cancelled,
            announce=host.announce,
        )
    return ModelSource(path, _host.device_named(device), _host.dtype_named(dtype))


def chosen(override: Any, widgets: tuple[str, str, str], node_id: str | None = None) -> ModelSource:
    """Return the source of a model link, or where there is none that of the widgets, see :func:`choose`.

    Args:
        override: the value of the link: a model of ours, or one of ComfyUI's own loader.
        widgets: values of the widgets model, device and dtype.
        node_id: of the node, for the progress of a download.

    Raises:
        BadInputError: another kind of model, or widgets that mean nothing.
        WeightsNotFoundError: see :func:`choose`.
    """
    if override is None:
        return choose(*widgets, node_id)
    if is_core_model(override):
        return source_of_core_model(override)
    require_like(
        override,
        ("path", "device", "dtype", "averaged"),
        wrong="This is not a model of Midframe.",
        advice="Connect Load Model (Midframe), or nothing: then the widgets say which model it is.",
    )
    source: ModelSource = override
    return source


def on_this_computer() -> list[str]:
    """Return the names of all models whose files are here."""
    return [choice.name for choice in _choices(None) if choice.path is not None]


def _without_folders(model: str) -> str:
    """Return the name of a model; its file alone where the folders before it are another machine's."""
    # A menu of files in folders has "rife\\rife49.pth" on Windows, and "rife/rife49.pth" elsewhere.
    # An address, a drive and a path from the root are none of a menu.
    named = isinstance(model, str) and re.fullmatch(r"[^\\/:][^:]*[\\/][^:]*", model)
    if not named or _find(model) is not None or Manifest.load().lookup(model):
        return model
    others = (model.replace("\\", "/"), re.split(r"[\\/]", model)[-1])
    known = (other for other in others if other and (_find(other) or Manifest.load().lookup(other)))
    return next(known, model)


def _find(model: str) -> Path | None:
    """Return the file of that name, or else another of the same network: an older workflow names its own.

    What the menu calls a file is that file, whatever else lies in the working directory.
    """
    folders = _host.model_folders()
    # The menu first: ``find`` takes a file in the working directory, which is ComfyUI's own, for a name too.
    path = find_listed(model, folders) or find(model, folders)
    rows = Manifest.load().lookup(model) if path is None else ()
    if rows and (path := find(rows[0].model, folders)) is not None:
        _LOG.info("%s is not on this computer; %s is the same network", model, path.name)
    return path


def _download_folder() -> Path:
    return _host.download_folder() or CKPTS


def _choices(architectures: Collection[str] | None) -> list[Choice]:
    """Return what the menu offers; nothing where the list of known checkpoints cannot be read.

    ComfyUI drops a node whose INPUT_TYPES raises: an error here must not take the node away.
    """
    try:
        return available(_host.model_folders(), architectures)
    except MidframeError as error:
        _LOG.warning("%s", error)
        return []
