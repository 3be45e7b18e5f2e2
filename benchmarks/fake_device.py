"""A fake CUDA device, on which torch computes nothing: launches and bytes are counted.

Tensors claim to be on ``cuda:0`` and hold no numbers, so a network takes milliseconds a layer on any
machine, also at sizes that would not fit. Each of torch's own operations on the device counts as one launch
(cuDNN may add some, to transpose around a convolution), a padding as two; views, allocations and copies
between host and device count as none. An operation reads each of its tensors once and writes its result once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .. import vfi_utils
from ..engine import runner
from ..errors import MidframeError
from ..vfi_models import replaced_kernels

DEVICE = torch.device("cuda", 0)
_ATEN = torch.ops.aten

# Free bytes of the fake device: ample.
_FREE = 64 * 2**30
# They touch no data: allocations, and views that do not say so in their schema (`_unsafe_view`, `set_`).
_NO_LAUNCH = {
    "prim::device",
    *(f"aten::{name}" for name in ("empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided")),
    *(f"aten::{name}" for name in ("lift_fresh", "detach", "set_", "resize_", "_unsafe_view")),
}
# Operations that do not read the tensor that they are a method of.
_WRITES_ONLY = ("aten::copy_", "aten::fill_", "aten::zero_")
# Launches of an operation where it is not one: a fill and a copy.
_LAUNCHES = {"aten::constant_pad_nd": 2, "aten::pad": 2}


class DeviceWaitError(MidframeError):
    """The host would wait for the device."""


@dataclass
class Count:
    """Counts of the work that the device was given."""

    launches: int = 0
    bytes: int = 0
    """Bytes that launches read and write."""
    uploaded: int = 0
    """Bytes from the host."""
    downloaded: int = 0
    """Bytes to the host."""
    by_name: dict[str, int] = field(default_factory=dict)
    """Launches of each operation."""
    bytes_by_name: dict[str, int] = field(default_factory=dict)
    dtypes: set[torch.dtype] = field(default_factory=set)
    """Dtypes of the tensors that launches wrote."""

    before_last: Any = None
    """A copy of the counts when the last source frame was read."""

    def note_last_pair(self) -> None:
        """Copy the counts so far to ``before_last``."""
        # A shallow copy: its numbers stay, while the dictionaries and the set go on counting in both.
        self.before_last = replace(self)

    def note(self, name: str, moved: int) -> None:
        """Count a launch, or the few that an operation takes."""
        launches = _LAUNCHES.get(name, 1)
        self.launches += launches
        self.bytes += moved
        self.bytes_by_name[name] = self.bytes_by_name.get(name, 0) + moved
        self.by_name[name] = self.by_name.get(name, 0) + launches


class Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the launches of torch on the device of :func:`fake_cuda`.

    Raises:
        DeviceWaitError: the host would wait for the device (from an operation).
    """

    def __init__(self, count: Count) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._count = count

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation on fake tensors, and count it."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func._schema.name
        written = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        # Scalars on the CPU are arguments of a launch and no transfer.
        kinds = {x.device.type for x in (*written, *given) if x.ndim or x.device.type != "cpu"}
        if kinds == {"cpu", DEVICE.type}:
            self._transfer(name, args, kwargs, given, written)
        elif kinds == {DEVICE.type} and not _are_views(func, written, given) and name not in _NO_LAUNCH:
            # A tensor that is only written over, by copy_ or as `out`, is not read.
            read = given[1:] if name in _WRITES_ONLY else [x for x in given if x is not kwargs.get("out")]
            self._count.note(name, sum(map(_moved, (*read, *written))))
            self._count.dtypes.update(x.dtype for x in written)
        return result

    def _transfer(
        self, name: str, args: Any, kwargs: Any, given: list[Tensor], written: list[Tensor]
    ) -> None:
        to_host = written[0].device.type == "cpu"
        # copy_ takes non_blocking as its third positional argument.
        waits = not (kwargs.get("non_blocking") or (name == "aten::copy_" and args[2:3] == (True,)))
        if waits:
            raise DeviceWaitError(
                "The host would wait for the device.",
                f"{name} of {tuple(written[0].shape)} {'from' if to_host else 'to'} the device",
                "Copy without blocking, or keep it on the host.",
            )
        moved = (given[-1] if name == "aten::copy_" else given[0]).nbytes
        if to_host:
            self._count.downloaded += moved
        else:
            self._count.uploaded += moved


