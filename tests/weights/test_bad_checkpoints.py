"""Files that are no checkpoints or are made to do harm: refused, with a clear error, and nothing is run."""

import importlib
import io
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict

import pytest
import torch
from checkpoints import save, tiny
from midframe.errors import (
    BadInputError,
    CorruptWeightsError,
    MidframeError,
    UnsupportedWeightsError,
    WeightsNotFoundError,
)
from midframe.weights import checkpoint, danger
from midframe.weights.checkpoint import read_checkpoint

# --- files that are something else


def packed(**records):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in records.items():
            # With its own time, the first there is: the bytes are part of a test's name, and the processes of
            # pytest-xdist, which begin at different times, must find the same tests.
            archive.writestr(zipfile.ZipInfo(name.replace("__", "/")), data)
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b"", CorruptWeightsError, "empty file"),
        (b"<!DOCTYPE html>\n<html><body>Not Found", CorruptWeightsError, "web page.*<!DOCTYPE html>"),
        (b"\xef\xbb\xbf  <HTML lang='en'>", CorruptWeightsError, "web page"),
        (b'{"error":"rate limited"}', CorruptWeightsError, "JSON"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", CorruptWeightsError, "Git LFS pointer"),
        (b"\x1f\x8b\x08\x00" + b"0" * 40, CorruptWeightsError, "gzip"),
        (b"x" * 257 + b"ustar" + b"0" * 300, CorruptWeightsError, "tar archive"),
        (b"7767517\n136 168\nInput", CorruptWeightsError, "ncnn"),
        (b"hello, world of weights", CorruptWeightsError, "starts with b'hello"),
        (struct.pack("<Q", 10**9) + b'{"a"', CorruptWeightsError, "safetensors"),
        (struct.pack("<Q", 2) + b"{}", UnsupportedWeightsError, "without tensors"),
        (packed(train_log__flownet="0"), UnsupportedWeightsError, "train_log/flownet"),
        (packed(**{"net__data.pkl": b"\x80\x02}.", "net__constants.pkl": b"\x80\x02)."}), UnsupportedWeightsError, "without a state dict"),
        (packed(**{"net__data.pkl": b"\x80\x02}.", "net__byteorder": b"big"}), UnsupportedWeightsError, "big-endian"),
        (packed(**{"net__data.pkl": b"\x80\x02}."}), UnsupportedWeightsError, "without a state dict"),
        (pickle.dumps([1, 2], protocol=2), CorruptWeightsError, "torch.save did not write"),
        (pickle.dumps({"a": 1}, protocol=0), CorruptWeightsError, "torch.save did not write"),
    ],
)  # fmt: skip
def test_other_files(tmp_path, content, kind, words):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(kind, match=words) as caught:
        read_checkpoint(path)
    assert f"{path} ({len(content):,} bytes)" in caught.value.found


