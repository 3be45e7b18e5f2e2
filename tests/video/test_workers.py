"""Threads of a streamed run, and interrupts at the worst of moments."""

import signal
import sys
import threading
import time

import pytest
from clips import pictures, write_clip
from midframe.cli import main
from midframe.video import open_clip
from midframe.video.stream import workers

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no timers that raise signals")


class Interrupt(BaseException):
    """What the timer raises."""


@pytest.fixture
def late_threads(monkeypatch):
    """Threads take 0.3 seconds until Python knows them, and an interrupt comes after 0.1."""
    bootstrap = threading.Thread._bootstrap

    def late(self):
        time.sleep(0.3)
        bootstrap(self)

    def interrupt(number, frame):
        raise Interrupt

    monkeypatch.setattr(threading.Thread, "_bootstrap", late)
    before = signal.signal(signal.SIGALRM, interrupt)
    yield lambda: signal.setitimer(signal.ITIMER_REAL, 0.1)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_thread_whose_start_is_interrupted_never_touches_the_clip(tmp_path, late_threads):
    # It read a file that was closed meanwhile: the process died of a segmentation fault.
    write_clip(tmp_path / "in.mp4", pictures(3))
    read = []

    class Watched:
        def __init__(self, clip):
            self.info = clip.info

        def __iter__(self):
            read.append(1)
            yield from ()

    with open_clip(tmp_path / "in.mp4") as clip:
        decoder = workers.DecodeThread(Watched(clip))
        late_threads()
        with pytest.raises(Interrupt):
            decoder.start()
        decoder.stop()
    time.sleep(0.5)
    assert not read


def test_a_writer_whose_thread_never_began_is_dropped(late_threads):
    done = []

    class Writer:
        def drop(self):
            done.append("dropped")

    encoder = workers.EncodeThread(Writer())
    late_threads()
    with pytest.raises(Interrupt):
        encoder.start()
    encoder.drop()
    time.sleep(0.5)
    assert done == ["dropped"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_interrupt_does_not_end_the_clearing_away(tmp_path, monkeypatch, capsys, number, status):
    write_clip(tmp_path / "in.mp4", pictures(6))
    end = workers.Worker.end

    def impatient(self):
        signal.raise_signal(number)
        return end(self)

    def interrupted(self, poll):
        signal.raise_signal(number)
        yield

    monkeypatch.setattr(workers.Worker, "end", impatient)
    monkeypatch.setattr(workers.DecodeThread, "frames", interrupted)
    # Where the tests were started in the background, they are deaf to Ctrl-C, and so would the command be.
    before = signal.signal(number, signal.default_int_handler)
    words = ["interpolate", str(tmp_path / "in.mp4"), str(tmp_path / "out.mp4"), "--multiplier", "1"]
    try:
        found = main(words)
    except SystemExit as error:
        found = error.code
    finally:
        signal.signal(number, before)
    assert found == status
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]
    assert not [t for t in threading.enumerate() if t.name.startswith("midframe")]
