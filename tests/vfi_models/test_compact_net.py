"""The built-in network: its parts, and that it runs as it is trained."""

import itertools

import pytest
import torch
from midframe.errors import UnsupportedWeightsError
from midframe.parity.tolerances import bound
from midframe.vfi_models import build, detect
from midframe.vfi_models._ops import cached
from midframe.vfi_models.compact import ARCHITECTURE
from midframe.vfi_models.compact.flow import FlowState, blend, sharpened, sharply_warped
from midframe.vfi_models.compact.matching import symmetric_correlation
from midframe.vfi_models.compact.net import PyramidNet, draw
from midframe.weights.synthetic import synthetic_state_dict


@pytest.fixture(scope="module")
def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        net = PyramidNet()
        net.initialise()
    return net


def test_the_gradient_of_the_correlation():
    left, right = (torch.randn(2, 3, 5, 6, requires_grad=True, dtype=torch.float64) for _ in range(2))
    for reach in (2, 3):
        check = torch.autograd.gradcheck
        assert check(lambda a, b, r=reach: symmetric_correlation(a, b, r), (left, right), fast_mode=True)
        with torch.no_grad():
            alone = symmetric_correlation(left, right, reach)
        assert torch.equal(symmetric_correlation(left, right, reach), alone)
        assert alone.shape == (2, (2 * reach + 1) ** 2, 5, 6)


def one_by_one(left, right, reach):
    """Return what a symmetric correlation is by its definition, displacement by displacement."""
    height, width = left.shape[-2:]
    left, right = (torch.nn.functional.pad(x, (reach,) * 4) for x in (left, right))
    costs = []
    for dy, dx in itertools.product(range(-reach, reach + 1), repeat=2):
        back = reach - dy // 2, reach - dx // 2
        ahead = back[0] + dy, back[1] + dx
        views = (x[..., y : y + height, c : c + width] for x, (y, c) in ((left, back), (right, ahead)))
        costs.append(torch.mul(*views).sum(1))
    return torch.stack(costs, 1)


@pytest.mark.parametrize("size", [2**21, 1], ids=["at once", "row by row"])
def test_the_correlation_is_what_it_is_by_its_definition(size, monkeypatch):
    monkeypatch.setattr(cached, "_BYTES", size)
    for count, channels, height, width in ((1, 4, 9, 7), (2, 3, 1, 2), (3, 8, 12, 20)):
        left, right = torch.randn(2, count, channels, height, width)
        for reach in (0, 1, 2, 3):
            with torch.no_grad():
                found = symmetric_correlation(left, right, reach)
            torch.testing.assert_close(found, one_by_one(left, right, reach), atol=bound("operation"), rtol=0)


def test_it_runs_as_it_is_trained(net):
    for height, width, levels in ((64, 96, 4), (32, 64, 3)):
        left, right = torch.rand(2, 1, 3, height, width)
        timestep = torch.full((1, 1, 1, 1), 0.4)

        def found(left=left, right=right, timestep=timestep, levels=levels):
            return net.find(net.encode(left, levels), net.encode(right, levels), timestep)

        expected = found()
        assert expected.flow.requires_grad
        with torch.no_grad():
            motion = found()
        torch.testing.assert_close(motion.flow, expected.flow, atol=bound("flow of a fast path"), rtol=1e-3)
        torch.testing.assert_close(motion.mask, expected.mask, atol=bound("flow of a fast path"), rtol=1e-3)


def test_before_training_what_is_added_is_small(net):
    scales = {name: float(p.detach().std()) for name, p in net.named_parameters() if name.endswith("weight")}
    for name, scale in scales.items():
        if name.endswith("first.weight"):
            assert scales[name.replace("first", "second")] < 0.2 * scale
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in net.parameters() if p.ndim > 1)


def test_every_parameter_learns(net):
    left, right = torch.rand(2, 1, 3, 64, 64)
    motion = net.find(net.encode(left, 4), net.encode(right, 4), torch.full((1, 1, 1, 1), 0.3))
    draw(motion, left, right).square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in net.named_parameters()}
    net.zero_grad()
    assert not [name for name, gradient in gradients.items() if gradient is None or not gradient.any()]


