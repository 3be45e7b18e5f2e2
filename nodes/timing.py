"""Nodes about the time of a clip: what is found in it, and what is done about that."""

from __future__ import annotations

from typing import Any, ClassVar, get_args

from torch import Tensor

from ..analysis.notes import Analysis
from ..analysis.timing import CutLaw, HeldLaw, Timing
from ..analysis.watch import analyse
from ..engine.settings import GuardLaw, Levels, Settings
from ..errors import BadInputError
from ..inputs.frames import require_clip
from ..inputs.objects import require_like
from ..video.stream.looking import analysis_of
from . import _progress
from ._errors import said_plainly
from ._timing import ClipSpeed, ClipTiming, mask_file
from ._video_host import source_of
from ._widgets import CATEGORY, SEARCH_WORDS, InputTypes

_ANALYSIS = "MIDFRAME_ANALYSIS"


class MidframeAnalyse:
    """Looks at a clip and notes its cuts, held frames and more."""

    CATEGORY = CATEGORY
    FUNCTION = "analyse"
    RETURN_TYPES = (_ANALYSIS, "STRING")
    RETURN_NAMES = ("analysis", "text")
    OUTPUT_TOOLTIPS = (
        "For Clip Timing, where the same clip goes through several nodes.",
        "What was found, as JSON: correct it and paste it into Clip Timing.",
    )
    DESCRIPTION = (
        "Notes the cuts, flashes, held frames, brightness steps and motion of a clip. Interpolation nodes "
        "look for cuts by themselves; this node shows what is found, so that you can correct it."
    )
    SEARCH_ALIASES: ClassVar[list[str]] = [
        "scene detection",
        "cut detection",
        "duplicate frames",
        *SEARCH_WORDS,
    ]

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Return the inputs: one of the two clips is linked."""
        return {
            "optional": {
                "frames": ("IMAGE", {"tooltip": "The clip, or link a video."}),
                "video": ("VIDEO", {"tooltip": "The clip, or link frames."}),
            }
        }

    @said_plainly()
    def analyse(self, frames: Tensor | None = None, video: Any = None) -> tuple[Analysis, str]:
        """Return what is found, and its text."""
        if (frames is None) == (video is None):
            raise BadInputError(
                "One clip is looked at.",
                "none is linked" if frames is None else "both are linked",
                "Link frames or a video.",
            )
        host = _progress.watch(1, None)
        if frames is not None:
            analysis = analyse(require_clip(frames), poll=host.check_cancelled)
        else:
            with source_of(video)(False) as clip:
                analysis = analysis_of(clip, host)
        return analysis, analysis.to_json()


class MidframeTiming:
    """Says what is done about cuts and held frames."""

    CATEGORY = CATEGORY
    FUNCTION = "timing"
    RETURN_TYPES = ("MIDFRAME_TIMING",)
    RETURN_NAMES = ("timing",)
    OUTPUT_TOOLTIPS = ("For the timing input of an interpolation node.",)
    DESCRIPTION = (
        "Sets what an interpolation node does between two shots, and with frames that repeat the one before. "
        "Without this node the nearer frame is held at a cut, and repeated frames stay."
    )
    SEARCH_ALIASES: ClassVar[list[str]] = [
        "scene change",
        "cuts",
        "anime on twos",
        "duplicate frames",
        "dead frames",
        *SEARCH_WORDS,
    ]

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Return the inputs. Saved workflows hold widget values by position: new ones go to the end."""
        cuts = {
            "default": Timing.cuts,
            "tooltip": "Between two shots. hold: the nearer frame, so that no frame mixes two shots. blend: "
            "both, one fading into the other. extrapolate: the nearer frame, which goes on moving as its "
            "shot does. interpolate: as if there was no cut.",
        }
        held = {
            "default": Timing.held,
            "tooltip": "Frames that repeat the one before, as in animation on twos or after a conversion. "
            "keep: they stay. retime: frames of an even motion take their place; length and sound stay.",
        }
        text = {
            "default": "",
            "multiline": True,
            "placeholder": "empty: the clip is looked at",
            "tooltip": "What Look at Clip gave for this very clip, corrected by you.",
            "advanced": True,
        }
        levels = {
            "default": Settings.levels,
            "tooltip": "Where exposure steps between two frames, as under a lamp that flickers. keep: "
            "nothing is done. match: both are brought to one level before motion is looked for.",
        }
        guard = {
            "default": Settings.guard,
            "tooltip": "Subtitles, logos, borders. off: they are made like the rest. auto: what stands while "
            "the rest moves comes from the source. A linked mask takes its place.",
        }
        return {
            "required": {
                "cuts": (list(get_args(CutLaw)), cuts),
                "held": (list(get_args(HeldLaw)), held),
            },
            "optional": {
                "analysis_text": ("STRING", text),
                "analysis": (_ANALYSIS, {"tooltip": "From Look at Clip, for this very clip."}),
                "speed": ("MIDFRAME_SPEED", {"tooltip": "From Speed Curve: slow motion, stops, backwards."}),
                "levels": (list(get_args(Levels)), levels),
                "guard": (list(get_args(GuardLaw)), guard),
                "mask": ("MASK", {"tooltip": "White where an overlay stands: that comes from the source."}),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, analysis_text: str | None = None) -> bool | str:  # noqa: N802 - ComfyUI's name
        """Report a text that cannot be read before anything runs. It is None where it comes by a link."""
        try:
            _read(analysis_text)
        except BadInputError as error:
            return str(error)
        return True

    @said_plainly()
    def timing(  # noqa: PLR0913, PLR0917 - one parameter for each widget
        self,
        cuts: CutLaw,
        held: HeldLaw,
        analysis_text: str | None = "",
        analysis: Analysis | None = None,
        speed: ClipSpeed | None = None,
        levels: Levels = Settings.levels,
        guard: GuardLaw = "off",
        mask: Tensor | None = None,
    ) -> tuple[ClipTiming]:
        """Return what is done."""
        if analysis is not None:
            require_like(
                analysis,
                ("note", "pairs", "to_json", "warn_past"),
                wrong="This is no analysis of a clip.",
                advice="Connect Look at Clip, or nothing.",
            )
        notes = _read(analysis_text) or analysis
        overlays = guard if mask is None else mask_file(mask)
        return (ClipTiming(Timing(cuts, held), notes, ClipSpeed.of(speed), levels, overlays),)


def _read(text: str | None) -> Analysis | None:
    return Analysis.from_json(text) if text and text.strip() else None
