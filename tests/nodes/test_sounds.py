"""ComfyUI's AUDIO as nodes of many packs make it."""

import numpy as np
import pytest
import torch
from midframe.errors import BadInputError
from midframe.nodes._sounds import sound_of

WAVES = torch.linspace(-1, 1, 300).reshape(1, 2, 150)


@pytest.mark.parametrize(
    "samples",
    [WAVES, WAVES.double(), WAVES.expand(3, -1, -1), WAVES[0], WAVES.clone().requires_grad_()],
    ids=["float32", "float64", "a batch", "without a batch", "from a network"],
)
@pytest.mark.parametrize("rate", [48000, 48000.0, "48000", np.int64(48000), torch.tensor(48000)], ids=type)
def test_every_form_is_read(samples, rate):
    sound = sound_of({"waveform": samples, "sample_rate": rate})
    assert torch.equal(sound.samples, WAVES[0])
    assert (sound.rate, sound.samples.dtype, sound.samples.requires_grad) == (48000, torch.float32, False)


@pytest.mark.parametrize("audio", [None, {}, {"waveform": WAVES[:0], "sample_rate": 48000}])
def test_no_sound_is_none(audio):
    assert sound_of(audio) is None


def test_what_is_no_number_is_silence(caplog):
    """Encoders refuse it when the whole film is made."""
    waves = WAVES.clone()
    waves[0, :, 50:60], waves[0, :, 60:70] = float("nan"), float("inf")
    samples = sound_of({"waveform": waves, "sample_rate": 48000}).samples
    assert (samples[:, 50:70] == 0).all()
    assert torch.equal(samples[:, 70:], WAVES[0, :, 70:])
    assert "silence" in caplog.text


@pytest.mark.parametrize(
    "audio",
    [
        {"waveform": None, "sample_rate": 48000},
        {"waveform": WAVES},
        {"waveform": WAVES, "sample_rate": 0},
        {"waveform": WAVES, "sample_rate": "often"},
        {"waveform": WAVES[0, 0], "sample_rate": 48000},
        {"samples": WAVES},
        WAVES,
        "a file",
        5,
    ],
    ids=map(str, range(9)),
)
def test_what_is_no_sound_is_refused(audio):
    with pytest.raises(BadInputError):
        sound_of(audio)
