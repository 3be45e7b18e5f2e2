"""Say each warning of a run once, however often the file that it is about is opened or read."""

from __future__ import annotations

import logging
from contextlib import ContextDecorator
from types import TracebackType

# Whatever its folder is called.
_PACK = __package__.rpartition(".")[0]


class Remarks(ContextDecorator, logging.Filter):
    """Lets each warning of the pack through once, in all the times that it is entered.

    A clip is opened to describe it, to look at it, to read it, and again for each chunk; each time it warns
    of the same. Where one run is entered inside another, both count. As a decorator it is a new one in
    each call.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()
        self._loggers: list[logging.Logger] = []
        self._depth = 0

    def _recreate_cm(self) -> Remarks:
        return Remarks()

    def __enter__(self) -> None:
        if not self._depth:
            # A filter of a logger does not see what is logged by those below it.
            known = dict(logging.root.manager.loggerDict)
            self._loggers = [
                logger
                for name, logger in known.items()
                if name.startswith(f"{_PACK}.") and isinstance(logger, logging.Logger)
            ]
            for logger in self._loggers:
                logger.addFilter(self)
        self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if not self._depth:
            for logger in self._loggers:
                logger.removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is no warning, or one that was not said yet."""
        if record.levelno != logging.WARNING:
            return True
        text = record.getMessage()
        if text in self._said:
            return False
        self._said.add(text)
        return True
