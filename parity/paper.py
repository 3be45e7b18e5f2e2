"""Reads what the goldens of the RIFE paper's networks hold of its training code: losses, and two steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..weights.synthetic import synthetic_state_dict
from .outcome import Outcome, Place
from .tolerances import bound

if TYPE_CHECKING:
    from ..training.model import Model

_ABSENT = "this installation has no training"
# What each file's network is called by the paper's Model.
_VARIANTS: dict[str, dict[str, bool]] = {
    "paper": {},
    "paper_m": {"arbitrary": True},
    "paper_2r": {"two_r": True},
}


def losses(label: str, arrays: Mapping[str, Any], meta: dict[str, Any], place: Place) -> Iterator[Outcome]:
    """Yield the outcome of each loss."""
    try:
        from ..training.paper_losses import (  # noqa: PLC0415 - not in the package for ComfyUI
            end_point_error,
            laplacian_loss,
            sobel_difference,
            ternary_distance,
        )
    except ImportError:
        yield Outcome(f"{label} losses", skipped=_ABSENT)
        return
    left, right = (torch.from_numpy(arrays[f"in_train_{i}"]).to(place.device) for i in (0, 1))
    expected = meta["losses"]
    yield _number(f"{label} LapLoss", laplacian_loss(left, right), expected["LapLoss"])
    three = laplacian_loss(left, right, levels=3)
    yield _number(f"{label} LapLoss_levels3", three, expected["LapLoss_levels3"])
    # As the file's own note makes them.
    flow = torch.cat((left, right), 1)[:, :4] * 9 - 4
    target = torch.cat((right, left), 1)[:, :4] * 7 - 3
    maps = {
        "epe": end_point_error(flow, target, (left[:, :1] > 0.4).float()),  # noqa: PLR2004
        "sobel": sobel_difference(left, right),
        "ternary": ternary_distance(left, right),
    }
    for trace in meta["traces"]:
        yield _trace(f"{label} {trace['key']}", maps[trace["key"]], trace, arrays)


def training(label: str, arrays: Mapping[str, Any], meta: dict[str, Any], place: Place) -> Iterator[Outcome]:
    """Yield the outcomes of an update without training and, where the file has them, of two steps."""
    try:
        from ..training.model import Model  # noqa: PLC0415 - not in the package for ComfyUI
    except ImportError:
        yield Outcome(f"{label} training", skipped=_ABSENT)
        return
    # Cases run in inference mode, whose tensors no gradient passes through.
    with torch.inference_mode(False):
        model = Model(device=place.device, **_VARIANTS[meta["name"]])
        shapes = {name: tuple(shape) for name, shape in meta["state_dict"]}
        model.flownet.load_state_dict(synthetic_state_dict(shapes, meta["seed"], meta["gain"]))
        yield from _updates(label, arrays, meta, model)


def _updates(label: str, arrays: Mapping[str, Any], meta: dict[str, Any], model: Model) -> Iterator[Outcome]:
    expected, traces = meta["training"], {trace["key"]: trace for trace in meta["traces"]}
    left, right, truth = (torch.from_numpy(arrays[name]) for name in expected["inputs"])
    pictures = torch.cat((left, right), 1)
    told: dict[str, Tensor] = {}
    for step, numbers in expected["losses"].items():
        trains = step != "eval"
        rate = expected["learning_rate"] if trains else 0.0
        with torch.inference_mode(False):
            frames, told = model.update(pictures, truth, rate, training=trains)
        for name, number in numbers.items():
            yield _number(f"{label} {step} {name}", told[name], number)
        if not trains:
            told["pred"] = frames
            for name in ("pred", "merged_tea", "flow_tea"):
                yield _trace(f"{label} eval_{name}", told[name], traces[f"eval_{name}"], arrays)
    if "after_two_steps" not in expected:
        return
    yield _trace(f"{label} train_flow_tea", told["flow_tea"], traces["train_flow_tea"], arrays)
    state = model.flownet.state_dict()
    errors = [
        float((state[name].cpu() - torch.from_numpy(arrays[f"after_{name}"])).abs().max())
        for name in expected["after_two_steps"]
    ]
    yield Outcome(f"{label} parameters after two steps", max(errors), bound("published steps"))


def _number(name: str, found: Tensor, expected: float) -> Outcome:
    return Outcome(name, abs(float(found) / expected - 1), bound("published losses"))


def _trace(name: str, found: Tensor, trace: dict[str, Any], arrays: Mapping[str, Any]) -> Outcome:
    """Compare a map of which the file keeps each step-th row and column."""
    if list(found.shape) != trace["full_shape"]:
        return Outcome(name, float("inf"))
    step = trace["step"]
    error = (found.detach().cpu()[..., ::step, ::step] - torch.from_numpy(arrays[trace["key"]])).abs().max()
    return Outcome(name, float(error), bound("golden flow" if "flow" in name else "golden float32"))
