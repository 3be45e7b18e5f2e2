"""ComfyUI, and what stands in for it where there is none.

With ``_video_host`` the only file of the pack that names ComfyUI's modules. None of them is imported unless
ComfyUI itself has imported it before: a test or a script must not start its device management.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..inputs.objects import require_one_of
from ..memory.budget import cached_bytes, empty_cache, free_bytes
from ..memory.staging import as_unit_float
from ..vfi_models.precision import suited
from ..weights.find import search_folders
from ..weights.loading import usable_device

_LOG = logging.getLogger(__name__)

DTYPES = ("auto", "float32", "float16", "bfloat16")
"""What a dtype widget offers."""

_MODEL_FOLDER = "frame_interpolation"
_PREVIEW_SIDE = 512
_PREVIEW_SECONDS = 0.4
_TEXT_SECONDS = 1.0
_LOG_SECONDS = 10.0


def inside_comfyui() -> bool:
    """Whether this process is ComfyUI."""
    return "comfy.model_management" in sys.modules and "folder_paths" in sys.modules


def _management() -> Any:
    return sys.modules["comfy.model_management"]


def _folder_paths() -> Any:
    return sys.modules["folder_paths"]


# --- folders


def register_model_folder() -> None:
    """Makes ``models/frame_interpolation`` known to a ComfyUI older than 0.20, which lacks it.

    Extra paths that the user configured under that name stay; they come without file extensions there.
    """
    if not inside_comfyui():
        return
    paths = _folder_paths()
    known, extensions = paths.folder_names_and_paths.get(_MODEL_FOLDER, ([], set()))
    own = str(Path(paths.models_dir) / _MODEL_FOLDER)
    folders = known if own in known or extensions else [*known, own]
    paths.folder_names_and_paths[_MODEL_FOLDER] = (folders, extensions or paths.supported_pt_extensions)


def model_folders() -> tuple[Path, ...]:
    """Where weights are looked for besides the pack's own ``ckpts``, the first first: ComfyUI's folder for
    them with every extra path, then the folders that older packs keep theirs in. Empty outside ComfyUI.
    """
    if not inside_comfyui():
        return ()
    paths = _folder_paths()
    own = map(Path, paths.get_folder_paths(_MODEL_FOLDER))
    older = search_folders([Path(paths.models_dir)], map(Path, paths.get_folder_paths("custom_nodes")))
    return tuple(dict.fromkeys([*own, *older]))


def download_folder() -> Path | None:
    """Where a downloaded checkpoint goes; None outside ComfyUI."""
    return Path(_folder_paths().get_folder_paths(_MODEL_FOLDER)[0]) if inside_comfyui() else None


def output_folder() -> Path:
    """ComfyUI's output folder; outside ComfyUI the working directory."""
    return Path(_folder_paths().get_output_directory()) if inside_comfyui() else Path.cwd()


