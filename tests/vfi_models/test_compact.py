"""The built-in model: its own promises, and what the shipped weights can do."""

import json

import pytest
import torch
from midframe.errors import BadInputError, UnsupportedWeightsError
from midframe.parity.tolerances import bound
from midframe.training.atlas import make_atlas
from midframe.training.motion import MotionGenerator
from midframe.vfi_models import build, detect
from midframe.vfi_models.compact import ARCHITECTURE
from midframe.vfi_models.compact.flow import lucas_kanade_step, warped
from midframe.vfi_models.compact.matching import expected_displacement, symmetric_correlation
from midframe.vfi_models.compact.session import Geometry
from midframe.weights.checkpoint import read_checkpoint
from midframe.weights.synthetic import synthetic_state_dict

HELD_OUT_SEED = 90_001


@pytest.fixture(scope="module")
def shipped(root):
    return root / "ckpts" / "default.safetensors"


@pytest.fixture(scope="module")
def model(shipped):
    return build(detect(read_checkpoint(shipped)))


def made(model, left, right, times, options=None):
    with torch.inference_mode():
        session = model.open(*left.shape[-2:], options)
        return session.between(session.encode(left), session.encode(right), torch.tensor(times))


def psnr(a, b):
    return float(-10 * (a.clamp(0, 1) - b).square().mean().log10())


def blurred_noise(height, width, channels=3):
    noise = torch.nn.functional.avg_pool2d(torch.rand(1, channels, height + 4, width + 4), 5, 1)
    return (0.5 + 3 * (noise - 0.5)).clamp(0, 1)


def test_the_shipped_file(shipped):
    assert shipped.stat().st_size < 4_000_000
    with shipped.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))["__metadata__"]
    assert header["licence"] == "MIT"
    assert header["command"].startswith("python -m midframe.training.train ")
    plan = json.loads(header["plan"])
    assert int(header["steps_done"]) == plan["steps"]
    assert "/" not in header["command"]


def test_beats_the_blend_on_motion_it_has_not_seen(model):
    generator = MotionGenerator(
        make_atlas(HELD_OUT_SEED, textures=20, shapes=12), seed=HELD_OUT_SEED, size=128
    )
    gains = []
    for index in range(16):
        s = generator.sample(index)
        t = float(s.timestep)
        blend = s.left * (1 - t) + s.right * t
        frame = made(model, s.left[None], s.right[None], [t])[0]
        gains.append(psnr(frame, s.middle) - psnr(blend, s.middle))
    assert sum(gains) / len(gains) > 3.0
    assert min(gains) > -2.0


# Features of the second size are padded at two levels: 23 x 29, 12 x 15, 6 x 8, 3 x 4.
@pytest.mark.parametrize("size", [(96, 128), (92, 116)], ids=["even", "odd"])
@pytest.mark.parametrize("t", [0.25, 0.5, 0.75])
def test_a_pan_lands_where_t_says(model, t, size):
    height, width = size
    scene, inner = blurred_noise(height, width + 32), (..., slice(16, -16), slice(16, -16))
    left, right = scene[..., 20 : 20 + width], scene[..., 12 : 12 + width]  # moves 8 pixels to the right
    frame = made(model, left, right, [t])[inner]
    places = {shift: psnr(frame, scene[..., 20 - shift : 20 - shift + width][inner]) for shift in range(9)}
    assert max(places, key=places.get) == 8 * t
    assert places[8 * t] > 35


def test_nothing_moves_nothing_changes(model):
    picture = blurred_noise(70, 90)
    assert psnr(made(model, picture, picture, [0.5]), picture) > 45


def test_channels_past_rgb_ride_along(model):
    left, right = blurred_noise(64, 96), blurred_noise(64, 96)
    extended = made(model, *(torch.cat((x, x[:, :2]), 1) for x in (left, right)), [0.5])
    plain = made(model, left, right, [0.5])
    assert torch.equal(extended[:, :3], plain)
    # The same flow and mask; only RGB is sharpened.
    assert (extended[:, 3:] - plain[:, :2]).abs().max() < 0.2
    assert psnr(extended[:, 3:], plain[:, :2]) > 25


def test_ensemble_is_the_same_upside_down_and_backwards(model):
    left, right = blurred_noise(40, 56), blurred_noise(40, 56)
    forth = made(model, left, right, [0.25, 0.5], {"ensemble": True})
    back = made(model, right.flip(2, 3), left.flip(2, 3), [0.75, 0.5], {"ensemble": True}).flip(2, 3)
    torch.testing.assert_close(forth, back, atol=bound("fast path"), rtol=0)
    assert (forth - made(model, left, right, [0.25, 0.5])).abs().max() > 1e-3


