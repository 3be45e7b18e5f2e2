"""Reads the goldens of FILM: pictures and flows, the older node's schedule, names, and files of weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..memory.sinks import TensorSink
from ..vfi_models import build, detect, schedule
from ..vfi_models.film import shapes_of
from ..vfi_models.film.config import FAMILIES, Config, published_names
from ..vfi_models.film.session import FilmFeatures, FilmMotion
from ..vfi_models.interface import Interpolator
from ..vfi_utils import Settings, by_multiplier, run_timeline
from ..weights.checkpoint import read_checkpoint
from ..weights.synthetic import synthetic_state_dict
from .outcome import Outcome, Place
from .tolerances import bound


def reads(file: Path, arrays: Mapping[str, Any]) -> bool:
    """Tell whether a golden file is of this format."""
    if file.suffix in (".pt", ".safetensors"):
        return _pictures_of(file) is not None
    return file.name in _TABLES or {"seed", "gain", "x0", "x1"} <= set(arrays)


def run(file: Path, arrays: Mapping[str, Any], place: Place) -> Iterator[Outcome]:
    """Yield the outcome of every case of a file."""
    label = f"{file.parent.name}/{file.stem}"
    if file.name in _TABLES:
        yield from _TABLES[file.name](label, json.loads(file.read_text(encoding="utf-8")))
    elif not arrays:
        yield from _archive(file, place)
    elif "multiplier" in arrays:
        yield _recursion(label, arrays, place)
    else:
        yield from _pictures(label, arrays, place)


def _weights(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    config = FAMILIES["film"]
    if "filters" in arrays:
        fine, middle, coarse, shared = (int(width) for width in arrays["flow_filters"])
        config = Config(int(arrays["filters"]), (fine, middle, coarse, shared))
    shapes = published_names(shapes_of(config))
    return synthetic_state_dict(shapes, int(arrays["seed"]), float(arrays["gain"]))


def _model(arrays: Mapping[str, Any], place: Place) -> Interpolator:
    sizes = (arrays["filters"].tobytes(), arrays["flow_filters"].tobytes()) if "filters" in arrays else ()
    key = ("film", sizes, int(arrays["seed"]), float(arrays["gain"]))
    return place.model(key, lambda: build(detect(_weights(arrays))))


def _frames(arrays: Mapping[str, Any], place: Place) -> list[Tensor]:
    return [torch.from_numpy(arrays[name]).to(place.device).float() / 255 for name in ("x0", "x1")]


def _pictures(label: str, arrays: Mapping[str, Any], place: Place) -> Iterator[Outcome]:
    """Yield the outcomes of the pictures at each timestep, and of flows and features where they are
    recorded.
    """
    model = _model(arrays, place)
    left, right = _frames(arrays, place)
    session: Any = model.open(*left.shape[-2:])
    a, b = session.encode(left), session.encode(right)
    motion = session.motion(a, b)
    for name in sorted(name for name in arrays if name.startswith("dt_")):
        timestep = torch.from_numpy(arrays[name]).flatten().to(place.device)
        timestep = timestep.expand(max(len(timestep), len(left)))  # one for all pictures, or one for each
        expected = torch.from_numpy(arrays[name.replace("dt_", "out_")])
        frames = session.between(a, b, timestep, motion)
        yield Outcome(f"{label} {name}", place.error(frames, expected), place.bound)
    yield from _flows(label, arrays, motion, place)
    yield from _features(label, arrays, a, place)


def _flows(label: str, arrays: Mapping[str, Any], motion: FilmMotion, place: Place) -> Iterator[Outcome]:
    recorded = {"forward_flow": motion.to_right, "backward_flow": motion.to_left}
    errors = [
        place.error(flow, torch.from_numpy(arrays[f"{name}_{level}"]))
        for name, flows in recorded.items()
        for level, flow in enumerate(flows)
        if f"{name}_{level}" in arrays
    ]
    if errors:
        yield Outcome(f"{label} flows", max(errors), _flow_bound(place))


def _flow_bound(place: Place) -> float:
    """Return the bound of a flow in pixels: in 16 bits the same multiple of a picture's as in float32."""
    return place.bound * bound("golden flow") / bound("golden float32")


