"""What the pack asks of ComfyUI: folders, devices, memory, model management, progress, cancelling.

Each function also says what stands in where there is no ComfyUI. With ``_video_host`` this is the only file
that names ComfyUI's modules. It takes them from ``sys.modules`` and imports none: importing ComfyUI's device
management starts it, which a test or a script must not do.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from ..inputs.objects import require_one_of
from ..memory.budget import empty_cache, free_bytes
from ..vfi_models.precision import suited
from ..weights.find import search_folders
from ..weights.loading import usable_device

_LOG = logging.getLogger(__name__)

DTYPES = ("auto", "float32", "float16", "bfloat16")
"""What a dtype widget offers."""

_MODEL_FOLDER = "frame_interpolation"


def inside_comfyui() -> bool:
    """Tell whether this process is ComfyUI."""
    return "comfy.model_management" in sys.modules and "folder_paths" in sys.modules


def _management() -> Any:
    return sys.modules["comfy.model_management"]


def _folder_paths() -> Any:
    return sys.modules["folder_paths"]


# --- folders


def register_model_folder() -> None:
    """Make ``models/frame_interpolation`` known to a ComfyUI older than 0.20, which lacks it.

    Extra paths that the user configured under that name stay; they come without file extensions there.
    """
    if not inside_comfyui():
        return
    paths = _folder_paths()
    # Set here and not by add_model_folder_path: that gives a new name no extensions, and every file would be
    # listed, text files too.
    configured, extensions = paths.folder_names_and_paths.get(_MODEL_FOLDER, ([], set()))
    own = str(Path(paths.models_dir) / _MODEL_FOLDER)
    folders = configured if own in configured or extensions else [*configured, own]
    paths.folder_names_and_paths[_MODEL_FOLDER] = (folders, extensions or paths.supported_pt_extensions)


def model_folders() -> tuple[Path, ...]:
    """Return the folders to search for weights besides the pack's own ``ckpts``, in that order.

    ComfyUI's folder for them with every extra path comes first, then the folders that older packs keep theirs
    in. Outside ComfyUI there are none.
    """
    if not inside_comfyui():
        return ()
    paths = _folder_paths()
    own = map(Path, paths.get_folder_paths(_MODEL_FOLDER))
    older = search_folders([Path(paths.models_dir)], map(Path, paths.get_folder_paths("custom_nodes")))
    return tuple(dict.fromkeys([*own, *older]))


def download_folder() -> Path | None:
    """Return the folder for downloaded checkpoints; None outside ComfyUI."""
    return Path(_folder_paths().get_folder_paths(_MODEL_FOLDER)[0]) if inside_comfyui() else None


def output_folder() -> Path:
    """Return ComfyUI's output folder; outside ComfyUI the working directory."""
    return Path(_folder_paths().get_output_directory()) if inside_comfyui() else Path.cwd()


