"""Frames between host and device: two under way each way at 4K, none read too early, no byte too many."""

import threading
from fractions import Fraction
from types import SimpleNamespace

import pytest
import torch
from fake_cuda import Cuda
from fakes import LerpModel
from midframe import vfi_utils
from midframe.engine.timeline import Moment
from midframe.memory.sinks import TensorSink
from midframe.memory.staging import Downloader, Uploader, as_dtype
from midframe.vfi_utils import QuietHost, Settings, by_multiplier, run_timeline
from midframe.video.stream.pipeline import DEPTHS, Stream
from midframe.video.stream.plan import Reading

HEIGHT, WIDTH = 2160, 3840
FLOAT32 = HEIGHT * WIDTH * 3 * 4
"""Bytes of a frame."""


@pytest.fixture
def cuda(monkeypatch):
    monkeypatch.setattr(vfi_utils, "same_bits", lambda left, right: False)  # fake tensors have no values
    with Cuda(monkeypatch) as cuda:
        yield cuda


def clip(count, dtype=torch.float32, device="cpu"):
    return [torch.empty((HEIGHT, WIDTH, 3), dtype=dtype, device=device) for _ in range(count)]


class Sink:
    """Looks at every frame the moment it comes."""

    def __init__(self, cuda):
        self.cuda, self.dtypes = cuda, []

    def put(self, index, frames):
        assert index == len(self.dtypes)
        assert frames.device.type == "cpu"
        self.cuda.require_done(frames, "handed on")
        self.cuda.log.append(index)
        self.dtypes += [frames.dtype] * len(frames)


class DeepSink(Sink):
    """Of 16 bits, as a stream into a video file is."""

    def narrowed(self, frames):
        return as_dtype(frames, torch.uint16)


def model_on(cuda, device="cuda:0"):
    model = LerpModel(cuda.log.append)
    model.device = torch.device(device)
    return model


def run(cuda, frames, sink, multiplier=2, device="cuda:0", **settings):
    return run_timeline(
        frames, by_multiplier(multiplier), model_on(cuda, device), sink, settings=Settings(**settings)
    )


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
@pytest.mark.parametrize("multiplier", [2, 4])
def test_a_pair_is_on_the_device_before_the_last_one_is_waited_for(cuda, device, multiplier):
    run(cuda, clip(5, device=device), Sink(cuda), multiplier, batch=multiplier - 1)
    begun = [i for i, entry in enumerate(cuda.log) if entry == "between"]
    assert len(begun) == 4
    for pair in range(3):
        first_made = pair * multiplier + 1
        landed = cuda.log.index(first_made)
        assert cuda.log[landed - 1] == "wait"
        assert landed - 1 > begun[pair + 1]


def test_two_frames_of_4k_go_up_before_the_host_waits(cuda):
    upload, frames = Uploader(torch.device("cuda:0")), clip(3)
    upload(frames[0])
    upload(frames[1])
    assert cuda.waits == 0
    upload(frames[2])
    assert (cuda.waits, cuda.pinned) == (1, 2)


def test_two_frames_of_4k_come_down_before_the_host_waits(cuda):
    taken = []
    download = Downloader(lambda index, frames: taken.append(index))
    for index, frame in enumerate(clip(2, device="cuda:0")):
        download.start(index, frame.unsqueeze(0))
        download.flush_ready()
    assert (cuda.waits, taken) == (0, [])
    download.finish()
    assert taken == [0, 1]


@pytest.mark.parametrize(("size", "buffers"), [((HEIGHT, WIDTH), 2), ((1080, 1920), 3)])
def test_a_batch_does_not_need_its_own_size_in_pinned_memory(cuda, size, buffers):
    taken = []

    def deliver(index, frames):
        cuda.require_done(frames, "handed on")
        taken.append(index)

    download = Downloader(deliver)
    for first in (0, 16):
        download.start(first, torch.empty((16, *size, 3), dtype=torch.float32, device="cuda:0"))
        download.flush_ready()
    download.finish()
    assert taken == list(range(32))
    assert cuda.pinned == buffers


