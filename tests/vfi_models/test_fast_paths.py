"""Every fast path against the plain operation, at random sizes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from fakes import spec
from midframe.parity.tolerances import bound
from midframe.vfi_models import build, detect, precision
from midframe.vfi_models._ops import convolution
from midframe.vfi_models._ops.convolution import Convolution, LeakyConv2d, channels_last
from midframe.vfi_models._ops.padding import _mirror, clamp_padded, pad_frames, pad_to
from midframe.vfi_models._ops.warp import GridSampler, _sampled, halved, identity_grid, sample
from midframe.vfi_models.compact.flow import box_mean
from midframe.vfi_models.rife import shapes
from midframe.vfi_models.rife.config import FAMILIES
from midframe.vfi_models.rife.net import Block
from midframe.vfi_models.rife.prepared import PreparedBlock
from midframe.weights.loading import runnable_dtype
from midframe.weights.synthetic import synthetic_state_dict

DTYPES = {torch.float32: bound("fast path"), torch.bfloat16: bound("golden bfloat16")}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def size(most=40):
    return torch.randint(1, most, (2,)).tolist()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
def test_convolution(monkeypatch, dtype, fused, groups):
    if not fused:
        monkeypatch.setattr(convolution, "_fuses", lambda dtype: False)
    for stride, slope, kernel in [(1, 0.2, 3), (2, None, 3), (1, None, 2), (2, 0.1, 4)]:
        weight, bias = (
            torch.randn(12, 8 // groups, kernel, kernel, dtype=dtype) / 9,
            torch.randn(12, dtype=dtype),
        )
        run = Convolution(weight, bias, stride=stride, groups=groups, slope=slope)
        for _ in range(3):  # also at another size than it was laid out for
            x = torch.randn(2, 8, *(n + 4 for n in size()), dtype=dtype)
            expected = F.conv2d(x.float(), weight.float(), bias.float(), stride, 1, groups=groups)
            plus = torch.randn(expected.shape, dtype=dtype)
            for extra in (None, plus):
                sums = expected if extra is None else expected + extra.float()
                sums = sums if slope is None else F.leaky_relu(sums, slope)
                made = run(x, extra).float()
                assert (made - sums).abs().max() < DTYPES[dtype] * sums.abs().max(), (stride, kernel)


@pytest.mark.parametrize("sizes", [1, 3])
def test_each_size_of_a_picture_has_the_weights_in_its_own_layout(monkeypatch, sizes):
    """A finer level that is given the layout of a coarse one takes milliseconds more at every call."""
    weight, bias = torch.randn(64, 64, 3, 3) / 48, torch.randn(64) / 9
    layer, packed, pack = Convolution(weight, bias, slope=0.1), [], convolution._pack
    layer.sizes = sizes
    monkeypatch.setattr(convolution, "_pack", lambda *given: packed.append(given) or pack(*given))
    levels = [(1, 2), (4, 8), (16, 32)]
    for height, width in [*levels, *reversed(levels)]:
        x = torch.randn(2, 64, height, width)
        expected = F.leaky_relu(F.conv2d(x, weight, bias, padding=1), 0.1)
        torch.testing.assert_close(layer(x), expected, atol=bound("operation"), rtol=0)
    if layer._packs:
        again = levels[1::-1] if sizes == 1 else []
        assert [tuple(shape[2:]) for _, _, shape in packed] == levels + again
        assert all(torch.equal(given, weight) for given, *_ in packed), "no layout is made of rounded weights"
        assert len(layer._packed) == sizes


def test_fused_convolutions_are_tried_before_they_are_used(monkeypatch):
    def broken(x, *_):
        return torch.zeros_like(x)

    for replacement in (broken, lambda *_: torch.ops.mkldnn.there_is_no_such_operator()):
        convolution._fuses.cache_clear()
        monkeypatch.setattr(convolution, "_fused", replacement)
        assert not convolution._fuses(torch.float32)
    convolution._fuses.cache_clear()
    assert not convolution._fuses(torch.float16)


@pytest.mark.parametrize("dtype", DTYPES)
def test_channels_last_is_a_copy(dtype):
    for count, channels in ((1, 3), (2, 28), (3, 137)):
        x = torch.randn(count, channels, *size(), dtype=dtype)
        made = channels_last(x)
        assert torch.equal(made, x)
        assert made.is_contiguous(memory_format=torch.channels_last)
        assert channels_last(made) is made
        assert torch.equal(channels_last(x, torch.empty_like(made)), x)


def test_a_layer_follows_its_parameters():
    layer, x = LeakyConv2d(3, 8, slope=0.1), torch.randn(1, 3, 9, 7)

    def agree():
        expected = layer(x)  # with gradient: as torch does it
        with torch.no_grad():
            torch.testing.assert_close(layer(x), expected, atol=bound("operation"), rtol=bound("operation"))

    agree()
    with torch.no_grad():
        layer.weight.mul_(3)
    agree()
    layer.load_state_dict(LeakyConv2d(3, 8).state_dict())
    agree()
    assert set(copy.deepcopy(layer).state_dict()) == {"weight", "bias"}
    layer.to(torch.bfloat16)
    with torch.no_grad():
        assert layer(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("is_halved", [False, True])
def test_sampler(is_halved):
    for _ in range(6):
        height, width = (2 * n for n in size(30))
        image, flow = torch.rand(3, 5, height, width), 9 * torch.randn(3, 2, height, width)
        grid = identity_grid(height, width)
        expected = _sampled(image, flow, grid, (height, width))
        expected = F.avg_pool2d(expected, 2) if is_halved else expected
        sampler = GridSampler(grid, (height, width), halved=is_halved)
        for count in (1, 3):
            made = sampler(image[:count], flow[:count], out=torch.empty_like(expected[:count]))
            torch.testing.assert_close(made, expected[:count], atol=bound("fast path"), rtol=0)
            if not is_halved:
                with torch.no_grad():
                    made = sample(image[:count], flow[:count], grid, (height, width))
                torch.testing.assert_close(made, expected[:count], atol=bound("fast path"), rtol=0)


def test_means():
    for _ in range(5):
        x = torch.randn(2, 5, *(2 * n for n in size()))
        torch.testing.assert_close(halved(x), F.avg_pool2d(x, 2))
        for side in (1, 3, 5, 7):
            expected = F.avg_pool2d(x, side, 1, side // 2, count_include_pad=False)
            torch.testing.assert_close(
                box_mean(x, side), expected, atol=bound("operation"), rtol=bound("operation")
            )


def test_reflection():
    for rows, columns in ((5, 7), (1, 9), (3, 2)):
        x = torch.randn(1, 2, rows, columns)
        for height, width in ((8, 9), (6, 17), (rows, 10)):
            if height < rows or width < columns:
                continue
            expected = x[:, :, _mirror(rows, height, x.device)][..., _mirror(columns, width, x.device)]
            assert torch.equal(pad_to(x, height, width, "reflect"), expected)


@pytest.mark.parametrize("family", ["4.2", "4.6", "4.14.lite", "4.25"])
def test_prepared_block(family):
    kind = FAMILIES[family]
    block = Block(kind, 12, 32).requires_grad_(False)
    for name, parameter in block.named_parameters():
        torch.nn.init.normal_(parameter, 1.0 if "beta" in name else 0.0, 0.05)
    prepared = PreparedBlock(block, list(range(12)), outputs=5, pixels=4)
    for _ in range(3):
        x = torch.randn(2, 12, *(16 * n for n in size(5)))
        expected = block.lastconv(block.convblock(block.conv0(x)))[:, :5]
        expected[:, :4] *= 4
        torch.testing.assert_close(prepared(x), expected, atol=bound("fast path"), rtol=bound("fast path"))


@pytest.mark.parametrize("family", ["4.6", "4.13", "4.25"])
def test_bfloat16_is_near_float32(family):
    model = build(detect(synthetic_state_dict(shapes(family), 0, 0.7)))
    frames = F.interpolate(torch.rand(2, 3, 12, 20), size=(96, 160), mode="bilinear")
    pictures = []
    for dtype in (torch.float32, torch.bfloat16):
        model.module.to(dtype)
        session = model.open(96, 160)
        with torch.inference_mode():
            left, right = session.encode(frames[:1]), session.encode(frames[1:])
            pictures.append(session.between(left, right, torch.tensor([0.5])))
    assert pictures[1].dtype == torch.float32
    assert -10 * (pictures[0] - pictures[1]).square().mean().log10() > 45


@pytest.mark.parametrize(("able", "on_a_cpu"), [(True, torch.bfloat16), (False, torch.float32)])
def test_what_suits_a_device(monkeypatch, able, on_a_cpu):
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: able)
    assert [precision.suited(torch.device(kind)) for kind in ("cuda", "mps", "cpu")] == [
        torch.float16,
        torch.float32,
        on_a_cpu,
    ]


def test_auto_takes_no_dtype_that_changes_the_picture(tmp_path):
    class Model:
        spec = spec(
            dtypes=(torch.float32, torch.bfloat16, torch.float16), safe_dtypes=(torch.float32, torch.float16)
        )

    for asked, suits, expected in (
        (None, torch.bfloat16, torch.float32),
        (None, torch.float16, torch.float16),
        (torch.bfloat16, torch.float32, torch.bfloat16),
    ):
        assert runnable_dtype(Model(), tmp_path, asked, suits) == expected


def test_padding_repeats_the_edge_of_masks_and_not_of_the_picture():
    frames = torch.rand(2, 5, 3, 4)
    for mode in ("zeros", "reflect"):
        picture, extra = pad_frames(frames, 8, 9, mode)
        assert picture.shape == (2, 3, 8, 9)
        assert torch.equal(picture, pad_frames(frames[:, :3], 8, 9, mode)[0])
        assert torch.equal(extra[..., :3, :4], frames[:, 3:])
        assert torch.equal(extra[..., 3:, :4], frames[:, 3:, -1:].expand(-1, -1, 5, -1))
        assert torch.equal(extra[..., 4:], extra[..., 3:4].expand(-1, -1, -1, 5))
    assert pad_frames(frames, 8, 9)[0][..., 3:, :].abs().max() == 0
    assert pad_frames(frames[:, :3], 8, 9)[1] is None
    picture, extra = pad_frames(frames, 3, 4)
    assert picture.data_ptr() == frames.data_ptr()  # no copy where nothing is padded
    assert extra.data_ptr() == frames[:, 3:].data_ptr()


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
@pytest.mark.parametrize("size", [(3, 4), (8, 4), (3, 9), (8, 9), (7, 5)])
def test_clamped_into_its_place_it_is_padded_as_ever(mode, size):
    frames = 3 * torch.rand(2, 4, 3, 4) - 1
    stacked = torch.full((2, 5, *size), torch.nan)
    picture, extra = pad_frames(frames, *size, mode)
    out, other = clamp_padded(frames, stacked[:, :3], mode)
    assert out.data_ptr() == stacked.data_ptr()
    assert torch.equal(out, picture.clamp(0, 1))
    assert torch.equal(other, extra)
    assert clamp_padded(frames[:, :3], stacked[:, :3], mode)[1] is None
    assert stacked[:, 3:].isnan().all()
