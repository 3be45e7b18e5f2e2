"""Pickles read as data.

``torch.save`` writes a pickle. A pickle is a little program that may import and call anything, and the
``weights_only`` mode of ``torch.load`` could be talked into just that before torch 2.6 (CVE-2025-32434),
which people still run. Here nothing is imported and nothing of the file is called: the names in a
pickle are looked up in a table of functions of ours, and a name that is not in the table ends the reading.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, Protocol, cast

_MOST_STEPS = 2_000_000
"""A state dict takes about 40 steps a parameter. What takes more is made to keep the reader busy."""
_LONGEST = 64 * 2**20
"""Bytes of one argument in a pickle; parameters are not in the pickle but beside it."""

_VALUES = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    )
)
_CONSTANTS: Mapping[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_SHORT_TUPLES: Mapping[str, int] = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = frozenset(("PROTO", "FRAME"))
_KEYS = (str, bytes, int, float, type(None))


class FormatError(Exception):
    """Bytes that cannot be read as weights. Becomes an error of the family where the file is known.

    Attributes:
        found: what they look like, in a few words.
        advice: what to do, where that is not just to get the file again.
        unsupported: the file is whole and readable, only nothing that the pack takes.
    """

    def __init__(self, found: str, advice: str = "", *, unsupported: bool = False) -> None:
        super().__init__(found)
        self.found = found
        self.advice = advice
        self.unsupported = unsupported


@dataclass(frozen=True)
class Builder:
    """What a name in a pickle stands for, where the pickle calls it: a function of ours."""

    make: Callable[..., Any]


class Stream(Protocol):
    """What is asked of a file that holds a pickle."""

    def read(self, size: int, /) -> bytes: ...
    def readline(self, size: int, /) -> bytes: ...
    def tell(self) -> int: ...


class _Bounded:
    """A stream that no argument of a pickle can make allocate more than ``_LONGEST``."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.tell = stream.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LONGEST:
            raise FormatError(f"a damaged pickle: one entry claims {size:,} bytes")
        return self._stream.read(size)

    def readline(self) -> bytes:
        return self._stream.readline(_LONGEST)


def read_pickle(stream: Stream, names: Mapping[str, Any], persistent: Callable[[Any], Any]) -> Any:
    """The value of the pickle that begins at the stream's position, which is left at its end.

    Args:
        names: what the dotted names in the pickle stand for: a :class:`Builder`, or any value of ours.
        persistent: what a persistent id stands for; raises FormatError for one it does not know.

    Raises:
        FormatError: a name that is not in ``names``, a step that data never needs, or damage.
    """
    machine = _Machine(names, persistent)
    try:
        # genops reads step by step and never beyond the last: legacy files go on after their pickles.
        for count, (opcode, argument, _) in enumerate(pickletools.genops(cast(IO[bytes], _Bounded(stream)))):
            if opcode.name == "STOP":
                return machine.stack.pop()
            if count > _MOST_STEPS:
                raise FormatError(f"a pickle of more than {_MOST_STEPS:,} steps")
            machine.step(opcode.name, argument)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise FormatError(f"a damaged pickle ({type(error).__name__}: {error})") from error
    raise FormatError("a damaged pickle: it has no end")