def test_no_file_a_folder_and_no_permission(tmp_path, monkeypatch):
    with pytest.raises(WeightsNotFoundError, match=r"none\.pth"):
        read_checkpoint(tmp_path / "none.pth")
    with pytest.raises(CorruptWeightsError, match="a folder"):
        read_checkpoint(tmp_path)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    path = save(tmp_path / "x", tiny(), "zip")
    monkeypatch.setattr(checkpoint, "_read", refuse)
    with pytest.raises(BadInputError, match="Permission denied"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "what", [{"one": tiny(), "two": tiny()}, {"state_dict": {}}, {"a": 1}, [torch.ones(1)], 3]
)
def test_no_state_dict_in_it(tmp_path, what):
    torch.save(what, tmp_path / "x.pth")
    with pytest.raises(UnsupportedWeightsError, match="without a state dict"):
        read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_what_is_not_the_files_fault_passes(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(checkpoint, "read_tensors", fail)
    with pytest.raises(error):
        read_checkpoint(save(tmp_path / "x", tiny(), "zip"))


# --- files that are made to do harm


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def with_pickle(path, content, kind):
    """The tiny checkpoint with another pickle in it."""
    whole = save(path.with_suffix(".whole"), tiny(), kind).read_bytes()
    if kind == "legacy":
        prefix = b"".join(
            pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
        )
        path.write_bytes(prefix + content + whole[-200:])
        return path
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(path, "w") as new:
        for record in old.infolist():
            new.writestr(
                record.filename, content if record.filename.endswith("data.pkl") else old.read(record)
            )
    return path


CALLS = {
    "os.system": lambda mark: Call(os.system, f'echo ran > "{mark}"'),
    "eval": lambda mark: Call(eval, f"open({str(mark)!r}, 'w').close()"),
    "open": lambda mark: Call(open, str(mark), "w"),
    "inside": lambda mark: {"state_dict": {"a": [(Call(os.mkdir, str(mark)),)]}},
    "import": lambda mark: b"cantigravity\nx\n.",
    "getattr": lambda mark: Call(getattr, Call(__import__, "os"), "system"),
    "instance": lambda mark: b"(S'touch " + str(mark).encode() + b"'\nios\nsystem\n.",
    "extension": lambda mark: b"\x80\x02\x82\x01.",
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("kind", ["alone", "zip", "legacy"])
def test_nothing_is_ever_run(tmp_path, name, protocol, kind):
    mark = tmp_path / "ran"
    harm = CALLS[name](mark)
    content = harm if isinstance(harm, bytes) else pickle.dumps(harm, protocol)
    path = tmp_path / "x.pth"
    if kind == "alone":
        path.write_bytes(content)
    else:
        with_pickle(path, content, kind)
    with pytest.raises(CorruptWeightsError, match=r"nothing was run|never need") as caught:
        read_checkpoint(path)
    assert not mark.exists()
    assert "antigravity" not in sys.modules
    assert name != "eval" or "eval" in caught.value.found
    assert name != "os.system" or "system" in caught.value.found


def with_name(path, module, name):
    """The tiny checkpoint with a call of ``module``.``name`` as its pickle."""
    texts = b"".join(b"\x8c%c%b" % (len(text), text.encode()) for text in (module, name))
    return with_pickle(path, b"\x80\x04" + texts + b"\x93)R.", "zip")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("code", "interact"),
        ("code", "InteractiveConsole.push"),
        ("code", "__loader__.exec_module"),
        ("trace", "Trace"),
        ("trace", "pickle.loads"),
        ("profile", "run"),
        ("commands", "getoutput"),
        ("collections", "_sys.exit"),
        ("builtins", "eval.__call__"),
        ("codecs", "open"),
        ("multiprocessing.util", "spawnv_passfds"),
    ],
)
def test_what_runs_programs_is_refused_as_such(tmp_path, module, name):
    with pytest.raises(CorruptWeightsError, match="nothing was run") as caught:
        read_checkpoint(with_name(tmp_path / "x.pth", module, name))
    assert "other programs either" in caught.value.advice


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("code", "Net"),
        ("code.models.net", "Net"),
        ("trace", "Recorder"),
        ("trace.data", "Recorder"),
        ("profile", "Config"),
        ("commands.train", "Arguments"),
        ("trainer.eval.metrics", "PSNR"),
        ("trainer.system", "Config"),
    ],
)
def test_a_trainers_own_package_with_the_name_of_one_of_pythons_modules_is_no_danger(tmp_path, module, name):
    with pytest.raises(UnsupportedWeightsError, match=f"{module}.{name}") as caught:
        read_checkpoint(with_name(tmp_path / "x.pth", module, name))
    assert "other programs either" not in str(caught.value)


@pytest.mark.parametrize("module", [name for name in danger._NAMES_IN if name != "commands"])
def test_the_names_in_modules_that_run_programs_are_all_known(module):
    found = {name for name in vars(importlib.import_module(module)) if not name.startswith("__")}
    assert found <= danger._NAMES_IN[module] | danger._ANYWHERE


def tensor_pickle(count=2**40, offset=0, shape=(2,), stride=(1,), key="0"):
    """A state dict with one tensor that claims what it likes."""

    class Claim:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (Record(), offset, shape, stride, False, OrderedDict())

    class Record:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", torch.FloatStorage, key, "cpu", count) if isinstance(value, Record) else None

    out = io.BytesIO()
    Pickler(out, 2).dump({"w": Claim()})
    return out.getvalue()


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize(
    "claim",
    [
        {"count": 2**40},
        {"count": 2**70},
        {"count": -1},
        {"count": 12, "shape": (2**31, 2**31)},
        {"count": 12, "shape": (13,)},
        {"count": 12, "offset": 12},
        {"count": 12, "offset": -1},
        {"count": 12, "shape": (3, 4), "stride": (5, 1)},
        {"count": 12, "shape": (3,), "stride": (1, 1)},
        {"count": 12, "shape": (3,), "stride": (-1,)},
        {"count": 12, "shape": (10**9,), "stride": (0,)},
        {"count": 12, "shape": (0, 2**62, 2**62), "stride": (1, 1, 1)},
        {"count": 12, "shape": "ab", "stride": "ab"},
        {"count": 12, "shape": (1.5,)},
        {"count": 12, "key": "../../../etc/passwd"},
        {"count": 12, "key": 0},
    ],
)  # fmt: skip
def test_tensors_that_claim_what_is_not_there(tmp_path, kind, claim):
    # In the zip the tiny checkpoint's record 0 has 12 float32; the legacy file ends before any record.
    with pytest.raises(CorruptWeightsError, match=str(tmp_path)):
        read_checkpoint(with_pickle(tmp_path / "x.pth", tensor_pickle(**claim), kind))