def temp_folder() -> Path:
    """ComfyUI's folder for files that it removes when it starts and ends; outside ComfyUI the system's."""
    if not inside_comfyui():
        return Path(tempfile.gettempdir())
    folder = Path(_folder_paths().get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# --- devices


def default_device() -> torch.device:
    """Return where ComfyUI runs models; outside ComfyUI where the Python API does."""
    if not inside_comfyui():
        return usable_device()
    device: torch.device = _management().get_torch_device()
    return device


def managed_devices() -> tuple[torch.device, ...]:
    """The devices whose models ComfyUI unloads when it needs the memory or is told to."""
    if not inside_comfyui():
        return (default_device(),)
    every = getattr(_management(), "get_all_torch_devices", list)
    return tuple(dict.fromkeys([default_device(), *every()]))


def device_names() -> list[str]:
    """What a device widget offers."""
    return list(dict.fromkeys(["auto", "cpu", *(str(device) for device in managed_devices())]))


def device_named(name: str) -> torch.device:
    """Return the device of a widget's value.

    Raises:
        BadInputError: there is no such device here.
    """
    return default_device() if name == "auto" else usable_device(name)


def default_dtype(device: torch.device) -> torch.dtype:
    """float16 where ComfyUI would run a model in it; on a CPU, of which it knows no dtype but float32, what
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
    """Memory that an allocation on ``device`` can still get."""
    return int(_management().get_free_memory(device)) if inside_comfyui() else free_bytes(device)


def clear_cache(device: torch.device | None = None) -> None:
    """Gives memory that is only cached back to the device."""
    if inside_comfyui():
        _management().soft_empty_cache()
    else:
        empty_cache(device or default_device())


def trim_heap() -> None:
    """Gives freed memory of the C library's heap back to the system, which glibc does not do by itself."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def make_room() -> None:
    """Unloads every model that ComfyUI manages: what ComfyUI does itself after a node ran out of memory."""
    if inside_comfyui():
        _management().unload_all_models()
        clear_cache()


# --- models


def manage(shell: Any, device: torch.device) -> Any:
    """Puts ``shell``, a module with ``release()``, under ComfyUI's model management; None outside ComfyUI.

    A plain patcher, never the dynamic one: the networks are small, made of plain layers, and some have
    parameters in modules that are no leaves, which only a full load moves.
    """
    if not inside_comfyui():
        return None
    management = _management()
    patcher = sys.modules["comfy.model_patcher"].ModelPatcher(
        shell, load_device=device, offload_device=management.unet_offload_device()
    )
    patcher.add_callback_with_key("on_detach_after", "midframe", _detached)
    return patcher


def _detached(patcher: Any, everything: bool) -> None:
    """ComfyUI unloaded a model; with ``everything`` false it only moves it about in its own list."""
    if everything:
        patcher.model.release()
        trim_heap()


def bring(patcher: Any, activation_bytes: int) -> None:
    """Brings a model to its device and makes room for ``activation_bytes`` besides, in one call: asked for
    one by one, ComfyUI makes the room by pushing the model out again.
    """
    if patcher is not None:
        _management().load_models_gpu([patcher], memory_required=activation_bytes, force_full_load=True)


def offload(patcher: Any, shell: nn.Module) -> None:
    """Moves a model to main memory without letting go of it."""
    cpu = torch.device("cpu")
    if patcher is None:
        shell.to(cpu)
    else:
        patcher.unpatch_model(cpu)
    clear_cache()


# --- a run


def check_cancelled() -> None:
    """Raises ComfyUI's InterruptProcessingException where the user cancelled."""
    if inside_comfyui():
        _management().throw_exception_if_processing_interrupted()


class Bar(Protocol):
    """ComfyUI's progress bar."""

    def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
        """``value`` of ``total`` steps are done; ``preview`` is (format, picture, largest side)."""
        ...


class NodeHost:
    """Tells ComfyUI how far a run is, and asks it whether to go on.

    Args:
        bar: ComfyUI's progress bar, None outside ComfyUI.
        node_id: of the node that runs, for the text under it.
        clock: seconds.
    """

    def __init__(
        self, bar: Bar | None, node_id: str | None = None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._bar = bar
        self._node_id = node_id
        self._clock = clock
        self._began = self._logged = clock()
        self._shown = self._told = float("-inf")

    def progress(self, done: int, total: int | None, preview: Callable[[], Tensor] | None) -> None:
        """See :class:`~..engine.host.Host`. The picture goes out only a few times a second."""
        now = self._clock()
        if self._bar is not None:
            self._bar.update_absolute(done, total or done, self._picture(preview, now))
        line = _progress_line(done, total, now - self._began)
        if now - self._told >= _TEXT_SECONDS or done == total:
            self._told = now
            _show_text(line, self._node_id)
        if now - self._logged >= _LOG_SECONDS:
            self._logged = now
            _LOG.info(line)

    def _picture(self, preview: Callable[[], Tensor] | None, now: float) -> tuple[str, Any, int] | None:
        if preview is None or now - self._shown < _PREVIEW_SECONDS:
            return None
        self._shown = now
        small = _thumbnail(preview())
        return "JPEG", small, max(small.size)

    def check_cancelled(self) -> None:
        """See :class:`~..engine.host.Host`."""
        check_cancelled()

    def clear_cache(self) -> None:
        """See :class:`~..engine.host.Host`."""
        clear_cache()

    def free_bytes(self, device: torch.device) -> int:
        """See :class:`~..engine.host.Host`."""
        return free_memory(device)

    def cached_bytes(self, device: torch.device) -> int:
        """See :class:`~..engine.host.Host`. ComfyUI allocates with torch, whose cache all share."""
        return cached_bytes(device)


class DownloadHost:
    """Tells ComfyUI how far a download is, and asks it whether to go on.

    Args:
        name: of what is downloaded.
        node_id: of the node that runs, for the text under it.
    """

    def __init__(self, name: str, node_id: str | None = None) -> None:
        self._name = name
        self._node_id = node_id
        self._bar = sys.modules["comfy.utils"].ProgressBar(1) if inside_comfyui() else None
        self._told = float("-inf")
        _LOG.info("downloading %s", name)

    def progress(self, done: int, total: int | None) -> None:
        """``done`` of ``total`` bytes have come; None: the server does not say."""
        if self._bar is not None:
            self._bar.update_absolute(done, total or done + 1)
        now = time.perf_counter()
        if now - self._told >= _TEXT_SECONDS or done == total:
            self._told = now
            of = f" of {total / 2**20:.1f}" if total else ""
            _show_text(f"downloading {self._name}: {done / 2**20:.1f}{of} MiB", self._node_id)

    def check_cancelled(self) -> None:
        """Raises ComfyUI's InterruptProcessingException."""
        check_cancelled()


def watch(total: int, node_id: str | None = None) -> NodeHost:
    """The host of one run of ``total`` output frames."""
    bar = sys.modules["comfy.utils"].ProgressBar(total) if inside_comfyui() else None
    return NodeHost(bar, node_id)


def executing_node() -> str | None:
    """The node that ComfyUI is running in this thread; None outside ComfyUI."""
    ask = getattr(sys.modules.get("comfy_execution.utils"), "get_executing_context", None)
    return getattr(ask(), "node_id", None) if ask is not None else None


def _progress_line(done: int, total: int | None, seconds: float) -> str:
    rate = done / seconds if seconds > 0 else 0.0
    if done == total:
        return f"{done} frames in {seconds:.1f} s, {rate:.1f} frames/s"
    if total is None or rate == 0:
        return f"{done} frames, {rate:.1f} frames/s"
    left = round((total - done) / rate)
    return f"{done} of {total} frames, {rate:.1f} frames/s, {left // 60}:{left % 60:02d} left"


def tell(text: str, node_id: str | None) -> None:
    """Say something about a run: in the log, and under the node where this ComfyUI can show it."""
    _LOG.warning(text)
    _show_text(text, node_id)


def _show_text(text: str, node_id: str | None) -> None:
    """Text under the node, where this ComfyUI can show it."""
    server: Any = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if node_id is not None and hasattr(server, "send_progress_text"):
        server.send_progress_text(text, node_id)


def _thumbnail(frame: Tensor) -> Any:
    """A small RGB picture (PIL) of a frame (H, W, C); pixels are picked, not averaged: it is a preview."""
    from PIL import Image  # noqa: PLC0415 - ComfyUI has it, the pack alone need not

    step = -(-max(frame.shape[:2]) // _PREVIEW_SIDE)
    small = as_unit_float(frame[::step, ::step, :3])
    small = small.expand(-1, -1, 3) if small.shape[-1] == 1 else small
    return Image.fromarray((small.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
