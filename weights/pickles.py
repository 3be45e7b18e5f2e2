"""Read a pickle as data: nothing is imported and nothing of the file is called.

``torch.save`` writes a pickle. A pickle is a little program that may import and call anything, and the
``weights_only`` mode of ``torch.load`` could be talked into just that before torch 2.6 (CVE-2025-32434),
which people still run. Here the names in a pickle are looked up in a table of functions of ours. A name that
is not in the table becomes an object without code that only keeps the state which the file gives it, and is
reported; a name that runs programs ends the reading.

Why not :class:`pickle.Unpickler` with a ``find_class`` of ours: that decides what is called, not what the
reader itself does with the bytes. Measured on Python 3.11: 13 bytes (a memo index of 2**28) make it fill
4.1 GiB; 300 kB that use a deeply nested tuple as the key of a dict end the process (SIGSEGV in ``hash``, in
the reader written in Python too); and there is no limit of steps.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Any, NamedTuple, Protocol, cast

from .danger import runs_programs

# A state dict takes about 40 steps a parameter. What takes more was written to keep the reader busy.
_MOST_STEPS = 2_000_000
# Bytes of one argument in a pickle; parameters are not in the pickle but beside it.
_LONGEST = 64 * 2**20

# Steps whose argument, as pickletools reads it, is the value.
_VALUES = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    )
)
_CONSTANTS: Mapping[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_SHORT_TUPLES: Mapping[str, int] = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = frozenset(("PROTO", "FRAME"))
# What can be hashed without going into it.
_KEYS = (str, bytes, int, float, type(None))
# Characters of a name from a pickle that an error shows.
_SHOWN = 80


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
    """A name in a pickle that may be called: stands for a function of ours."""

    make: Callable[..., Any]


class Inert:
    """An object of whatever class: it has no code, only the state that the pickle gives it."""

    def __init__(self) -> None:
        self.state: dict[Any, Any] = {}


class Foreign(Inert):
    """An object of a class that weights do not need, or what a function would have returned.

    Its ``state`` holds by name whatever the pickle sets on it or puts into it; the rest is dropped.
    """

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def update(self, state: Any) -> None:
        """Keep a state: attributes, or (attributes, slots) as classes with slots have it."""
        for part in state if type(state) is tuple else (state,):
            if type(part) is dict:
                self.state.update(part)


class Unpickled(NamedTuple):
    """The content of a pickle."""

    value: Any
    foreign: tuple[str, ...]
    """Dotted names of the classes and functions in it that weights do not need, in order."""


class Stream(Protocol):
    """A file that holds a pickle."""

    def read(self, size: int, /) -> bytes:
        """Return the next ``size`` bytes, fewer at the end."""
        ...

    def readline(self, size: int, /) -> bytes:
        """Return the rest of the line, at most ``size`` bytes."""
        ...

    def tell(self) -> int:
        """Return the number of bytes before the next one."""
        ...


class _Bounded:
    """A stream that never allocates more than ``_LONGEST`` for one argument, whatever a pickle claims."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.tell = stream.tell

    def read(self, size: int) -> bytes:
        # Lengths of older steps are signed, and read(-1) would take everything that is left.
        if not 0 <= size <= _LONGEST:
            raise FormatError(f"a damaged pickle: one entry claims {size:,} bytes")
        return self._stream.read(size)

    def readline(self) -> bytes:
        return self._stream.readline(_LONGEST)


def read_pickle(
    stream: Stream, names: Mapping[str, Any], persistent: Callable[[Any], Any], *, inert: str | None = None
) -> Unpickled:
    """Read the pickle that begins at the stream's position, which is left at its end.

    Args:
        names: what the dotted names in the pickle stand for: a :class:`Builder`, or any value of ours.
        persistent: what a persistent id stands for; raises FormatError for one it does not know.
        inert: classes of this module, and of those below it, make an :class:`Inert` whatever they are.
            Any other name that is not in ``names`` makes a :class:`Foreign`.

    Raises:
        FormatError: a name that runs programs, a step that data never needs, or damage.
    """
    machine = _Machine(names, persistent, inert)
    try:
        # genops reads step by step and never beyond the last: legacy files go on after their pickles.
        for count, (opcode, argument, _) in enumerate(pickletools.genops(cast(IO[bytes], _Bounded(stream)))):
            if opcode.name == "STOP":
                return Unpickled(machine.stack.pop(), tuple(machine.foreign))
            if count > _MOST_STEPS:
                raise FormatError(f"a pickle of more than {_MOST_STEPS:,} steps")
            machine.step(opcode.name, argument)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise FormatError(f"a damaged pickle ({type(error).__name__}: {error})") from error
    raise FormatError("a damaged pickle: it has no end")


