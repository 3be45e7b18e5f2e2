"""The model widget: what it offers, what its value means, and fetching what is not there yet."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ..errors import MidframeError
from ..vfi_models._core.download import downloads_allowed
from ..vfi_models._core.store import CKPTS, Choice, Manifest, available, fetch, find
from . import _host
from ._models import Weights

_LOG = logging.getLogger(__name__)

DEFAULT = "default"


def model_widget(tooltip: str, architectures: Collection[str] | None = None) -> tuple[Any, ...]:
    """The widget that chooses a model: the built-in one, what is on this computer, what can be downloaded.

    Args:
        tooltip: what to say first.
        architectures: offers known checkpoints of these only; None for all.
    """
    choices = _choices(architectures)
    here = [choice.name for choice in choices if choice.path is not None]
    elsewhere = [choice.name for choice in choices if choice.path is None]
    if elsewhere:
        tooltip += " Downloaded when first used: " + ", ".join(elsewhere) + "."
    return list(dict.fromkeys([DEFAULT, *here, *elsewhere])), {"default": DEFAULT, "tooltip": tooltip}


def complaint(model: str | None) -> str | None:
    """Why the weights of a widget's value cannot be had, found out without the network; None if they can.

    Names that older packs have for a checkpoint are fine, whether the widget offers them or not.
    """
    try:
        if model is None or find(model, _host.model_folders()) is not None:
            return None
        Manifest.load().by_name(model)
        if not downloads_allowed():
            fetch(model, _download_folder(), offline=True)
    except MidframeError as error:
        return str(error)
    return None


def choose(model: str, device: str, dtype: str, node_id: str | None = None) -> Weights:
    """The weights of three widgets' values, downloaded if they are not on this computer.

    Raises:
        WeightsNotFoundError: an unknown name, or a download that failed.
    """
    path = find(model, _host.model_folders())
    if path is None:
        watch = _host.DownloadHost(model, node_id)
        path = fetch(model, _download_folder(), progress=watch.progress, check_cancelled=watch.check_cancelled)
    place = _host.device_named(device)
    return Weights(path, place, _host.dtype_named(dtype, place))


def _download_folder() -> Path:
    return _host.download_folder() or CKPTS


def _choices(architectures: Collection[str] | None) -> list[Choice]:
    """A list of known checkpoints that cannot be read must not take the node away."""
    try:
        return available(_host.model_folders(), architectures)
    except MidframeError as error:
        _LOG.warning("%s", error)
        return []
