"""The nodes that hold how a run is done, for those who want to decide it."""

from __future__ import annotations

from typing import Any, ClassVar

from ..chunks.job import PAIRS
from ..vfi_models.tlbvfi.session import TlbvfiOptions
from . import _widgets
from ._errors import said_plainly
from ._models import AFTER_RUN, AfterRun
from ._settings import EXECUTORS, NO_TILES, THIS_PROCESS, RunSettings, SamplerSettings
from ._widgets import AUTO, InputTypes, Widget

_LINES_TOOLTIP = (
    "Says in the log, after every pair of frames, how much memory is free and whether it was cleared."
)
_PAIRS_TOOLTIP = (
    "For Interpolate Long Video: pairs of source frames in a chunk, which is what a power cut can cost. Each "
    "finished chunk is a file of its own beside the output until that is whole."
)
_EXECUTOR_TOOLTIP = (
    "For Interpolate Long Video: who makes the chunks. This process, or the workers of a Ray cluster (pip "
    "install ray): one for each GPU of this machine, or of many machines that share the output folder."
)
_ADDRESS_TOOLTIP = "Of a Ray cluster; empty: workers on this machine."
_TILES = [NO_TILES, "256", "512", "1024", "1536", "2048"]
_ETA_TOOLTIP = "How much noise the sampler adds. 1 is what is published; at 0 the seed does not matter."
_STEPS_TOOLTIP = (
    "Steps of the sampler, 3 and more; 10 is what is published. They are a small part of the work: fewer "
    "hardly save time."
)
_EMA_TOOLTIP = (
    "Which weights of the sampler: the moving averages of the training, which the published tables are made "
    "with, or the last ones. Files without averages have only one kind."
)
_TILE_TOOLTIP = (
    "Makes a larger picture in tiles of this side, for pictures that do not fit into memory. The network "
    "then sees each tile by itself, so colours and detail may differ a little between tiles."
)
_OVERLAP_TOOLTIP = "Pixels that two tiles share at least; they are cross-faded there. At most half the tile."
_RANGE_TOOLTIP = (
    "Treats pairs without a pixel below mid grey as the published code does, by mistake: they come out "
    "paler. Only to compare with it."
)