def printable(name: str) -> str:
    """Return a name from a file as one short line without control characters."""
    return "".join(c if c.isprintable() else "?" for c in name[:_SHOWN])


def fill(target: dict[Any, Any], pairs: Iterable[Any]) -> None:
    """Put pairs of a key and a value into a dict, but those whose key is an object: no name of a parameter.

    Raises:
        TypeError: a key that is not safe to hash.
        ValueError: a key that is there already, or no pairs.
    """
    for key, value in pairs:
        if not isinstance(key, (*_KEYS, tuple)):
            continue
        # Hashing a tuple of tuples of ... recurses in C without a limit and would end the process.
        if isinstance(key, tuple) and not all(isinstance(part, _KEYS) for part in key):
            raise TypeError(f"{type(key).__name__} as the key of a dict")
        if key in target:
            raise ValueError(f"two values for {key!r:.80}")
        target[key] = value


class _Machine:
    """The stack of a pickle, its marks and its memo."""

    def __init__(
        self, names: Mapping[str, Any], persistent: Callable[[Any], Any], inert: str | None = None
    ) -> None:
        self.stack: list[Any] = []
        self.foreign: dict[str, None] = {}
        self._marks: list[int] = []
        # A dict: in a list, as the reader written in C has, an index of 2**28 takes 4.1 GiB.
        self._memo: dict[int, Any] = {}
        self._names = names
        self._persistent = persistent
        self._inert = f"{inert}." if inert else None

    def step(self, name: str, argument: Any) -> None:
        """Run one opcode."""
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
        self._extend(self._pop(1))

    def _appends(self, _: Any) -> None:
        self._extend(self._pop_to_mark())

    def _extend(self, items: list[Any]) -> None:
        # An object that behaves like a list keeps its items to itself: no weights are among them by name.
        if type(self.stack[-1]) is not Foreign:
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
        top = self.stack[-1]
        target = top.state if type(top) is Foreign else self._top(dict)
        fill(target, zip(items[::2], items[1::2], strict=True))

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
        # The text of a list of lists of ... that share their parts has no end.
        if type(module) is not str or type(name) is not str:
            raise TypeError("a name that is no text")
        self._named(f"{module}.{name}")

    def _named(self, name: str) -> None:
        if self._inert and name.startswith(self._inert):
            self.stack.append(Builder(Inert))
        elif name in self._names:
            self.stack.append(self._names[name])
        elif runs_programs(name):
            raise FormatError(
                f"a pickle that wants {printable(name)} to be run; it was refused and nothing was run",
                "Do not load this file with other programs either. Get the model as .safetensors.",
            )
        else:
            self.foreign[printable(name)] = None
            self.stack.append(Builder(Foreign))

    def _call(self, _: Any) -> None:
        self._make(*self._pop(2))

    def _call_with_names(self, _: Any) -> None:
        called, arguments, _names = self._pop(3)
        self._make(called, arguments)

    def _make(self, called: Any, arguments: Any) -> None:
        if type(called) is Foreign:  # what a foreign function would have returned is called in turn
            called = Builder(Foreign)
        if type(called) is not Builder or type(arguments) is not tuple:
            raise TypeError(f"{type(called).__name__} is called")
        self.stack.append(called.make(*arguments))

    def _build(self, _: Any) -> None:
        (state,) = self._pop(1)
        if type(self.stack[-1]) is Foreign:
            self.stack[-1].update(state)
            return
        if type(self.stack[-1]) is not Inert:
            # torch hangs versions of modules' layouts onto the OrderedDict of a state dict: no use for them.
            self._top(dict)
            return
        if type(state) is not dict:
            raise TypeError(f"{type(state).__name__} as the state of an object")
        self.stack[-1].state = state

    def _persistent_id(self, _: Any) -> None:
        (identity,) = self._pop(1)
        self.stack.append(self._persistent(identity))


# Not among them: INST, OBJ and EXT1 to EXT4, further ways to import and to call, which weights never need.
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
    "NEWOBJ_EX": _Machine._call_with_names,
    # Sets are kept as lists and tuples: to hash what a file puts into them is not safe.
    "EMPTY_SET": _Machine._empty_list,
    "ADDITEMS": _Machine._appends,
    "FROZENSET": _Machine._tuple,
    "BUILD": _Machine._build,
    "BINPERSID": _Machine._persistent_id,
}
