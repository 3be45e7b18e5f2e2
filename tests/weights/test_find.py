"""The manifest of known weights, and finding them on disk."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from midframe.errors import BadInputError, CorruptWeightsError, WeightsNotFoundError
from midframe.vfi_models import architectures
from midframe.vfi_models.rife.config import FAMILIES
from midframe.weights.find import CKPTS, Manifest, available, check, find, search_folders
from servers import HASH, WEIGHTS, put

# --- the manifest


def test_every_row_is_right():
    families = {architecture.name: architecture.families for architecture in architectures()}
    for row in Manifest.load().entries:
        assert row.family in families[row.architecture], row
        assert all(url.startswith(("https://huggingface.co/", "https://github.com/")) for url in row.urls), (
            row
        )
        assert all("/resolve/main/" in url or "/releases/download/" in url for url in row.urls), row
        # One whose hash was taken from the file itself may come under any name: another file is refused.
        assert row.sha256_verified or all(url.endswith(f"/{row.file}") for url in row.urls), row
        assert len(set(row.urls)) == len(row.urls), row
        assert row.sha256_verified == (row.file == "flownet_v3.6.pkl"), "the one file that was at hand"


def test_every_version_is_there_and_the_safe_file_is_preferred():
    manifest = Manifest.load()
    for family in FAMILIES.values():
        for version in family.versions:
            rows = manifest.lookup(f"rife-{version}")
            assert {row.family for row in rows} == {family.name}, version
            assert any(row.file == f"flownet_v{version}.pkl" for row in rows), version
    for version in ("4.25", "4.25.lite", "4.25.heavy", "4.26", "4.26.heavy"):
        url = manifest.by_name(f"rife-{version}").urls[0]
        assert url.startswith(
            "https://huggingface.co/Comfy-Org/frame_interpolation/resolve/main/frame_interpolation/"
        )


def test_the_built_in_model_is_the_first_and_has_no_address():
    first = Manifest.load().entries[0]
    assert (first.file, first.model, first.urls, first.sha256) == ("default.safetensors", "default", (), None)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("default", "default.safetensors"),
        ("rife-4.25", "rife_v4.25.safetensors"),
        ("rife-hd-3.6", "flownet_v3.6.pkl"),
        ("RIFE HD 3.6", "flownet_v3.6.pkl"),
        ("flownet_v3.6", "flownet_v3.6.pkl"),
        ("RIFE 4.25 lite", "rife_v4.25_lite.safetensors"),
        ("rife_v4.26_heavy", "rife_v4.26_heavy.safetensors"),
        ("Rife47.PTH", "rife47.pth"),
        ("rife47", "rife47.pth"),
        ("rife4.7", "rife47.pth"),
        ("rife425.pth", "rife425.pth"),
        ("flownet_v4.14.lite", "flownet_v4.14.lite.pkl"),
        ("sudo_rife4_269.662_testV1_scale1.pth", "sudo_rife4_269.662_testV1_scale1.pth"),
    ],
)
def test_names(name, file):
    assert Manifest.load().by_name(name).file == file


def test_a_models_name_means_all_its_files_and_a_files_name_that_one():
    manifest = Manifest.load()
    files = ["rife_v4.25.safetensors", "rife425.pth", "flownet_v4.25.pkl"]
    assert [row.file for row in manifest.lookup("rife-4.25")] == files
    assert [row.file for row in manifest.lookup("rife_v4.25.safetensors")] == files[:1]


def test_unknown_names_get_suggestions():
    with pytest.raises(WeightsNotFoundError, match=r"Did you mean .*rife-4\.25\.heavy"):
        Manifest.load().by_name("rife-4.25.heavi")
    with pytest.raises(WeightsNotFoundError, match="Choose a model"):
        Manifest.load().by_name("zzzzzz")


ROW = {"file": "a.pth", "model": "a", "architecture": "rife", "family": "4.6"}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({}, "no list"),
        ([3], "row 1 is not an object"),
        ([{**ROW, "family": None}], "not a text"),
        ([{"file": "a.pth"}], "missing .*family"),
        ([{**ROW, "sha": ""}], "unknown .*sha"),
        ([{**ROW, "file": "a.txt"}], "known extension"),
        ([{**ROW, "file": "../a.pth"}], "plain name"),
        ([{**ROW, "urls": "https://x/a.pth"}], "lists"),
        ([{**ROW, "urls": ["http://example.org/a.pth"]}], "not https"),
        ([{**ROW, "bytes": -1}], "bytes"),
        ([{**ROW, "sha256": "AB" * 32}], "64 lower-case"),
        ([{**ROW, "sha256_verified": True}], "without sha256"),
        ([{**ROW, "licence": 3}], "licence"),
        ([ROW, {**ROW, "file": "A.pth"}], "a name of both"),
        ([ROW, {**ROW, "file": "b.pth", "aliases": ["a.PTH"]}], "a name of both"),
        (
            [{**ROW, "model": "rife-4.6"}, {**ROW, "file": "rife_v4.6.pth", "model": "b"}],
            "reads like the model",
        ),
    ],
)
def test_a_manifest_that_is_wrong(tmp_path, rows, words):
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"checkpoints": rows} if isinstance(rows, list) else rows))
    with pytest.raises(BadInputError, match=words):
        Manifest.load(path)


def test_a_manifest_that_is_missing_or_no_json(tmp_path):
    with pytest.raises(BadInputError, match="No such file"):
        Manifest.load(tmp_path / "none.json")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(BadInputError, match=r"x\.json"):
        Manifest.load(tmp_path / "x.json")


# --- finding


def test_find_a_path_and_a_name_below_a_folder(tmp_path):
    path = put(tmp_path / "deep" / "down" / "mine.pth")
    assert find(path) == path
    assert find("mine.pth", [tmp_path]) == path
    assert find("MINE", [tmp_path]) == path
    assert find("deep/down/mine.pth", [tmp_path]) == path
    assert find("other.pth", [tmp_path, tmp_path / "none"]) is None
    assert find("mine.pth", [tmp_path.parent / "none"]) is None


def test_find_prefers_earlier_folders_then_preferred_files_then_safe_extensions(tmp_path):
    one, two = tmp_path / "1", tmp_path / "2"
    wanted = put(one / "rife" / "flownet_v4.25.pkl")
    put(two / "rife_v4.25.safetensors")
    assert find("rife-4.25", [one, two]) == wanted
    wanted = put(one / "rife425.pth")
    assert find("rife-4.25", [one, two]) == wanted
    assert find("rife425", [one]) == wanted
    put(one / "rife47.pt")
    wanted = put(one / "rife47.safetensors")
    assert find("rife47.pth", [one]) == wanted
    wanted = put(one / "rife47.pth")
    assert find("rife47.pth", [one]) == wanted


def test_find_takes_no_half_files(tmp_path):
    put(tmp_path / "rife47.pth", b"")
    put(tmp_path / ".rife47.pth.abc.part")
    put(tmp_path / "rife47.pth.crdownload")
    put(tmp_path / "rife47.txt")
    put(tmp_path / ".hidden" / "rife47.pth")
    put(tmp_path / "1" / "2" / "3" / "rife47.pth")
    (tmp_path / "rife47.pkl").mkdir()
    assert find("rife47.pth", [tmp_path]) is None
    assert find("rife-4.7", [tmp_path]) is None


def test_a_file_called_like_a_model_in_the_current_folder_is_not_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "rife-4.7")
    assert find("rife-4.7") is None


def test_available_opens_nothing(tmp_path, monkeypatch):
    old = put(tmp_path / "a" / "ckpts" / "rife47.pth")
    own = put(tmp_path / "b" / "sub" / "my own.safetensors")
    twice = put(tmp_path / "b" / "rife425.pth")
    preferred = put(tmp_path / "b" / "rife_v4.25.safetensors")
    monkeypatch.setattr("builtins.open", None)
    monkeypatch.setattr(Path, "open", None)
    choices = {
        choice.name: choice for choice in available([tmp_path / "a", tmp_path / "b", tmp_path / "none"])
    }
    assert next(iter(choices)) == "default" or not (CKPTS / "default.safetensors").exists()
    assert choices["rife-4.7"].path == old
    assert choices["rife-4.26"].path is None
    assert choices["rife-4.26"].entry.urls
    assert choices["rife-4.25"].path == preferred
    assert choices["rife425.pth"].path == twice
    assert choices["sub/my own.safetensors"].path == own
    assert choices["sub/my own.safetensors"].entry is None
    for choice in choices.values():
        assert choice.path is None or find(choice.name, [tmp_path / "a", tmp_path / "b"]) == choice.path


def test_available_by_architecture(tmp_path):
    put(tmp_path / "mine.pth")
    put(tmp_path / "rife_elsewhere.pth")
    put(tmp_path / "rife47.pth")
    names = [choice.name for choice in available([tmp_path], architectures=("compact",))]
    assert "mine.pth" in names
    assert not any("rife-4" in name or name == "rife47.pth" for name in names)


def test_folders_of_older_packs(tmp_path):
    wanted = [
        tmp_path / "models" / "frame_interpolation",
        tmp_path / "models" / "interpolation",
        tmp_path / "custom_nodes" / "comfyui-frame-interpolation-fork" / "ckpts" / "rife",
        tmp_path / "custom_nodes" / "comfyui-frame-interpolation-fork" / "ckpts" / "film",
    ]
    for folder in (*wanted, tmp_path / "models" / "loras", tmp_path / "custom_nodes" / "other" / "ckpts"):
        folder.mkdir(parents=True)
    put(tmp_path / "custom_nodes" / "single.py")
    found = search_folders(
        models=[tmp_path / "models"], custom_nodes=[tmp_path / "custom_nodes", tmp_path / "none"]
    )
    assert found == wanted


def test_a_verified_hash_refuses_and_another_warns(tmp_path, monkeypatch, caplog):
    path = put(tmp_path / "rife47.pth", WEIGHTS)
    row = Manifest.load().by_name("rife47.pth")
    with caplog.at_level(logging.WARNING):
        check(path)
    assert HASH in caplog.text
    monkeypatch.setattr(Manifest, "load", lambda: Manifest((replace(row, sha256_verified=True),)))
    with pytest.raises(CorruptWeightsError, match=HASH):
        check(path)
    monkeypatch.setattr(
        Manifest, "load", lambda: Manifest((replace(row, sha256=HASH, sha256_verified=True),))
    )
    check(path)
    check(put(tmp_path / "mine.pth", WEIGHTS))
