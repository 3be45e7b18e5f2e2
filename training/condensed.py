"""Writes the state of a training in three bytes a parameter, small enough to be committed for a while.

``python -m midframe.training.condensed RUN.train STATE.train`` writes it; ``--resume`` of
:mod:`.train` goes on from either file. From ``RUN.train`` it goes on exactly. From the condensed state it
goes on nearly: from the averaged weights, rounded to float16; with the second moments of the optimiser to
within a tenth of their root; with first moments of zero, which recover within some ten steps.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

State = dict[str, Any]
"""The dictionary that :meth:`~.train.Trainer.save` writes."""

# How many codes a factor of two of a second moment takes, and the code of the moment 1.
_STEPS, _ZERO = 2, 200


def condensed(state: State) -> State:
    """Return a state with weights in float16 and second moments as eight-bit logarithms."""
    moments = state["optimiser"]["state"]
    return {
        "plan": state["plan"],
        "step": state["step"],
        "weights": {name: value.half() for name, value in state["averaged"].items()},
        "moments": [_code(moments[i]["exp_avg_sq"]) for i in range(len(moments))],
        # The optimiser's bias correction hangs on the number of its steps.
        "updates": [int(moments[i]["step"]) for i in range(len(moments))],
        "groups": state["optimiser"]["param_groups"],
    }


def expanded(state: State) -> State:
    """Return a state as :meth:`~.train.Trainer.save` writes it; one in that form is returned unchanged."""
    if "moments" not in state:
        return state
    weights = {name: value.float() for name, value in state["weights"].items()}
    moments = {
        i: {
            "step": torch.tensor(float(updates), dtype=torch.float32, device="cpu"),
            "exp_avg": torch.zeros(code.shape, dtype=torch.float32, device="cpu"),
            "exp_avg_sq": _value(code),
        }
        for i, (code, updates) in enumerate(zip(state["moments"], state["updates"], strict=True))
    }
    return {
        "plan": state["plan"],
        "step": state["step"],
        # One stands for both: the weights that were not averaged are not in the file.
        "net": weights,
        "averaged": weights,
        "optimiser": {"state": moments, "param_groups": state["groups"]},
    }


def _code(moment: Tensor) -> Tensor:
    """Encode a second moment (>= 0) as uint8: 0 is 0, one more is a factor of the square root of 2."""
    # log2 of 0 is -inf, which the clamp makes 0. Codes 1 to 255 reach from 2^-99.5 to 2^27.5; rounding is off
    # by half a step at most, a factor of 2^(1/4), which is 9% of the root that Adam divides by.
    code = (moment.double().log2() * _STEPS + _ZERO).round().clamp(0, 255)
    return code.to(torch.uint8)


def _value(code: Tensor) -> Tensor:
    value = torch.exp2((code.double() - _ZERO) / _STEPS)
    return torch.where(code == 0, 0.0, value).float()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="midframe.training.condensed", description=__doc__)
    parser.add_argument("run", type=Path, help="the .train file of a training")
    parser.add_argument("out", type=Path, help="file to write")
    options = parser.parse_args(arguments)
    state = torch.load(options.run, map_location="cpu", weights_only=True)
    temporary = options.out.with_name(options.out.name + ".tmp")
    torch.save(condensed(state), temporary)
    os.replace(temporary, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
