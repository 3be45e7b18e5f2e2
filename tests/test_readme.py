import re

from clips import pictures, write_clip


def test_the_examples_run(root, tmp_path, monkeypatch):
    text = (root / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(blocks) >= 2
    write_clip(tmp_path / "clip.mp4", pictures(3))
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks:
        exec(block, names)
    assert names["written"].frames == 8


def test_the_commands_exist(root):
    from midframe.cli import _COMMANDS

    text = (root / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^    midframe (\w+)", text, re.M)) <= set(_COMMANDS)
    assert set(re.findall(r"^    make (\w+)", text, re.M)) == {"demo", "test"}