def test_a_tensor_that_claims_what_is_there(tmp_path):
    content = tensor_pickle(count=12, offset=1, shape=(2, 3), stride=(6, 2))
    (tensor,) = read_checkpoint(with_pickle(tmp_path / "x.pth", content, "zip")).values()
    assert tensor.shape == (2, 3)


def bomb(path, size):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"\x80\x02}.")
        with archive.open("x/data/0", "w", force_zip64=True) as record:
            for _ in range(size // 2**20):
                record.write(bytes(2**20))
    return path


def test_zip_bomb(tmp_path):
    path = bomb(tmp_path / "x.pth", 64 * 2**20)
    assert path.stat().st_size < 2**17
    with pytest.raises(CorruptWeightsError, match="zip bomb"):
        read_checkpoint(path)


SHARED = b"K\x01q\x00" + b"".join(b"h%c\x86q%c" % (i, i + 1) for i in range(60))
"""A tuple of tuples whose text would take 2^60 characters."""
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x0ctQK\x00"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".", "state dict"),
        (b"\x80\x02}" + b")" + b"\x85" * 300_000 + b"K\x01s.", "key of a dict"),
        (b"\x80\x02" + b"0" * 10, "POP"),
        (b"\x80\x02" + b"N" * 2_100_000 + b".", "more than 2,000,000 steps"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**60), "claims"),
        (b"\x80\x02r\xff\xff\xff\xff.", "damaged pickle"),
        (b"\x80\x02}Nr\xff\xff\xff\xffK\x01s.", "state dict"),
        (b"\x80\x02}(K\x01NK\x01Nu.", "two values"),
        (b"\x80\x02}K\x01R.", "is called"),
        (b"\x80\x02ccollections\nOrderedDict\n((((" + b")" + b"\x85" * 300_000 + b"tNtttR.", "key of a dict"),
        (b"\x80\x04" + SHARED + b"\x8c\x01a\x93.", "no text"),
        (b"\x80\x02" + TENSOR + b"(" + SHARED + b"t(K\x01ttR.", "not of sizes"),
        (b"\x80\x02" + TENSOR + b"(" + b"K\x02" * 65 + b"t(" + b"K\x00" * 65 + b"ttR.", "65 dimensions"),
        (b"\x80\x02cm\nNet\n)\x81q\x00}U\x08_modules}U\x00h\x00ssb.", "contain one another"),
    ],
)
def test_pickles_that_are_made_to_harm_their_reader(tmp_path, content, words):
    with pytest.raises(MidframeError, match=words):
        read_checkpoint(with_pickle(tmp_path / "x.pth", content, "zip"))


@pytest.mark.parametrize(
    "keys", [pickle.dumps([0], 2), b"\x80\x02]" + SHARED + b"a.", pickle.dumps([["0"]], 2)]
)
def test_names_of_records_that_are_no_text(tmp_path, keys):
    content = tensor_pickle(count=12) + keys
    with pytest.raises(CorruptWeightsError, match="do not match"):
        read_checkpoint(with_pickle(tmp_path / "x.pth", content, "legacy"))


def test_a_name_without_end_is_not_shown_whole(tmp_path):
    torch.save({"a" * 100_000: 1}, tmp_path / "x.pth")
    with pytest.raises(UnsupportedWeightsError, match="'aaa") as caught:
        read_checkpoint(tmp_path / "x.pth")
    assert len(caught.value.found) < 1000


def test_crc_of_what_is_read_is_checked(tmp_path):
    weights = {"w": torch.arange(64.0)}
    path = save(tmp_path / "x.pth", weights, "zip")
    data = path.read_bytes()
    at = data.index(weights["w"].numpy().tobytes())
    path.write_bytes(data[: at + 7] + bytes([data[at + 7] ^ 1]) + data[at + 8 :])
    assert not torch.equal(torch.load(path, weights_only=True)["w"], weights["w"]), (
        "torch does not look at the CRC"
    )
    with pytest.raises(CorruptWeightsError, match="CRC"):
        read_checkpoint(path)
