"""Make chunks on the workers of a Ray cluster: the processors and GPUs of this machine, or of many."""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import BadInputError, MidframeError
from ..vfi_utils import Host
from ..video import ClipInfo
from ..weights.loading import default_device
from .job import Job
from .run import Done
from .store import Record, Store
from .worker import ROOT, error_of, portable, task_of

_LOG = logging.getLogger(__name__)

TRIES = 4
"""Times that a chunk is started, where its workers are lost."""
# Between two checks of whether the user cancelled.
_POLL_SECONDS = 0.1
# Seconds that a cancelled worker has to clean up.
_GRACE = 5.0
# Seconds that a cluster has to answer.
_ANSWER = 5.0
# Of a worker without a GPU, by default.
_CORES = 2
# Bytes of Ray's own memory for objects. Frames never go through it. Ray takes no less than 75 MiB.
_OBJECTS = 80 * 2**20


class Farm:
    """Makes chunks in Ray's workers, each a task of its own; a lost worker's chunk is made by another.

    Args:
        address: of a cluster, see ``ray.init``; None starts one on this machine, and ends it after the run.
            A cluster that this process is connected to already is used in any case.
        workers: at once; None is one for each GPU, or one for two cores where there is none.

    Raises:
        MidframeError: Ray is not installed.
        BadInputError: there can be no such number of workers.
    """

    def __init__(self, *, address: str | None = None, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise BadInputError("There must be one worker or more.", str(workers), "Leave it out.")
        self._ray = _import_ray()
        self._address = address
        self._workers = workers

    def __call__(self, job: Job, store: Store, info: ClipInfo, *, host: Host, done: Done) -> None:
        """See :class:`.Executor`.

        Raises:
            MidframeError: the cluster cannot be reached, or a chunk was lost with its worker ``TRIES`` times.
            Exception: whatever was raised in a worker.
        """
        with _cluster(self._ray, self._address, self._workers, job) as share:
            _Run(self._ray, job, store, share)(info, host, done)


@dataclass(frozen=True)
class _Share:
    """The resources of each worker."""

    at_once: Callable[[], int]
    """Returns how many tasks to have started: some more than workers, so that no worker waits for one."""
    cores: float
    gpus: float
    threads: int
    """Threads of torch in a worker."""

    def options(self) -> dict[str, Any]:
        """Return Ray's options of a task. Ray does not retry it: only the store knows what is finished."""
        # Threads of OpenMP that spin while they wait would take the cores of other workers.
        environment = {"OMP_NUM_THREADS": str(self.threads), "OMP_WAIT_POLICY": "PASSIVE"}
        return {
            "max_retries": 0,
            "num_cpus": self.cores,
            "num_gpus": self.gpus,
            "runtime_env": {"env_vars": environment},
        }


class _Run:
    """The chunks of one job on a cluster."""

    def __init__(self, ray: Any, job: Job, store: Store, share: _Share) -> None:
        self._ray = ray
        self._job = job
        self._store = store
        self._share = share
        self._make = ray.remote(portable())
        self._task = ray.put(task_of(job, store))
        self._running: dict[Any, int] = {}
        self._losses: Counter[int] = Counter()
        self._stop: int | None = None

    def __call__(self, info: ClipInfo, host: Host, done: Done) -> None:
        """Make chunks until the store is complete."""
        total = self._job.frames_expected(info)
        self._stop = self._job.chunks_estimate(info)
        host.progress(self._store.frames, total, None)
        try:
            while not self._store.complete:
                host.check_cancelled()
                self._start_tasks()
                # Polled: a SIGTERM while ray.wait blocks would come out as another error.
                ended, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
                if not ended:
                    time.sleep(_POLL_SECONDS)
                for record in filter(None, map(self._collect, ended)):
                    done(record)
                    frames = self._store.frames
                    host.progress(frames, total and max(frames, total), None)
        finally:
            self._cancel_rest()

    def _start_tasks(self) -> None:
        """Start tasks for as many of the missing chunks as there is room for, in order."""
        room = self._share.at_once() - len(self._running)
        for chunk in self._missing(room)[: max(0, room)]:
            make = self._make.options(name=f"midframe chunk {chunk}", **self._share.options())
            self._running[make.remote(ROOT, self._task, chunk)] = chunk

    def _missing(self, room: int) -> list[int]:
        """Return the chunks to be started.

        Where the clip is longer than its header says, or that says nothing, the ones after the last that is
        finished are tried: past the end, a chunk is empty and says so.
        """
        stop = self._stop
        if stop is None or not (self._running or self._store.missing(stop)):
            self._stop = None
            finished = self._store.records
            stop = (finished[-1].chunk + 1 if finished else 0) + len(self._running) + room
        running = set(self._running.values())
        return [chunk for chunk in self._store.missing(stop) if chunk not in running]

    def _collect(self, task: Any) -> Record | None:
        """Return the record of a finished task's chunk; None where it must be made again.

        Raises:
            Exception: what was raised in the worker.
        """
        errors, chunk = self._ray.exceptions, self._running.pop(task)
        failure, reason = None, "what is in the work folder is not what it made"
        try:
            failure = self._ray.get(task)
        except errors.RayTaskError as error:
            # A fault of the code: errors of ours are returned. Any other RayError is a lost worker.
            raise error.cause from error
        except errors.RayError as error:
            reason = str(error).strip().partition("\n")[0]
        # Only what is on this disk counts: a worker elsewhere may have another folder of that name.
        record = self._store.read(chunk)
        if record is None and failure is not None:
            _LOG.info("Chunk %d failed:\n%s", chunk, failure["trace"])
            raise error_of(failure)
        if record is None:
            self._count_loss(chunk, reason)
        return record

    def _count_loss(self, chunk: int, reason: str) -> None:
        self._losses[chunk] += 1
        if self._losses[chunk] == TRIES:
            raise MidframeError(
                "A chunk is lost with its worker every time.",
                f"chunk {chunk}, {TRIES} times, at last: {reason}",
                "If memory ran out, use fewer workers. Run the same again: finished chunks are kept.",
            )
        _LOG.warning("Chunk %d is made again, its worker was lost: %s", chunk, reason)

    def _cancel_rest(self) -> None:
        """Cancel what still runs. Chunks that were finished meanwhile are kept, unfinished ones removed."""
        # Without force a KeyboardInterrupt, after which a worker removes its unfinished segment.
        for task in self._running:
            self._ray.cancel(task)
        if self._running:
            tasks = list(self._running)
            _, running = self._ray.wait(tasks, num_returns=len(tasks), timeout=_GRACE)
            for task in running:
                self._ray.cancel(task, force=True)
        for chunk in self._running.values():
            self._store.read(chunk)
        # Workers that were killed leave temporary files.
        self._store.clean()


def _import_ray() -> Any:
    with _keep_handlers():
        try:
            return importlib.import_module("ray")
        except ImportError as error:
            raise MidframeError(
                "Ray is not installed.", str(error), "pip install ray, or leave the executor at inline."
            ) from error


@contextlib.contextmanager
def _cluster(ray: Any, address: str | None, workers: int | None, job: Job) -> Iterator[_Share]:
    """Connect to a cluster, and give the resources of its workers."""
    device = torch.device(job.model.device) if job.model.device else None
    if device is not None and device.index is not None:
        raise BadInputError(
            "Workers are given their GPUs by Ray.", str(device), f"Leave the number out: {device.type}."
        )
    if ray.is_initialized():
        yield _share_there(ray, workers, device)
        return
    # Workers' logs would run through the progress bar.
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        with _keep_handlers():
            if address is None:
                share, here = _share_here(workers, device or default_device())
                ray.init("local", include_dashboard=False, object_store_memory=_OBJECTS, **here, **quiet)
            else:
                _require_answer(address)
                ray.init(address, **quiet)
                share = _share_there(ray, workers, device)
    except (OSError, RuntimeError, ValueError) as error:
        raise MidframeError(
            "There is no connection to a Ray cluster.",
            f"{address or 'one on this machine'}: {error}",
            "Check the address, and that Python and Ray have the same versions there as here.",
        ) from error
    try:
        yield share
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Check that somebody answers: Ray tries for many minutes to reach a machine that is not there.

    Raises:
        OSError: nobody answers.
    """
    host, _, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    if port.isdigit():  # "auto" and others are Ray's own business
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER).close()


def _share_here(workers: int | None, device: torch.device) -> tuple[_Share, dict[str, int]]:
    """Return the resources of workers on this machine, and those that Ray gets: room for that many."""
    cores = os.cpu_count() or 1
    # torch.cuda, torch.xpu and others count their devices under the same name.
    gpus = 0 if device.type == "cpu" else getattr(torch, device.type).device_count()
    count = workers or gpus or max(1, cores // _CORES)
    # Ray is told of one core a worker; the threads of torch in these share the machine's real cores.
    share = _Share(lambda: 2 * count, 1, _gpus_each(count, gpus), max(1, cores // count))
    return share, {"num_cpus": count, "num_gpus": gpus}


def _gpus_each(workers: int, gpus: int) -> float:
    """Return what part of a GPU each worker gets, so that all find room: Ray gives none parts of two."""
    return 1 / math.ceil(workers / gpus) if gpus else 0.0


def _share_there(ray: Any, workers: int | None, device: torch.device | None) -> _Share:
    """Return the resources of workers on a cluster, whose machines may come and go."""

    def has(kind: str) -> int:
        return int(ray.cluster_resources().get(kind, 0))

    gpus = has("GPU")
    if gpus and (device is None or device.type != "cpu"):
        count = max(workers or gpus, gpus)
        return _Share(
            lambda: workers or 2 * max(1, has("GPU")), 1, _gpus_each(count, gpus), max(1, has("CPU") // count)
        )
    # A task that wants more cores than any one machine has would wait for ever.
    largest = max((int(node["Resources"].get("CPU", 0)) for node in ray.nodes()), default=_CORES)
    cores = max(1, min(has("CPU") // workers if workers else _CORES, largest))
    return _Share(lambda: workers or 2 * max(1, has("CPU") // cores), cores, 0, cores)


@contextlib.contextmanager
def _keep_handlers() -> Iterator[None]:
    """Undo what Ray does about signals: whoever runs this decides how it ends."""
    # Python lets only the main thread set handlers.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
