"""What the registry of ComfyUI nodes does with the pack: its own tool where there is one, and scanners."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest

# Not in the package that is published, see .comfyignore.
LEFT_OUT = ("tests", "benchmarks", "training", "dev.py")
# What the registry refuses a pack for, and what its page warns of: exec, eval, several statements in a line.
FORBIDDEN = "S102,S307,E702"


def tool(name):
    """The path of a command, of the PATH or beside this Python."""
    beside = os.path.join(os.path.dirname(sys.executable), name)
    found = shutil.which(name) or (beside if os.path.exists(beside) else None)
    if found is None:
        pytest.skip(f"needs the command {name}")
    return found


def output_of(*words, cwd, home=None, code=0):
    environment = {**os.environ, **({} if home is None else {"HOME": str(home), "DO_NOT_TRACK": "1"})}
    done = subprocess.run(
        list(map(str, words)),
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def checkout(root, tmp_path):
    """A clone, in which the tool may write. It knows what is committed."""
    git = tool("git")
    if subprocess.run([git, "rev-parse"], cwd=root, capture_output=True, check=False).returncode:
        pytest.skip("this is no git checkout")
    output_of(git, "clone", "--quiet", "--no-hardlinks", root, tmp_path / "midframe", cwd=tmp_path)
    return tmp_path / "midframe"


@pytest.mark.long
def test_comfy_cli_validates_and_packs_it(checkout, tmp_path):
    comfy = tool("comfy")
    home = tmp_path / "home"
    home.mkdir()
    output_of(comfy, "--skip-prompt", "tracking", "disable", cwd=checkout, home=home)
    said = output_of(comfy, "--skip-prompt", "node", "validate", cwd=checkout, home=home)
    assert "warning" not in said.lower(), said
    output_of(comfy, "--skip-prompt", "node", "pack", cwd=checkout, home=home)
    archive = checkout / "node.zip"
    assert archive.stat().st_size < 2_000_000
    names = zipfile.ZipFile(archive).namelist()
    assert {"__init__.py", "pyproject.toml", "ckpts/default.safetensors", "nodes/rife.py"} <= set(names)
    assert not [name for name in names if name.split("/")[0] in LEFT_OUT]
    assert not [name for name in names if "goldens" in name]


def test_nothing_that_is_published_breaks_the_rules_of_the_registry(root):
    ruff = tool("ruff")
    excluded = [word for name in LEFT_OUT for word in ("--exclude", name)]
    # Also where a comment would silence it.
    output_of(ruff, "check", "--no-cache", "--ignore-noqa", "--select", FORBIDDEN, *excluded, ".", cwd=root)


def test_that_check_finds_what_it_looks_for(root, tmp_path):
    ruff = tool("ruff")
    for line, rule in (
        ("exec('1')  # noqa", "S102"),
        ("eval('1')  # noqa: S307", "S307"),
        ("a = 1; b = 2", "E702"),
    ):
        (tmp_path / "bad.py").write_text(f"{line}\n")
        said = output_of(
            ruff,
            "check",
            "--no-cache",
            "--isolated",
            "--ignore-noqa",
            "--select",
            FORBIDDEN,
            ".",
            cwd=tmp_path,
            code=1,
        )
        assert rule in said


@pytest.mark.long
def test_bandit_finds_nothing_of_medium_severity(root):
    bandit = tool("bandit")
    excluded = ",".join(f"./{name}" for name in (*LEFT_OUT, ".git", ".venv", "build"))
    output_of(bandit, "-q", "-r", ".", "-x", excluded, "-ll", cwd=root)


def test_the_oldest_comfyui_is_one_that_was_run(root):
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    assert 'requires-comfyui = ">=0.25.0"' in text
    assert "0.25" in (root / "docs" / "comfyui.md").read_text(encoding="utf-8")
