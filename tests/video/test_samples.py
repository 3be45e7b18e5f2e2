"""Sound of many channels: PyAV's own arrays of it end the process at eight and more (18.1)."""

import av
import numpy as np
import pytest
from fakes import LerpModel
from midframe.video import Coding, Plan, interpolate_video, open_clip
from midframe.video.read.samples import frame_of, samples_of
from midframe.video.read.waveform import read_waveform
from odd_files import film, remux

KINDS = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "flt": np.float32, "dbl": np.float64}


@pytest.mark.parametrize("layout", ["mono", "stereo", "6.1", "7.1", "9 channels", "7.1.4", "hexadecagonal"])
def test_what_is_put_into_a_frame_comes_out(layout):
    channels = av.AudioLayout(layout).nb_channels
    for kind, dtype in KINDS.items():
        samples = np.arange(channels * 50).reshape(channels, 50).astype(dtype)
        for name in (kind, f"{kind}p"):
            frame = frame_of(samples, layout, name)
            assert (frame.format.name, frame.layout.name, frame.samples) == (name, layout, 50)
            assert np.array_equal(samples_of(frame), samples)


@pytest.mark.parametrize("sound", ["aac", "libopus", "pcm_s16le"])
def test_eight_channels_of_a_file_are_read(tmp_path, sound):
    """The decoders give them in one row for each channel and side by side."""
    source = film(tmp_path / "in.mkv", count=6, sound=sound, layout="7.1")
    with open_clip(source) as clip:
        wave = read_waveform(clip.info)
    assert wave.samples.shape[0] == 8
    assert (wave.samples[:, 4800:9600].std(1) > 0.01).all()


def test_eight_channels_play_at_half_speed(tmp_path):
    source = film(tmp_path / "in.mkv", count=6, sound="aac", layout="7.1")
    interpolate_video(source, tmp_path / "out.mkv", LerpModel(), Plan(1, speed="0.5"))
    with open_clip(tmp_path / "out.mkv") as clip:
        wave = read_waveform(clip.info)
    assert wave.samples.shape[1] / wave.rate == pytest.approx(0.5, abs=0.05)
    assert (wave.samples[:, 4800:14400].std(1) > 0.01).all()


@pytest.mark.parametrize("layout", ["stereo", "7.1"])
def test_a_gap_in_the_sound_is_silence(tmp_path, layout):
    """In an array, and in AVI, which has no times."""
    whole = film(tmp_path / "whole.mkv", count=12, sound="aac", layout=layout)

    def without_a_middle(packet):
        gap = packet.stream.type == "audio" and 0.15 < packet.pts * packet.time_base < 0.35
        return None if gap else packet

    source = remux(whole, tmp_path / "in.mkv", without_a_middle)
    interpolate_video(source, tmp_path / "out.avi", LerpModel(), Plan(coding=Coding(sound="pcm_s16le")))
    for path in (source, tmp_path / "out.avi"):
        with open_clip(path) as clip:
            samples = read_waveform(clip.info).samples
        assert samples.shape[1] / 48000 == pytest.approx(0.5, abs=0.06)
        assert (samples[:, 2400:4800].std(1) > 0.01).all()
        assert samples[:, 10800:14400].abs().max() < 0.01
        assert (samples[:, 19200:22000].std(1) > 0.01).all()
