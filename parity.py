"""Golden outputs of reference implementations against our networks: the self-test of a machine.

A golden file holds inputs, outputs and the recipe of the weights (see :mod:`.vfi_models._core.synthetic`);
the formats are those of ``tests/goldens``.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import parity_tlbvfi
from .api import default_device
from .errors import BadInputError
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


@dataclass(frozen=True)
class Outcome:
    """One case: an error, or the reason why it was not run."""

    name: str
    error: float | None = None
    bound: float = 0.0
    skipped: str = ""

    @property
    def failed(self) -> bool:
        """Over the bound, or not a number."""
        return not self.skipped and not (self.error is not None and self.error <= self.bound)

    def __str__(self) -> str:
        if self.skipped:
            return f"{self.name}: skipped: {self.skipped}"
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
    parser.add_argument(
        "--device", type=torch.device, default=None, help="cpu, cuda, mps ... (default: the best)"
    )
    parser.add_argument(
        "--dtype", choices=("float32", "float16", "bfloat16"), default="float32", help="of the convolutions"
    )


def run(args: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Runs the cases, says a line for each and a last one; 1 where one failed or none was found."""
    device = args.device or default_device()
    outcomes = []
    for outcome in compare(args.paths or [BUNDLED], device, getattr(torch, args.dtype)):
        say(str(outcome))
        outcomes.append(outcome)
    failed = sum(o.failed for o in outcomes)
    skipped = sum(bool(o.skipped) for o in outcomes)
    worst = max((o.error for o in outcomes if o.error is not None), default=0.0)
    say(f"{len(outcomes)} cases, {failed} failed, {skipped} skipped, worst {worst:.1e}")
    return 1 if failed or not outcomes else 0


def compare(paths: Iterable[Path], device: torch.device, dtype: torch.dtype) -> Iterator[Outcome]:
    """The outcome of every case in the golden files under ``paths``.

    Raises:
        BadInputError: a path that does not exist or holds no golden file.
    """
    # TensorFloat-32, on by default for convolutions, is 1e-3 off; only while this runs.
    exact = torch.backends.cudnn.flags(allow_tf32=False) if device.type == "cuda" else nullcontext()
    with exact, torch.inference_mode():
        for path in paths:
            tlbvfi = _Tlbvfi(device, dtype)
            for file in _golden_files(path):
                archive, meta = _opened(file)
                if parity_tlbvfi.is_golden(meta):
                    yield from tlbvfi.run(file, archive, meta)
                else:
                    yield from _run_file(file, archive, meta, device=device, dtype=dtype)


def _golden_files(path: Path) -> list[Path]:
    files = [path] if path.is_file() else sorted(path.rglob("*.npz"))
    if not files:
        raise BadInputError(
            "There are no goldens here.", str(path), "Give a folder with .npz files, or leave PATH out."
        )
    return files


def _opened(file: Path) -> tuple[Any, dict[str, Any]]:
    try:
        archive = np.load(file)
        return archive, json.loads(str(archive["meta"])) if "meta" in archive else {}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise BadInputError(
            "This golden file cannot be read.", f"{file}: {error}", "Copy it again."
        ) from error


class _Tlbvfi:
    """The goldens of TLBVFI in one folder; neighbours share a network, which takes longer to fill than to run."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._device = device
        self._dtype = dtype
        self._weights: tuple[Any, ...] = ()
        self._net: Any = None

    def run(self, file: Path, archive: Any, meta: dict[str, Any]) -> Iterator[Outcome]:
        """Every case of a file."""
        label = f"{file.parent.name}/{file.stem}"
        if self._dtype != torch.float32:
            yield Outcome(label, skipped="TLBVFI runs in float32")
            return
        weights = (file.parent, meta["seed"], meta["gain"])
        if weights != self._weights:
            self._net, self._weights = parity_tlbvfi.load(meta, file.parent, self._device), weights
        found = False
        for name, error, bound in parity_tlbvfi.cases(dict(archive), meta, self._net):
            found = True
            yield Outcome(f"{label} {name}", error, bound)
        if not found:
            yield Outcome(label, skipped="nothing here reads this kind of file")


def _run_file(
    file: Path, archive: Any, meta: dict[str, Any], *, device: torch.device, dtype: torch.dtype
) -> Iterator[Outcome]:
    label = f"{file.parent.name}/{file.stem}"
    if not {"state_dict", "cases", "name"} <= meta.keys():
        yield Outcome(label, skipped=f"the pack does not have the network of {file.parent.name}")
        return
    reason = _NO_NETWORK.get(meta["name"])
    if reason:
        names = [case["case"] for case in meta["cases"]] or ["all"]
        yield from (Outcome(f"{label} {name}", skipped=reason) for name in names)
        return
    models: dict[float, Interpolator] = {}
    for case in meta["cases"]:
        name = f"{label} {case['case']}"
        if case["source"] == "cfi" and (case.get("max_abs_difference_to_vs_rife") or 0) > 0:
            yield Outcome(name, skipped="records a known defect of the reference, see the goldens' README")
            continue
        gain = case.get("gain", meta["gain"])
        if gain not in models:
            models[gain] = _golden_model(meta, gain, device, dtype)
        yield Outcome(name, _error(archive, case, models[gain], device, dtype), _BOUNDS[dtype])


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
    difference = (made[..., ::step, ::step].float().cpu() - wanted).abs()
    return float(difference.max() if dtype == torch.float32 else difference.mean())
