"""Frames made beside one another on a CPU are those made one after the other."""

import gc
import threading
import time
import weakref

import pytest
import torch
from fakes import LerpModel, RecordingHost
from midframe.api import interpolate, load_model
from midframe.engine.cpu_workers import CpuWorkers, Once, StoppedError, workers_for
from midframe.engine.timeline import by_multiplier
from midframe.errors import BadInputError, OutOfMemoryError
from midframe.parity.tolerances import bound
from midframe.vfi_models.interruption import ask
from midframe.vfi_utils import FrameLoop, Settings, run_timeline

TWO = Settings(cpu_workers=2)


def clip(count, height=4, width=5):
    return [torch.full((height, width, 3), i / 16) for i in range(count)]


class Taking:
    """A sink that calls with each frame."""

    def __init__(self, taken):
        self.taken = taken

    def put(self, index, frames):
        assert index == len(self.taken)
        self.taken.extend(frames.clone())


def run(model, frames, multiplier=2, *, settings=TWO, host=None, taken=None):
    taken = [] if taken is None else taken
    run_timeline(frames, by_multiplier(multiplier), model, Taking(taken), settings=settings, host=host)
    return torch.stack(taken)


def test_the_frames_are_the_same_and_in_order():
    frames = torch.rand(3, 40, 56, 3, generator=torch.Generator().manual_seed(1))
    model = load_model("default", "cpu", torch.float32)
    alone = interpolate(frames, model, 3, settings=Settings(cpu_workers=1))
    for count in (2, 3):  # not to the last bit: torch enlarges by another kernel in a single thread
        made = interpolate(frames, model, 3, settings=Settings(cpu_workers=count))
        assert (made - alone).abs().max() < bound("fast path")
        assert torch.equal(made, interpolate(frames, model, 3, settings=Settings(cpu_workers=count)))


def test_two_are_made_at_once_and_each_frame_is_encoded_once():
    meeting = threading.Barrier(2, timeout=20)
    model = LerpModel(lambda step: meeting.wait() if step == "between" else None)
    made = run(model, clip(5))
    assert made[:, 0, 0, 0].mul(32).tolist() == list(range(9))
    assert model.calls["encode"] == 5
    assert model.live == 0
    assert len(model.opened) == 2


def test_slow_workers_do_not_change_the_order():
    turns = iter(range(100))

    def uneven(step):
        if step == "between":
            time.sleep(0.05 if next(turns) % 2 == 0 else 0)

    assert run(LerpModel(uneven), clip(7), 4)[:, 0, 0, 0].mul(64).tolist() == list(range(25))


