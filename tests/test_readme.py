"""What the README and the pages behind it say can be done, can be done."""

import re

import pytest
from clips import pictures, write_clip

PAGES = ["README.md", "docs/python.md"]
"""With examples in Python, each page a program of its own."""
TWO_SCREENS = 100


def documents(root):
    places = (root, root / "docs", root / "benchmarks", root / "tests", root / "training", root / ".github")
    return [page for place in places for page in sorted(place.glob("*.md"))]


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_run(root, tmp_path, monkeypatch, page):
    blocks = re.findall(r"```python\n(.*?)```", (root / page).read_text(encoding="utf-8"), re.S)
    assert blocks
    write_clip(tmp_path / "clip.mp4", pictures(3))
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks:
        exec(block, names)
    assert names["more"].shape == (9, 64, 96, 3)
    if page != "README.md":
        assert names["written"].frames == 8


def test_the_policy_of_contributing_runs(root):
    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Adding a timeline")[2]
    (block,) = re.findall(r"```python\n(.*?)```", text, re.S)
    names = {"__name__": "example"}
    exec(block, names)
    assert names["Policy"].__abstractmethods__ == {"outputs", "tick"}


def test_the_readme_is_two_screens(root):
    assert len((root / "README.md").read_text(encoding="utf-8").splitlines()) <= TWO_SCREENS


def test_the_commands_exist(root):
    from midframe.cli import _COMMANDS

    for page in documents(root):
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"^    midframe (\w+)", text, re.M)) <= set(_COMMANDS), page
    complete = (root / "docs/command_line.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^    midframe (\w+)", complete, re.M)) == set(_COMMANDS)


def test_the_targets_of_make_exist(root):
    targets = set(re.findall(r"^([\w-]+):", (root / "Makefile").read_text(encoding="utf-8"), re.M))
    for page in documents(root):
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"(?:^    |`)make ([\w-]+)", text, re.M)) <= targets, page
    assert {"demo", "test"} <= set(re.findall(r"^    make (\w+)", (root / "README.md").read_text(), re.M))


def test_links_lead_somewhere(root):
    for page in documents(root):
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if "://" in target:
                continue
            name, _, anchor = target.partition("#")
            file = page.parent / name if name else page
            assert file.exists(), f"{page}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.M)
                anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
                assert anchor in anchors, f"{page}: {target}"


def test_files_that_are_named_exist(root):
    """Of the pages that a newcomer follows: each ``path/name.py`` in code is a file."""
    for page in (root / "CONTRIBUTING.md", *sorted((root / "docs").glob("*.md"))):
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
        for name in re.findall(r"`([\w./]+/[\w.]+\.(?:py|md|json|svg))`", text):
            if "example_model" in name:
                continue
            assert (root / name).is_file(), f"{page.name}: {name}"


def test_the_picture_is_small(root):
    assert (root / "docs/demo.png").stat().st_size < 200_000
