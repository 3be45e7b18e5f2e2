"""Classes of nodes that stand in for those of older packs; the table is :mod:`.old_ids`.

A row of the table says which inputs the older node has and what they mean here. The class that ComfyUI needs
is made from it: deprecated, so that nobody finds it by searching, and with the older node's id, inputs and
outputs, so that saved workflows open and run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..errors import BadInputError, MidframeError
from ..inputs.frames import require_clip
from ..inputs.objects import described
from ._errors import said_plainly
from ._inputs import PENDING
from ._interpolation import FrameNode, FrameOutputs, Links
from ._settings import check_given
from ._widgets import InputTypes

Values = Mapping[str, Any]
"""Inputs of a node by their names."""

CATEGORY = "video/Midframe/older packs"


def only_frames(frames: Tensor, _inputs: Values) -> tuple[Any, ...]:
    """Return what a node with one IMAGE output gives."""
    return (frames,)


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True, kw_only=True)
class OldNode:
    """A node of an older pack that makes frames."""

    name: str
    """On the canvas."""
    inputs: InputTypes
    runs: type[FrameNode]
    """Makes the frames here."""
    widgets: Mapping[str, str]
    """Inputs of that node by its own names, each with the older node's name of the same. What the older node
    has besides is read by nobody."""
    fixed: Values = field(default_factory=dict)
    """Inputs of that node with values that the older one has no widget for."""
    model_link: str = ""
    """An input by which a model may come instead of its widget's."""
    read: Callable[[Values], Values] = _same
    """Makes one value of several, by the older node's names, before anything else is read."""
    convert: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    """What the older node's value means, where it is another one, by the new names."""
    clip: tuple[str, ...] = ("frames",)
    """Inputs with frames. Several are put one behind the other."""
    outputs: tuple[str, ...] = ("IMAGE",)
    finish: Callable[[Tensor, Values], tuple[Any, ...]] = only_frames
    """Makes the older node's outputs of all frames and its inputs."""

    def translated(self, inputs: Values) -> dict[str, Any]:
        """Return the inputs of the node that runs, without its clip, of :func:`_filled` ones."""
        inputs = self.read(inputs)
        widgets = {new: inputs[old] for new, old in self.widgets.items() if inputs.get(old) is not None}
        if inputs.get(self.model_link) is not None:
            widgets["model"] = inputs[self.model_link]
        return {new: self.convert.get(new, _same)(value) for new, value in widgets.items()} | dict(self.fixed)