def test_threads_of_torch_are_put_back():
    before = torch.get_num_threads()
    workers = CpuWorkers(2)
    assert workers.submit(torch.get_num_threads).result() == max(1, before // 2)
    assert torch.get_num_threads() == before
    seen = []
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [before]
    workers.close()


def test_cancelling_ends_what_runs():
    class Cancelled(Exception):
        pass

    begun, threads = threading.Event(), set()

    class Host(RecordingHost):
        def check_cancelled(self):
            threads.add(threading.get_ident())
            if begun.is_set():
                raise Cancelled

    class Endless(LerpModel):
        def between(self, left, right, timestep):
            begun.set()
            while True:
                ask()
                time.sleep(0.001)

    model = Endless()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        run(model, clip(5), host=Host())
    assert time.monotonic() - started < 5
    assert threads == {threading.get_ident()}
    assert model.live == 0


def test_out_of_memory_in_a_lane_goes_on_with_one_frame_at_a_time():
    running, lock = [0], threading.Lock()

    class Tight(LerpModel):
        def between(self, left, right, timestep):
            with lock:
                running[0] += 1
                crowded = running[0] > 1
            try:
                time.sleep(0.01)
                if crowded:
                    raise torch.OutOfMemoryError("two are too many")
                return super().between(left, right, timestep)
            finally:
                with lock:
                    running[0] -= 1

    assert run(Tight(), clip(6))[:, 0, 0, 0].mul(32).tolist() == list(range(11))


def test_out_of_memory_for_good_keeps_what_is_finished():
    taken = []

    class Full(LerpModel):
        def between(self, left, right, timestep):
            # By the frame and not by the number of calls: which lane comes first is not certain.
            if left.flatten()[0] * 32 >= 4:
                raise MemoryError
            return super().between(left, right, timestep)

    with pytest.raises(OutOfMemoryError) as caught:
        run(Full(), clip(6), taken=taken)
    assert caught.value.finished == len(taken)
    assert [frame[0, 0, 0].item() * 32 for frame in taken] == [0, 1, 2, 3, 4]


def test_a_failed_pass_holds_no_memory_while_its_frame_is_made_again():
    references, alive = [], []

    class Tight(LerpModel):
        def between(self, left, right, timestep):
            if len(references) < 2:
                big = torch.zeros(1000)
                references.append(weakref.ref(big))
                raise MemoryError
            alive.append(sum(reference() is not None for reference in references))
            return super().between(left, right, timestep)

    gc.disable()
    try:
        run(Tight(), clip(6))
    finally:
        gc.enable()
    assert set(alive[1:]) == {0}


def test_no_session_is_closed_while_it_is_used():
    busy, wrong = set(), []

    class Model(LerpModel):
        def between(self, left, right, timestep):
            busy.add(threading.get_ident())
            time.sleep(0.05)
            busy.discard(threading.get_ident())
            return super().between(left, right, timestep)

        def close(self):
            super().close()
            wrong.extend(busy)

    class Full:
        def put(self, index, frames):
            if index == 1:
                raise OSError("no space left")

    model = Model()
    with pytest.raises(OSError, match="no space"):
        run_timeline(clip(6), by_multiplier(2), model, Full(), settings=TWO)
    assert not wrong
    assert model.live == 0


def test_a_slow_frame_does_not_let_others_pile_up():
    longest, slow = [0], threading.Event()

    def first_is_slow(step):
        if step == "between" and not slow.is_set():
            slow.set()
            time.sleep(0.3)

    frames = clip(40)
    read = []

    def source():
        for i, frame in enumerate(frames):
            read.append(i)
            longest[0] = max(longest[0], i - shown[0])
            yield frame

    shown = [0]

    class Sink:
        def put(self, index, made):
            shown[0] = index // 2

    run_timeline(source(), by_multiplier(2), LerpModel(first_is_slow), Sink(), settings=TWO)
    assert longest[0] < 8


def test_a_bad_source_frame_costs_no_frame_before_it():
    taken = []
    frames = [*clip(4), torch.zeros(4, 6, 3)]
    with pytest.raises(BadInputError) as caught:
        run(LerpModel(lambda step: time.sleep(0.02)), frames, taken=taken)
    assert len(taken) == caught.value.finished == 6


def test_parts_of_a_clip_are_one_run():
    model, taken = LerpModel(), []
    frames = clip(7)
    with FrameLoop(by_multiplier(3), settings=TWO) as loop:
        for part, last in ((frames[:2], False), (frames[2:5], False), (frames[5:], True)):
            part_taken = []
            loop.feed(part, model, Taking(part_taken), last=last)
            taken += part_taken
    assert torch.equal(torch.stack(taken), run(LerpModel(), frames, 3))
    assert model.calls["encode"] == 7


def test_how_many():
    threads, mib = torch.get_num_threads(), 2**20
    assert workers_for(256 * 256, 100 * mib, mib) == min(threads, 4)
    assert workers_for(256 * 256, 2 * mib, mib) == 1  # not worth a thread
    assert workers_for(256 * 256, 500 * mib, 20 * mib) == 1
    assert workers_for(1920 * 1080, 100 * mib, mib) == 1


def test_once():
    calls = iter([MemoryError(), 7, 8])

    def make():
        value = next(calls)
        if isinstance(value, Exception):
            raise value
        return value

    once = Once()
    with pytest.raises(MemoryError):
        once.get(make)
    assert once.get(make) == once.get(make) == 7


def test_stopped():
    workers = CpuWorkers(1)
    workers.stop()
    with pytest.raises(StoppedError):
        workers.submit(workers.check).result()
    workers.close()


def test_settings_are_checked():
    with pytest.raises(BadInputError, match="cpu_workers"):
        Settings(cpu_workers=-1)
    with pytest.raises(BadInputError, match="cpu_workers"):
        Settings(cpu_workers=10**6)
