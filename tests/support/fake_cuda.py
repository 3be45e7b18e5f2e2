"""CUDA without a device: fake tensors, streams and events that remember, and copies that can be too early.

torch runs a copy on the current stream of the device that is read, or of the one that is written where the
host is read. Here nothing is ever done by itself: a copy counts as done once the host has waited for an event
that comes after it. Whoever reads what it wrote before that, or writes what it reads, is told.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

ROOMY = 64 * 2**30


class Stream:
    def __init__(self, cuda: "Cuda", device: torch.device | str) -> None:
        self.cuda, self.device, self.work = cuda, torch.device(device), []

    def wait_event(self, event: "Event") -> None:
        self.work.append(event.place)

    def wait_stream(self, stream: "Stream") -> None:
        self.work.append((stream, len(stream.work)))


class Event:
    def __init__(self, cuda: "Cuda") -> None:
        self.cuda, self.place = cuda, None

    def record(self, stream: Stream | None = None) -> None:
        stream = stream or self.cuda.current_stream()
        self.place = (stream, len(stream.work))

    def synchronize(self) -> None:
        self.cuda.waits += 1
        self.cuda.log.append("wait")
        self.cuda.reach(*self.place)


class Cuda(TorchDispatchMode):
    """Enter it inside of nothing else; it brings its fake tensors along.

    Attributes:
        log: of what happened, for tests to add to.
        waits: how often the host waited for an event.
        moved: bytes by (kind of device read, kind of device written).
        pinned: buffers of pinned memory that were made.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.log, self.waits, self.moved, self.pinned = [], 0, Counter(), 0
        self._fake = FakeTensorMode()
        self._stack = contextlib.ExitStack()
        self._current, self._done, self._used = {}, {}, {}
        for name, value in {
            "Stream": lambda device: Stream(self, device),
            "Event": lambda: Event(self),
            "current_stream": self.current_stream,
            "stream": self.stream,
            "mem_get_info": lambda device=None: (ROOMY, ROOMY),
            "get_per_process_memory_fraction": lambda device=None: 1.0,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value, raising=False)
        for name in (
            "memory_reserved",
            "memory_allocated",
            "max_memory_allocated",
            "reset_peak_memory_stats",
        ):
            monkeypatch.setattr(torch.cuda, name, lambda device=None: 0)
        monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)
        # These methods ask for the device itself before anything fake is asked.
        monkeypatch.setattr(torch.Tensor, "copy_", _copied)
        monkeypatch.setattr(torch.Tensor, "contiguous", _contiguous)
        monkeypatch.setattr(torch.Tensor, "__getitem__", _item)

    def __enter__(self) -> "Cuda":
        self._stack.enter_context(torch.inference_mode())
        self._stack.enter_context(self._fake)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._stack.close()

    def current_stream(self, device: torch.device | str = "cuda:0") -> Stream:
        device = torch.device(device)
        index = device.index or 0
        return self._current.setdefault(index, Stream(self, torch.device("cuda", index)))

    @contextlib.contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        index = stream.device.index or 0
        before = self.current_stream(stream.device)
        self._current[index] = stream
        try:
            yield
        finally:
            self._current[index] = before

    def reach(self, stream: Stream, count: int) -> None:
        """The host knows that the first ``count`` pieces of a stream's work are done."""
        known = self._done.get(stream, 0)
        self._done[stream] = max(known, count)
        for piece in stream.work[known:count]:
            if piece is not None:
                self.reach(*piece)

    def require_done(self, tensor: torch.Tensor, what: str) -> None:
        """Whatever copied from or to a tensor on the host must be known to be done."""
        stream, count = self._used.get(id(tensor), (None, 0))
        assert stream is None or self._done.get(stream, 0) >= count, f"{what} too early"

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.pinned += bool(kwargs.get("pin_memory"))
        made = function(*args, **kwargs)
        if function.overloadpacket in (torch.ops.aten.copy_, torch.ops.aten._to_copy, torch.ops.aten.to):
            names = [argument.name for argument in function._schema.arguments]
            given = dict(zip(names, args, strict=False)) | kwargs
            self._copy(given.get("src", args[0]), made, blocking=not given.get("non_blocking"))
        return made

    def _copy(self, read: torch.Tensor, written: torch.Tensor, *, blocking: bool) -> None:
        if read.device == written.device == torch.device("cpu"):
            self.require_done(read, "read")
            self.require_done(written, "written")
        if read.device == written.device:
            return
        self.moved[read.device.type, written.device.type] += written.nbytes
        stream = self.current_stream(read.device if read.device.type == "cuda" else written.device)
        stream.work.append(None)
        if blocking:
            self.reach(stream, len(stream.work))
        for tensor in (read, written):
            if tensor.device.type == "cpu":
                self._used[id(tensor)] = (stream, len(stream.work))


def _copied(into: torch.Tensor, read: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    return torch.ops.aten.copy_.default(into, read, non_blocking)


def _contiguous(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_contiguous():
        return tensor
    return torch.ops.aten.clone.default(tensor, memory_format=torch.contiguous_format)


_ITEM = torch.Tensor.__getitem__


def _item(tensor: torch.Tensor, key: Any) -> torch.Tensor:
    if tensor.device.type == "cuda" and isinstance(key, slice):
        return torch.ops.aten.slice.Tensor(tensor, 0, key.start, key.stop)
    return _ITEM(tensor, key)
