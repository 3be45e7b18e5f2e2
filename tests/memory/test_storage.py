"""Where an output lies: main memory, a file without a name, and how much of either there is."""

import contextlib
import errno
import gc
import os
import shutil
import subprocess
import sys

import psutil
import pytest
import torch
from fakes import LerpModel
from midframe.api import interpolate, interpolate_part
from midframe.errors import BadInputError, MidframeError, OutOfMemoryError
from midframe.memory import mapped, sinks
from midframe.memory.available import available_memory
from midframe.memory.mapped import lies_in_memory, mapped_tensor
from midframe.memory.sinks import MappedSink, Storage, TensorSink
from midframe.vfi_utils import FrameLoop, by_multiplier

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def clip(n=5, channels=3):
    return torch.rand(n, 6, 7, channels)


def own_files(folder):
    """How many files of ``folder`` this process has open or mapped, with or without a name."""
    with open("/proc/self/maps") as maps:
        names = list(maps)
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            names.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return sum(str(folder) in name for name in names)


# --- the file


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.uint8])
def test_a_disk_batch_holds_what_a_memory_batch_holds(tmp_path, dtype):
    frames = clip() * 1.2 - 0.1
    disk = interpolate(frames, LerpModel(), 3, storage=Storage("disk", dtype, tmp_path / "new"))
    memory = interpolate(frames, LerpModel(), 3, storage=Storage("memory", dtype))
    assert torch.equal(disk, memory)
    assert (disk.dtype, disk.is_contiguous(), type(disk)) == (dtype, True, torch.Tensor)
    plain = interpolate(frames, LerpModel(), 3)
    if dtype == torch.uint8:
        assert torch.equal(memory, (plain.clamp(0, 1) * 255).round().to(torch.uint8))
    else:
        torch.testing.assert_close(memory.float(), plain, atol=1 / 2048, rtol=0)
    disk.fill_(0)  # a following node may write into it


@LINUX
def test_no_file_has_a_name_and_the_room_comes_back(tmp_path):
    made = interpolate(clip(), LerpModel(), 2, storage=Storage("disk", folder=tmp_path))
    assert list(tmp_path.iterdir()) == []
    gc.collect()
    assert own_files(tmp_path) == 1  # the mapping; the file itself is closed
    del made
    assert own_files(tmp_path) == 0


