"""Long jobs in chunks: finished ones are safe on disk, and a job that was stopped continues after them.

A chunk is a span of the output's time. Its frames depend on nothing but the source and the settings, so
chunks can be made in any order, on any machine, and again.
"""

from __future__ import annotations

from .job import Job, ModelChoice
from .ray_executor import Farm
from .run import Executor, Inline, process

__all__ = ["Executor", "Farm", "Inline", "Job", "ModelChoice", "process"]
