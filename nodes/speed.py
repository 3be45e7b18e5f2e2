"""The node of how fast a clip plays."""

from __future__ import annotations

import uuid
from fractions import Fraction
from typing import Any, ClassVar, get_args

from ..engine.curve import ADVICE, Curve, Ease
from ..engine.curve_picture import picture_of
from ..engine.pieces import SoundLaw
from ..engine.shutter import Shutter
from ..errors import BadInputError
from . import _host
from ._errors import said_plainly
from ._timing import ClipSpeed
from ._types import ANY
from ._widgets import CATEGORY, SEARCH_WORDS, InputTypes

_SAMPLES_TOOLTIP = "Moments that are averaged for each frame, where shutter_angle is above 0."


class MidframeSpeed:
    """Says how fast a clip plays, and for how long the shutter is open."""

    CATEGORY = CATEGORY
    FUNCTION = "speed"
    RETURN_TYPES = ("MIDFRAME_SPEED",)
    RETURN_NAMES = ("speed",)
    OUTPUT_TOOLTIPS = ("For the speed input of Clip Timing.",)
    # It runs with nothing behind it, so that the curve can be looked at.
    OUTPUT_NODE = True
    DESCRIPTION = (
        "Slow motion in the middle of a clip, stops, backwards; and motion blur, as by the shutter of a film "
        "camera. The frame rate of the output is constant then. The picture shows the time of the source "
        "over that of the output."
    )
    SEARCH_ALIASES: ClassVar[list[str]] = [
        "slow motion",
        "speed ramp",
        "time remap",
        "retime",
        "reverse",
        "freeze frame",
        "motion blur",
        *SEARCH_WORDS,
    ]

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Return the inputs. Saved workflows hold widget values by position: new ones go to the end."""
        text = {"default": "1", "multiline": True, "placeholder": "0:1, 2s:0.25, 4s:1", "tooltip": ADVICE}
        ease = {
            "default": "linear",
            "tooltip": "How one speed becomes the next. linear: evenly. eased: slowly at both ends. steps: "
            "at once, at the next keyframe.",
        }
        sound = {
            "default": "stretch",
            "tooltip": "The sound of a video. stretch: it stays with the picture, its pitch held; with a "
            "curve faint clicks may be heard. drop: none. keep: as it is from the beginning on, as music.",
        }
        angle = {
            "default": 0.0,
            "min": 0.0,
            "max": 360.0,
            "tooltip": "How long the shutter is open: each frame is the mean of several moments. 180 is "
            "film's motion blur; 360 the whole time, for 60 to 24 without stutter. 0: none.",
        }
        samples = {"default": Shutter.samples, "min": 2, "max": 256, "tooltip": _SAMPLES_TOOLTIP}
        linked = {
            "tooltip": "A list instead of the text: a speed for each source frame, or pairs of position and "
            "speed."
        }
        return {
            "required": {
                "curve": ("STRING", text),
                "ease": (list(get_args(Ease)), ease),
                "sound": (list(get_args(SoundLaw)), sound),
                "shutter_angle": ("FLOAT", angle),
                "shutter_samples": ("INT", samples),
            },
            "optional": {"keyframes": (ANY, linked)},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, curve: str | None = None) -> bool | str:  # noqa: N802 - ComfyUI's name
        """Report a text that cannot be read before anything runs. It is None where it comes by a link."""
        try:
            Curve.of(curve)
        except BadInputError as error:
            return str(error)
        return True

    @said_plainly()
    def speed(
        self,
        curve: Any,
        ease: Ease,
        sound: SoundLaw,
        shutter_angle: float = 0.0,
        shutter_samples: int = 8,
        keyframes: Any = None,
    ) -> dict[str, Any]:
        """Return the speed, and a picture of it."""
        made = Curve.of(curve if keyframes is None else keyframes, ease)
        shutter = Shutter(Fraction(str(shutter_angle)), shutter_samples) if shutter_angle else None
        return {"ui": {"images": _pictures(made)}, "result": (ClipSpeed(made, sound, shutter),)}


def _pictures(curve: Curve | None) -> list[dict[str, str]]:
    """Return what ComfyUI shows on the node: a picture of the curve; nothing of a clip at its own speed."""
    if curve is None:
        return []
    file = f"midframe_curve_{uuid.uuid4().hex}.png"
    picture_of(curve).save(_host.temp_folder() / file)
    return [{"filename": file, "subfolder": "", "type": "temp"}]
