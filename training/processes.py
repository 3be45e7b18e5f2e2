"""Several processes that train one network, as ``torchrun`` starts them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import BadInputError


def share() -> tuple[int, int]:
    """Return (rank, count) of this process among those that train."""
    return (dist.get_rank(), dist.get_world_size()) if _several() else (0, 1)


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()


@contextmanager
def together(device: torch.device, batch: int) -> Iterator[torch.device]:
    """Meet the other processes that ``torchrun`` started, if it did; yield the device of this one.

    Args:
        device: asked for; each process has a GPU of its own.
        batch: samples of a step, which the processes share.

    Raises:
        BadInputError: the samples cannot be shared out evenly.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield device
        return
    if batch % count:
        raise BadInputError(
            "The samples of a step cannot be shared out evenly.",
            f"batch = {batch}, {count} processes",
            f"Take a multiple of {count} as the batch.",
        )
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def average(parameters: Iterable[nn.Parameter], loss: Tensor) -> Tensor:
    """Replace gradients by their means over all processes, and return the mean of the losses."""
    if not _several():
        return loss
    parameters = list(parameters)
    # In one message: a network has hundreds of small parameters. One without a gradient here may have one in
    # another process.
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([*(part.reshape(-1) for part in parts), loss.reshape(-1)])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    means = torch.split(flat, [*(part.numel() for part in parts), 1])
    for parameter, mean in zip(parameters, means, strict=False):
        if parameter.grad is not None:
            parameter.grad.copy_(mean.view_as(parameter))
    return means[-1].reshape(())


def any_of(flag: bool, device: torch.device) -> bool:
    """Tell whether the flag of any process is set, so that all of them end after the same step."""
    if not _several():
        return flag
    told = torch.tensor(float(flag), dtype=torch.float32, device=device)
    dist.all_reduce(told, op=dist.ReduceOp.MAX)
    return bool(told)


@contextmanager
def ending(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether Ctrl-C or a request to end (SIGTERM) has come.

    The step in hand is finished and saved. A second Ctrl-C ends at once; what was saved before stays.
    """
    asked = False

    def hear(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        say("ends after this step; once more: at once, without saving it")

    before = {}
    # Signals can be heard in the main thread alone.
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
