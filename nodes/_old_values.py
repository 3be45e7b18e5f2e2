"""What inputs of older packs' nodes mean here, and what these nodes give; the table is :mod:`.old_ids`."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import BadInputError
from ..inputs.numbers import number, real, whole
from ..inputs.pairs import parse_pairs
from . import _models
from ._stand_ins import Values
from .states import NodeStates

_Numbers = (list, tuple, Tensor, np.ndarray)

_LEAST_SCALE = 0.05
_FEWEST_STEPS = 3
"""Steps that the sampler of TLBVFI takes at least; older nodes offer fewer and fail."""

# --- what values mean


def factor(value: Any) -> Any:
    """Return a multiplier; the older nodes take 0 by a link for 1. A list stays one."""
    exact = number(value)
    # What is no multiplier is refused where multipliers are.
    return value if exact is None or exact < 0 else max(int(exact), 1)


def cut_off(value: Any, name: str = "the number") -> int:
    """Return a whole number, 0 or more, of any; ComfyUI itself gave older nodes 2 for 2.5."""
    return whole(int(real(value, name)), name)


def clear_every(value: Any) -> int:
    """Return after how many pairs cached memory is given back."""
    return cut_off(value, "clear_cache_after_n_frames")


def halvings(value: Any) -> int:
    """Return the multiplier of so many halvings of each pair."""
    return 1 << whole(cut_off(value, "times_to_interpolate"), "times_to_interpolate", most=10)


def halvings_of_pair(value: Any) -> int:
    """Return the multiplier of a node whose 0 means the middle alone."""
    return max(2, halvings(value))


def steps(value: Any) -> int:
    """Return a number of steps that the sampler takes."""
    return max(_FEWEST_STEPS, cut_off(value, "the number of steps"))


def flow_scale(value: Any) -> float:
    """Return a flow scale; the older nodes take less for the least."""
    return max(_LEAST_SCALE, real(value, "the flow scale"))


def engine(name: Any) -> str | None:
    """Return the network of a TensorRT engine by its name, such as rife49_ensemble_True_scale_1_sim."""
    version = re.search(r"rife[_-]?v?(\d)\.?(\d+)", str(name), re.IGNORECASE)
    return None if name is None else f"rife-{version[1]}.{version[2]}" if version else "default"


def bundled(name: Any) -> Any:
    """Return a network of ours for the one file that a pack brought along."""
    return "default" if name == "flownet.pkl" else name


def power_of_two(value: Any) -> float:
    """Return the nearest of the scales that networks take; the older node offers others between them."""
    scale = real(value, "the scale")
    return min((0.25, 0.5, 1.0, 2.0, 4.0), key=lambda known: abs(known - scale))


def listed_multipliers(inputs: Values) -> Values:
    """Return inputs whose multiplier is that of each pair, where these are listed in a text.

    Raises:
        BadInputError: something else than whole numbers.
    """
    listed = [item for item in re.split(r"[,\s]+", str(inputs.get("multiplier_list") or "")) if item]
    if not listed:
        return inputs
    return {**inputs, "multiplier": [whole(item, "each number of multiplier_list") for item in listed]}


# --- outputs


def loaded_engine(inputs: Values) -> tuple[Any, ...]:
    """Return the network of a TensorRT engine, by its name: the node that runs it loads it."""
    return (engine(inputs.get("model")),)


def sizes(inputs: Values) -> tuple[Any, ...]:
    """Return the sizes that an engine was built for, which nobody here needs."""
    return (dict(inputs),)


def rate_of_every_nth(inputs: Values) -> tuple[Any, ...]:
    """Return the frame rate of a clip of which every nth frame was taken."""
    nth = max(1, cut_off(inputs["select_every_nth"], "select_every_nth"))
    return (real(inputs["source_fps"], "source_fps") / nth,)


def pair(frames: Tensor, inputs: Values) -> tuple[Any, ...]:
    """Return the frames of one pair of several: all but the last have their end in the next pair."""
    return (frames if inputs["is_last_pair"] else frames[:-1],)


def middle_or_all(frames: Tensor, inputs: Values) -> tuple[Any, ...]:
    """Return the middle of two frames where nothing is to be halved, else all."""
    return (frames if cut_off(inputs["times_to_interpolate"]) else frames[1:2],)


def with_count(frames: Tensor, inputs: Values) -> tuple[Any, ...]:
    """Return all frames, or the made ones alone, and how many these are."""
    if not inputs["include_source_frames"]:
        step = halvings(inputs["times_to_interpolate"])
        made = [index for index in range(len(frames)) if index % step]
        frames = frames[made]
    return frames, len(frames)


def floats_to_ints(inputs: Values) -> tuple[Any, ...]:
    """Return a number or the numbers of a list, cut off behind the point."""
    value = inputs["float"]
    if isinstance(value, _Numbers) and number(value) is None:
        return ([int(real(item, "the number")) for item in value],)
    return (int(real(value, "the number")),)


def states(inputs: Values) -> tuple[Any, ...]:
    """Return interpolation states."""
    return (NodeStates(parse_pairs(inputs["frame_indices"]), skip=inputs["is_skip_list"]),)


def one_pair(inputs: Values) -> tuple[Any, ...]:
    """Return one pair of neighbouring frames, its number, how many there are, and whether it is the last.

    Raises:
        BadInputError: there is no such pair.
    """
    images, index = inputs["images"], cut_off(inputs["pair_index"], "pair_index")
    pairs = len(images) - 1
    if index >= pairs:
        raise BadInputError(
            "There is no such pair of frames.", f"pair {index}, {pairs} pairs", "Count pairs from 0."
        )
    return images[index : index + 2], index, pairs, index == pairs - 1


def one_frame(inputs: Values) -> tuple[Any, ...]:
    """Return one frame of a clip.

    Raises:
        BadInputError: there is no such frame.
    """
    images, index = inputs["images"], cut_off(inputs["index"], "index")
    if inputs["clamp_index"]:
        index = min(index, len(images) - 1)
    if index >= len(images):
        raise BadInputError(
            "There is no such frame.", f"frame {index}, {len(images)} frames", "Count frames from 0."
        )
    return (images[index : index + 1],)


def clear(_inputs: Values) -> tuple[Any, ...]:
    """Clear the model cache, as the node has no outputs."""
    _models.clear()
    return ()