class _Machine:
    """The stack of a pickle, its marks and its memo."""

    def __init__(self, names: Mapping[str, Any], persistent: Callable[[Any], Any]) -> None:
        self.stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._names = names
        self._persistent = persistent

    def step(self, name: str, argument: Any) -> None:
        """One opcode."""
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _SHORT_TUPLES:
            self.stack.append(tuple(self._pop(_SHORT_TUPLES[name])))
        elif name not in _IGNORED:
            action = _ACTIONS.get(name)
            if action is None:
                raise FormatError(f"a pickle with the step {name}, which weights never need")
            action(self, argument)

    def _pop(self, count: int) -> list[Any]:
        if count > len(self.stack) - (self._marks[-1] if self._marks else 0):
            raise IndexError("stack is empty")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def _pop_to_mark(self) -> list[Any]:
        start = self._marks.pop()
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def _top(self, kind: type) -> Any:
        value = self.stack[-1]
        if type(value) is not kind:
            raise TypeError(f"{type(value).__name__} where a {kind.__name__} belongs")
        return value

    def _mark(self, _: Any) -> None:
        self._marks.append(len(self.stack))

    def _tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._pop_to_mark()))

    def _list(self, _: Any) -> None:
        self.stack.append(self._pop_to_mark())

    def _empty_list(self, _: Any) -> None:
        self.stack.append([])

    def _append(self, _: Any) -> None:
        items = self._pop(1)
        self._top(list).extend(items)

    def _appends(self, _: Any) -> None:
        items = self._pop_to_mark()
        self._top(list).extend(items)

    def _empty_dict(self, _: Any) -> None:
        self.stack.append({})

    def _dict(self, _: Any) -> None:
        items = self._pop_to_mark()
        self.stack.append({})
        self._set(items)

    def _setitem(self, _: Any) -> None:
        self._set(self._pop(2))

    def _setitems(self, _: Any) -> None:
        self._set(self._pop_to_mark())

    def _set(self, items: list[Any]) -> None:
        target = self._top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Hashing a tuple of tuples of ... recurses in C without a limit and would end the process.
            if not isinstance(key, _KEYS):
                raise TypeError(f"{type(key).__name__} as the key of a dict")
            if key in target:
                raise ValueError(f"two values for {key!r:.80}")
            target[key] = value

    def _put(self, argument: Any) -> None:
        self._memo[argument] = self.stack[-1]

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self.stack[-1]

    def _get(self, argument: Any) -> None:
        self.stack.append(self._memo[argument])

    def _global(self, argument: Any) -> None:
        self._named(str(argument).replace(" ", ".", 1))

    def _stack_global(self, _: Any) -> None:
        module, name = self._pop(2)
        self._named(f"{module}.{name}")

    def _named(self, name: str) -> None:
        if name not in self._names:
            raise FormatError(
                f"a pickle that wants {name[:80]} to be run; it was refused and nothing was run",
                "Do not load this file with other programs either. Get the model as .safetensors.",
            )
        self.stack.append(self._names[name])

    def _call(self, _: Any) -> None:
        called, arguments = self._pop(2)
        if type(called) is not Builder or type(arguments) is not tuple:
            raise TypeError(f"{type(called).__name__} is called")
        self.stack.append(called.make(*arguments))

    def _build(self, _: Any) -> None:
        # torch hangs the version of each module's layout onto the OrderedDict of a state dict: no use for it.
        self._pop(1)
        self._top(dict)

    def _persistent_id(self, _: Any) -> None:
        (identity,) = self._pop(1)
        self.stack.append(self._persistent(identity))


_ACTIONS: Mapping[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine._mark,
    "TUPLE": _Machine._tuple,
    "LIST": _Machine._list,
    "EMPTY_LIST": _Machine._empty_list,
    "APPEND": _Machine._append,
    "APPENDS": _Machine._appends,
    "DICT": _Machine._dict,
    "EMPTY_DICT": _Machine._empty_dict,
    "SETITEM": _Machine._setitem,
    "SETITEMS": _Machine._setitems,
    "PUT": _Machine._put,
    "BINPUT": _Machine._put,
    "LONG_BINPUT": _Machine._put,
    "MEMOIZE": _Machine._memoize,
    "GET": _Machine._get,
    "BINGET": _Machine._get,
    "LONG_BINGET": _Machine._get,
    "GLOBAL": _Machine._global,
    "STACK_GLOBAL": _Machine._stack_global,
    "REDUCE": _Machine._call,
    "NEWOBJ": _Machine._call,
    "BUILD": _Machine._build,
    "BINPERSID": _Machine._persistent_id,
}
