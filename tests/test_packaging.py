import re
import subprocess
import sys
import zipfile
from pathlib import PurePosixPath

import pytest

if sys.version_info < (3, 11):
    pytest.skip("tomllib is in Python 3.11 and newer", allow_module_level=True)

import tomllib


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_is_listed(root, project):
    from imports import pack_files

    folders = {path.parent.relative_to(root).as_posix() for path in pack_files(root)}
    wanted = {"midframe" if f == "." else "midframe." + f.replace("/", ".") for f in folders}
    assert set(project["tool"]["setuptools"]["packages"]) == wanted
    for folder in folders:
        assert (root / folder / "__init__.py").is_file(), folder


def test_what_the_package_needs_is_in_it(root, project):
    patterns = project["tool"]["setuptools"]["package-data"]["midframe"]
    needed = ["ckpts/default.safetensors", "ckpts/manifest.json", "demo/clip.mp4", "py.typed"]
    needed += [p.relative_to(root).as_posix() for p in (root / "web/docs").rglob("*.md")]
    needed += [p.relative_to(root).as_posix() for p in (root / "locales").glob("*/*.json")]
    needed += [p.relative_to(root).as_posix() for p in (root / "parity/goldens").rglob("*.npz")]
    for name in needed:
        assert (root / name).is_file(), name
        assert any(_matches(name, pattern) for pattern in patterns), name


def _matches(name, pattern):
    head, _, tail = pattern.partition("**/")
    return PurePosixPath(name).match(pattern) or (
        tail and name.startswith(head) and PurePosixPath(name).match(tail)
    )


def test_nothing_pins_what_a_user_has(root, project):
    inside_comfyui = (root / "requirements.txt").read_text(encoding="utf-8").split()
    assert {"torch", "numpy", *inside_comfyui} == set(project["project"]["dependencies"])
    assert not {"torch", "numpy"} & set(inside_comfyui)
    for requirement in project["project"]["dependencies"]:
        assert not re.search(r"[=<~]=|<", requirement.replace(">=", "")), requirement
    assert "torch" in project["project"]["dependencies"]


def test_the_registry_reads_it(project):
    comfy = project["tool"]["comfy"]
    assert comfy["PublisherId"] == "midframe"
    assert comfy["DisplayName"] == "Midframe"
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["project"]["version"])
    assert project["project"]["name"] == "midframe"


def test_the_registry_gets_a_small_package_that_imports(root, tmp_path):
    """As `comfy node pack` makes it: tracked files without those of .comfyignore; under 2 MB, and the weights of
    the built-in model, which may have 8 MB and have to work offline."""
    tracked = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("this is no git checkout")
    lines = (root / ".comfyignore").read_text(encoding="utf-8").splitlines()
    ignored = [line for line in lines if line and not line.startswith("#")]

    def stays_out(name):
        return any(name.startswith(p) if p.endswith("/") else PurePosixPath(name).match(p) for p in ignored)

    archive = tmp_path / "pack.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as pack:
        for name in tracked.stdout.splitlines():
            if not stays_out(name) and (root / name).is_file():
                pack.write(root / name, f"midframe/{name}")
    with zipfile.ZipFile(archive) as pack:
        weights = pack.getinfo("midframe/ckpts/default.safetensors").compress_size
        assert archive.stat().st_size - weights < 2_000_000
        assert weights < 8_000_000
        assert {f"midframe/locales/{code}/nodeDefs.json" for code in ("en", "zh", "ja", "ko")} <= set(
            pack.namelist()
        )
        pack.extractall(tmp_path / "unpacked")
    call = "import midframe; print(midframe.__file__, sorted(midframe.NODE_CLASS_MAPPINGS)[0])"
    found = subprocess.run(
        [sys.executable, "-c", call],
        cwd=tmp_path / "unpacked",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert str(tmp_path) in found.stdout, found.stderr
    assert "MidframeAnalyse" in found.stdout


def test_versions_of_tools_stand_in_one_place(root, project):
    pinned = {
        name: version
        for name, _, version in (
            tool.partition("==") for tool in project["project"]["optional-dependencies"]["test"]
        )
        if version
    }
    assert {"ruff", "mypy"} <= pinned.keys()
    for name in (".pre-commit-config.yaml", "Makefile", "dev.py", ".github/workflows/tests.yml"):
        text = (root / name).read_text(encoding="utf-8")
        assert not [tool for tool, version in pinned.items() if version in text], name


def test_the_change_log_knows_this_version(root, project):
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", text, re.M)
    assert headings[0] == ("Unreleased", "")
    assert headings[1][0] == project["project"]["version"]
    assert headings[1][1]
    assert set(re.findall(r"^### (.+)$", text, re.M)) <= {
        "Added",
        "Changed",
        "Deprecated",
        "Removed",
        "Fixed",
        "Security",
    }