@dataclass(frozen=True, kw_only=True)
class OldTool:
    """A small node of an older pack that makes no frames."""

    name: str
    inputs: InputTypes
    outputs: tuple[str, ...]
    run: Callable[[Values], tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A node of an older pack whose network or job nobody here has."""

    name: str
    inputs: InputTypes
    outputs: tuple[str, ...]
    instead: str
    """What to use, as the end of an error."""


class StandIn(FrameNode):
    """A node of an older pack that makes frames; the base of the classes of :func:`stand_in`."""

    FUNCTION = "run"
    CATEGORY = CATEGORY
    DEPRECATED = True
    ROW: ClassVar[OldNode]

    def __init__(self) -> None:
        super().__init__()
        self._node = self.ROW.runs()

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Return the older node's inputs, in its order."""
        return {**cls.ROW.inputs, "hidden": {"node_id": "UNIQUE_ID"}}

    @classmethod
    def VALIDATE_INPUTS(  # type: ignore[override] # noqa: N802 - ComfyUI calls it by name, with names
        cls, input_types: Links | None = None, **inputs: Any
    ) -> bool | str:
        """Report what is wrong before anything runs; see :class:`~._interpolation.InterpolationNode`.

        Args:
            input_types: the types of all links.
            inputs: all, None for those that come by a link. Where all are asked for, ComfyUI looks no value
                up in its menu and compares none with its limits: files that are gone are fine, and so is
                whatever an input holds that nobody reads.
        """
        links = input_types or {}
        with said_plainly():
            try:
                values = cls.ROW.translated(_filled(cls.ROW.inputs, inputs))
                scale = values.get("motion_resolution")
                given = {**values, "scale": scale, "flow_scale": scale}
                check_given(cls.ROW.runs.INPUT_TYPES()["hidden"], given)
            except MidframeError as error:
                if input_types is None:
                    return str(error)
                raise
        linked = {cls.ROW.widgets["model"], cls.ROW.model_link} & set(links)
        rates = (values.get("source_fps"), values["target_fps"]) if "target_fps" in values else None
        chosen = None if linked else values.get("model"), values.get("multiplier")
        return cls._validate(chosen, rates, input_types, {})

    @said_plainly()
    def check_lazy_status(self, **inputs: Any) -> list[str]:
        """Check and fetch what a run needs besides its clip; see :class:`~._interpolation.FrameNode`."""
        needed = [name for name in self.ROW.clip if inputs.get(name) is None]
        if needed:
            self._outputs(PENDING, inputs)
        return needed

    @said_plainly()
    def run(self, **inputs: Any) -> tuple[Any, ...]:
        """Make the frames, and of them the older node's outputs."""
        inputs = _filled(self.ROW.inputs, inputs)
        clip = _joined([inputs.get(name) for name in self.ROW.clip])
        return self.ROW.finish(self._outputs(clip, inputs)[0], inputs)

    def _outputs(self, clip: Tensor, inputs: Values) -> FrameOutputs:
        node_id, inputs = inputs.get("node_id"), _filled(self.ROW.inputs, inputs)
        run: Callable[..., FrameOutputs] = getattr(self._node, self._node.FUNCTION)
        return run(clip, **self.ROW.translated(inputs), node_id=node_id)


class ToolStandIn:
    """A small node of an older pack; the base of the classes of :func:`stand_in`."""

    FUNCTION = "run"
    CATEGORY = CATEGORY
    DEPRECATED = True
    ROW: ClassVar[OldTool]

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Return the older node's inputs, in its order."""
        return cls.ROW.inputs

    @classmethod
    def VALIDATE_INPUTS(cls, **inputs: Any) -> bool:  # noqa: N802 - ComfyUI calls it by name, with names
        """Return True: the node reads its values by itself; see :class:`StandIn`."""
        return True

    @said_plainly()
    def run(self, **inputs: Any) -> tuple[Any, ...]:
        """Return the older node's outputs."""
        return self.ROW.run(_filled(self.ROW.inputs, inputs))


class MissingStandIn:
    """A node of an older pack that cannot run here; the base of the classes of :func:`stand_in`."""

    FUNCTION = "run"
    CATEGORY = CATEGORY
    DEPRECATED = True
    ROW: ClassVar[Missing]

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 - ComfyUI's name
        """Return the older node's inputs, in its order."""
        return cls.ROW.inputs

    @classmethod
    def VALIDATE_INPUTS(cls, input_types: Links | None = None) -> bool | str:  # noqa: N802 - ComfyUI's name
        """Say which node to use instead, before anything runs.

        Raises:
            BadInputError: always, see :class:`~._interpolation.InterpolationNode`.
        """
        with said_plainly():
            raise cls._error()

    @said_plainly()
    def run(self, **inputs: Any) -> tuple[Any, ...]:
        """Raise what :meth:`VALIDATE_INPUTS` says, for a host that does not ask first."""
        raise self._error()

    @classmethod
    def _error(cls) -> BadInputError:
        return BadInputError(
            f"{cls.ROW.name} is a node of another pack, which Midframe has nothing of its own for.",
            "that pack is not installed, or failed to load",
            cls.ROW.instead,
        )


def stand_in(key: str, row: OldNode | OldTool | Missing) -> type:
    """Return the class of the node with the id ``key``."""
    if isinstance(row, OldNode):
        base: type = StandIn
        about = f"{row.name} of an older pack; frames are made by {row.runs.__name__}."
    else:
        base = ToolStandIn if isinstance(row, OldTool) else MissingStandIn
        about = f"{row.name} of an older pack."
    body: dict[str, Any] = {
        "ROW": row,
        "RETURN_TYPES": row.outputs,
        "RETURN_NAMES": row.outputs,
        "DESCRIPTION": about,
    }
    if not row.outputs:
        body["OUTPUT_NODE"] = True  # or nothing would run it
    # Those of the base name the outputs of a node of ours.
    body |= {"OUTPUT_TOOLTIPS": (), "SEARCH_ALIASES": [], "__doc__": about, "__module__": __name__}
    return type("".join(filter(str.isalnum, key)), (base,), body)


def _filled(rows: InputTypes, inputs: Values) -> dict[str, Any]:
    """Return inputs with the older node's defaults for what is null or left out.

    ComfyUI fills nothing in, and a graph in its API's format may have been saved before a widget was there.
    """
    widgets = {**rows["required"], **rows.get("optional", {})}
    defaults = {name: row[1]["default"] for name, row in widgets.items() if "default" in row[1]}
    return defaults | {name: value for name, value in inputs.items() if value is not None}


def _joined(clips: list[Any]) -> Any:
    """Return clips one behind the other, and one as it is: whoever takes it looks at it.

    Raises:
        BadInputError: no clips, or pictures of another size.
    """
    if len(clips) == 1:
        return clips[0]
    if len({tuple(require_clip(clip).shape[1:]) for clip in clips}) != 1:
        raise BadInputError(
            "Both pictures must have the same size.",
            " and ".join(described(clip) for clip in clips),
            "Scale one to the size of the other.",
        )
    return torch.cat(clips)
