"""The model widget: what it offers, what its value means, and fetching what is not there yet."""

from __future__ import annotations

from typing import Any

from ..vfi_models._core import store
from . import _host
from ._models import Weights


def model_widget(architecture, tooltip):
    names = [e for e in store.available(_host.model_folders())]
    return ["default", *names], {"default": "default", "tooltip": tooltip}


def complaint(model):
    return None


def choose(model, device_name, dtype_name):
    device = _host.device_named(device_name)
    path = store.find(model, _host.model_folders())
    return Weights(path, device, _host.dtype_named(dtype_name, device))
