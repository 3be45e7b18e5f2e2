"""Runs chunk jobs in child processes that are killed at random moments, until each comes to its end.

A program of its own: it loads the pack and forks before torch has made a thread, so that a child is at work
within milliseconds. Says in JSON what came out and what state the kills left.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from packs import load_pack


def child_of(work: Callable[[], object]) -> int:
    """Starts ``work`` in a child, which ends without cleaning up in any case."""
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException:  # noqa: BLE001 -- nothing of this process's parent may run on in the child
        traceback.print_exc()
        os._exit(1)


def ended(child: int, limit: float) -> bool:
    """Waits ``limit`` seconds at most, then kills. Whether the child came to its end."""
    until = time.monotonic() + limit
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert status == 0, "a run failed by itself"
            return True
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def finished(folder: Path) -> dict[str, int]:
    """The segments that have a record, and when they were written."""
    segments = [path.with_suffix(".mkv") for path in folder.glob("0*.json")]
    return {path.name: path.stat().st_mtime_ns for path in segments if path.exists()}


def main(source: str, folder: str, kills: int) -> None:
    load_pack()
    from midframe.chunks import Inline, Job, process
    from midframe.vfi_utils import QuietHost
    from midframe.video import Coding, Plan

    # Many kills come early, so that a job is killed several times before its end.
    dice, whole, latest = random.Random(1), 60.0, 0.3 if kills > 1 else 1.0
    report = {"outputs": [], "states": [], "remade": []}
    while not report["outputs"] or len(report["states"]) < kills:
        name = Path(folder) / f"out{len(report['outputs'])}"
        work = name.with_suffix(".work")
        plan = Plan(2, coding=Coding("ffv1"))
        job = Job(Path(source), name.with_suffix(".mkv"), work, plan=plan, pairs=4)
        uninterrupted, begun, before = not report["outputs"], time.monotonic(), {}
        while not ended(
            child_of(lambda job=job: process(job, Inline(job.model.load), host=QuietHost())),
            whole if uninterrupted else dice.uniform(0, latest * whole),
        ):
            after = finished(work)
            if not job.target.exists():  # else it was killed while it removed what is no longer needed
                report["remade"] += [segment for segment in before if after.get(segment) != before[segment]]
            half = sum(".tmp" in path.name for path in work.iterdir()) if work.exists() else 0
            report["states"].append([len(after), half])
            before = after
        whole = time.monotonic() - begun if uninterrupted else whole
        report["outputs"].append(str(job.target))
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