@pytest.mark.parametrize("scale", [0.25, 0.5, 0.7, 2, 4])
@pytest.mark.parametrize("size", [(1, 1), (2, 33), (61, 83)])
def test_flow_scale_takes_any_size(model, scale, size):
    left, right = torch.rand(2, 1, 4, *size)
    frame = made(model, left, right, [0.3, 0.6], {"flow_scale": scale})
    assert frame.shape == (2, 4, *size)
    assert frame.isfinite().all()


def test_flow_scale_still_follows_motion(model):
    scene = torch.nn.functional.avg_pool2d(blurred_noise(128, 200), 5, 1, 2)
    left, right = scene[..., 20:180], scene[..., 12:172]
    expected, inner = scene[..., 16:176], (..., slice(16, -16), slice(16, -16))
    blend = psnr(((left + right) / 2)[inner], expected[inner])
    for scale in (0.5, 2.0):
        assert (
            psnr(made(model, left, right, [0.5], {"flow_scale": scale})[inner], expected[inner]) > blend + 5
        )


@pytest.mark.parametrize("options", [{"flow_scale": 0.2}, {"flow_scale": "1"}, {"ensemble": 1}, {"scale": 1}])
def test_bad_options(model, options):
    with pytest.raises(BadInputError, match="built-in model"):
        model.open(8, 8, options)


def test_lighter_is_lighter(model):
    options, sizes = {}, []
    while options is not None:
        sizes.append(model.activation_bytes(1080, 1920, options))
        options = model.low_memory(options)
    assert len(sizes) == 3
    assert sizes == sorted(sizes, reverse=True)


def test_detection():
    state = synthetic_state_dict(ARCHITECTURE.shapes("v2"))
    assert ARCHITECTURE.detect({"block0.conv0.0.0.weight": torch.zeros(1)}) is None
    assert ARCHITECTURE.detect({}) is None
    short = {k: v for k, v in state.items() if k != "fine.join.bias"}
    with pytest.raises(UnsupportedWeightsError) as caught:
        ARCHITECTURE.detect(short)
    assert caught.value.missing == ("fine.join.bias",)
    with pytest.raises(UnsupportedWeightsError):
        ARCHITECTURE.detect({**state, "fine.join.bias": torch.zeros(3)})
    with pytest.raises(UnsupportedWeightsError) as caught:
        ARCHITECTURE.detect({**state, "more": torch.zeros(3)})
    assert caught.value.unexpected == ("more",)


def test_correlation_finds_a_displacement():
    features = torch.nn.functional.normalize(torch.randn(1, 16, 20, 24), dim=1)
    for dx, dy in ((0, 0), (2, -1), (-3, 3), (1, 0)):
        # Content moves by (dx, dy); each frame is seen about half of it away from the new one.
        left = torch.roll(features, (-(dy // 2), -(dx // 2)), (2, 3))
        right = torch.roll(features, (dy - dy // 2, dx - dx // 2), (2, 3))
        cost = symmetric_correlation(left, right, 3)
        best = cost[..., 5:-5, 5:-5].argmax(1)
        assert (best == (dy + 3) * 7 + dx + 3).all()
        found = expected_displacement(cost, torch.tensor(50.0))[..., 5:-5, 5:-5].mean((0, 2, 3))
        torch.testing.assert_close(found, torch.tensor([float(dx), float(dy)]), atol=0.05, rtol=0)


def test_lucas_kanade_finds_a_fraction_of_a_pixel():
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")

    def picture(shift):
        wave = 0.5 + 0.2 * torch.sin((x - shift) / 4) + 0.2 * torch.sin((y + (x - shift) / 3) / 5)
        return wave.expand(1, 3, -1, -1)

    flow, mask, t = torch.zeros(1, 4, 48, 64), torch.zeros(1, 1, 48, 64), torch.full((1, 1, 1, 1), 0.25)
    shares = torch.cat((-t, -t, 1 - t, 1 - t), 1)
    for _ in range(2):
        sides = warped(flow, picture(0.0), picture(0.6))
        flow = flow + shares * lucas_kanade_step(*sides, mask, t).repeat(1, 2, 1, 1)
    found = flow[..., 8:-8, 8:-8].mean((0, 2, 3))
    torch.testing.assert_close(found, torch.tensor([-0.15, 0.0, 0.45, 0.0]), atol=0.02, rtol=0)
    hidden = lucas_kanade_step(picture(0.0), picture(0.6), mask + 30, t)
    assert hidden.abs().max() < 1e-3  # only one frame is in view: nothing to compare


@pytest.mark.parametrize(
    ("height", "width", "scale", "padded", "levels"),
    [
        (1, 1, 1, (4, 4), 4),
        (256, 448, 1, (256, 448), 4),
        (718, 1280, 1, (720, 1280), 6),
        (720, 1280, 0.25, (180, 320), 4),
    ],
)
def test_geometry(height, width, scale, padded, levels):
    geometry = Geometry.of(height, width, scale)
    assert (geometry.padded, geometry.levels) == (padded, levels)