class _Direct(TorchFunctionMode):
    """Dispatches methods directly that would otherwise ask the driver for the current device."""

    _OPERATORS: ClassVar = {
        Tensor.copy_: _ATEN.copy_.default,
        Tensor.contiguous: _ATEN.contiguous.default,
    }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch, by its operator where that is needed."""
        kwargs = kwargs or {}
        if func in self._OPERATORS:
            return self._OPERATORS[func](*args, **kwargs)
        if func is Tensor.__getitem__:
            return _indexed(*args)
        if func is Tensor.__setitem__:
            x, index, value = args
            if _by_tensors(index):
                return _ATEN.index_put_.default(x, _as_tensors(x, index), value)
            part = _indexed(x, index)
            return _ATEN.copy_.default(part, value) if isinstance(value, Tensor) else part.fill_(value)
        return func(*args, **kwargs)


def _indexed(x: Tensor, index: Any) -> Tensor:
    """Return ``x[index]`` for numbers, slices, ``...`` and None, or for tensors and numbers."""
    if _by_tensors(index):
        picked: Tensor = _ATEN.index.Tensor(x, _as_tensors(x, index))
        return picked
    parts = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in parts:
        place = parts.index(Ellipsis)
        # The `...` itself is among the parts, hence one less.
        named = sum(part is not None for part in parts) - 1
        parts[place : place + 1] = [slice(None)] * (x.ndim - named)
    # `axis` counts axes of the result: a number takes one away, None puts one in, anything else keeps it.
    axis = 0
    for part in parts:
        if isinstance(part, int):
            x = _ATEN.select.int(x, axis, part)
            continue
        if part is None:
            x = x.unsqueeze(axis)
        elif part != slice(None):
            x = _ATEN.slice.Tensor(x, axis, part.start, part.stop, part.step or 1)
        axis += 1
    return x


def _by_tensors(index: Any) -> bool:
    return any(isinstance(part, Tensor) for part in (index if isinstance(index, tuple) else (index,)))


def _as_tensors(x: Tensor, index: Any) -> list[Tensor]:
    parts = index if isinstance(index, tuple) else (index,)
    return [
        # aten.index takes tensors only; one without dimensions is broadcast to the others.
        part if isinstance(part, Tensor) else torch.full((), part, dtype=torch.int64, device=x.device)
        for part in parts
    ]


def _are_views(func: Any, results: list[Tensor], given: list[Tensor]) -> bool:
    """Tell whether the results are the memory of arguments, untouched."""
    aliases = [value.alias_info for value in func._schema.returns]
    if not aliases or any(alias is None or alias.is_write for alias in aliases):
        return False
    # In inference mode `to`, `reshape` and `contiguous` come as they are called: views, or copies.
    storages = {x.untyped_storage()._cdata for x in given}
    return all(x.untyped_storage()._cdata in storages for x in results)


def _moved(x: Tensor) -> int:
    """Return the bytes of a tensor; an expanded one counts with the memory that it has."""
    sides = (side for side, stride in zip(x.shape, x.stride(), strict=True) if stride)
    count = 1
    for side in sides:
        count *= side
    return count * x.element_size()


class _Stream:
    """A stream or an event of the fake device."""

    def __init__(self, device: Any = None, *, priority: int = 0, enable_timing: bool = False) -> None: ...

    def __enter__(self) -> _Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def wait_stream(self, stream: Any) -> None:
        """Do nothing."""

    def wait_event(self, event: Any) -> None:
        """Do nothing."""

    def record(self, stream: Any = None) -> None:
        """Do nothing."""

    def synchronize(self) -> None:
        """Do nothing: waiting for a copy that has arrived is how the loop hands it over, and is no wait."""

    def query(self) -> bool:
        """Return that the work is done, as it always is."""
        return True


def _kernels(count: Count) -> dict[str, Callable[..., Tensor]]:
    """Return stand-ins for our own kernels: each is counted, and computes nothing."""

    def warp(image: Tensor, flow: Tensor, grid: Tensor, *, size: Any, pooled: bool, out: Tensor) -> Tensor:
        source = image.expand(flow.shape[0], -1, -1, -1)
        # Four pixels for each position, no more than there are; of the grid a row and a column.
        taps = 4 * flow.shape[0] * flow.shape[-2:].numel() * image.shape[1] * image.element_size()
        line = sum(grid.shape[-2:]) * grid.element_size()
        count.note("midframe::warp", min(_moved(source), taps) + line + sum(map(_moved, (flow, out))))
        return out

    def add_leaky_(y: Tensor, plus: Tensor, slope: float) -> Tensor:
        # y is read and written in place, what is added is read.
        count.note("midframe::add_leaky_", 2 * _moved(y) + _moved(plus))
        return y

    def correlation(left: Tensor, right: Tensor, reach: int) -> Tensor:
        # One sum for each displacement. Both maps count as read once, however many windows overlap.
        out = left.new_empty((len(left), (2 * reach + 1) ** 2, *left.shape[-2:]), dtype=torch.float32)
        count.note("midframe::correlation", sum(map(_moved, (left, right, out))))
        return out

    def written(name: str, like: Tensor, channels: int, *read: Tensor) -> Tensor:
        out = like.new_empty((len(like), channels, *like.shape[-2:]), dtype=torch.float32)
        count.note(f"midframe::{name}", sum(map(_moved, (*read, out))))
        return out

    def gradient_products(left: Tensor, right: Tensor, timestep: Tensor) -> Tensor:
        return written("gradient_products", left, 5, left, right, timestep)

    def least_squares(means: Tensor, mask: Tensor, floor: float) -> Tensor:
        return written("least_squares", means, 2, means, mask)

    def gate(flow: Tensor, mask: Tensor, update: Tensor, moves: float) -> Tensor:
        return written("gate", flow, 5, flow, mask, update[:, :6])

    def cubic(picture: Tensor, flow: Tensor, mask: Tensor | None = None) -> Tensor:
        read = (picture, flow) if mask is None else (picture, flow, mask)
        return written("cubic", picture, picture.shape[1], *read)

    made = (warp, add_leaky_, correlation, gradient_products, least_squares, gate, cubic)
    return {function.__name__: function for function in made}


def _patches() -> dict[tuple[Any, str], Any]:
    """Return replacements for torch's functions while there is no device, by owner and name."""

    def nothing(*_: Any) -> None: ...

    cuda = torch.cuda
    return {
        (cuda, "Stream"): _Stream,
        (cuda, "Event"): _Stream,
        (cuda, "current_stream"): _Stream,
        (cuda, "stream"): lambda stream: nullcontext(),
        (cuda, "device"): lambda device: nullcontext(),
        (cuda, "mem_get_info"): lambda device=None: (_FREE, _FREE),
        (cuda, "memory_reserved"): lambda device=None: 0,
        (cuda, "memory_allocated"): lambda device=None: 0,
        (cuda, "max_memory_allocated"): lambda device=None: 0,
        (cuda, "get_per_process_memory_fraction"): lambda device=None: 1.0,
        (cuda, "reset_peak_memory_stats"): nothing,
        (cuda, "empty_cache"): nothing,
        (Tensor, "record_stream"): nothing,
        # The runner reads the first frame of a run off the device, once.
        (runner, "are_finite"): lambda frames: True,
        # Compares source frames on the host, which hold no numbers here.
        (vfi_utils, "same_bits"): lambda left, right: False,
    }


@contextmanager
def fake_cuda() -> Iterator[Count]:
    """Give torch a device ``cuda:0`` on which nothing is computed.

    Tensors made inside hold no numbers, wherever they are. Not for several threads.

    Yields:
        The counts, which :class:`Counting` fills.
    """
    count = Count()
    with ExitStack() as stack:
        for (owner, name), stand_in in _patches().items():
            # By `vars`, so that what a class inherits (Tensor.record_stream) is deleted afterwards and not
            # set.
            stack.callback(_put_back, owner, name, vars(owner).get(name, _ABSENT))
            setattr(owner, name, stand_in)
        stack.enter_context(replaced_kernels(_kernels(count)))
        stack.enter_context(_Direct())
        stack.enter_context(FakeTensorMode())
        yield count


_ABSENT = object()


def _put_back(owner: Any, name: str, value: Any) -> None:
    if value is _ABSENT:
        delattr(owner, name)
    else:
        setattr(owner, name, value)
