"""``midframe convert``: whatever can be loaded comes out as a clean safetensors file, whole or not at all."""

import argparse
import os

import pytest
import torch
from checkpoints import save
from midframe.benchmarks.loading import save_archive
from midframe.cli import convert as command
from midframe.errors import BadInputError, CorruptWeightsError, MidframeError, UnsupportedWeightsError
from midframe.vfi_models import architectures
from midframe.vfi_models.film.config import published_names
from midframe.weights import convert as module
from midframe.weights.convert import convert
from midframe.weights.loading import open_weights
from midframe.weights.synthetic import synthetic_state_dict
from safetensors import safe_open
from safetensors.torch import load_file


def weights(name="film", family="narrow"):
    owner = next(a for a in architectures() if a.name == name)
    return synthetic_state_dict(owner.shapes(family), 0, 1.0)


def equal(path, wanted):
    found = load_file(path)
    return found.keys() == wanted.keys() and all(torch.equal(found[n], wanted[n]) for n in wanted)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "archive"])
def test_every_kind_of_file(tmp_path, kind):
    source, target, wanted = tmp_path / "in", tmp_path / "out.safetensors", weights()
    if kind == "archive":
        save_archive(published_names(wanted), source)
    else:
        save(source, published_names(wanted), kind)
    convert(source, target)
    assert equal(target, wanted)
    with safe_open(target, framework="pt") as file:
        assert file.metadata() == {"format": "pt", "architecture": "film", "family": "narrow"}
    assert open_weights(target).spec.family == "narrow"
    assert sorted(os.listdir(tmp_path)) == ["in", "out.safetensors"]


def test_wrappers_prefixes_and_leftovers_of_training_go(tmp_path):
    wanted = weights("rife", "4.22.lite")
    state = {f"module.{name}": value for name, value in wanted.items()} | {"module.teacher.x": torch.ones(3)}
    save(tmp_path / "x.pkl", {"state_dict": state, "optimizer": {"lr": 0.1}, "epoch": 3}, "zip")
    convert(tmp_path / "x.pkl", tmp_path / "x.safetensors")
    assert equal(tmp_path / "x.safetensors", wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_in_sixteen_bits(tmp_path, dtype):
    save(tmp_path / "x.pth", weights(), "zip")
    convert(tmp_path / "x.pth", tmp_path / "x.safetensors", dtype=dtype)
    assert equal(tmp_path / "x.safetensors", {name: value.to(dtype) for name, value in weights().items()})


def test_a_file_that_is_there_is_kept(tmp_path):
    save(tmp_path / "x.pth", weights(), "zip")
    (tmp_path / "x.safetensors").write_bytes(b"mine")
    with pytest.raises(BadInputError, match="--overwrite"):
        convert(tmp_path / "x.pth", tmp_path / "x.safetensors")
    assert (tmp_path / "x.safetensors").read_bytes() == b"mine"
    convert(tmp_path / "x.pth", tmp_path / "x.safetensors", overwrite=True)
    assert equal(tmp_path / "x.safetensors", weights())
    with pytest.raises(BadInputError, match="into itself"):
        convert(tmp_path / "x.safetensors", tmp_path / "x.safetensors", overwrite=True)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"<!DOCTYPE html>", CorruptWeightsError),
        ({"some.other": torch.ones(2)}, UnsupportedWeightsError),
        ({"extract.extract_sublevels.convs.0.0.0.weight": torch.ones(4, 3, 3, 3)}, UnsupportedWeightsError),
        ({**weights(), "fuse.extra": torch.ones(1)}, UnsupportedWeightsError),
    ],
)
def test_what_cannot_be_loaded_is_not_converted(tmp_path, content, error):
    if isinstance(content, bytes):
        (tmp_path / "x.pth").write_bytes(content)
    else:
        save(tmp_path / "x.pth", content, "zip")
    with pytest.raises(error):
        convert(tmp_path / "x.pth", tmp_path / "x.safetensors")
    assert os.listdir(tmp_path) == ["x.pth"]


