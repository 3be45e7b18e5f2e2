"""The nodes that hold how a run is done, for those who want to decide it."""

from __future__ import annotations

from typing import ClassVar

from ..chunks.job import PAIRS
from ..vfi_models.tlbvfi.session import TlbvfiOptions
from . import _widgets
from ._errors import said_plainly
from ._models import AFTER_RUN, AfterRun
from ._settings import NO_TILES, THIS_PROCESS, RunSettings, SamplerSettings, run_rows, sampler_rows
from ._widgets import AUTO, InputTypes


class MidframeRunSettings:
    """Says how runs are done: device, precision, memory."""

    CATEGORY = _widgets.CATEGORY
    FUNCTION = "settings"
    RETURN_TYPES = ("MIDFRAME_RUN_SETTINGS",)
    RETURN_NAMES = ("run_settings",)
    OUTPUT_TOOLTIPS = ("For the run_settings input of interpolation nodes.",)
    DESCRIPTION = (
        "How interpolation nodes run: device, precision, memory, where frames lie, workers. It is optional: "
        "without it everything is chosen automatically. What a node has no use for is ignored, and the node "
        "says so."
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
        return {"required": {}, "optional": run_rows()}

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
    DESCRIPTION = (
        "How TLBVFI samples: noise, steps, weights, tiles. Without this node: as published, without tiles."
    )
    SEARCH_ALIASES: ClassVar[list[str]] = ["tlbvfi", "sampler", "tile", "eta", *_widgets.SEARCH_WORDS]

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Return the widgets. Saved workflows hold their values by position: new ones go to the end."""
        return {"required": {}, "optional": sampler_rows()}

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
