"""Types of sockets and menus that accept more than ComfyUI would let in by itself.

ComfyUI compares the type of a link with that of its input by ``!=``, and looks a menu's value up by ``in``.
Both ask objects of ours, which can therefore say what fits. What is equal to INT or FLOAT it converts first.
"""

from __future__ import annotations

from ..inputs.numbers import number


class AnyType(str):
    """A socket type that every link fits."""

    # "*" alone is understood by newer versions only; all compare by ``!=`` first.

    __slots__ = ()

    def __ne__(self, other: object) -> bool:
        """Return False: a link of any type may be connected."""
        return False


class RawType(str):
    """The type of a widget whose value ComfyUI hands on as a graph has it: the node reads it by itself."""

    # What is equal to "INT" goes through int(): 2.5 becomes 2 without a word, "3.0" and null are refused.
    # Such a value must be asked for by VALIDATE_INPUTS too: ComfyUI compares others with their limits.

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        """Tell whether it is this very type."""
        return self is other

    __hash__ = str.__hash__


class NumberType(RawType):
    """A number as a widget, and a link of INT or FLOAT: 2.5 is a multiplier, and 60 a frame rate."""

    __slots__ = ()

    def __ne__(self, other: object) -> bool:
        """Return False for whatever may be linked here."""
        return str(self) != other and other not in ("INT", "FLOAT")


class NumberMenu(list[str | float]):
    """A menu of numbers, which a workflow may have saved in another form: 1, 1.0 and "1" are one value."""

    # The alternative, a parameter of VALIDATE_INPUTS, would have ComfyUI report a wrong model twice: it
    # repeats the answer of that method for each of its parameters.

    __slots__ = ()

    def __contains__(self, value: object) -> bool:
        """Tell whether ``value`` is one of the numbers, whatever it is written as, or one of the words."""
        exact = number(value)
        return super().__contains__(value) if exact is None else exact in map(number, self)


class OpenMenu(NumberMenu):
    """A menu that takes other numbers too, which the network looks at: TLBVFI had a number there."""

    def __contains__(self, value: object) -> bool:
        """Tell whether ``value`` is one of the words, or a number."""
        return number(value) is not None or super().__contains__(value)


class UnionType(str):
    """Several socket types in one, with commas between them, which newer versions read by themselves."""

    __slots__ = ()

    def __ne__(self, other: object) -> bool:
        """Return False for each of the types, and for itself."""
        return str(self) != other and other not in self.split(",")


ANY = AnyType("*")
MODEL = UnionType("MIDFRAME_MODEL,INTERP_MODEL")
"""A model of our loader, or of ComfyUI's own."""
INT_OR_FLOAT, FLOAT_OR_INT = NumberType("INT"), NumberType("FLOAT")
RAW_INT, RAW_FLOAT = RawType("INT"), RawType("FLOAT")
RATE = UnionType("FLOAT,INT,VIDEO,VHS_VIDEOINFO")
"""A frame rate, or what knows one: a video, and what VideoHelperSuite says of the clip that it loads. As a
widget it is a number (``widgetType``)."""
