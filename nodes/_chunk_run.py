"""A run of a model over a whole video file in chunks, which goes on where an earlier one ended."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ..chunks import Executor, Farm, Inline, Job, ModelChoice, process
from ..chunks.documents import digest_of
from ..chunks.watch import Watch
from ..errors import BadInputError
from ..inputs.objects import described, require_one_of
from ..vfi_models.interface import Interpolator
from ..video import open_clip
from ..weights.loading import ModelSource
from . import _host, _progress
from ._inputs import FRAMES_ONLY, CommonInputs
from ._settings import EXECUTORS, RAY
from ._video_host import whole_file_of

_LOG = logging.getLogger(__name__)

FORMATS = ("mp4", "mkv", "mov", "webm")
"""Types of files that are offered."""

# Parts of a date as ComfyUI's front end writes them, and as its server does.
_PARTS = {"yyyy": "%Y", "yy": "%y", "MM": "%m", "dd": "%d", "hh": "%H", "mm": "%M", "ss": "%S"}
_DATE_PART = re.compile("|".join(_PARTS))
_NAMES = {"year": "%Y", "month": "%m", "day": "%d", "hour": "%H", "minute": "%M", "second": "%S"}
# Hexadecimal digits in a file's name that tell one job from another.
_MARK_LENGTH = 8
# In names of files: by Windows and file systems that it shares.
_FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f\x7f]')
# File systems take 255 bytes, of which the mark, the ending and those of files in the making need some 50.
_LONGEST_NAME = 200


@dataclass(frozen=True, kw_only=True)
class ChunkInputs(CommonInputs):
    """The inputs of a node that writes a file in chunks.

    Raises:
        BadInputError: a format or an executor that there is not.
    """

    filename_prefix: str
    """Folder in ComfyUI's output folder, and beginning of the file's name."""
    format: str

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of(self.format, FORMATS, "format")
        require_one_of(self.run.executor, EXECUTORS, "executor")

    def check(self) -> None:
        """Check where the file shall be, and what the base class checks."""
        place_of(self.filename_prefix)
        super().check()

    def warn_unused(self) -> None:
        """Say which run settings were changed that this kind of node has no use for."""
        self.run.warn_unused(FRAMES_ONLY, self.node_id)


def run_in_chunks(video: Any, inputs: ChunkInputs) -> tuple[Path, float]:
    """Interpolate a video file into another one, and return that one's path and frame rate.

    Args:
        video: ComfyUI's VIDEO, which must be a whole file.
        inputs: of the node.

    Raises:
        BadInputError: a source or a setting that cannot be used.
        MidframeError: the run failed. Finished chunks stay, and the next run goes on from there.
    """
    source, plan, place = whole_file_of(video), inputs.plan(), place_of(inputs.filename_prefix)
    place.parent.mkdir(parents=True, exist_ok=True)
    lender = inputs.lender()
    job = _with_own_files(
        Job(
            source,
            place.with_name(f"{place.name}.{inputs.format}"),
            place,
            _choice(lender.weights),
            plan=plan,
            settings=inputs.settings,
            pairs=inputs.run.pairs_per_chunk,
        )
    )
    watch = Watch(lender.weights.device, _LOG.info)
    # The model is borrowed by the first chunk that is missing: a job that is done already loads none.
    with ExitStack() as borrowed:

        def load() -> Interpolator:
            info = job.describe()
            return borrowed.enter_context(lender(info.height, info.width))

        # The total of 1 is a placeholder: the job knows how many frames there are and says so with each step.
        host = _progress.watch(1, inputs.node_id)
        path = process(job, _executor(inputs, load), host=host, report=watch).path
    with open_clip(path) as made:
        return path, float(made.info.rate)


def _executor(inputs: ChunkInputs, load: Callable[[], Interpolator]) -> Executor:
    """Return who makes the chunks."""
    # The workers of a cluster load models of their own: ``load`` is for this process.
    if inputs.run.executor == RAY:
        return Farm(address=(inputs.run.ray_address or "").strip() or None)
    return Inline(load)


def _with_own_files(job: Job) -> Job:
    """Return the job with an output and a work folder of its own: their names hold a digest of the job."""
    mark = digest_of(job.identity())[:_MARK_LENGTH]
    target = job.target.with_name(f"{job.target.stem}_{mark}{job.target.suffix}")
    return replace(job, target=target, workdir=target.with_name(f"{target.name}.chunks"))


def _choice(weights: ModelSource) -> ModelChoice:
    """Return the same model as data, which another process can load."""
    dtype = None if weights.dtype is None else str(weights.dtype).removeprefix("torch.")
    return ModelChoice(str(weights.path), str(weights.device), dtype, averaged=weights.averaged)


def dated(prefix: str, now: datetime) -> str:
    """Return a prefix with the date filled in, for ``%year%`` and the like and ``%date:yyyy-MM-dd%``."""

    def of_format(found: re.Match[str]) -> str:
        return _DATE_PART.sub(lambda part: now.strftime(_PARTS[part[0]]), found[1])

    prefix = re.sub(r"%date:([^%/\\]*)%", of_format, prefix)
    for name, part in _NAMES.items():
        prefix = prefix.replace(f"%{name}%", now.strftime(part))
    return prefix


def place_of(prefix: Any) -> Path:
    """Return the folder and the beginning of the output's name, as one path.

    Dates are filled in as ComfyUI does for Save Video: ``%year%``, ``%date:yyyy-MM-dd%``. What some system
    forbids in a name, such as the colon of a time, becomes a line below, and a path of Windows its folders:
    the same graph writes the same file everywhere.

    Raises:
        BadInputError: outside ComfyUI's output folder, which a workflow from elsewhere must not write out of;
            or a name that is too long.
    """
    output = _host.output_folder().resolve()
    # No path may hold a zero byte: resolve() would raise a ValueError that is not ours.
    name = prefix.strip() if isinstance(prefix, str) and "\0" not in prefix else ""
    name = _FORBIDDEN.sub("_", dated(name, datetime.now().astimezone()).replace("\\", "/"))
    place = (output / name).resolve()
    if not name or output not in place.parents:
        raise BadInputError(
            "The file would not be in ComfyUI's output folder.",
            described(prefix),
            "Give a name such as midframe/long.",
        )
    if any(len(part.encode()) > _LONGEST_NAME for part in place.relative_to(output).parts):
        raise BadInputError(
            f"The name of a file or folder may have at most {_LONGEST_NAME} bytes.",
            described(prefix),
            "Give a shorter name, such as midframe/long.",
        )
    return place
