"""Reads the goldens of RIFE 4.x, HD 3.x and the paper: a file a family, whose ``meta`` lists the cases."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import BadInputError
from ..vfi_models import build, detect
from ..vfi_models.interface import Interpolator
from ..weights.synthetic import synthetic_state_dict
from . import paper
from .float64 import frame_in_float64
from .outcome import Outcome, Place, beside_reference
from .tolerances import AMPLIFYING, bound

# The timestep of a midpoint-only network; its cases do not name one.
_MIDDLE = [0.5]
# Whose weights nothing but their file's name tells from another family's, see ``PaperOptions.two_r``.
_FAMILIES = {"paper_2r": "paper"}


def reads(file: Path, arrays: Mapping[str, Any]) -> bool:
    """Tell whether a golden file is of this format."""
    return {"state_dict", "cases", "name"} <= _meta(arrays).keys()


def run(file: Path, arrays: Mapping[str, Any], place: Place) -> Iterator[Outcome]:
    """Yield the outcome of every case of a file."""
    meta, label = _meta(arrays), f"{file.parent.name}/{file.stem}"
    if "losses" in meta:
        yield from paper.losses(label, arrays, meta, place)
    for case in meta["cases"]:
        name = f"{label} {case['case']}"
        # A case of the older pack (`cfi`) that differs from vs-rife by more than rounding records a fault of
        # that pack.
        difference = case.get("max_abs_difference_to_vs_rife") or 0
        if case["source"] == "cfi" and difference > bound("defect of a reference"):
            yield Outcome(name, skipped="records a known defect of the reference, see the goldens' README")
            continue
        yield _outcome(name, arrays, case, meta, place)
    # Losses and steps are float32's: nobody trains otherwise.
    if "training" in meta and place.dtype == torch.float32:
        yield from paper.training(label, arrays, meta, place)


def _meta(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return dict(json.loads(str(arrays["meta"]))) if "meta" in arrays else {}


def _golden_model(meta: dict[str, Any], gain: float) -> Interpolator:
    shapes = {name: tuple(shape) for name, shape in meta["state_dict"]}
    detection = detect(synthetic_state_dict(shapes, meta["seed"], gain))
    # Detection goes by names and shapes alone, so every golden tests it as well.
    expected = _FAMILIES.get(meta["name"], meta["name"])
    if detection.family != expected:
        raise BadInputError(
            "Detection names another family than the golden file.",
            f"{detection.family}, expected {expected}",
            "This is a fault of the pack; please report it.",
        )
    return build(detection)


def _outcome(
    name: str, arrays: Mapping[str, Any], case: dict[str, Any], meta: dict[str, Any], place: Place
) -> Outcome:
    gain = case.get("gain", meta["gain"])
    inputs = _inputs(arrays, case, place.device)
    model = place.model(("rife", meta["name"], meta["seed"], gain), lambda: _golden_model(meta, gain))
    left, right, timestep, options = inputs
    if meta["name"] == "paper_2r":
        options["two_r"] = True
    height, width = left.shape[-2:]
    session = model.open(height, width, options)
    frames: Tensor = session.between(session.encode(left), session.encode(right), timestep)
    session.close()
    # Of large pictures the file keeps each step-th row and column.
    step = case["step"]
    frames, reference = frames[..., ::step, ::step], torch.from_numpy(arrays[case["output"]])
    if name not in AMPLIFYING or place.dtype != torch.float32:
        return Outcome(name, place.error(frames, reference), place.bound)
    # Only for the cases that need it: float64 takes many times as long.
    exact = frame_in_float64(lambda: _golden_model(meta, gain), *inputs)[..., ::step, ::step]
    return beside_reference(name, frames, reference, exact)


def _inputs(
    arrays: Mapping[str, Any], case: dict[str, Any], device: torch.device
) -> tuple[Tensor, Tensor, Tensor, dict[str, Any]]:
    """Return both source frames, the timesteps and the model's options of a case."""
    left, right = (torch.from_numpy(arrays[case[key]]).to(device) for key in ("img0", "img1"))
    timestep = torch.tensor(case.get("timestep", _MIDDLE), dtype=torch.float32, device=device)
    return left, right, timestep, _options(case)


def _options(case: dict[str, Any]) -> dict[str, Any]:
    """Return the session's options of a case; those of HD 3.x set the flow scale alone."""
    options = {"flow_scale": case["scale"]}
    if "TTA" in case:
        return options | {"tta": case["TTA"]}
    if "ensemble" not in case:
        return options
    return options | {
        "ensemble": case["ensemble"],
        "padded_size": tuple(case["padded"]),
        "refine": case.get("fastmode") is False,
        "restart": bool(case.get("restarted")),
    }
