"""The nodes in other languages: ``locales/`` and the help pages of the main nodes.

The stand-ins for other packs' nodes are not translated: they are deprecated, and only there for graphs that exist.
"""

import functools
import json
import re

import make_locales
import pytest
from make_locales import LANGUAGES, LIVE, LOCALES, as_json, catalogue, in_language, leaves, missing
from midframe import NODE_CLASS_MAPPINGS

OTHERS = LANGUAGES[1:]
SCRIPTS = {"zh": r"[\u4e00-\u9fff]", "ja": r"[\u3040-\u30ff]", "ko": r"[\uac00-\ud7a3]"}
"""A letter that a sentence of the language has, and no other of these languages."""
PAGES = ("MidframeInterpolate", "MidframeVideo", "MidframeRIFE")
NAMES = r"\b(?:RIFE|FILM|TLBVFI|VIDEO|VideoHelperSuite|Midframe|ComfyUI|GPU|CPU|JSON|HTML|Ray|float32|float16|default|4K)\b"
LITERALS = r"%[\w:-]+%|\b[\w.]+/[\w./]*\w|\b\w+\.(?:pth|ckpt|pt)\b|\b\d[\d./:]*\b"
"""Paths, files, dates and numbers."""


english = functools.cache(make_locales.english)


@functools.cache
def rows_of(kind):
    """The inputs of a node, by name."""
    types = NODE_CLASS_MAPPINGS[kind].INPUT_TYPES()
    return {**types.get("required", {}), **types.get("optional", {})}


@functools.cache
def file_of(language):
    return json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))


def keys(texts, above=()):
    if isinstance(texts, str):
        return {above}
    return {key for name, value in texts.items() for key in keys(value, (*above, name))}


def at(texts, key):
    for name in key:
        texts = texts[name]
    return texts


def pairs(language):
    """Each text that is there in English and in a language, with its key."""
    nodes, translated = english(), file_of(language)
    return [(key, at(nodes, key), at(translated, key)) for key in sorted(keys(nodes) & keys(translated))]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_file_is_what_the_command_makes_of_the_node_classes(language):
    if language in OTHERS:
        assert not missing(language), f"add them to locales/{language}.json"
    found = (LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8")
    assert found == as_json(in_language(language)), "python tests/support/make_locales.py"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_exactly_the_texts_of_the_node_classes(language):
    nodes = {
        kind: node for kind, node in NODE_CLASS_MAPPINGS.items() if not getattr(node, "DEPRECATED", False)
    }
    expected = {(kind, text) for kind in nodes for text in ("display_name", "description")}
    for kind, node in nodes.items():
        slots = {("inputs", name) for name in rows_of(kind)}
        slots |= {("outputs", str(i)) for i in range(len(node.RETURN_TYPES))}
        expected |= {(kind, *slot, text) for slot in slots for text in ("name", "tooltip")}
    if language == "en":  # the node's own tooltip says what is on this computer
        expected = {key for key in expected if key[2:] != (LIVE, "tooltip")}
    assert keys(file_of(language)) == expected
    assert all(text.strip() == text != "" for text in leaves(file_of(language)))


@pytest.mark.parametrize("language", OTHERS)
def test_a_catalogue_holds_nothing_that_no_node_says(language):
    assert set(catalogue(language)) == set(leaves(english()))


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_is_in_the_script_of_its_language(language):
    for key, _, text in pairs(language):
        if key[-1] in ("description", "tooltip"):
            assert re.search(SCRIPTS[language], text), key
        if key[-1] == "display_name":
            assert not text.isascii(), key
        for other in set(OTHERS) - {language, "zh"}:  # kanji are Chinese letters
            assert not re.search(SCRIPTS[other], text), key


@pytest.mark.parametrize("language", OTHERS)
def test_numbers_paths_and_names_are_kept(language):
    for key, source, text in pairs(language):
        for kept in {*re.findall(NAMES, source), *re.findall(LITERALS, source)}:
            assert kept.rstrip(".:") in text, key


@pytest.mark.parametrize("language", OTHERS)
def test_values_of_menus_are_kept_since_the_front_end_shows_them_as_they_are(language):
    for key, source, text in pairs(language):
        if key[1] != "inputs" or key[-1] != "tooltip":
            continue
        menu = rows_of(key[0])[key[2]][0]
        for value in menu if isinstance(menu, list) else ():
            assert value not in re.findall(r"[\w -]+(?=:)", source) or value in text, (key, value)


@pytest.mark.parametrize("language", OTHERS)
def test_an_input_is_called_the_same_wherever_it_is_named(language):
    """By its name in the language, which is what its widget shows."""
    nodes = file_of(language)
    for key, source, text in pairs(language):
        for name, slot in nodes[key[0]]["inputs"].items():
            if "_" in name and key[-1] == "tooltip" and re.search(rf"\b{name}\b", source):
                assert slot["name"] in text, (key, name)


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_syntax_to_the_front_end(language):
    """It compiles all texts but tooltips: vue-i18n reads these characters as links, placeholders and plurals."""
    for key in keys(file_of(language)):
        if key[-1] != "tooltip":
            assert not re.search(r"[@{}|]", at(file_of(language), key)), key


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("page", PAGES)
def test_help_pages_have_the_rows_of_the_english_page(root, page, language):
    def rows(text):
        return re.findall(r"^\| ([^|]+) \|(.*)\|$", text, re.M)

    source = (root / "web" / "docs" / f"{page}.md").read_text(encoding="utf-8")
    text = (root / "web" / "docs" / page / f"{language}.md").read_text(encoding="utf-8")
    node = file_of(language)[page]
    labels = {name: slot["name"] for name, slot in node["inputs"].items()}
    slots = [name for name, _ in rows(source) if name not in ("input", "output")]
    found = [(name, about) for name, about in rows(text) if re.fullmatch("[a-z_]+", name)]
    assert [name for name, _ in found] == slots
    assert text.startswith(f"# {node['display_name']}\n")
    for name, about in found:
        assert re.search(SCRIPTS[language], about), name
        assert about.strip().startswith("**"), name
    for name, label in labels.items():
        assert any(row == name and f"**{label}**" in about for row, about in found), name
    assert text.count("\n## ") == source.count("\n## ")
    assert text.count("\n* ") == source.count("\n* ")
    for kept in {*re.findall(r"`[^`]+`", source), *re.findall(LITERALS, source)}:
        assert kept in text, kept
    # The side panel is narrow.
    assert not [line for line in text.splitlines() if line.startswith("|") and len(line) > 330]
