"""Measures one row of the benchmark: ours and a peer on the same frames, interleaved."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..report.quality import Difference, difference
from ..vfi_models.surroundings import exact_convolutions
from . import footprint
from .contenders import OURS, opened, options, ours, same_network
from .machine import rates, synchronise
from .network import Stopwatch, TimedModel, counts, stopwatch
from .peers import Against, Interpolate
from .work import Work

# dB: the least between two float32 implementations of one network on these frames. Not a largest error: where
# a network is steep, the last bits of a sum can move a few pixels by a hundredth.
_SAME = 90.0
# dB: the least that 16 bits may leave of our float32 picture for a speed to count.
_GOOD = 45.0
# dB: the same for a peer in 16 bits; whether that is good enough is for its authors to say.
_ROUGH = 30.0


@dataclass(frozen=True)
class Limits:
    """Rounds and memory of a measurement."""

    rounds: int
    vram_gib: float | None = None


@dataclass(frozen=True)
class Times:
    """Times of the runs of one contender: seconds by the clock, and processor seconds of this process.

    On a shared machine processor seconds are the better measure; on an accelerator they measure nothing.
    """

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    network: list[float] = field(default_factory=list)
    """Seconds of the network without the loop around it; of ours alone."""


def row(work: Work, against: Against | None, limits: Limits) -> dict[str, Any]:
    """Measure one work against one peer, or ours alone.

    Raises:
        BadInputError: the peer cannot run this.
    """
    clip = work.clip()
    model = work.build()
    contenders: dict[str, Interpolate] = {}
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        if against is not None:
            # The peer first: one that cannot run this fails before anything is measured.
            contenders[against.label] = opened(against, work, Path(scratch))
        watch = stopwatch(work.device)
        contenders[OURS] = ours(TimedModel(model, watch.running), work, against)
        pictures, failures = _first_runs(contenders, clip, work)
        times = _interleaved(contenders, clip, work, limits, watch)
        measured = _about(work, against) | _ours_alone(work, times[OURS], options(model, work, against))
        verdict = _verdict(work, against, pictures, clip)
        measured |= verdict
        if against is not None:
            # None, where the peer runs another network, keeps the speed: the row then says that it is
            # another.
            measured |= _compared(work, against, times, agree=verdict["pictures_agree"] is not False)
            measured["their_failure"] = failures.get(against.label)
    return measured | _memory(work, against, limits, failures)


def _first_runs(
    contenders: dict[str, Interpolate], clip: Tensor, work: Work
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Run each contender once, untimed; return the pictures, and who ran out of memory and is left out.

    Without TF32, by which two implementations of one network in float32 are 1e-3 apart; timed runs have it
    where torch uses it.
    """
    pictures, failures = {}, {}
    for who in list(contenders):
        try:
            with exact_convolutions(torch.device(work.device)):
                pictures[who] = contenders[who](clip, work.multiplier).float()
        except torch.OutOfMemoryError:
            # Without ours there is no row; without the peer there is one, which says that it ran out of
            # memory.
            if who == OURS:
                raise
            del contenders[who]
            failures[who] = "out of memory"
    return pictures, failures


def _interleaved(
    contenders: dict[str, Interpolate], clip: Tensor, work: Work, limits: Limits, watch: Stopwatch
) -> dict[str, Times]:
    """Time the contenders in turn, in an order that is reversed after each round."""
    times = {name: Times() for name in contenders}
    order = list(contenders)
    kind = torch.device(work.device).type
    for _ in range(limits.rounds):
        for name in order:
            if limits.vram_gib:  # memory that one keeps cached must not be missing from the other's limit
                torch.cuda.empty_cache()
            synchronise(kind)
            # Back to 0: the untimed first run has left its seconds on it.
            watch.taken()
            start, processor_start = time.perf_counter(), time.process_time()
            # Between two waits for the device: on CUDA a call returns before its work is done.
            contenders[name](clip, work.multiplier)
            synchronise(kind)
            times[name].processor.append(time.process_time() - processor_start)
            times[name].wall.append(time.perf_counter() - start)
            times[name].network.append(watch.taken())
        # Who runs second finds caches warm and clocks throttled: both take turns.
        order.reverse()
    return times


def _about(work: Work, against: Against | None) -> dict[str, Any]:
    return {
        "model": work.model,
        "weights": Path(work.file).name
        if work.file
        else "its own"
        if work.model == "default"
        else "synthetic",
        "size": f"{work.size[0]}x{work.size[1]}",
        "multiplier": work.multiplier,
        "frames": work.frames,
        "dtype": work.dtype,
        "device": work.device,
        "options": work.options,
        "against": against.label if against else "nothing",
    }