@pytest.mark.parametrize("axis", [0, 1])
def test_sharpened_bilinear_samples_are_cubic_ones(axis):
    """Along one axis, and with both frames equally far between pixels, nothing is left out of the cubic."""
    frames, part, share = torch.rand(2, 1, 3, 24, 31), 0.3, 0.8
    # The places are 1.3 pixels further in one frame, 1.3 pixels before in the other.
    flow = torch.zeros(1, 4, 24, 31)
    flow[:, axis], flow[:, 2 + axis] = 1 + part, -1 - part
    taps = {
        -1: -part * (1 - part) ** 2 / 2,
        0: (2 - 5 * part**2 + 3 * part**3) / 2,
        1: (part + 4 * part**2 - 3 * part**3) / 2,
        2: (part**3 - part**2) / 2,
    }
    cubic = [
        sum(weight * frame.roll(-sign * (1 + step), dims=3 - axis) for step, weight in taps.items())
        for frame, sign in zip(frames, (1, -1), strict=True)
    ]
    inner = (..., slice(4, -4), slice(4, -4))
    # The same sums in another order.
    for made, expected in zip(sharply_warped(flow, *frames), cubic, strict=True):
        torch.testing.assert_close(made[inner], expected[inner], atol=bound("operation"), rtol=0)
    motion = FlowState(flow, torch.full((1, 1, 24, 31), share).logit(), flow)
    made = sharpened(blend(motion, *frames), motion)
    expected = share * cubic[0] + (1 - share) * cubic[1]
    torch.testing.assert_close(made[inner], expected[inner], atol=bound("operation"), rtol=0)


def test_whole_pixels_and_what_lies_outside_are_not_sharpened():
    left, right = torch.rand(2, 1, 3, 12, 17)
    for x, y in ((0, 0), (3, -2), (-40.5, 0), (0, 40.25)):
        flow = torch.tensor([x, y, -x, -y], dtype=torch.float32).view(1, 4, 1, 1).expand(-1, -1, 12, 17)
        motion = FlowState(flow, torch.zeros(1, 1, 12, 17), flow)
        picture = blend(motion, left, right)
        # Whole pixels: exact. Outside, the border repeats, so that second differences are what rounding leaves.
        torch.testing.assert_close(sharpened(picture, motion), picture, atol=bound("rounding"), rtol=0)


def test_masks_that_ride_along_keep_their_range():
    frames = (torch.rand(2, 1, 5, 64, 64) > 0.5).float()
    motion = FlowState(torch.full((1, 4, 64, 64), 0.5), torch.zeros(1, 1, 64, 64), frames[0])
    made = draw(motion, *frames)
    assert made[:, :3].max() > 1.0
    assert made[:, :3].min() < 0.0
    assert made[:, 3:].min() >= 0.0
    assert made[:, 3:].max() <= 1.0


def test_one_stage_serves_all_coarse_levels(net):
    with torch.no_grad():
        pictures, features = net.encode(torch.rand(1, 3, 256, 512), 6)
    assert [x.shape[-2:] for x in pictures] == [(256, 512), (128, 256)]
    assert [x.shape[-1] for x in features] == [128, 64, 32, 16, 8, 4]
    assert len({x.shape[1] for x in features[2:]}) == 1


def test_other_shapes_under_its_names():
    state = synthetic_state_dict(ARCHITECTURE.shapes("v2"), 0, 0.7)
    assert detect(state).family == "v2"
    assert build(detect(state)).spec.family == "v2"
    with pytest.raises(UnsupportedWeightsError, match=r"another shape: fine\.leave\.weight"):
        detect({**state, "fine.leave.weight": torch.zeros(1, 2, 3, 3)})


def test_its_weights_are_small():
    count = sum(torch.Size(shape).numel() for shape in ARCHITECTURE.shapes("v2").values())
    assert 2 * count < 8_000_000
