"""The node that interpolates a VIDEO."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import OutOfMemoryError
from ..inputs.numbers import one_multiplier
from ..inputs.rates import rate_or_zero
from ..vfi_models.interface import Interpolator, Options
from ..vfi_utils import EndLaw, Settings
from ..video import Plan
from ..video.stream.lazy import LazyVideo
from . import _host, _widgets
from ._interpolation import InterpolationNode
from ._models import (
    AfterRun,
    Weights,
    obtain,
    require_after_run,
)
from ._plan import unlike_default
from ._video_host import MadeVideo, source_of
from ._weights import chosen, model_widget
from ._widgets import InputTypes, scale_of

_DEFAULT_OPTIONS = {"flow_scale": 1.0}

_MODEL_TOOLTIP = (
    "default comes with Midframe; every other network is offered too. Downloads go to "
    "models/frame_interpolation; other files in there are listed too."
)
_MULTIPLIER_TOOLTIP = (
    "Output frames for each source frame: 2 doubles the frame rate. A variable frame rate stays variable; "
    "with a number such as 2.5, by link, it becomes constant."
)
_FPS_TOOLTIP = (
    "Frame rate of the output, any rate: 60 for example. 0: off, the multiplier counts. 23.976, 59.94 and "
    "the like stand for 24000/1001, 60000/1001 exactly. Every output frame shows its exact moment."
)


@dataclass(frozen=True)
class _Lender:
    """Lends a model of the cache for a run."""

    weights: Weights
    options: Options
    after_run: AfterRun

    def __post_init__(self) -> None:
        require_after_run(self.after_run)

    def check(self, height: int, width: int) -> None:
        """Loads the model, so that what it cannot do is found out now.

        Raises:
            MidframeError: a file or options that cannot be used.
        """
        interpolator = obtain(self.weights).shell.interpolator
        if interpolator is not None:
            interpolator.activation_bytes(height, width, self.options)

    @contextmanager
    def __call__(self, height: int, width: int) -> Iterator[Interpolator]:
        """See :data:`~..video.stream.lazy.Borrow`."""
        loaded = obtain(self.weights)
        try:
            yield loaded.ready(height, width, self.options)
        except OutOfMemoryError:
            _host.make_room()
            raise
        finally:
            loaded.done(self.after_run)
            _host.trim_heap()  # hundreds of freed frames leave gaps behind


class MidframeVideo(InterpolationNode):
    """Makes the frames in between of a video, while it is saved."""

    RETURN_TYPES = ("VIDEO",)
    RETURN_NAMES = ("video",)
    OUTPUT_TOOLTIPS = ("For Save Video, or any node that takes a video. It is made when it is saved.",)
    DESCRIPTION = (
        "A higher frame rate for a video of any length, with its sound. It is read, interpolated and written "
        "at the same time when it is saved, so that it never lies in memory as a whole."
    )
    SEARCH_ALIASES: ClassVar[list[str]] = [
        "interpolate video",
        "rife",
        "film",
        "long video",
        "60 fps",
        "smooth video",
        *_widgets.SEARCH_WORDS,
    ]

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Inputs and widgets. Saved workflows hold widget values by position: new ones go to the end."""
        kind, last_frame = _widgets.last_frame()
        multiplier = {"default": 2, "min": 1, "max": 1000, "tooltip": _MULTIPLIER_TOOLTIP}
        rate, target_fps = _widgets.target_fps()
        return {
            "required": {
                "video": ("VIDEO", {"tooltip": "From Load Video, or any node that makes a video."}),
                "model": model_widget(_MODEL_TOOLTIP),
                "multiplier": (_widgets.INT_OR_FLOAT, multiplier),
            },
            "optional": {
                "target_fps": (rate, {**target_fps, "tooltip": _FPS_TOOLTIP}),
                "scale": _widgets.scale(),
                "dtype": _widgets.dtype(),
                "batch": _widgets.batch(),
                "clear_cache_after_n_frames": _widgets.clear_cache(),
                "last_frame": (kind, {**last_frame, "default": "hold_last"}),
                "device": _widgets.device(),
                "after_run": _widgets.after_run(),
                "model_override": _widgets.model_override("model, dtype and device"),
            },
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    def interpolate(  # noqa: PLR0913 - one parameter for each widget
        self,
        video: Any,
        model: str,
        *,
        multiplier: Any = 2,
        target_fps: Any = 0.0,
        scale: str | float = "1",
        dtype: str = "auto",
        batch: int = 0,
        clear_cache_after_n_frames: int = 0,
        last_frame: EndLaw = "hold_last",
        device: str = "auto",
        after_run: AfterRun = "keep loaded",
        model_override: Weights | None = None,
        node_id: str | None = None,
    ) -> tuple[MadeVideo]:
        """Runs the node: what can be wrong is found out here; the frames are made later."""
        options = unlike_default({"flow_scale": scale_of(scale)}, _DEFAULT_OPTIONS)
        settings = Settings(options=options, batch=batch, clear_every=clear_cache_after_n_frames)
        plan = Plan(one_multiplier(multiplier), fps=rate_or_zero(target_fps) or None, end=last_frame)
        lender = _Lender(chosen(model_override, (model, device, dtype), node_id), options, after_run)
        lazy = LazyVideo(source_of(video), plan, lender, settings)
        lender.check(lazy.info.height, lazy.info.width)
        return (MadeVideo(lazy),)
