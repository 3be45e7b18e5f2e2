"""Values that Run Settings and TLBVFI Settings hand on, and the widgets that other nodes had for it before.

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
from ..errors import BadInputError
from ..inputs.numbers import real, whole
from ..inputs.objects import described, require_like
from ..vfi_models.interface import Options
from ..vfi_models.tlbvfi.session import TlbvfiOptions
from ..vfi_utils import Schedule, Settings
from . import _host, _widgets
from ._models import AFTER_RUN, AfterRun
from ._types import NumberMenu
from ._widgets import UNSET, Widget

THIS_PROCESS, RAY = "this process", "ray"
EXECUTORS = (THIS_PROCESS, RAY)
"""Executors of the chunks of a long video."""
NO_TILES = "off"
"""Value of the menu of tiles."""


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
_ADDRESS_TOOLTIP = "Address of a Ray cluster. Empty: workers on this machine."
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


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Value of a ``MIDFRAME_RUN_SETTINGS`` link: how a run is done. The tooltips say what each is."""

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
            given: what a graph gives to the node itself, by name, or :data:`._widgets.UNSET`; this counts
                before the link's. Other names than those of settings are left out.

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
        return replace(settings, **_given(given, cls))

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
            # None is no 0: it is refused.
            clear_every=self.clear_cache_after_n_frames if clear_every == 0 else clear_every,
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
    """Value of a ``MIDFRAME_TLBVFI_SETTINGS`` link: how TLBVFI samples."""

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
        return replace(settings, **_given(given, cls))

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


def _given(given: Mapping[str, Any], settings: type[RunSettings | SamplerSettings]) -> dict[str, Any]:
    names = {field.name for field in fields(settings)}
    found = {name: value for name, value in given.items() if name in names and value is not UNSET}
    # The rows ask the host for its devices: not where nothing is linked.
    rows = moved(*found) if found else {}
    for name, value in found.items():
        _check_given_by_link(name, value, rows[name])
    return found


def _check_given_by_link(name: str, value: Any, row: Widget) -> None:
    """Check what nothing else looks at before the clip is made; the rest is checked where it is used.

    ComfyUI says nothing of links to hidden inputs when it validates a graph: neither their types nor that
    they are there.
    """
    kind, _ = row
    # A number of a graph for the API, 0 or 1, is as good as false or true.
    if kind == "BOOLEAN" and not (isinstance(value, (bool, int)) and value in (0, 1)):
        raise BadInputError(f"{name} must be true or false.", described(value), "Give one of them.")
    if kind == "STRING" and not isinstance(value, str):
        raise BadInputError(f"{name} must be a text.", described(value), "Give a text, or nothing.")
    if name == "pairs_per_chunk":
        whole(value, "the pairs of a chunk", least=1)


def run_rows() -> dict[str, Widget]:
    """Return the widgets of :class:`RunSettings`."""
    pairs = {"default": PAIRS, "min": 1, "max": 100000, "tooltip": _PAIRS_TOOLTIP}
    return {
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
    }


def sampler_rows() -> dict[str, Widget]:
    """Return the widgets of :class:`SamplerSettings`."""
    ema = {"default": True, "label_on": "averaged", "label_off": "raw", "tooltip": _EMA_TOOLTIP}
    published = {"default": TlbvfiOptions.published_range, "tooltip": _RANGE_TOOLTIP}
    return {
        "eta": _number("FLOAT", TlbvfiOptions.eta, (0.0, 1.0, 0.05), _ETA_TOOLTIP),
        # The published schedule raises for 1 and 2 steps.
        "sample_steps": _number("INT", TlbvfiOptions.sample_steps, (3, 1000, 1), _STEPS_TOOLTIP),
        "ema": ("BOOLEAN", ema),
        "tile": (_TILES, {"default": NO_TILES, "tooltip": _TILE_TOOLTIP}),
        "tile_overlap": _number("INT", TlbvfiOptions.overlap, (0, 1024, 8), _OVERLAP_TOOLTIP),
        "published_range": ("BOOLEAN", published),
    }


def moved(*names: str) -> dict[str, Widget]:
    """Return hidden inputs for what a node had widgets for before.

    Args:
        names: of settings, or older names of widgets.
    """
    rows = {
        **run_rows(),
        **sampler_rows(),
        "clear_cache_after_n_pairs": _widgets.clear_cache(),
        "scale": (NumberMenu(("0.25", "0.5", "1", "2", "4")), {}),
        "flow_scale": ("FLOAT", {"min": 0.05, "max": 1.0}),
    }
    return {name: (rows[name][0], _bounds(rows[name][1])) for name in names}


def check_given(rows: Mapping[str, Widget], given: Mapping[str, Any]) -> None:
    """Check values as ComfyUI would: it leaves hidden inputs, and those that a node asks for, to the node.

    Args:
        rows: inputs of the node.
        given: values by name; None for nothing, or for what comes by a link.

    Raises:
        BadInputError: a value that the widget could not have.
    """
    for name, value in given.items():
        if value is not None and name in rows:
            _check(name, value, rows[name])


def _check(name: str, value: Any, row: Widget) -> None:
    """Check one value; what ComfyUI calls the fault stands in brackets, for programs that read it."""
    kind, options = row
    if isinstance(kind, list):
        if value not in kind:
            raise BadInputError(
                f"There is no such value of {name} (value_not_in_list).",
                described(value),
                f"Use one of {', '.join(map(str, kind))}.",
            )
    # As texts: a type of ours equals no other.
    elif str(kind) in ("INT", "FLOAT"):
        exact = whole(value, name) if str(kind) == "INT" else real(value, name)
        least, most = options["min"], options["max"]
        if not least <= exact <= most:
            reason = "value_smaller_than_min" if exact < least else "value_bigger_than_max"
            raise BadInputError(
                f"{name} is out of its range ({reason}).", described(value), f"Give {least} to {most}."
            )


def _bounds(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in ("min", "max")}


def _number(kind: str, default: Any, bounds: tuple[Any, Any, Any], tooltip: str) -> Widget:
    least, most, step = bounds
    return kind, {"default": default, "min": least, "max": most, "step": step, "tooltip": tooltip}
