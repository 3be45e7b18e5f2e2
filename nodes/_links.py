"""Checks the types of links, which ComfyUI leaves to a node that asks what is linked to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import BadInputError
from ._video_host import link_fits
from ._widgets import InputTypes


def check_links(inputs: InputTypes, links: Mapping[str, Any]) -> None:
    """Check that what is linked to a node fits its inputs.

    Args:
        inputs: of the node.
        links: the types of what is linked to them.

    Raises:
        BadInputError: a link that does not fit.
    """
    rows = {**inputs.get("required", {}), **inputs.get("optional", {})}
    for name, linked in links.items():
        if name in rows and not link_fits(linked, rows[name][0]):
            raise BadInputError(
                f"What is linked to {name} does not fit there (return_type_mismatch).",
                f"{linked}, where {rows[name][0]} belongs",
                "Link something else, or nothing.",
            )
