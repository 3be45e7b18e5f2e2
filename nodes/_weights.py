"""The model widget: what it offers, what its value means, and fetching what is not there yet."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ..errors import BadInputError, MidframeError
from ..inputs.objects import described, require_like
from ..weights.download import downloads_allowed
from ..weights.find import (
    CKPTS,
    Choice,
    Manifest,
    available,
    fetch,
    find,
    listed,
)
from . import _host
from ._models import Weights

_LOG = logging.getLogger(__name__)

DEFAULT = "default"


def model_widget(
    tooltip: str, architectures: Collection[str] | None = None, first: str = DEFAULT
) -> tuple[Any, ...]:
    """The widget that chooses a model: what is on this computer, then what can be downloaded.

    Args:
        tooltip: what to say first.
        architectures: offers known checkpoints of these only; None for all.
        first: the one to preselect, wherever it is; the built-in one is only offered as this.
    """
    choices = _choices(architectures)
    here = [choice.name for choice in choices if choice.path is not None]
    elsewhere = [choice.name for choice in choices if choice.path is None]
    if any(choice.path is None and choice.entry and choice.entry.urls for choice in choices):
        tooltip += f" On this computer: {', '.join(here) or 'none'}; others are downloaded when first used."
    return list(dict.fromkeys([first, *here, *elsewhere])), {"default": first, "tooltip": tooltip}


def complaint(model: str | None) -> str | None:
    """Why the weights of a widget's value cannot be had, found out without the network; None if they can.

    Names that older packs have for a checkpoint are fine, whether the widget offers them or not.
    """
    try:
        if model is None or _find(model) is not None:
            return None
        manifest = Manifest.load()
        manifest.by_name(model)
        if not downloads_allowed() or not any(row.urls for row in manifest.lookup(model)):
            fetch(model, _download_folder(), offline=True)
    except MidframeError as error:
        return str(error)
    return None


def choose(model: str, device: str, dtype: str, node_id: str | None = None) -> Weights:
    """The weights of three widgets' values, downloaded if they are not on this computer.

    Raises:
        WeightsNotFoundError: an unknown name, or a download that failed.
        BadInputError: no name, or a device or dtype that there is not.
    """
    if not isinstance(model, str):
        raise BadInputError("A model must be a name.", described(model), "Choose one of the menu.")
    path = _find(model)
    if path is None:
        host = _host.DownloadHost(model, node_id)
        path = fetch(model, _download_folder(), progress=host.progress, check_cancelled=host.check_cancelled)
    return Weights(path, _host.device_named(device), _host.dtype_named(dtype))


def chosen(override: Weights | None, widgets: tuple[str, str, str], node_id: str | None = None) -> Weights:
    """Return the weights of a model link, or where there is none those of the widgets, see :func:`choose`.

    Args:
        override: what came by the link.
        widgets: values of the widgets model, device and dtype.
        node_id: of the node, for the progress of a download.

    Raises:
        BadInputError: another kind of model, or widgets that mean nothing.
        WeightsNotFoundError: see :func:`choose`.
    """
    if override is None:
        return choose(*widgets, node_id)
    require_like(
        override,
        ("path", "device", "dtype", "averaged"),
        wrong="This is not a model of Midframe.",
        advice="Connect Load Model (Midframe), or nothing: then the widgets say which model it is.",
    )
    return override


def _find(model: str) -> Path | None:
    """Return the file of that name, or else another of the same network: an older workflow names its own.

    What the menu calls a file is that file, whatever else lies in the working directory.
    """
    folders = _host.model_folders()
    path = listed(model, folders) or find(model, folders)
    rows = Manifest.load().lookup(model) if path is None else ()
    if rows and (path := find(rows[0].model, folders)) is not None:
        _LOG.info("%s is not on this computer; %s is the same network", model, path.name)
    return path


def _download_folder() -> Path:
    return _host.download_folder() or CKPTS


def _choices(architectures: Collection[str] | None) -> list[Choice]:
    """A list of known checkpoints that cannot be read must not take the node away."""
    try:
        return available(_host.model_folders(), architectures)
    except MidframeError as error:
        _LOG.warning("%s", error)
        return []