def _features(label: str, arrays: Mapping[str, Any], found: FilmFeatures, place: Place) -> Iterator[Outcome]:
    errors = []
    for level, features in enumerate(found.features):
        means = {"space": features[0].float().mean((-2, -1)), "channels": features[0].float().mean(0)}
        for over, mean in means.items():
            name = f"feat0_{level}_mean_over_{over}"
            if name in arrays:
                errors.append(place.error(mean, torch.from_numpy(arrays[name])))
    if errors:
        yield Outcome(f"{label} features", max(errors), place.bound)


def _recursion(label: str, arrays: Mapping[str, Any], place: Place) -> Outcome:
    """Compare the older node's schedule, through the frame loop."""
    multiplier = int(arrays["multiplier"])
    # (1, 3, H, W) to the loop's (H, W, 3), which may be uint8.
    clip = [torch.from_numpy(arrays[name])[0].permute(1, 2, 0) for name in ("x0", "x1")]
    height, width, channels = clip[0].shape
    sink = TensorSink(multiplier + 1, (height, width, channels))
    settings = Settings(schedule="bisect")
    run_timeline(clip, by_multiplier(multiplier), _model(arrays, place), sink, settings=settings)
    # The golden has the made frames alone, without the two source frames.
    frames = sink.frames[1:-1].permute(0, 3, 1, 2)
    return Outcome(label, place.error(frames, torch.from_numpy(arrays["frames"])), place.bound)


def _pictures_of(weights: Path) -> Path | None:
    """Return the pictures of a file of weights: the .npz beside it with whose name its own name begins."""
    beside = (weights.with_name(weights.stem[:end] + ".npz") for end in range(len(weights.stem), 0, -1))
    return next((file for file in beside if file.is_file()), None)


def _archive(file: Path, place: Place) -> Iterator[Outcome]:
    """Compare a file of weights: count tensors that are not the drawn ones, and compare the picture that it
    makes.
    """
    label = f"{file.parent.name}/{file.name}"
    arrays = np.load(_pictures_of(file) or file)
    found = detect(read_checkpoint(file))
    drawn = detect(_weights(arrays)).state_dict
    # The file may be in float16: drawn weights are rounded alike before they are compared.
    stored = next(iter(found.state_dict.values())).dtype
    different = drawn.keys() ^ found.state_dict.keys()
    different |= {
        name
        for name in drawn.keys() & found.state_dict.keys()
        if not torch.equal(drawn[name].to(stored), found.state_dict[name])
    }
    yield Outcome(f"{label} tensors", float(len(different)))
    model = place.model(file, lambda: build(found))
    left, right = _frames(arrays, place)
    session = model.open(*left.shape[-2:])
    timestep = torch.from_numpy(arrays["dt_0"]).flatten().to(place.device)
    frames = session.between(session.encode(left), session.encode(right), timestep)
    expected = arrays["out_fp16_weights" if stored == torch.float16 else "out_0"]
    yield Outcome(f"{label} picture", place.error(frames, torch.from_numpy(expected)), place.bound)


def _orders(label: str, table: dict[str, list[list[float]]]) -> Iterator[Outcome]:
    """Compare the schedule of each multiplier: count steps (frame, left, right, timestep) that differ."""
    for multiplier, expected in table.items():
        times = [k / int(multiplier) for k in range(1, int(multiplier))]
        steps = [[step.frame, step.left, step.right, step.timestep] for step in schedule(times)]
        different = sum(ours != theirs for ours, theirs in zip_longest(steps, expected))
        yield Outcome(f"{label} x{multiplier}", float(different))


def _names(label: str, table: dict[str, Any]) -> Iterator[Outcome]:
    """Compare each naming of the published network: count names that are recognised as something else."""
    rows = table["rows"]
    shapes = published_names(shapes_of(FAMILIES["film"]))
    # The last column is the shape.
    for column, naming in enumerate(table["columns"][:-1]):
        name = f"{label} {naming}"
        if "tensorflow" in naming:
            yield Outcome(name, skipped="files of TensorFlow are not read")
            continue
        # Names and shapes are all that detection looks at; on the meta device they take no memory.
        state = {row[column]: torch.empty(row[-1], dtype=torch.float32, device="meta") for row in rows}
        detected = published_names(detect(state).state_dict)
        right = sum(
            canonical == ours and shapes.get(ours) == tuple(value.shape)
            for (canonical, *_), (ours, value) in zip(rows, detected.items(), strict=True)
        )
        yield Outcome(name, float(len(shapes) - right))


_TABLES = {"schedule.json": _orders, "keys.json": _names}