@pytest.mark.parametrize(
    "target",
    [
        "x.pth",
        "no/such/folder/x.safetensors",
        "in.pth/x.safetensors",
        f"{'n' * 300}.safetensors",
        "/proc/x.safetensors",
    ],
)
def test_where_nothing_can_be_written(tmp_path, target):
    save(tmp_path / "in.pth", weights(), "zip")
    with pytest.raises(BadInputError):
        convert(tmp_path / "in.pth", tmp_path / target)
    assert os.listdir(tmp_path) == ["in.pth"]


def test_a_folder_of_that_name_stays(tmp_path):
    save(tmp_path / "in.pth", weights(), "zip")
    (tmp_path / "x.safetensors").mkdir()
    for overwrite in (False, True):
        with pytest.raises(BadInputError):
            convert(tmp_path / "in.pth", tmp_path / "x.safetensors", overwrite=overwrite)
    assert sorted(os.listdir(tmp_path)) == ["in.pth", "x.safetensors"]


def test_the_longest_name_that_a_file_can_have(tmp_path):
    save(tmp_path / "in.pth", weights(), "zip")
    target = tmp_path / f"{'n' * (255 - len('.safetensors'))}.safetensors"
    convert(tmp_path / "in.pth", target)
    assert equal(target, weights())


def test_values_that_sixteen_bits_cannot_hold(tmp_path):
    large = {**weights(), "fuse.output_conv.bias": torch.tensor([0.0, -1e6, 1.0])}
    save(tmp_path / "in.pth", large, "zip")
    with pytest.raises(BadInputError, match=r"fuse\.output_conv\.bias has values up to 1e\+06"):
        convert(tmp_path / "in.pth", tmp_path / "x.safetensors", dtype=torch.float16)
    assert os.listdir(tmp_path) == ["in.pth"]
    convert(tmp_path / "in.pth", tmp_path / "x.safetensors", dtype=torch.bfloat16)


@pytest.mark.long  # test_averages_take_the_place_of_what_was_averaged has the same file
def test_averages_or_what_they_are_averages_of(tmp_path):
    raw = weights("tlbvfi", "small")
    averages = {name: value + 1 for name, value in raw.items() if name.startswith("denoise_fn.")}
    torch.save({"model": raw, "ema": averages}, tmp_path / "in.pth")
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    for words, wanted in (([], {**raw, **averages}), (["--raw"], raw)):
        target = tmp_path / f"out{len(words)}.safetensors"
        command.run(parser.parse_args([str(tmp_path / "in.pth"), str(target), *words]), lambda line: None)
        assert equal(target, wanted)


@pytest.mark.parametrize("failure", [OSError("No space left on device"), KeyboardInterrupt()])
def test_half_a_file_never_stays(tmp_path, monkeypatch, failure):
    def half(tensors, path, metadata):
        path.write_bytes(b"half")
        raise failure

    monkeypatch.setattr(module, "save_file", half)
    save(tmp_path / "in.pth", weights(), "zip")
    with pytest.raises((MidframeError, KeyboardInterrupt), match=r"No space|^$"):
        convert(tmp_path / "in.pth", tmp_path / "x.safetensors")
    assert os.listdir(tmp_path) == ["in.pth"]


def test_what_reads_back_otherwise_is_no_result(tmp_path, monkeypatch):
    whole = module.save_file
    monkeypatch.setattr(module, "save_file", lambda t, p, m: whole({n: v + 1 for n, v in t.items()}, p, m))
    save(tmp_path / "in.pth", weights(), "zip")
    with pytest.raises(BadInputError, match="read back"):
        convert(tmp_path / "in.pth", tmp_path / "x.safetensors")
    assert os.listdir(tmp_path) == ["in.pth"]


def test_the_command(tmp_path):
    parser, lines = argparse.ArgumentParser(), []
    command.add_arguments(parser)
    save(tmp_path / "in.pth", weights(), "zip")
    arguments = [str(tmp_path / "in.pth"), str(tmp_path / "out.safetensors"), "--dtype", "float16"]
    assert command.run(parser.parse_args(arguments), lines.append) == 0
    (line,) = lines
    assert "film narrow, 82 parameters" in line
    size = (tmp_path / "out.safetensors").stat().st_size
    assert f"{size:,} bytes" in line
