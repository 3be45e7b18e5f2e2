"""``midframe demo --timing``, with small pictures and a model of means."""

import numpy as np
import pytest
from fakes import LerpModel, RecordingHost
from midframe.cli import demo_timing
from midframe.video import open_clip


def read(path):
    with open_clip(path, alpha=False) as clip:
        return [frame.pixels.numpy().astype(np.float32) for frame in clip]


@pytest.mark.long  # renders and makes the demo; test_keyframes has the beats
def test_re_timed_drawings_stand_less(tmp_path):
    blocks = np.kron(np.random.default_rng(0).random((8, 12)), np.ones((16, 16))) * 255
    frames = [np.repeat(np.roll(blocks, 3 * i, 1)[..., None], 3, 2).astype(np.float32) for i in range(32)]
    said = []
    demo_timing.run(tmp_path, frames, LerpModel(), RecordingHost(), read, said.append)
    names = [
        "midframe_timing.mp4",
        "midframe_timing.png",
        "midframe_timing_after.mp4",
        "midframe_timing_before.mp4",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    still = [int(line.split(" dB to the true motion, ")[1].split()[0]) for line in said[:2]]
    assert still[0] >= 30
    assert still[1] <= 10
    assert len(read(tmp_path / "midframe_timing_after.mp4")) == 72
    drawn = demo_timing.drawings(frames)
    assert all(np.array_equal(drawn[i], drawn[i + 1]) for i in range(0, 36, 2))
