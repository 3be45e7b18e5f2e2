"""The tolerances of ``midframe parity`` and of the tests, in one table, with the reason of each.

Pictures are 0..1, so 1e-4 is a fortieth of a grey level of 255. A bound lies between two measured figures:
the most that rounding does, and the least that a real fault does.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """A bound on an error, and the reason for it."""

    bound: float
    reason: str


TOLERANCES = {
    "golden float32": Tolerance(
        1e-4,
        "Largest error. Other convolution libraries and float64 differ by 1.4e-5 at most over all goldens "
        "but those of AMPLIFYING; a wrong padding, order, sign or divisor by 1e-2.",
    ),
    "golden float16": Tolerance(
        4e-3, "Mean error: single pixels move by whole structures where a flow is rounded to 16 bits."
    ),
    "golden bfloat16": Tolerance(3e-2, "Mean error, as for float16, with three bits less."),
    "golden flow": Tolerance(
        1e-3,
        "Largest error in pixels: ten times a picture's, for flows reach 10 pixels where pictures reach 1.",
    ),
    "published losses": Tolerance(
        1e-3, "Of its value. Ours are within 2e-7; another kernel or border of a pyramid changes one by 1e-2."
    ),
    "published steps": Tolerance(
        2.5e-5,
        "Of a parameter after two steps of 1e-5: AdamW's first steps are as long whatever the gradient, so "
        "one near zero may turn, which is 2e-5. Steps that are not taken are off by as much: the losses of "
        "the second step tell.",
    ),
    "defect of a reference": Tolerance(
        0.1,
        "The reference's ensemble of RIFE 4.7 to 4.13 is off by 0.34 and more; rounding by less than 1e-4.",
    ),
    "reference from float64": Tolerance(
        1e-3,
        "Largest distance of a golden from our network in float64. More is another network and no rounding: "
        "the least change of RIFE's refinement moves it by 2e-3.",
    ),
    "batch": Tolerance(
        2e-5,
        "Largest error of a batch beside its samples alone: a convolution of more rows sums in another "
        "order. White noise through RIFE, FILM, TLBVFI and the built-in network (1e-5) keeps it.",
    ),
    "rounding": Tolerance(
        1e-6, "The same sums in another order, of values in 0..1: a few units of the last place of float32."
    ),
    "operation": Tolerance(
        1e-5,
        "One layer or one short chain of them beside the plain operation, values of about 1: sums of up to a "
        "thousand products in another order. A wrong tap or border is off by 1e-2.",
    ),
    "sampling": Tolerance(
        2e-5,
        "A warp by other arithmetic: a coordinate of 500 pixels has its last place at 3e-5 of a pixel, and "
        "neighbouring pixels of noise differ by up to 1.",
    ),
    "fast path": Tolerance(
        1e-4,
        "A whole network by its fast way beside the plain one, on noise: as for the goldens, another library "
        "of convolutions.",
    ),
    "flow of a fast path": Tolerance(1e-3, "As for the picture, in pixels; see golden flow."),
    "threads": Tolerance(
        1e-5,
        "A picture made by another number of threads: sums are cut elsewhere. RIFE 4.0 was off by 7.5e-6, "
        "all others by at most 4.1e-6.",
    ),
    "nothing moves": Tolerance(
        1e-3,
        "A network that finds no motion: a float32 grid is 1e-4 pixels off in a wide frame, in 16 bits 0.2.",
    ),
}

TIMES_THE_REFERENCE = 2.0
"""How much farther from float64 our picture may be than the reference's, by the root of the mean square: the
largest error of an amplified rounding is the luck of one pixel."""

AMPLIFYING = {
    "rife/4.0 large_motion_no_restart": "weights of gain 1 and flows of 26 pixels over noise: rounding grows "
    "to 7e-5 to 1.2e-4, and to 9.6e-5 in the reference",
    "rife/4.0 large_motion_restart": "as the pass without the restart: 7e-5 to 9e-5, the reference 8.3e-5",
}
"""Cases that multiply rounding: these are judged by the distance from float64, see TIMES_THE_REFERENCE."""


def bound(name: str) -> float:
    """Return the bound of an entry of the table."""
    return TOLERANCES[name].bound
