"""Makes ``locales/LANGUAGE/nodeDefs.json``: the nodes' names and texts, as ComfyUI's front end wants them in each language.

    python tests/support/make_locales.py

English comes from the node classes. Another language comes from its catalogue, ``locales/LANGUAGE.json``, which holds each
text of the classes once, with its translation; what a catalogue lacks is listed, and nothing is written then.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from packs import ROOT

LOCALES = ROOT / "locales"
ENGLISH = "en"
LANGUAGES = (ENGLISH, "zh", "ja", "ko")
"""Codes of the front end, which knows "zh-TW" and others too."""
LIVE = "model"
"""The input whose tooltip goes on with what is on this computer."""

_HERE = re.compile(r" (On this computer: |Those that are not here yet ).*", re.DOTALL)

Texts = dict[str, Any]


def english() -> dict[str, Texts]:
    """Return the texts of all nodes, by the front end's keys. Stand-ins for other packs' nodes are not among them."""
    from midframe.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

    return {
        kind: _texts_of(node, NODE_DISPLAY_NAME_MAPPINGS[kind])
        for kind, node in NODE_CLASS_MAPPINGS.items()
        if not getattr(node, "DEPRECATED", False)
    }


def _texts_of(node: Any, display_name: str) -> Texts:
    types = node.INPUT_TYPES()
    rows = {**types.get("required", {}), **types.get("optional", {})}
    outputs = zip(node.RETURN_NAMES, node.OUTPUT_TOOLTIPS, strict=True)
    return {
        "display_name": display_name,
        "description": node.DESCRIPTION,
        "inputs": {
            name: {"name": name, "tooltip": _HERE.sub("", row[1]["tooltip"])} for name, row in rows.items()
        },
        "outputs": {str(i): {"name": name, "tooltip": text} for i, (name, text) in enumerate(outputs)},
    }


def in_language(language: str) -> dict[str, Texts]:
    """Return what the file of a language holds.

    English leaves the tooltip of the model menu out: the front end would show it in place of the node's own, which says
    what is on this computer.

    Raises:
        KeyError: the catalogue lacks a text.
    """
    nodes = english()
    if language == ENGLISH:
        for node in nodes.values():
            if LIVE in node["inputs"]:
                del node["inputs"][LIVE]["tooltip"]
        return nodes
    return _translated(nodes, catalogue(language))


def catalogue(language: str) -> dict[str, str]:
    """Return the translations of a language, by the English text."""
    path = LOCALES / f"{language}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _translated(texts: Any, words: Mapping[str, str]) -> Any:
    if isinstance(texts, str):
        return words[texts]
    return {key: _translated(value, words) for key, value in texts.items()}


def leaves(texts: Any) -> Iterator[str]:
    """Yield the texts of nested dicts, in order."""
    if isinstance(texts, str):
        yield texts
    else:
        for value in texts.values():
            yield from leaves(value)


def missing(language: str) -> list[str]:
    """Return the texts that the catalogue of a language lacks, each once."""
    words = catalogue(language)
    return [text for text in dict.fromkeys(leaves(english())) if text not in words]


def as_json(texts: Texts) -> str:
    """Return a file's text."""
    return json.dumps(texts, ensure_ascii=False, indent=1) + "\n"


def main() -> None:
    """Write the files of all languages, or exit with what has no translation."""
    lacking = {language: texts for language in LANGUAGES[1:] if (texts := missing(language))}
    if lacking:
        sys.exit(f"No translation in locales/: {json.dumps(lacking, ensure_ascii=False, indent=1)}")
    for language in LANGUAGES:
        path = LOCALES / language / "nodeDefs.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(as_json(in_language(language)), encoding="utf-8")


if __name__ == "__main__":
    from packs import load_pack

    load_pack()
    main()
