"""A shutter that stays open: output frames that are the mean of what is seen for a part of their time.

It is a denser timeline before the loop, and a sink after it. The mean is of light, not of stored values, and
of what is not transparent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor
from typing import Any, Protocol

from torch import Tensor

from ..errors import BadInputError, MidframeError
from ..inputs.numbers import number, whole
from ..inputs.objects import described
from ..inputs.rates import common_tick
from ..memory.sinks import NarrowSink, Sink
from ..memory.staging import as_unit_float
from .host import Host
from .light import SRGB, light_of, stored_of
from .route import at_constant_rate
from .states import StatesLike
from .timeline import AtRate, Gap, Moment, Output, Policy, Timeline

_FULL = 360
_MOST_SAMPLES = 256


@dataclass(frozen=True)
class Shutter:
    """How long it is open, and how many moments are seen in that time.

    Raises:
        BadInputError: an angle or a number of samples that cannot be.
    """

    angle: Fraction = Fraction(180)
    """Of 360, which is the whole time until the next frame: film is usually shot at 180."""
    samples: int = 8

    def __post_init__(self) -> None:
        angle = number(self.angle)
        if angle is None or not 0 < angle <= _FULL:
            raise BadInputError(
                "The angle of a shutter must be above 0 and at most 360.", described(self.angle), "Give 180."
            )
        object.__setattr__(self, "angle", Fraction(angle))
        samples = whole(self.samples, "the samples of a shutter", least=2, most=_MOST_SAMPLES)
        object.__setattr__(self, "samples", samples)

    def dense(self, timeline: Timeline) -> Timeline:
        """Return the timeline of all samples of the frames of ``timeline``, which then has a constant rate.

        Raises:
            BadInputError: its multipliers are a list, or it is of another kind.
        """
        return replace(timeline, policy=self.exposed(timeline))

    def exposed(self, timeline: Timeline) -> Exposed:
        """Return the policy of :meth:`dense`."""
        policy = at_constant_rate(timeline).policy
        if isinstance(policy, AtRate):
            return Exposed(policy.fps, self, policy.states)
        raise BadInputError(
            "A shutter needs a constant frame rate.",
            described(policy),
            "Give a multiplier or a frame rate.",
        )


@dataclass(frozen=True)
class Exposed(Policy):
    """The samples of frames at a constant rate: the first of each at its own time, the rest evenly."""

    fps: Fraction
    shutter: Shutter
    states: StatesLike | None = None
    """Pairs in which nothing is made: their left frame is held."""

    def outputs(self, gap: Gap) -> Sequence[Output]:
        """Return the samples in ``gap``."""
        held = self.states is not None and self.states.is_frame_skipped(gap.index)
        scale = 0 if held else 1 / (gap.end - gap.start)
        moments = [
            Moment(self._time(k), 1 / self.fps) for k in range(self._before(gap.start), self._before(gap.end))
        ]
        return [Output((moment.time - gap.start) * scale, moment) for moment in moments]

    def tick(self, source: Fraction) -> Fraction:
        """Return the largest time that the source's times and all samples are multiples of."""
        return common_tick(source, self._step)

    @property
    def needs_index(self) -> bool:
        """Tell whether there are states."""
        return self.states is not None

    def count(self, gaps: int, source_fps: Fraction) -> int:
        """See :meth:`~.timeline.Policy.count`."""
        return self._before(gaps / source_fps)

    def average_fps(self, source_fps: Fraction, gaps: int | None) -> Fraction:
        """Return the samples a second."""
        return self.fps * self.shutter.samples

    def frame_time(self, time: Fraction) -> Fraction:
        """Return when the frame is shown of which a sample at ``time`` is one."""
        return floor(time * self.fps) / self.fps

    @property
    def _step(self) -> Fraction:
        """Return the seconds from a sample to the next."""
        return self.shutter.angle / (_FULL * self.fps * self.shutter.samples)

    def _time(self, sample: int) -> Fraction:
        frame, within = divmod(sample, self.shutter.samples)
        return frame / self.fps + within * self._step

    def _before(self, time: Fraction) -> int:
        """Return how many samples there are before ``time``."""
        frame = floor(time * self.fps)
        within = ceil((time - frame / self.fps) / self._step)
        return frame * self.shutter.samples + min(within, self.shutter.samples)


class Feedable(Protocol):
    """A frame loop; see :meth:`~..vfi_utils.FrameLoop.feed`."""

    def feed(
        self, frames: Any, model: Any, sink: Sink, *, last: bool = False, host: Host | None = None
    ) -> int:
        """Make the frames of the next part of a clip; return how many."""
        ...


def fed(  # noqa: PLR0913 -- those of a frame loop, and how many samples
    loop: Feedable,
    frames: Any,
    model: Any,
    sink: Sink,
    *,
    samples: int,
    last: bool,
    host: Host | None,
    transfer: int = SRGB,
) -> int:
    """Feed a frame loop, and put the mean of each so many of its frames into the sink; return how many.

    Args:
        loop, frames, model, sink, last, host: see :meth:`~..vfi_utils.FrameLoop.feed`.
        samples: of each output frame; 1 for the loop's frames as they are.
        transfer: from light to what is stored, see :func:`~.light.light_of`.

    Raises:
        MidframeError: as the loop raises it, with the number of means that were ``finished``.
    """
    if samples == 1:
        return loop.feed(frames, model, sink, last=last, host=host)
    means = MeanSink(sink, samples, transfer)
    try:
        loop.feed(frames, model, means, last=last, host=None if host is None else MeanHost(host, samples))
    except MidframeError as error:
        error.finished = means.done
        raise
    means.finish()
    return means.done


class MeanSink:
    """A sink that hands on the mean of each so many frames, as they come, in flat memory.

    Args:
        sink: gets the means: float32 in 0..1.
        samples: frames of each.
        transfer: see :func:`~.light.light_of`.
    """

    def __init__(self, sink: Sink, samples: int, transfer: int) -> None:
        self._transfer = transfer
        self._sink = sink
        self._samples = samples
        self._sum: Tensor | None = None
        self._count = 0
        self.done = 0

    def put(self, index: int, frames: Tensor) -> None:
        """See :class:`~..memory.sinks.Sink`."""
        for frame in frames:
            light = light_of(as_unit_float(frame), self._transfer)
            self._sum = light if self._sum is None else self._sum.add_(light)
            self._count += 1
            if self._count == self._samples:
                self.finish()

    def finish(self) -> None:
        """Hand on the mean of what is there of the last frames: the shutter closes where the clip ends."""
        if self._sum is None:
            return
        mean = stored_of(self._sum / self._count, self._transfer)
        self._sum, self._count = None, 0
        frames = mean.unsqueeze(0)
        frames = self._sink.narrowed(frames) if isinstance(self._sink, NarrowSink) else frames
        self._sink.put(self.done, frames)
        self.done += 1


class MeanHost:
    """A host of a run whose frames are the means of so many.

    Args:
        host: gets the progress in means.
        samples: frames of each.
    """

    def __init__(self, host: Host, samples: int) -> None:
        self._host = host
        self._samples = samples
        self.check_cancelled = host.check_cancelled
        self.clear_cache = host.clear_cache
        self.free_bytes = host.free_bytes
        self.cached_bytes = host.cached_bytes

    def progress(self, done: int, total: int | None, preview: Callable[[], Tensor] | None) -> None:
        """See :class:`~.host.Host`."""
        if done % self._samples == 0 or done == total:
            total = None if total is None else -(-total // self._samples)
            self._host.progress(-(-done // self._samples), total, preview)