class MidframeRunSettings:
    """Says how runs are done: device, precision, memory."""

    CATEGORY = _widgets.CATEGORY
    FUNCTION = "settings"
    RETURN_TYPES = ("MIDFRAME_RUN_SETTINGS",)
    RETURN_NAMES = ("run_settings",)
    OUTPUT_TOOLTIPS = ("For the run_settings input of interpolation nodes.",)
    DESCRIPTION = (
        "How interpolation nodes run: device, precision, memory, where frames lie, workers. Nobody needs it: "
        "without it everything is decided from what there is. What a node has no use for is left out, and "
        "the node says so."
    )
    SEARCH_ALIASES: ClassVar[list[str]] = [
        "precision",
        "device",
        "batch",
        "out of memory",
        "ray",
        *_widgets.SEARCH_WORDS,
    ]

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Return the widgets. Saved workflows hold their values by position: new ones go to the end."""
        pairs = {"default": PAIRS, "min": 1, "max": 100000, "tooltip": _PAIRS_TOOLTIP}
        return {
            "required": {},
            "optional": {
                "device": _widgets.device(),
                "dtype": _widgets.dtype(),
                "batch": _widgets.batch(),
                "clear_cache_after_n_frames": _widgets.clear_cache(),
                "after_run": _widgets.after_run(),
                "storage": _widgets.storage(),
                "allow_changed_picture": _widgets.allow_changed_picture(),
                "memory_lines": ("BOOLEAN", {"default": False, "tooltip": _LINES_TOOLTIP}),
                "pairs_per_chunk": ("INT", pairs),
                "executor": (list(EXECUTORS), {"default": THIS_PROCESS, "tooltip": _EXECUTOR_TOOLTIP}),
                "ray_address": ("STRING", {"default": "", "tooltip": _ADDRESS_TOOLTIP}),
            },
        }

    @said_plainly()
    def settings(  # noqa: PLR0913 - one parameter for each widget
        self,
        *,
        device: str = AUTO,
        dtype: str = AUTO,
        batch: int = 0,
        clear_cache_after_n_frames: int = 0,
        after_run: AfterRun = AFTER_RUN[0],
        storage: str = AUTO,
        allow_changed_picture: bool = False,
        memory_lines: bool = False,
        pairs_per_chunk: int = PAIRS,
        executor: str = THIS_PROCESS,
        ray_address: str = "",
    ) -> tuple[RunSettings]:
        """Return the settings; the tooltips say what each does."""
        settings = RunSettings(
            device=device,
            dtype=dtype,
            batch=batch,
            clear_cache_after_n_frames=clear_cache_after_n_frames,
            after_run=after_run,
            storage=storage,
            allow_changed_picture=allow_changed_picture,
            memory_lines=memory_lines,
            pairs_per_chunk=pairs_per_chunk,
            executor=executor,
            ray_address=ray_address,
        )
        return (settings,)


class MidframeTLBVFISettings:
    """Says how TLBVFI samples."""

    CATEGORY = _widgets.CATEGORY
    FUNCTION = "settings"
    RETURN_TYPES = ("MIDFRAME_TLBVFI_SETTINGS",)
    RETURN_NAMES = ("tlbvfi_settings",)
    OUTPUT_TOOLTIPS = ("For the tlbvfi_settings input of TLBVFI.",)
    DESCRIPTION = "How TLBVFI samples: noise, steps, weights, tiles. Without it as published, without tiles."
    SEARCH_ALIASES: ClassVar[list[str]] = ["tlbvfi", "sampler", "tile", "eta", *_widgets.SEARCH_WORDS]

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Return the widgets. Saved workflows hold their values by position: new ones go to the end."""
        return {
            "required": {},
            "optional": {
                "eta": _number("FLOAT", TlbvfiOptions.eta, (0.0, 1.0, 0.05), _ETA_TOOLTIP),
                # The published schedule raises for 1 and 2 steps.
                "sample_steps": _number("INT", TlbvfiOptions.sample_steps, (3, 1000, 1), _STEPS_TOOLTIP),
                "ema": (
                    "BOOLEAN",
                    {"default": True, "label_on": "averaged", "label_off": "raw", "tooltip": _EMA_TOOLTIP},
                ),
                "tile": (_TILES, {"default": NO_TILES, "tooltip": _TILE_TOOLTIP}),
                "tile_overlap": _number("INT", TlbvfiOptions.overlap, (0, 1024, 8), _OVERLAP_TOOLTIP),
                "published_range": (
                    "BOOLEAN",
                    {"default": TlbvfiOptions.published_range, "tooltip": _RANGE_TOOLTIP},
                ),
            },
        }

    @said_plainly()
    def settings(
        self,
        *,
        eta: float = TlbvfiOptions.eta,
        sample_steps: int = TlbvfiOptions.sample_steps,
        ema: bool = True,
        tile: str = NO_TILES,
        tile_overlap: int = TlbvfiOptions.overlap,
        published_range: bool = TlbvfiOptions.published_range,
    ) -> tuple[SamplerSettings]:
        """Return the settings; the tooltips say what each does."""
        settings = SamplerSettings(
            eta=eta,
            sample_steps=sample_steps,
            ema=ema,
            tile=tile,
            tile_overlap=tile_overlap,
            published_range=published_range,
        )
        return (settings,)


def _number(kind: str, default: Any, bounds: tuple[Any, Any, Any], tooltip: str) -> Widget:
    least, most, step = bounds
    return kind, {"default": default, "min": least, "max": most, "step": step, "tooltip": tooltip}
