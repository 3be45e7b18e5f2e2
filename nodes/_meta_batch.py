"""Meta Batch of VideoHelperSuite: a long clip goes through a workflow in batches, one run of it for each.

The suite's manager is one object for all runs. Its loaders give ``frames_per_batch`` frames a run and set
``has_closed_inputs`` while they load the last batch, so that the flag is true before anything else of that
run; Video Combine queues the workflow again until then, with the number of the run in the manager's inputs.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from ..errors import BadInputError
from ..vfi_utils import FrameLoop

Prompt = Mapping[str, Any]
"""A workflow as ComfyUI runs it: for each node id its inputs."""


class Manager(Protocol):
    """What is used of the suite's manager."""

    unique_id: str | None
    """Its node."""
    has_closed_inputs: bool
    """Nothing follows this batch."""


class _Job(NamedTuple):
    number: int
    """Of the last batch."""
    loop: FrameLoop


class Batches:
    """What a node carries from one batch to the next; each node has its own.

    A job ends with its last batch, with any error or cancelling, and with its manager.
    """

    def __init__(self) -> None:
        self._jobs: weakref.WeakKeyDictionary[Manager, _Job] = weakref.WeakKeyDictionary()

    @contextlib.contextmanager
    def loop(
        self, manager: Manager, prompt: Prompt | None, begin: Callable[[], FrameLoop]
    ) -> Iterator[FrameLoop]:
        """The frame loop of a batch: a new one for the first, else the one that made the batch before.

        Raises:
            BadInputError: the batch before this one has not been here.
        """
        job = self._jobs.pop(manager, None)
        number = _number(manager, prompt)
        expected = 0 if job is None else job.number + 1
        if number == 0 or (number is None and job is None):
            job = _Job(0, begin())
        elif job is None or number not in (None, expected):
            raise BadInputError(
                "The batches of this Meta Batch do not follow one another.",
                f"batch {number} came where {expected} was expected",
                "Run the workflow again from its first batch.",
            )
        yield job.loop
        if not manager.has_closed_inputs:
            self._jobs[manager] = _Job(expected if number is None else number, job.loop)


def _number(manager: Manager, prompt: Prompt | None) -> int | None:
    """How often the workflow has been queued again; None where nobody tells."""
    node = (prompt or {}).get(str(manager.unique_id))
    return None if node is None else int(node["inputs"].get("requeue", 0))
