"""Errors as ComfyUI shows them: by their plain name, once, without a traceback."""

from __future__ import annotations

import logging
from contextlib import ContextDecorator
from functools import cache
from types import TracebackType

from ..errors import MidframeError

_LOG = logging.getLogger(__name__)


class said_plainly(ContextDecorator):  # noqa: N801 - read as a decorator
    """Raise errors of Midframe as ComfyUI shows them well; the decorator of what ComfyUI calls on a node.

    ComfyUI's dialog begins with the module and name of the error's class, and its log holds the text once by
    itself and once more below the whole traceback. The module is the path of the pack's folder, and the text
    says already what is wrong and what to do. The traceback goes to the log's debug level.
    """

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raise an error of ours anew, under its plain name; leave all others as they are."""
        if not isinstance(error, MidframeError):
            return
        _LOG.debug("%s", error, exc_info=error)
        # In place: an error may carry more than its three texts.
        error.__class__ = _plain(type(error))  # type: ignore[arg-type] # mypy: classes and Hashable
        _TRACEBACK.leave_out(error)
        raise error.with_traceback(None) from None


class _Traceback(logging.Filter):
    """Keeps the traceback of one error out of the log of ComfyUI, which writes it right after the text."""

    def __init__(self) -> None:
        super().__init__()
        self._last_line = ""

    def leave_out(self, error: MidframeError) -> None:
        """Leave out the next traceback that ends in this error."""
        self._last_line = f"{type(error).__name__}: {error}"
        # ComfyUI logs by the functions of ``logging`` itself, which are the root's.
        logging.getLogger().addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is another one; the filter is gone after the one that is not."""
        text = record.msg if isinstance(record.msg, str) else ""
        if not text.startswith("Traceback ") or not text.rstrip().endswith(self._last_line):
            return True
        logging.getLogger().removeFilter(self)
        return False


_TRACEBACK = _Traceback()


@cache
def _plain(kind: type[MidframeError]) -> type[MidframeError]:
    """Return a kind of error that ComfyUI names without a module, as it does those of Python itself."""
    if kind.__module__ == "builtins":
        return kind
    return type(kind.__name__, (kind,), {"__module__": "builtins", "__doc__": kind.__doc__})
