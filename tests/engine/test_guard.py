"""Overlays come from the source where they stand; what moves is made, and never held."""

import itertools

import numpy as np
import pytest
import torch
from clips import frames_of, pictures, write_clip
from midframe import interpolate, load_model
from midframe.benchmarks.overlays import STANDING, overlay, under
from midframe.chunks import Job
from midframe.cli import main as command
from midframe.engine.guard import overlay_weight, read_mask
from midframe.errors import BadInputError
from midframe.vfi_utils import FrameLoop, Settings, by_multiplier
from PIL import Image

SIZE = 128, 192


@pytest.fixture(scope="module")
def model():
    return load_model("default", "cpu", "float32")


def textured(at: float) -> torch.Tensor:
    """A frame of a texture that moves right by ``at`` pixels: (H, W, 3) in 0..1."""
    y, x = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    x = x - at
    waves = torch.stack(
        [torch.sin(x / a + y / b) + torch.sin(x / b - y / a) for a, b in ((5, 9), (7, 6), (11, 4))], -1
    )
    return (0.5 + 0.2 * waves).float()


def clip(kind: str, count: int = 3, speed: float = 4.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames under an overlay, and its opacity in the middle one: the frames that it takes from 0 on."""
    layers = [overlay(kind, SIZE, i) for i in range(count)]
    frames = [under(textured(speed * i), layer) for i, layer in enumerate(layers)]
    return torch.stack(frames), layers[1][1]


def weight(frames: torch.Tensor) -> torch.Tensor:
    left, right = (frame.permute(2, 0, 1)[None] for frame in (frames[0], frames[-1]))
    return overlay_weight(left, right)[0, 0]


# Of what is as bright or as red as half of what moves behind it the border is not seen.
@pytest.mark.parametrize("kind", sorted(set(STANDING) - {"faint logo", "logo"}))
def test_an_opaque_overlay_is_found_and_nothing_else_is(kind):
    frames, opacity = clip(kind)
    found = weight(frames)
    solid = opacity[..., 0] > 0.99
    near_edge = torch.nn.functional.max_pool2d((~solid).float()[None], 9, 1, 4)[0].bool() & solid
    assert float(found[near_edge].mean()) > 0.9
    assert float(found[opacity[..., 0] == 0].mean()) < 0.01


@pytest.mark.parametrize("kind", ["ticker", "ball"])
def test_what_moves_is_never_held(kind):
    frames, _ = clip(kind)
    moved = (frames[1] - (frames[0] + frames[2]) / 2).abs().amax(-1) > 0.1
    assert float(weight(frames)[moved].mean()) < 0.02


def test_a_ball_before_a_wall_that_stands_is_not_held():
    frames, opacity = clip("ball", speed=0.0)
    assert float(weight(frames)[opacity[..., 0] > 0].max()) == 0.0


@pytest.mark.parametrize("speed", [0.25, 1.0, 3.0, 8.0])
def test_nothing_is_held_where_there_is_no_overlay(speed):
    frames = torch.stack([textured(0.0), textured(speed)])
    assert float(weight(frames).mean()) < 1e-3


def test_a_still_pair_and_tiny_pictures_hold_nothing():
    frame = textured(0.0)
    assert float(weight(torch.stack((frame, frame))).max()) == 0.0
    for size in ((1, 1), (1, 7), (3, 2), (9, 8)):
        assert weight(torch.rand(2, *size, 3)).shape == size


def test_a_subtitle_stands_and_pixels_beside_it_keep_every_bit(model):
    frames, opacity = clip("outlined subtitle")
    off = interpolate(frames[::2], model)[1]
    auto = interpolate(frames[::2], model, settings=Settings(guard="auto"))[1]
    solid = opacity[..., 0] > 0.99
    errors = [float((each - frames[1])[solid].square().mean()) for each in (auto, off)]
    assert errors[0] < errors[1] / 10
    untouched = weight(frames) == 0
    assert torch.equal(auto[untouched], off[untouched])


def test_a_clip_without_an_overlay_is_the_same_bit_for_bit(model):
    frames = torch.stack([torch.from_numpy(p) for p in pictures(3, SIZE)])
    off, auto = (interpolate(frames, model, settings=Settings(guard=law)) for law in ("off", "auto"))
    assert torch.equal(off, auto)


def test_a_mask_says_where_the_overlay_is(model, tmp_path):
    white = Image.new("L", (SIZE[1] // 2, SIZE[0] // 2), 0)
    white.paste(255, (0, 0, 20, SIZE[0] // 2))
    white.save(tmp_path / "mask.png")
    frames = torch.stack([textured(0.0), textured(4.0)])
    off = interpolate(frames, model)[1]
    masked = interpolate(frames, model, settings=Settings(guard=str(tmp_path / "mask.png")))[1]
    assert torch.equal(masked[:, :40], torch.lerp(frames[0], frames[1], 0.5)[:, :40])
    assert torch.equal(masked[:, 40:], off[:, 40:])


@pytest.mark.parametrize("channels", [1, 4])
def test_any_channels_are_guarded(model, channels):
    frames, opacity = clip("borders")
    frames = torch.cat((frames, frames[..., :1]), -1)[..., :channels] if channels > 1 else frames[..., :1]
    auto = interpolate(frames[::2], model, settings=Settings(guard="auto"))[1]
    assert float((auto - frames[1])[4:10].abs().max()) < 1 / 255


def test_parts_of_a_clip_give_the_frames_of_the_whole(model):
    frames, _ = clip("display", 5)
    settings = Settings(guard="auto", levels="match")
    whole = interpolate(frames, model, 3, settings=settings)
    parts: list[torch.Tensor] = []

    class Kept:
        def put(self, index: int, made: torch.Tensor) -> None:
            parts.extend(made.clone())

    with FrameLoop(by_multiplier(3), settings=settings) as loop:
        loop.feed(frames[:2], model, Kept())
        loop.feed(frames[2:], model, Kept(), last=True)
    assert all(torch.equal(a, b) for a, b in itertools.zip_longest(whole, parts[: len(whole)]))


def test_another_word_or_no_picture_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="guard"):
        Settings(guard="on")
    (tmp_path / "mask.txt").write_text("none")
    with pytest.raises(BadInputError, match="mask"):
        read_mask(str(tmp_path / "mask.txt"))


def test_files_and_chunks_are_guarded_alike_and_a_job_says_so(tmp_path):
    frames, _ = clip("display", 4)
    source = write_clip(tmp_path / "in.mkv", list((frames * 255).round().to(torch.uint8).numpy()))
    white = Image.new("L", (SIZE[1], SIZE[0]), 255)
    white.save(tmp_path / "mask.png")
    made = {}
    for law in ("off", "auto", str(tmp_path / "mask.png")):
        for word in ("interpolate", "chunks"):
            target = tmp_path / f"{word}_{len(made)}.mkv"
            words = [
                word,
                str(source),
                str(target),
                "--lossless",
                "--guard",
                law,
                "--device",
                "cpu",
                "--quiet",
            ]
            assert command([*words, "--dtype", "float32"]) == 0
            made[law, word] = np.stack(frames_of(target))
        assert np.array_equal(made[law, "interpolate"], made[law, "chunks"])
    assert len({each.tobytes() for each in made.values()}) == 3
    jobs = [
        Job(source, target, tmp_path, settings=Settings(guard=law))
        for law in ("off", "auto", str(tmp_path / "mask.png"))
    ]
    named = [job.identity().get("guard") for job in jobs]
    assert named[:2] == [None, "auto"]
    assert named[2].startswith("mask ")
    assert [Job.from_data(job.as_data()) for job in jobs] == jobs
