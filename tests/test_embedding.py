"""The examples of docs/embedding.md, run."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from clips import frames_of, pictures, times_of
from midframe import interpolate
from midframe.errors import BadInputError
from midframe.inputs.frames import clip_of
from PIL import Image

PICTURES = pictures(5, (64, 96))
CLIP = torch.from_numpy(np.stack(PICTURES))


@pytest.fixture(scope="module")
def example(root):
    """The names that an example of the page leaves behind, by the number of the example."""
    text = (root / "docs" / "embedding.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)

    def run(number, **names):
        exec(blocks[number], names)
        return names

    return run


FRAMES = {
    "PIL": [[Image.fromarray(picture) for picture in PICTURES]],
    "PIL with alpha": [[Image.fromarray(picture).convert("RGBA") for picture in PICTURES]],
    "numpy": np.stack(PICTURES)[None].astype(np.float32) / 255,
    "numpy, bytes": np.stack(PICTURES)[None],
    "numpy, a list": [np.stack(PICTURES)],
    "torch": CLIP.movedim(-1, 1)[None].float() / 255,
    "torch, half": CLIP.movedim(-1, 1)[None].half() / 255,
    "torch, a list": list(CLIP.movedim(-1, 1).float() / 255),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_of_every_kind_are_the_same_clip(kind):
    clip = clip_of(FRAMES[kind])
    assert clip.shape == (5, 64, 96, 4 if "alpha" in kind else 3)
    values = clip[..., :3].float() if clip.dtype == torch.uint8 else clip * 255
    assert (values - CLIP.float()).abs().max() < 0.1 + 0.2 * ("half" in kind)


@pytest.mark.parametrize("kind", ["PIL", pytest.param("torch", marks=pytest.mark.long)])
def test_frames_of_a_pipeline_become_a_file(example, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    names = example(0, pipeline=lambda _: SimpleNamespace(frames=FRAMES[kind]))
    written = names["written"]
    assert len(times_of(written.path)) == written.frames == 19  # 5/16 s at 60 fps
    assert np.abs(frames_of(written.path)[0].astype(int) - PICTURES[0]).mean() < 3
    with pytest.raises(BadInputError, match="there already"):
        example(0, pipeline=lambda _: SimpleNamespace(frames=FRAMES[kind]))


def test_frames_that_are_none_are_refused():
    for wrong in ([], [Image.new("RGB", (8, 8)), Image.new("RGB", (9, 8))], "clip.mp4", None, CLIP[0], {}):
        with pytest.raises(BadInputError):
            clip_of(wrong)
    assert clip_of([Image.new("L", (8, 6)), Image.new("P", (8, 6))]).shape == (2, 6, 8, 3)
    assert clip_of(np.flip(np.stack(PICTURES), 2)).shape == CLIP.shape


@pytest.mark.parametrize(
    ("multiplier", "dtype"),
    [(2, torch.uint8), pytest.param(3, torch.float32, marks=pytest.mark.long)],
)
def test_the_upsampler_makes_parts_as_it_makes_the_whole(example, dtype, multiplier):
    upsampler = example(1)["MidframeUpsampler"]({}, None)
    value = upsampler.build_value("midframe", multiplier)
    assert value == f"midframe*{multiplier}"
    assert upsampler.validate_upsampling(value) == ""
    assert upsampler.validate_upsampling(value, source_is_image=True)
    sample = CLIP.movedim(-1, 0)
    sample = sample if dtype == torch.uint8 else sample.float() / 127.5 - 1
    call = {"processing_device": "cpu", "abort_callback": None, "progress_callback": None}
    whole, last, fps = upsampler.temporal_upsample(value, sample, None, 16, **call)
    assert (whole.dtype, fps) == (dtype, 16 * multiplier)
    assert whole.shape == (3, 4 * multiplier + 1, 64, 96)
    assert torch.equal(last, sample[:, -1:])
    first, between, _ = upsampler.temporal_upsample(value, sample[:, :3], None, 16, **call)
    second, _, _ = upsampler.temporal_upsample(value, sample[:, 3:], between, 16, **call)
    parts = torch.cat((first, second), 1)
    assert parts.shape == whole.shape
    assert (parts.float() - whole.float()).abs().max() <= (1 if dtype == torch.uint8 else 1e-5)
    if dtype == torch.uint8:
        assert torch.equal(whole[:, ::multiplier], sample)
        made = interpolate(CLIP, "default", multiplier)
        assert (made.movedim(-1, 0) * 255 - whole.float()).abs().max() <= 1


def test_the_upsampler_knows_its_own_values_alone(example):
    upsampler = example(1)["MidframeUpsampler"]()
    for value in ("", None, "rife*2", "midframe", "midframe*", "midframe*9", "midframe2"):
        assert not upsampler.is_upsampling(value)
        assert upsampler.validate_upsampling(value)
    offered = upsampler.query_temporal_upsampler_def()
    assert upsampler.is_upsampling(offered["default_temporal_upsampling"])
    assert set(offered["multipliers"]) == {method for _, method in offered["methods"]}
