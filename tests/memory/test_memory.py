import gc
import weakref

import psutil
import pytest
import torch
from midframe.errors import OutOfMemoryError
from midframe.memory.budget import Budget, _allowed, free_bytes
from midframe.memory.cache import ModelCache, file_identity
from midframe.memory.ladder import Ladder, is_out_of_memory
from midframe.memory.sinks import TensorSink
from midframe.memory.staging import Downloader, Uploader, as_network_input, as_unit_float

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_batch_follows_free_memory_on_an_accelerator():
    budget = Budget(CUDA)
    budget.estimate(100)
    assert budget.batch(64, lambda: 1000) == 8
    assert budget.batch(3, lambda: 1000) == 3
    assert budget.batch(3, lambda: 50) == 1
    assert budget.batch(64, lambda: 10**9) == 16


def test_batch_is_one_on_a_cpu_and_the_users_wish_anywhere():
    assert Budget(CPU).batch(5, lambda: 10**12) == 1
    assert Budget(CPU, wish=4).batch(5, lambda: 0) == 4
    assert Budget(CUDA, wish=4).batch(3, lambda: 0) == 3


def test_shrinking_starts_from_what_was_run():
    budget = Budget(CUDA)
    assert budget.batch(3, lambda: 10**12) == 3
    assert budget.shrink() == "batch of 1"
    assert budget.shrink() is None
    assert budget.batch(9, lambda: 10**12) == 1


def test_a_cap_counts_as_less_memory():
    assert _allowed(70, 100, 20, 1.0) == 70
    assert _allowed(70, 100, 20, 0.5) == 30
    assert _allowed(70, 100, 60, 0.5) == 0


def test_free_bytes_is_a_real_figure():
    memory = psutil.virtual_memory()
    assert 0 < free_bytes(CPU) <= memory.total
    assert abs(free_bytes(CPU) - memory.available) < memory.total / 4


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("MPS backend out of memory (allocated 3 GB)"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (
            RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
            True,
        ),
        (RuntimeError("FIND was unable to find an engine to execute this computation"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("HIP out of memory. Tried to allocate 20.00 MiB"), True),
        (
            RuntimeError("level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
            True,
        ),
        (RuntimeError("Could not allocate tensor. There is not enough GPU video memory available!"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes."), True),
        (RuntimeError("unable to mmap 99 bytes from file <x>: Cannot allocate memory (12)"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_BAD_PARAM"), False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("CUDA error: no kernel image is available for execution on the device"), False),
        (RuntimeError("The size of tensor a (3) must match"), False),
        (ValueError("out of memory"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_what_counts_as_out_of_memory(error, expected):
    assert is_out_of_memory(error) is expected


def test_the_failed_call_lets_go_of_its_tensors_before_a_rung_is_taken():
    seen, references = [], []

    def work():
        held = torch.ones(8)
        references.append(weakref.ref(held))
        if len(references) < 3:
            raise MemoryError
        return "done"

    def clear():
        gc.collect(0)
        seen.append([r() is None for r in references])
        return "cleared"

    lighter = iter(["lighter"])
    ladder = Ladder(lambda: None, clear, lambda: next(lighter, None))
    assert ladder.climb(work) == "done"
    assert ladder.tried == ["cleared", "lighter"]
    assert seen == [[True]]


def test_the_end_of_the_ladder_says_what_was_tried():
    steps = iter(["batch of 2", "batch of 1"])

    def work():
        raise torch.OutOfMemoryError("Tried to allocate 20 GiB\nlong story")

    with pytest.raises(OutOfMemoryError) as caught:
        Ladder(lambda: next(steps, None), lambda: "cleared", lambda: None).climb(work)
    assert caught.value.tried == ("batch of 2", "batch of 1", "cleared")
    assert "20 GiB; tried: batch of 2, batch of 1, cleared" in str(caught.value)


def test_cache_keeps_the_last_used_within_its_bytes():
    cache = ModelCache(limit_bytes=25)
    made = []

    def get(key):
        return cache.get(key, lambda: made.append(key) or key.upper(), lambda _: 10)

    assert [get(k) for k in "abab"] == ["A", "B", "A", "B"]
    assert made == ["a", "b"]
    get("a")
    get("c")
    assert "b" not in cache
    assert "a" in cache
    assert cache.bytes == 20
    cache.drop("a")
    cache.drop("a")
    assert len(cache) == 1
    cache.clear()
    assert cache.bytes == 0
    assert cache.get("huge", lambda: "kept", lambda _: 100) == "kept"
    assert "huge" in cache


def test_a_model_that_fails_to_load_is_not_kept():
    cache = ModelCache(limit_bytes=25)
    with pytest.raises(OSError, match="gone"):
        cache.get("a", lambda: (_ for _ in ()).throw(OSError("gone")), lambda _: 1)
    assert len(cache) == 0


def test_cache_lets_go():
    cache = ModelCache(limit_bytes=10**9)
    module = cache.get("a", lambda: torch.nn.Linear(2, 2), lambda _: 1)
    gone = weakref.ref(module)
    del module
    assert gone() is not None
    cache.drop("a")
    assert gone() is None


def test_a_changed_file_is_another_file(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"1")
    first = file_identity(path)
    assert first == file_identity(path)
    path.write_bytes(b"22")
    assert first != file_identity(path)


def test_tensor_sink_scales_integers_and_casts():
    sink = TensorSink(2, (1, 2, 3), torch.float16)
    sink.put(0, torch.full((1, 1, 2, 3), 255, dtype=torch.uint8))
    sink.put(1, torch.full((1, 1, 2, 3), 0.25))
    assert sink.frames.dtype == torch.float16
    assert sink.frames[:, 0, 0, 0].tolist() == [1.0, 0.25]


def test_frames_for_the_network():
    frame = torch.tensor([[[float("nan"), float("inf"), -3.0]]])
    assert as_network_input(frame).flatten().tolist() == [0.0, 1.0, 0.0]
    assert as_unit_float(torch.tensor([65535], dtype=torch.uint16)).tolist() == [1.0]
    assert as_unit_float(torch.tensor([2.0, -1.0])).tolist() == [2.0, -1.0]


def test_host_frames_keep_their_place_in_the_queue():
    taken = []
    download = Downloader(lambda index, frames: taken.append((index, len(frames))))
    download.start(0, torch.zeros(2, 1, 1, 3))
    assert taken == []
    download.flush_ready()
    download.start(2, torch.zeros(1, 1, 1, 3))
    download.finish()
    assert taken == [(0, 2), (2, 1)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_staging_keeps_every_frame_on_cuda():
    frames = (torch.rand(40, 270, 480, 3) * 255).to(torch.uint8)
    taken = torch.empty(40, 270, 480, 3)

    def deliver(index, arrived):
        taken[index : index + len(arrived)] = arrived

    upload, download = Uploader(CUDA), Downloader(deliver)
    for i, frame in enumerate(frames):
        on_device = upload(frame.clone())
        download.start(i, on_device.permute(0, 2, 3, 1))
    download.finish()
    assert torch.equal(taken, frames.float() / 255)