@pytest.mark.parametrize(
    ("kind", "down"),
    [("float32", FLOAT32), ("float16", FLOAT32 // 2), ("uint16", FLOAT32 // 2), ("uint8", FLOAT32 // 4)],
)
@pytest.mark.parametrize("source", [torch.float32, torch.uint8])
def test_bytes_between_host_and_device_for_a_made_frame_of_4k(cuda, kind, down, source):
    """99.5, 49.8 or 24.9 MB down by what the sink keeps, and each source frame up once, as it is."""
    dtype = getattr(torch, kind)
    sink = DeepSink(cuda) if kind == "uint16" else TensorSink(9, (HEIGHT, WIDTH, 3), dtype)
    run(cuda, clip(5, source), sink)
    assert cuda.moved["cuda", "cpu"] == 4 * down
    assert cuda.moved["cpu", "cuda"] == 5 * (FLOAT32 * source.itemsize // 4)
    if kind == "uint16":
        assert sink.dtypes == [source, torch.uint16] * 4 + [source]


def test_source_frames_on_a_device_come_down_as_the_sink_keeps_them(cuda):
    run(cuda, clip(3, device="cuda:0"), TensorSink(5, (HEIGHT, WIDTH, 3), torch.uint8))
    assert cuda.moved == {("cuda", "cpu"): 5 * FLOAT32 // 4}
    cuda.moved.clear()
    run(cuda, clip(3, torch.uint8, "cuda:0"), TensorSink(5, (HEIGHT, WIDTH, 3)))
    assert cuda.moved == {("cuda", "cpu"): 3 * FLOAT32 // 4 + 2 * FLOAT32}


@pytest.mark.parametrize("of_frames", ["cuda:0", "cuda:1"])
@pytest.mark.parametrize("of_model", ["cuda:0", "cuda:1", "cpu"])
def test_frames_of_one_device_and_a_model_on_another(cuda, of_frames, of_model):
    sink = Sink(cuda)
    assert run(cuda, clip(4, device=of_frames), sink, 3, of_model, cpu_workers=1) == 10 == len(sink.dtypes)


@pytest.mark.parametrize("at", range(5))
def test_what_a_sink_fails_at_comes_no_second_time_and_the_rest_comes_once(cuda, at):
    taken = []

    def deliver(index, frames):
        cuda.require_done(frames, "handed on")
        taken.append(index)
        if index == at:
            raise OSError("disk full")

    download = Downloader(deliver)
    download.start(0, torch.empty((5, HEIGHT, WIDTH, 3), dtype=torch.float32, device="cuda:0"))
    with pytest.raises(OSError, match="disk full"):
        download.finish()
    download.finish()
    assert taken == list(range(5))


def test_memory_that_runs_out_for_a_batch_leaves_nothing_of_it(cuda, monkeypatch):
    taken, empty = [], torch.empty

    def short(*size, **more):
        if more.get("pin_memory"):
            raise RuntimeError("CUDA error: out of memory")
        return empty(*size, **more)

    download = Downloader(lambda index, frames: taken.append(index))
    frames = torch.empty((2, HEIGHT, WIDTH, 3), dtype=torch.float32, device="cuda:0")
    monkeypatch.setattr(torch, "empty", short)
    with pytest.raises(RuntimeError, match="out of memory"):
        download.start(0, frames)
    monkeypatch.setattr(torch, "empty", empty)
    download.start(0, frames)
    download.finish()
    assert taken == [0, 1]


@pytest.mark.parametrize(("bits", "dtype"), [(8, torch.uint8), (16, torch.uint16)])
def test_a_video_takes_frames_in_its_own_depth(bits, dtype):
    stream = Stream(Reading(None, None, None), None, bits=bits, host=QuietHost())
    frames = torch.rand(2, 5, 7, 3) * 1.5 - 0.25
    narrow = stream.narrowed(frames)
    assert narrow.dtype == dtype
    assert torch.equal(narrow, as_dtype(frames, DEPTHS[bits]))
    shallow = torch.zeros(1, 5, 7, 3, dtype=torch.uint8)
    assert stream.narrowed(shallow) is shallow


@pytest.mark.parametrize("bits", [8, 16])
def test_a_frame_that_waits_for_its_encoder_is_not_written_over(bits):
    """The buffer that it came in is used again as soon as the sink has returned."""
    written, gate = [], threading.Event()

    def write(pixels, moment):
        gate.wait(10)
        written.append(pixels.clone())

    writer = SimpleNamespace(write=write, close=lambda whole: None, drop=lambda: None, headers=b"")
    clock = SimpleNamespace(next_moment=lambda: Moment(Fraction(len(written)), Fraction(1)))
    stream = Stream(Reading(None, clock, clock), writer, bits=bits, host=QuietHost())
    buffer = torch.empty(1, 4, 5, 3, dtype=DEPTHS[bits])
    stream._encoder.start()
    for level in (10, 20, 30):
        stream.put(0, buffer.fill_(level))
    gate.set()
    stream._encoder.finish(lambda: None)
    assert [pixels.flatten()[0].item() for pixels in written] == [10, 20, 30]


@pytest.mark.parametrize(("dtype", "scale"), [(torch.uint8, 255), (torch.uint16, 65535)])
def test_whole_numbers_are_rounded_and_clamped(dtype, scale):
    frames = torch.tensor([-1.0, 0.0, 0.4 / scale, 0.6 / scale, 0.5, 1.0, 2.0])
    expected = (frames.double().clamp(0, 1) * scale + 0.5).floor().long()
    assert torch.equal(as_dtype(frames, dtype).long(), expected)


@pytest.mark.parametrize(("dtype", "scale"), [(torch.uint8, 255), (torch.uint16, 65535)])
@pytest.mark.parametrize("order", ["frames", "planes", "one"])
def test_large_frames_are_converted_in_strips_to_the_same_values(dtype, scale, order):
    """In the layout of a network's output, whose channels are planes, as in that of a picture."""
    planes = torch.rand(2, 3, 301, 517, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1
    frames = planes.permute(0, 2, 3, 1)
    frames = {"frames": frames.contiguous(), "planes": frames, "one": frames[1]}[order]
    made = as_dtype(frames, dtype)
    assert frames.nbytes > 2**20
    assert torch.equal(made.int(), (frames.clamp(0, 1) * scale + 0.5).to(torch.int32))
    assert made.stride() == frames.clone().stride()
