"""TLBVFI by its authors, github.com/ZonglinL/TLBVFI."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import io
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import BadInputError
from .peer import Checkout, Interpolate, Task, require_dtype

_CONFIG = Path("configs", "Template-LBBDM-video.yaml")
# Pixels. The authors' code pads sides to multiples of 512 by reflection, which needs a side longer than the
# padding; a side of exactly 256 is not padded.
_SMALLEST = 256


class TLBVFI:
    """The authors' model, sampled without noise (eta 0), so that both sides draw the same.

    Frames beside the middle are bisected, as in their ``interpolate.py``. Needs einops, omegaconf, pillow,
    PyYAML and tqdm; not CuPy, Lightning and timm, see :func:`_stand_ins`.
    """

    def __init__(self, checkout: Path) -> None:
        self._checkout = checkout

    def open(self, task: Task) -> Interpolate:
        """Load the weights into the authors' model; see :class:`~.peer.Peer`."""
        require_dtype(task, "tlbvfi", torch.float32)
        yaml = importlib.import_module("yaml")
        with (self._checkout / _CONFIG).open(encoding="utf-8") as file:
            # Its lists and tuples have Python's tags, which no safe loader knows; the file is the checkout's
            # own, whose code is about to be run.
            config = _namespace(yaml.load(file, Loader=yaml.UnsafeLoader)["model"])
        config.BB.params.eta = 0.0
        config.VQGAN.params.ckpt_path = None
        with Checkout(self._checkout), _stand_ins(), contextlib.redirect_stdout(io.StringIO()):
            module = importlib.import_module("model.BrownianBridge.LatentBrownianBridgeModel")
            model = module.LatentBrownianBridgeModel(config).eval().requires_grad_(False)
        # Its progress bar would be timed along.
        module.tqdm = lambda steps, **_: steps  # type: ignore[attr-defined]
        # Not strict: the authors' model lists its autoencoder a second time, as `cond_stage_model`, and has
        # buffers of its schedule that it computes itself.
        fit = model.load_state_dict(dict(task.weights), strict=False)
        if fit.unexpected_keys:
            raise BadInputError(
                "The checkout does not have the network of these weights.",
                ", ".join(fit.unexpected_keys[:5]),
                "Measure tlbvfi-vimeo.",
            )
        model.to(task.device)
        scale = float(task.options.get("flow_scale", 0.5))

        def middle(left: Tensor, right: Tensor) -> Tensor:
            frame: Tensor = model.sample(left, right, scale=scale)
            return frame

        return lambda frames, multiplier: _bisected(middle, frames, multiplier, task.device)

    def options(self, network: str, height: int, width: int) -> dict[str, Any]:
        """Return the options with which ours samples without noise and reads the range of values as they
        do.
        """
        return {"eta": 0.0, "published_range": True}


def _bisected(
    middle: Callable[[Tensor, Tensor], Tensor], frames: Tensor, multiplier: int, device: torch.device
) -> Tensor:
    height, width = frames.shape[1:3]
    # Halving reaches every frame only where the multiplier is a power of two, which has one bit set.
    if multiplier & (multiplier - 1) or min(height, width) < _SMALLEST:
        raise BadInputError(
            "TLBVFI's authors make the frame in the middle, of sides of 256 pixels and more.",
            f"{multiplier}x at {height}x{width}",
            "Measure 2x, 4x, 8x ... of larger frames.",
        )
    # (1, 3, H, W) in -1..1, as the authors have it; ours is (H, W, 3) in 0..1.
    sources = [frame.to(device).permute(2, 0, 1).unsqueeze(0) * 2 - 1 for frame in frames]
    out = [sources[0]]
    for left, right in pairwise(sources):
        pair = [left, right]
        while len(pair) <= multiplier:
            # A frame into each gap, until there are `multiplier` gaps.
            halves = [middle(*sides) for sides in pairwise(pair)]
            pair = [frame for both in zip(pair[:-1], halves, strict=True) for frame in both] + [right]
        out += pair[1:]
    return torch.cat([(frame / 2 + 0.5).cpu() for frame in out]).permute(0, 2, 3, 1)


def _namespace(value: Any) -> Any:
    """Convert nested dictionaries to the namespaces that the authors' modules take."""
    if not isinstance(value, dict):
        return value
    return argparse.Namespace(**{name: _namespace(inner) for name, inner in value.items()})


@contextlib.contextmanager
def _stand_ins() -> Iterator[None]:
    """Provide modules that the authors' files import at the top and do not need for an inference.

    CuPy's kernel is never called. Of Lightning only the base class is used, which is a module; timm serves
    a transformer that is built and then dropped. Nothing stands in for what is installed, except for the
    kernel, which starts CUDA when it is imported.
    """
    lightning, layers, kernel = (
        ModuleType(name) for name in ("pytorch_lightning", "timm.models.layers", "cupy_module.dsepconv")
    )
    lightning.__dict__["LightningModule"] = nn.Module
    layers.__dict__.update(
        DropPath=nn.Identity,
        to_2tuple=lambda x: x if isinstance(x, tuple) else (x, x),
        trunc_normal_=nn.init.trunc_normal_,
    )
    stand_ins = {kernel.__name__: kernel}
    if not importlib.util.find_spec("pytorch_lightning"):
        stand_ins[lightning.__name__] = lightning
    if not importlib.util.find_spec("timm"):
        parents = {name: ModuleType(name) for name in ("timm", "timm.models")}
        stand_ins |= {**parents, layers.__name__: layers}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            sys.modules.pop(name, None)
