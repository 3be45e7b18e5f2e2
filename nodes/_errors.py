"""Errors as ComfyUI shows them: by their plain name, without the traceback through the pack."""

from __future__ import annotations

import logging
from contextlib import ContextDecorator
from functools import cache
from types import TracebackType

from ..errors import MidframeError

_LOG = logging.getLogger(__name__)


class said_plainly(ContextDecorator):  # noqa: N801 - read as a decorator
    """Raise errors of Midframe as ComfyUI shows them well; the decorator of what ComfyUI calls on a node.

    ComfyUI's dialog begins with the module and name of the error's class, and its log ends in the whole
    traceback. The module is the path of the pack's folder, and the text says already what is wrong and what
    to do. The traceback goes to the log's debug level.
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
        raise error.with_traceback(None) from None


@cache
def _plain(kind: type[MidframeError]) -> type[MidframeError]:
    """Return a kind of error that ComfyUI names without a module, as it does those of Python itself."""
    if kind.__module__ == "builtins":
        return kind
    return type(kind.__name__, (kind,), {"__module__": "builtins", "__doc__": kind.__doc__})
