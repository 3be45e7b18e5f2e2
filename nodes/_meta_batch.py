"""Meta Batch of VideoHelperSuite: a long clip goes through a workflow in batches, one run for each.

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
from ..inputs.objects import require_like
from ..vfi_utils import FrameLoop

Prompt = Mapping[str, Any]
"""A workflow as ComfyUI runs it: for each node id its inputs."""


class Manager(Protocol):
    """The part of the suite's manager that is used."""

    unique_id: str | None
    """Id of its node; None where no run is under way."""
    has_closed_inputs: bool
    """Nothing follows this batch."""


class _Job(NamedTuple):
    """A clip whose batches are under way."""

    number: int | None
    """Of the last batch."""
    loop: FrameLoop


class Batches:
    """The frame loops that a node carries from one batch to the next; each node has its own.

    A job ends with its last batch, with any error or cancelling, and with its manager.
    """

    def __init__(self) -> None:
        self._jobs: weakref.WeakKeyDictionary[Manager, _Job] = weakref.WeakKeyDictionary()

    @contextlib.contextmanager
    def loop(
        self, manager: Manager, prompt: Prompt | None, begin: Callable[[], FrameLoop]
    ) -> Iterator[tuple[FrameLoop, bool]]:
        """Give the frame loop of a batch, and whether the batch is the last one.

        The loop is a new one for the first batch, else the one that made the batch before. It is carried on
        only where the context ends without an error.

        Args:
            manager: the suite's.
            prompt: the workflow that runs, if ComfyUI gives it.
            begin: makes a new loop.

        Raises:
            BadInputError: the batch before this one has not been here, or this is no manager.
        """
        require_like(
            manager,
            ("unique_id", "has_closed_inputs"),
            wrong="This is not a Meta Batch Manager.",
            advice="Connect VideoHelperSuite's Meta Batch Manager, or nothing.",
        )
        # Taken out, and put back at the end: after an error the clip has to be begun again.
        job = self._jobs.pop(manager, None)
        number = _number(manager, prompt)
        # Where Video Combine came first in this run of the workflow it has ended the job already.
        last = manager.has_closed_inputs or manager.unique_id is None
        if job is None or not _follows(number, job.number):
            # 1 where Video Combine came first: it counts up in the prompt that is still being run.
            if number not in (None, 0, 1):
                raise BadInputError(
                    "The batches of this Meta Batch do not follow one another.",
                    f"batch {number}; the last one here was {None if job is None else job.number}",
                    "Run the workflow again from its first batch.",
                )
            job = _Job(number, begin())
        yield job.loop, last
        if not last:
            self._jobs[manager] = _Job(number, job.loop)


def _follows(number: int | None, before: int | None) -> bool:
    return number is None or before is None or number == before + 1


def _number(manager: Manager, prompt: Prompt | None) -> int | None:
    """Return how often the workflow has been queued again; None where the prompt does not say."""
    node = (prompt or {}).get(str(manager.unique_id))
    return None if node is None else int(node["inputs"].get("requeue", 0))
