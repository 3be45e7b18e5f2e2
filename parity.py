"""Golden outputs of reference implementations against our networks: the self-test of a machine.

A golden file holds inputs, outputs and the recipe of the weights (see :mod:`.vfi_models._core.synthetic`);
the formats are those of ``tests/goldens``.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .api import usable_device
from .errors import BadInputError, MidframeError
from .vfi_models import build, detect
from .vfi_models._core.seam import Interpolator
from .vfi_models._core.synthetic import synthetic_state_dict

BUNDLED = Path(__file__).parent / "tests" / "goldens"

_BOUNDS = {torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""Largest error in float32; in 16 bits, where single pixels move by whole structures, largest mean error."""

_NO_NETWORK = {
    "hdv3": "RIFE 3.x is not in this pack",
    "paper": "the RIFE paper's model is not in this pack",
    "paper_m": "the RIFE paper's model is not in this pack",
    "paper_2r": "the RIFE paper's model is not in this pack",
    "losses": "the RIFE paper's losses are not in this pack",
}


_NO_FOLDER = {"film": "FILM yet", "tlbvfi": "TLBVFI yet"}
_DEFECT = 0.1
"""The reference's ensemble of 4.7 to 4.13 is off by 0.34 and more; rounding by less than 1e-4."""
_BROKEN = (KeyError, ValueError, TypeError, OSError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Outcome:
    """One case: how far off it is, why it was not run, or what kept it from running."""

    name: str
    error: float | None = None
    bound: float = 0.0
    skipped: str = ""
    broken: str = ""

    @property
    def failed(self) -> bool:
        """Over the bound, or not a number."""
        return not self.skipped and not (self.error is not None and self.error <= self.bound)

    def __str__(self) -> str:
        if self.skipped:
            return f"{self.name}: skipped: {self.skipped}"
        if self.error is None:
            return f"{self.name}: FAILED {self.broken}"
        return f"{self.name}: {'FAILED' if self.failed else 'ok'} {self.error:.1e} (bound {self.bound:.0e})"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``midframe parity``."""
    parser.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="golden folders or files (default: those of the pack)",
    )
    parser.add_argument("--device", default=None, help="cpu, cuda, mps ... (default: the best)")
    parser.add_argument(
        "--dtype", choices=("float32", "float16", "bfloat16"), default="float32", help="of the convolutions"
    )


def run(args: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Runs the cases, says a line for each and a last one; 1 where one failed or none was run."""
    device = usable_device(args.device)
    outcomes = []
    for outcome in compare(args.paths or [BUNDLED], device, getattr(torch, args.dtype)):
        say(str(outcome))
        outcomes.append(outcome)
    failed = sum(o.failed for o in outcomes)
    skipped = sum(bool(o.skipped) for o in outcomes)
    worst = max((o.error for o in outcomes if o.error is not None), default=0.0)
    say(f"{len(outcomes)} cases, {failed} failed, {skipped} skipped, worst {worst:.1e}")
    return 1 if failed or skipped == len(outcomes) else 0


def compare(paths: Iterable[Path], device: torch.device, dtype: torch.dtype) -> Iterator[Outcome]:
    """The outcome of every case in the golden files under ``paths``.

    Raises:
        BadInputError: a path that does not exist or holds no golden file.
    """
    for path in paths:
        for file in _golden_files(path):
            yield from _run_file(file, device, dtype)


@contextmanager
def _exactly(device: torch.device) -> Iterator[None]:
    """Without TensorFloat-32, which convolutions use by default and which is 1e-3 off; else as always."""
    cudnn = torch.backends.cudnn
    as_always = {"enabled": cudnn.enabled, "benchmark": cudnn.benchmark, "deterministic": cudnn.deterministic}
    with torch.inference_mode():
        if device.type != "cuda":
            yield
            return
        with cudnn.flags(**as_always, allow_tf32=False):
            yield


def _golden_files(path: Path) -> list[Path]:
    files = [path] if path.is_file() else sorted(path.rglob("*.npz"))
    if not files:
        raise BadInputError(
            "There are no goldens here.", str(path), "Give a folder with .npz files, or leave PATH out."
        )
    return files


def _run_file(file: Path, device: torch.device, dtype: torch.dtype) -> Iterator[Outcome]:
    label = f"{file.parent.name}/{file.stem}"
    if file.parent.name in _NO_FOLDER:
        yield Outcome(label, skipped=f"the pack does not have {_NO_FOLDER[file.parent.name]}")
        return
    try:
        archive = dict(np.load(file))
        meta = json.loads(str(archive["meta"]))
        name, cases = meta["name"], meta["cases"]
    except _BROKEN as error:
        yield Outcome(label, broken=f"not a golden file: {error}")
        return
    if name in _NO_NETWORK:
        names = [case["case"] for case in cases] or ["all"]
        yield from (Outcome(f"{label} {case}", skipped=_NO_NETWORK[name]) for case in names)
        return
    if not cases:
        yield Outcome(label, broken="no cases")
    models: dict[float, Interpolator] = {}
    for case in cases:
        yield _run_case(f"{label} {case.get('case')}", (archive, meta, case), models, (device, dtype))


def _run_case(
    name: str,
    golden: tuple[dict[str, Any], dict[str, Any], dict[str, Any]],
    models: dict[float, Interpolator],
    place: tuple[torch.device, torch.dtype],
) -> Outcome:
    archive, meta, case = golden
    if case.get("source") == "cfi" and (case.get("max_abs_difference_to_vs_rife") or 0) > _DEFECT:
        return Outcome(name, skipped="records a known defect of the reference, see the goldens' README")
    try:
        with _exactly(place[0]):
            gain = case.get("gain", meta["gain"])
            if gain not in models:
                models[gain] = _golden_model(meta, gain, *place)
            return Outcome(name, _error(archive, case, models[gain], *place), _BOUNDS[place[1]])
    except (*_BROKEN, MidframeError, RuntimeError) as error:
        return Outcome(name, broken=f"{type(error).__name__}: {error}".partition("\n")[0])


def _golden_model(
    meta: dict[str, Any], gain: float, device: torch.device, dtype: torch.dtype
) -> Interpolator:
    shapes = {name: tuple(shape) for name, shape in meta["state_dict"]}
    detection = detect(synthetic_state_dict(shapes, meta["seed"], gain))
    if detection.family != meta["name"]:
        raise BadInputError(
            "Detection names another family than the golden file.",
            f"{detection.family}, expected {meta['name']}",
            "This is a fault of the pack; please report it.",
        )
    model = build(detection)
    model.module.to(device=device, dtype=dtype)
    return model


def _error(
    archive: Any, case: dict[str, Any], model: Interpolator, device: torch.device, dtype: torch.dtype
) -> float:
    left, right = (torch.from_numpy(archive[case[key]]).to(device) for key in ("img0", "img1"))
    options = {
        "flow_scale": case["scale"],
        "ensemble": case["ensemble"],
        "padded_size": tuple(case["padded"]),
        "refine": case.get("fastmode") is False,
        "restart": bool(case.get("restarted")),
    }
    height, width = left.shape[-2:]
    session = model.open(height, width, options)
    timestep = torch.tensor(case["timestep"], dtype=torch.float32, device=device)
    made: Tensor = session.between(session.encode(left), session.encode(right), timestep)
    session.close()
    step = case["step"]
    wanted = torch.from_numpy(archive[case["output"]])
    made = made[..., ::step, ::step].float().cpu()
    if made.shape != wanted.shape:
        raise ValueError(f"the output is {tuple(made.shape)}, expected {tuple(wanted.shape)}")
    difference = (made - wanted).abs()
    return float(difference.max() if dtype == torch.float32 else difference.mean())