def temp_folder() -> Path:
    """Return the folder of files that ComfyUI removes when it starts and ends; outside it the system's."""
    if not inside_comfyui():
        return Path(tempfile.gettempdir())
    folder = Path(_folder_paths().get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# --- nodes


def registered_nodes() -> Collection[str] | None:
    """Return the ids of the nodes that are registered so far; None outside ComfyUI."""
    return getattr(sys.modules.get("nodes"), "NODE_CLASS_MAPPINGS", None) if inside_comfyui() else None


@dataclass(frozen=True, kw_only=True)
class Replacement:
    """What ComfyUI may put in the place of a node that it lacks. The first outputs of both are the same."""

    old: str
    new: str
    inputs: Mapping[str, str]
    """Inputs of the new node by their names, each with the old node's name of the same: none that a workflow
    may lack, for ComfyUI's replacer fails on it."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Of inputs of the new node that the old one has none for."""
    widgets: Sequence[str]
    """All widgets of the old node, in its order."""


def offer_replacement(offer: Replacement) -> None:
    """Offer a node of ours for one that is missing, where this ComfyUI can: 0.25 and newer."""
    server: Any = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    manager = getattr(server, "node_replace_manager", None)
    replace = getattr(getattr(sys.modules.get("comfy_api.latest"), "io", None), "NodeReplace", None)
    if manager is None or replace is None:
        return
    mapped = [{"new_id": name, "old_id": old} for name, old in offer.inputs.items()]
    mapped += [{"new_id": name, "set_value": value} for name, value in offer.values.items()]
    outputs = [{"new_idx": 0, "old_idx": 0}]
    manager.register(replace(offer.new, offer.old, list(offer.widgets), mapped, outputs))


# --- devices


def default_device() -> torch.device:
    """Return the device that ComfyUI runs models on; outside ComfyUI that of the Python API."""
    if not inside_comfyui():
        return usable_device()
    device: torch.device = _management().get_torch_device()
    return device


def managed_devices() -> tuple[torch.device, ...]:
    """Return the devices whose models ComfyUI unloads when it needs the memory or its user asks for it."""
    if not inside_comfyui():
        return (default_device(),)
    # Older versions manage one device and have no such function.
    all_devices = getattr(_management(), "get_all_torch_devices", list)
    return tuple(dict.fromkeys([default_device(), *all_devices()]))


def device_names() -> list[str]:
    """Return the values of a device widget."""
    return list(dict.fromkeys(["auto", "cpu", *(str(device) for device in managed_devices())]))


def device_named(name: str) -> torch.device:
    """Return the device of a widget's value.

    Raises:
        BadInputError: there is no such device here.
    """
    return default_device() if name == "auto" else usable_device(name)


def default_dtype(device: torch.device) -> torch.dtype:
    """Return the dtype for a model on ``device`` where the user chose none.

    float16 where ComfyUI would run a model in it; on a CPU, of which ComfyUI knows no dtype but float32, what
    is faster there; float32 elsewhere and where the user forces it.
    """
    if not inside_comfyui():
        return suited(device)
    if device.type == "cpu":
        return torch.float32 if getattr(_management(), "FORCE_FP32", False) else suited(device)
    return torch.float16 if _management().should_use_fp16(device) else torch.float32


def dtype_named(name: str) -> torch.dtype | None:
    """Return the dtype of a widget's value; None for auto.

    Raises:
        BadInputError: there is no such value.
    """
    require_one_of(name, DTYPES, "dtype")
    return None if name == "auto" else getattr(torch, name)


def free_memory(device: torch.device) -> int:
    """Return the bytes that an allocation on ``device`` can still get.

    What ``--reserve-vram`` keeps for other programs is not among them.
    """
    if not inside_comfyui():
        return free_bytes(device)
    # get_free_memory counts it as free: ComfyUI takes it off where it plans.
    reserve = getattr(_management(), "extra_reserved_memory", None) if device.type != "cpu" else None
    return max(0, int(_management().get_free_memory(device) - (reserve() if reserve else 0)))


def image_dtype() -> torch.dtype:
    """Return the dtype of images between nodes: float32, or float16 where the user says so.

    ``--fp16-intermediates`` is newer than the oldest ComfyUI that this pack runs in.
    """
    ask = getattr(_management(), "intermediate_dtype", None) if inside_comfyui() else None
    dtype: torch.dtype = ask() if ask else torch.float32
    return dtype


def records_passes() -> bool:
    """Tell whether passes may be recorded as CUDA graphs: not with ``--disable-cuda-graphs``."""
    flags = getattr(sys.modules.get("comfy.cli_args"), "args", None)
    return not getattr(flags, "disable_cuda_graphs", False)


def clear_cache(device: torch.device | None = None) -> None:
    """Give memory that is only cached back to the device."""
    if inside_comfyui():
        _management().soft_empty_cache()
    else:
        empty_cache(device or default_device())


def trim_heap() -> None:
    """Give freed memory of the C library's heap back to the system, which glibc does not do by itself."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def make_room() -> None:
    """Unload every model that ComfyUI manages, as ComfyUI does itself after a node ran out of memory."""
    if inside_comfyui():
        _management().unload_all_models()
        clear_cache()


# --- models


def manage(shell: Any, device: torch.device) -> Any:
    """Put a model under ComfyUI's model management.

    Args:
        shell: a module with ``release()``, which is called when ComfyUI unloads the model.
        device: where it runs.

    Returns:
        ComfyUI's patcher of it, for :func:`bring` and :func:`offload`; None outside ComfyUI.
    """
    if not inside_comfyui():
        return None
    management = _management()
    # A plain patcher, never the dynamic one, which streams weights layer by layer: the networks are small,
    # and some have parameters in modules that are no leaves, which only a full load moves.
    patcher = sys.modules["comfy.model_patcher"].ModelPatcher(
        shell, load_device=device, offload_device=management.unet_offload_device()
    )
    patcher.add_callback_with_key("on_detach_after", "midframe", _detached)
    return patcher


def _detached(patcher: Any, everything: bool) -> None:
    """Release a model that ComfyUI has unloaded."""
    if everything:  # else ComfyUI only moves it about in its own list
        patcher.model.release()
        trim_heap()


def bring(patcher: Any, activation_bytes: int) -> None:
    """Bring a model to its device, with room for ``activation_bytes`` besides.

    Args:
        patcher: of :func:`manage`; None outside ComfyUI, where nothing is done.
        activation_bytes: that a pass takes on the device.
    """
    if patcher is not None:
        # In one call: asked for one by one, ComfyUI makes the room by unloading the model again.
        # In full: on a card that is nearly full ComfyUI leaves what does not fit on the CPU, from where only
        # layers of its own kinds are streamed.
        _management().load_models_gpu([patcher], memory_required=activation_bytes, force_full_load=True)


def offload(patcher: Any, shell: nn.Module) -> None:
    """Move the weights of a model to main memory, where the next run finds them."""
    cpu = torch.device("cpu")
    if patcher is None:
        shell.to(cpu)
    else:
        patcher.unpatch_model(cpu)
    clear_cache()


# --- a run


def check_cancelled() -> None:
    """Raise ComfyUI's InterruptProcessingException where the user cancelled."""
    if inside_comfyui():
        # ComfyUI's progress bar asks too, but only every 0.5% of a job: every 50 s where 10,000 frames take
        # 1 s each. What is raised is a BaseException since ComfyUI 0.20, and was an Exception before.
        _management().throw_exception_if_processing_interrupted()


class Bar(Protocol):
    """ComfyUI's progress bar."""

    def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
        """Show that ``value`` of ``total`` steps are done; ``preview`` is (format, picture, largest side)."""
        ...


def progress_bar(total: int) -> Bar | None:
    """Return ComfyUI's progress bar over ``total`` steps; None outside ComfyUI."""
    return sys.modules["comfy.utils"].ProgressBar(total) if inside_comfyui() else None


def executing_node() -> str | None:
    """Return the id of the node that ComfyUI is running in this thread; None outside ComfyUI."""
    ask = getattr(sys.modules.get("comfy_execution.utils"), "get_executing_context", None)
    return getattr(ask(), "node_id", None) if ask is not None else None


def warn(text: str, node_id: str | None) -> None:
    """Warn the user of a run in the log, and under the node where this ComfyUI can show text."""
    _LOG.warning(text)
    show_text(text, node_id)


def show_text(text: str, node_id: str | None) -> None:
    """Show text under the node, where this ComfyUI can."""
    server: Any = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if node_id is not None and hasattr(server, "send_progress_text"):
        server.send_progress_text(text, node_id)
