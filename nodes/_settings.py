"""What Run Settings and TLBVFI Settings hand on, and the widgets that other nodes had for it before.

How a run is done (where, in which precision, how much at once) is nothing that most people decide: it is on
one node that may be linked, and left alone otherwise. Graphs for ComfyUI's API that still give these values
to the node itself keep their meaning: ComfyUI hands on what is declared as hidden, and the browser shows none
of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ..chunks.job import PAIRS
from ..inputs.numbers import real, whole
from ..inputs.objects import require_like
from ..vfi_models.interface import Options
from ..vfi_models.tlbvfi.session import TlbvfiOptions
from ..vfi_utils import Schedule, Settings
from . import _host
from ._models import AFTER_RUN, AfterRun
from ._types import ANY
from ._widgets import Widget

THIS_PROCESS, RAY = "this process", "ray"
EXECUTORS = (THIS_PROCESS, RAY)
"""Who may make the chunks of a long video."""
NO_TILES = "off"
"""Value of the menu of tiles."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What a ``MIDFRAME_RUN_SETTINGS`` link carries: how a run is done. The tooltips say what each is."""

    device: str = "auto"
    dtype: str = "auto"
    batch: int = 0
    clear_cache_after_n_frames: int = 0
    after_run: AfterRun = AFTER_RUN[0]
    storage: str = "auto"
    allow_changed_picture: bool = False
    memory_lines: bool = False
    pairs_per_chunk: int = PAIRS
    executor: str = THIS_PROCESS
    ray_address: str = ""

    @classmethod
    def of(cls, link: Any, given: Mapping[str, Any]) -> RunSettings:
        """Return the settings of a node.

        Args:
            link: of the node's run_settings input; None where nothing is linked.
            given: settings that a graph gives to the node itself, by name; these count before the link's.

        Raises:
            BadInputError: a link of another kind, or no such way for a model after a run.
        """
        if link is not None:
            require_like(
                link,
                tuple(field.name for field in fields(cls)),
                wrong="These are no run settings.",
                advice="Connect Run Settings (Midframe), or nothing.",
            )
        settings: RunSettings = cls() if link is None else link
        return replace(settings, **{name: value for name, value in given.items() if value is not None})

    def loop_settings(
        self, options: Options, *, clear_every: int = 0, schedule: Schedule = "any_t"
    ) -> Settings:
        """Return the settings of the frame loop.

        Args:
            options: of the model, those that differ from its own.
            clear_every: from a node's own widget; 0 takes this link's.
            schedule: see :class:`~..engine.settings.Settings`.
        """
        return Settings(
            options=options,
            batch=self.batch,
            clear_every=clear_every or self.clear_cache_after_n_frames,
            schedule=schedule,
            allow_changed_picture=self.allow_changed_picture,
            memory_lines=self.memory_lines,
        )

    def warn_unused(self, names: Collection[str], node_id: str | None) -> None:
        """Say which of the settings ``names``, which a node has no use for, were changed."""
        usual = RunSettings()
        changed = [name for name in names if getattr(self, name) != getattr(usual, name)]
        if changed:
            _host.warn(f"Not used by this node, of Run Settings: {', '.join(changed)}.", node_id)


@dataclass(frozen=True, kw_only=True)
class SamplerSettings:
    """What a ``MIDFRAME_TLBVFI_SETTINGS`` link carries: how TLBVFI samples."""

    eta: float = TlbvfiOptions.eta
    sample_steps: int = TlbvfiOptions.sample_steps
    ema: bool = True
    tile: str = NO_TILES
    tile_overlap: int = TlbvfiOptions.overlap
    published_range: bool = TlbvfiOptions.published_range

    @classmethod
    def of(cls, link: Any, given: Mapping[str, Any]) -> SamplerSettings:
        """Return the settings of a node; see :meth:`RunSettings.of`."""
        if link is not None:
            require_like(
                link,
                tuple(field.name for field in fields(cls)),
                wrong="These are no settings of TLBVFI.",
                advice="Connect TLBVFI Settings (Midframe), or nothing.",
            )
        settings: SamplerSettings = cls() if link is None else link
        return replace(settings, **{name: value for name, value in given.items() if value is not None})

    def options(self, seed: Any, flow_scale: Any) -> TlbvfiOptions:
        """Return the options of the network, with those that the node has widgets for.

        Raises:
            BadInputError: what must be a number is none.
        """
        return TlbvfiOptions(
            seed=whole(seed, "the seed"),
            eta=real(self.eta, "eta"),
            sample_steps=whole(self.sample_steps, "the number of steps"),
            flow_scale=real(flow_scale, "the flow scale"),
            published_range=self.published_range,
            tile=0 if self.tile == NO_TILES else whole(self.tile, "the side of a tile"),
            overlap=whole(self.tile_overlap, "the overlap of tiles"),
        )


def moved(*names: str) -> dict[str, Widget]:
    """Return hidden inputs for what a node had widgets for before; None is what a graph does not give."""
    return {name: (ANY, {}) for name in names}