@LINUX
def test_the_room_is_there_before_the_first_frame(tmp_path):
    size = 2**24
    tensor, file = mapped_tensor((size // 4,), torch.float32, tmp_path)
    with file:
        assert os.fstat(file.fileno()).st_blocks * 512 >= size
    assert tensor[-1] == 0


def test_zeros_are_written_where_the_system_cannot_allocate(tmp_path, monkeypatch):
    def unable(*_):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", unable, raising=False)
    monkeypatch.setattr(mapped, "_PIECE", 1000)
    tensor, file = mapped_tensor((2500,), torch.uint8, tmp_path)
    with file:
        assert os.fstat(file.fileno()).st_size == 2500
    assert tensor.sum() == 0


def test_a_disk_without_room_is_told_of_before_anything_is_made(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    model = LerpModel()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=mapped._RESERVE + 10))
    with pytest.raises(MidframeError, match=r"Frames cannot be stored on the disk(.|\n)*Free some room"):
        interpolate(clip(), model, 2, storage=Storage("disk", folder=tmp_path))
    assert not model.calls
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_runs_full_in_spite_of_it_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(MidframeError, match="No space left"):
        mapped_tensor((10,), torch.uint8, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_keeps_what_is_finished(tmp_path):
    class Failing(MappedSink):
        def put(self, index, frames):
            if index == 3:
                self._file = open(os.devnull, "rb")  # noqa: SIM115 -- the system refuses to write to it
            super().put(index, frames)

    frames, sink = clip(), Failing(9, (6, 7, 3), tmp_path)
    with pytest.raises(MidframeError, match="output frame 3") as caught:
        interpolate_part(frames, FrameLoop(by_multiplier(2)), LerpModel(), last=True, sink=sink)
    assert torch.equal(caught.value.partial, interpolate(frames, LerpModel(), 2)[:3])


@LINUX
def test_anonymous_memory_stays_where_it_is(tmp_path, root):
    """In a process of its own: 160 MB on the disk, written and read."""
    code = f"""
import sys; sys.path[:0] = {[str(root / "tests"), str(root / "tests" / "support")]!r}
import torch
from packs import load_pack
load_pack()
from pathlib import Path
from midframe.memory.sinks import Storage
def anonymous():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")) // 1024
frame = torch.rand(1, 512, 640, 3)
sink = Storage("disk", folder=Path({str(tmp_path)!r})).sink(42, (512, 640, 3))
sink.put(0, frame)
before = anonymous()
for i in range(42):
    sink.put(i, frame)
assert sum(bool(torch.equal(one, frame[0])) for one in sink.frames) == 42
print(anonymous() - before)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(out) < 20


def test_memory_that_looks_like_a_disk_is_counted_as_memory(tmp_path, monkeypatch):
    place = psutil.disk_partitions()[0]._replace(mountpoint=str(tmp_path), fstype="tmpfs")
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: [place])
    assert lies_in_memory(tmp_path / "not" / "there")
    assert not lies_in_memory(tmp_path.parent)
    monkeypatch.setattr(mapped, "available_memory", lambda: mapped._RESERVE + 10)
    with pytest.raises(MidframeError, match="in main memory, where that folder lies"):
        mapped_tensor((11,), torch.uint8, tmp_path)


# --- the choice


def test_auto_takes_the_disk_only_where_memory_is_short(tmp_path, monkeypatch):
    storage, needed = Storage("auto", folder=tmp_path), 4 * 6 * 7 * 3 * 4
    for free, kind in ((needed + sinks._RESERVE, TensorSink), (needed + sinks._RESERVE - 1, MappedSink)):
        monkeypatch.setattr(sinks, "available_memory", lambda free=free: free)
        assert type(storage.sink(4, (6, 7, 3))) is kind
    assert type(storage.sink(0, (6, 7, 3))) is TensorSink
    monkeypatch.setattr(sinks, "available_with_swap", lambda: needed - 1)
    with pytest.raises(OutOfMemoryError, match="on the disk"):
        Storage("memory").sink(4, (6, 7, 3))


@pytest.mark.parametrize("wrong", [{"place": "tape"}, {"dtype": torch.int64}])
def test_storage_that_cannot_be(wrong):
    with pytest.raises(BadInputError):
        Storage(**wrong)


# --- how much there is

MIB = 2**20
LARGE = 2**62


def system(root, groups, files):
    """A root folder with the control groups of this process and their figures."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str(text))
    return root


def group(folder, limit, used, cached, v2=True):
    names = ("memory.max", "memory.current") if v2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    stat = f"anon 5\n{'inactive_file' if v2 else 'total_inactive_file'} {cached}\n"
    return dict(zip([f"{folder}{n}" for n in (*names, "memory.stat")], [limit, used, stat], strict=True))


@pytest.mark.parametrize(
    ("groups", "files", "left"),
    [
        ("0::/\n", group("", 100 * MIB, 70 * MIB, 10 * MIB), 40 * MIB),
        ("0::/a/b\n", {**group("a/b/", "max", 1, 0), **group("a/", 50 * MIB, 20 * MIB, 0)}, 30 * MIB),
        ("0::/a\n", {**group("a/", 9 * MIB, 1 * MIB, 0), **group("", 50 * MIB, 49 * MIB, 0)}, MIB),
        ("0::/only/on/the/host\n", group("", 10 * MIB, 20 * MIB, 0), 0),
        ("3:cpu:/\n2:memory:/x\n0::/\n", group("memory/", 30 * MIB, 20 * MIB, 5 * MIB, False), 15 * MIB),
        ("0::/\n", group("", "max", 1, 0), LARGE),
        ("2:memory:/\n", group("memory/", LARGE, 0, 0, False), LARGE),
        ("0::/\n", {}, LARGE),
    ],
)
def test_control_groups_count(tmp_path, monkeypatch, groups, files, left):
    machine = psutil.virtual_memory()._replace(available=LARGE)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: machine)
    assert available_memory(system(tmp_path, groups, files)) == left


def test_a_system_without_control_groups(tmp_path):
    assert available_memory(tmp_path) in range(1, psutil.virtual_memory().total)
    assert available_memory() > 0
