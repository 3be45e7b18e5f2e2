"""The TLBVFI node."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ..inputs.numbers import real, whole
from ..vfi_models.interface import Options
from ..vfi_models.tlbvfi.session import TlbvfiOptions
from ..vfi_utils import EndLaw, Settings, StatesLike
from ..weights.loading import ModelSource
from . import _widgets
from ._errors import said_plainly
from ._inputs import FrameInputs, changed_options
from ._interpolation import FrameNode
from ._meta_batch import Manager, Prompt
from ._models import AfterRun
from ._timing import ClipTiming
from ._weights import model_widget
from ._widgets import InputTypes, Widget

_NO_TILES = "off"
_TILES = [_NO_TILES, "256", "512", "1024", "1536", "2048"]

_MODEL_TOOLTIP = (
    "vimeo_unet.pth as its authors publish it, with their terms on huggingface.co/ucfzl/TLBVFI, in "
    "models/frame_interpolation or models/interpolation. Other files in there are listed too. It is large: "
    "size and free disk are said before it is downloaded, and a download that ends early goes on later."
)
_SEED_TOOLTIP = (
    "Of the sampler's noise. The same clip and seed give the same frames, however the clip is cut into "
    "chunks; each pair of frames has noise of its own."
)
_ETA_TOOLTIP = "How much noise the sampler adds. 1 is what is published; at 0 the seed does not matter."
_STEPS_TOOLTIP = (
    "Steps of the sampler, 3 and more; 10 is what is published. They are a small part of the work: fewer "
    "hardly save time."
)
_SCALE_TOOLTIP = (
    "Size at which motion is computed, relative to the picture. 0.5 for most clips; 0.25 for very large "
    "motion; 1 for small motion and fine detail, at half as much work again. Lower needs less memory."
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
_CHANGED_TOOLTIP = (
    "When memory runs out in spite of everything: go on with motion computed at half the size and then in "
    "tiles, which changes the picture, instead of stopping with an error."
)
_LINES_TOOLTIP = (
    "Says in the log, after every pair of frames, how much memory is free and whether it was cleared."
)


class MidframeTLBVFI(FrameNode):
    """Makes the frames in between with TLBVFI."""

    DESCRIPTION = (
        "More frames from a clip with TLBVFI, a diffusion model: slow, and good where motion is large. It "
        "knows the middle of two frames only; other moments are reached by halving."
    )
    SEARCH_ALIASES: ClassVar[list[str]] = [
        "tlbvfi",
        "tlb-vfi",
        "brownian bridge",
        "diffusion interpolation",
        *_widgets.SEARCH_WORDS,
    ]

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Return the inputs. Saved workflows hold widget values by position: new ones go to the end."""
        return {
            "required": {
                "frames": _widgets.frames(),
                "model": model_widget(_MODEL_TOOLTIP, ("tlbvfi",), first="tlbvfi"),
                "multiplier": _widgets.multiplier(),
            },
            "optional": {
                "source_fps": _widgets.source_fps(),
                "target_fps": _widgets.target_fps(),
                "clear_cache_after_n_frames": _widgets.clear_cache(),
                "last_frame": _widgets.last_frame(),
                "device": _widgets.device(),
                "after_run": _widgets.after_run(),
                "allow_changed_picture": ("BOOLEAN", _advanced(False, _CHANGED_TOOLTIP)),
                **cls._own_widgets(),
                "states": _widgets.states(),
                "model_override": _widgets.model_override("model, ema and device"),
                "storage": _widgets.storage(),
                "meta_batch": _widgets.meta_batch(),
                "timing": _widgets.timing(),
            },
            "hidden": {"node_id": "UNIQUE_ID", "prompt": "PROMPT"},
        }

    @staticmethod
    def _own_widgets() -> dict[str, Widget]:
        # Without control_after_generate=False the browser changes a "seed" after every run: nothing would be
        # found in ComfyUI's cache again.
        seed = {"default": TlbvfiOptions.seed, "min": 0, "max": 2**64 - 1, "control_after_generate": False}
        eta = {"default": TlbvfiOptions.eta, "min": 0.0, "max": 1.0, "step": 0.05}
        # The published schedule raises for 1 and 2 steps.
        steps = {"default": TlbvfiOptions.sample_steps, "min": 3, "max": 1000}
        scale = {"default": TlbvfiOptions.flow_scale, "min": 0.05, "max": 1.0, "step": 0.05}
        ema = {"default": True, "label_on": "averaged", "label_off": "raw"}
        overlap = _advanced(TlbvfiOptions.overlap, _OVERLAP_TOOLTIP)
        return {
            "seed": ("INT", {**seed, "tooltip": _SEED_TOOLTIP}),
            "eta": ("FLOAT", {**eta, "tooltip": _ETA_TOOLTIP, "advanced": True}),
            "sample_steps": ("INT", {**steps, "tooltip": _STEPS_TOOLTIP, "advanced": True}),
            "flow_scale": ("FLOAT", {**scale, "tooltip": _SCALE_TOOLTIP}),
            "ema": ("BOOLEAN", {**ema, "tooltip": _EMA_TOOLTIP, "advanced": True}),
            "tile": (_TILES, _advanced(_NO_TILES, _TILE_TOOLTIP)),
            "tile_overlap": ("INT", {**overlap, "min": 0, "max": 1024, "step": 8}),
            "published_range": ("BOOLEAN", _advanced(TlbvfiOptions.published_range, _RANGE_TOOLTIP)),
            "memory_lines": ("BOOLEAN", _advanced(False, _LINES_TOOLTIP)),
        }

    @said_plainly()
    def interpolate(  # noqa: PLR0913 - one parameter for each widget
        self,
        frames: Tensor,
        model: str,
        *,
        multiplier: Any = 2,
        source_fps: Any = 0.0,
        target_fps: Any = 0.0,
        clear_cache_after_n_frames: int = 0,
        last_frame: EndLaw = "end_on_last",
        device: str = "auto",
        after_run: AfterRun = "keep loaded",
        allow_changed_picture: bool = False,
        seed: int = TlbvfiOptions.seed,
        eta: float = TlbvfiOptions.eta,
        sample_steps: int = TlbvfiOptions.sample_steps,
        flow_scale: float = TlbvfiOptions.flow_scale,
        ema: bool = True,
        tile: str = _NO_TILES,
        tile_overlap: int = TlbvfiOptions.overlap,
        published_range: bool = TlbvfiOptions.published_range,
        memory_lines: bool = False,
        states: StatesLike | None = None,
        model_override: ModelSource | None = None,
        storage: str = "auto",
        meta_batch: Manager | None = None,
        timing: ClipTiming | None = None,
        node_id: str | None = None,
        prompt: Prompt | None = None,
    ) -> tuple[Tensor, float, int]:
        """Interpolate a clip; the tooltips say what each input does."""
        settings = Settings(
            options=_options(
                (seed, eta, sample_steps), flow_scale, (tile, tile_overlap), published_range=published_range
            ),
            clear_every=clear_cache_after_n_frames,
            allow_changed_picture=allow_changed_picture,
            memory_lines=memory_lines,
        )
        inputs = FrameInputs(
            model=model,
            device=device,
            averaged=ema,
            model_override=model_override,
            after_run=after_run,
            multiplier=multiplier,
            source_fps=source_fps,
            target_fps=target_fps,
            states=states,
            timing=timing,
            last_frame=last_frame,
            settings=settings,
            storage=storage,
            meta_batch=meta_batch,
            node_id=node_id,
            prompt=prompt,
        )
        return self.run_model(frames, inputs)


def _options(
    sampler: tuple[Any, Any, Any], flow_scale: Any, tiles: tuple[str, Any], *, published_range: bool
) -> Options:
    """Return the options of the network that the widgets change.

    Args:
        sampler: seed, eta and steps.
        flow_scale: size at which motion is computed.
        tiles: side, and pixels that two share.
        published_range: see :class:`~..vfi_models.tlbvfi.session.TlbvfiOptions`.

    Raises:
        BadInputError: what must be a number is none.
    """
    seed, eta, steps = sampler
    side, overlap = tiles
    options = TlbvfiOptions(
        seed=whole(seed, "the seed"),
        eta=real(eta, "eta"),
        sample_steps=whole(steps, "the number of steps"),
        flow_scale=real(flow_scale, "the flow scale"),
        published_range=published_range,
        tile=0 if side == _NO_TILES else whole(side, "the side of a tile"),
        overlap=whole(overlap, "the overlap of tiles"),
    )
    return changed_options(options)


def _advanced(default: Any, tooltip: str) -> dict[str, Any]:
    return {"default": default, "tooltip": tooltip, "advanced": True}