def _ours_alone(work: Work, times: Times, chosen: Mapping[str, Any]) -> dict[str, Any]:
    seconds = statistics.median(times.wall)
    alone = statistics.median(times.network) / work.made_frames
    # The bound is of the network alone, so it is compared with the network's own time and not with the whole.
    counted = counts(work, chosen)
    itemsize = getattr(torch, work.dtype).itemsize
    bound = counted.bound(rates(work.device, work.dtype), itemsize)
    return {
        "seconds_per_made_frame": seconds / work.made_frames,
        "made_frames_per_second": work.made_frames / seconds,
        "spread": (max(times.wall) - min(times.wall)) / seconds,
        "processor_seconds_per_made_frame": statistics.median(times.processor) / work.made_frames,
        "network_seconds_per_made_frame": alone,
        "gflop_per_made_frame": counted.flops / 1e9,
        "least_mb_per_made_frame": counted.traffic(itemsize) / 1e6,
        "bound_seconds_per_made_frame": bound,
        "fraction_of_bound": bound / alone,
    }


def _verdict(
    work: Work, against: Against | None, pictures: Mapping[str, Tensor], clip: Tensor
) -> dict[str, Any]:
    """Measure how far pictures are from the float32 reference, and judge whether that is near enough.

    The reference is the peer's pictures where both run in float32, else our own in float32.
    """
    theirs = pictures.get(against.label) if against and same_network(work, against) else None
    if work.dtype == work.peer_dtype == "float32":
        if against is None or theirs is None:
            return {"reference": None, "pictures_agree": None}
        error = difference(pictures[OURS], theirs, work.multiplier)
        return {"reference": against.label, **asdict(error), "pictures_agree": error.psnr >= _SAME}
    with exact_convolutions(torch.device(work.device)):
        # A peer in 16 bits is no reference either: both are held to ours in float32.
        exact = ours(work.build("float32"), work, against)(clip, work.multiplier)
    error = difference(pictures[OURS], exact, work.multiplier)
    found = {"reference": f"{OURS} float32", **asdict(error), "pictures_agree": error.psnr >= _GOOD}
    if theirs is not None:
        of_theirs = difference(theirs, exact, work.multiplier)
        found |= {f"their_{name}": value for name, value in asdict(of_theirs).items()}
        found["pictures_agree"] = found["pictures_agree"] and _same_network(of_theirs, work.peer_dtype)
    return found


def _same_network(theirs: Difference, dtype: str) -> bool:
    return theirs.psnr >= (_SAME if dtype == "float32" else _ROUGH)


def _compared(work: Work, against: Against, times: Mapping[str, Times], *, agree: bool) -> dict[str, Any]:
    """Compare speeds with the peer's; none where the pictures differ, for then the numbers mean nothing."""
    compared: dict[str, Any] = {
        "their_network": against.network or work.model,
        "their_dtype": work.peer_dtype,
        "speedup": None,
        "processor_speedup": None,
    }
    theirs, our = times.get(against.label), times[OURS]
    if theirs is None:
        return compared
    compared |= {
        "their_seconds_per_made_frame": statistics.median(theirs.wall) / work.made_frames,
        "their_processor_seconds_per_made_frame": statistics.median(theirs.processor) / work.made_frames,
    }
    if agree:
        compared["speedup"] = statistics.median(theirs.wall) / statistics.median(our.wall)
        compared["processor_speedup"] = statistics.median(theirs.processor) / statistics.median(our.processor)
    return compared


def _memory(
    work: Work, against: Against | None, limits: Limits, failures: Mapping[str, str]
) -> dict[str, Any]:
    """Measure peaks in MiB; ``peak_mib`` is that of the memory that the network runs in."""
    # In processes of their own: what one allocator keeps cached would hide the other's peak.
    mine = footprint.in_own_process(work, OURS, against, limits.vram_gib)
    found = {
        "host_peak_mib": mine["host"],
        "device_peak_mib": mine["device"],
        "device_reserved_mib": mine["reserved"],
        "peak_mib": mine["host"] if mine["device"] is None else mine["device"],
        "vram_gib": limits.vram_gib,
    }
    # A peer that ran out of memory has no peak to report.
    if against is not None and against.label not in failures:
        other = footprint.in_own_process(work, against.label, against, limits.vram_gib)
        found |= {
            "their_host_peak_mib": other["host"],
            "their_device_peak_mib": other["device"],
            "their_device_reserved_mib": other["reserved"],
            "their_peak_mib": other["host"] if other["device"] is None else other["device"],
        }
    return found
