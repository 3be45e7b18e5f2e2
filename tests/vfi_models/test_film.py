import json

import pytest
import torch
import torch.nn.functional as F
from midframe.benchmarks.loading import save_archive
from midframe.errors import BadInputError, UnsupportedWeightsError
from midframe.parity.tolerances import bound
from midframe.vfi_models import build, detect
from midframe.vfi_models._ops.warp import Sampler, backward_warp
from midframe.vfi_models.film import net, shapes, shapes_of
from midframe.vfi_models.film.config import Config, published_names
from midframe.vfi_models.film.net import double
from midframe.weights.checkpoint import read_checkpoint
from midframe.weights.synthetic import synthetic_state_dict
from torch import nn


def weights(gain=1.3, config=None):
    return synthetic_state_dict(shapes_of(config) if config else shapes("narrow"), 0, gain)


def film(**changed):
    return build(detect({**weights(), **changed}))


@pytest.fixture
def names(root):
    """The names of every layout: [v1.0.2, v1.0.0, ComfyUI, TensorFlow, shape]."""
    return json.loads((root / "parity" / "goldens" / "film" / "keys.json").read_text())["rows"]


def middle(model, left, right, t=(0.5,), options=None):
    session = model.open(*left.shape[-2:], options)
    with torch.inference_mode():
        return session.between(session.encode(left), session.encode(right), torch.tensor(t))


# --- loading


@pytest.mark.parametrize("column", [0, 1, 2])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_every_layout_is_the_same_network(names, column, prefix):
    state = {prefix + row[column]: torch.empty(row[-1], device="meta") for row in names}
    detection = detect(state)
    assert (detection.architecture, detection.family) == ("film", "film")
    assert {name: tuple(v.shape) for name, v in detection.state_dict.items()} == shapes("film")
    assert list(published_names(detection.state_dict)) == [row[0] for row in names]


def test_sizes_come_from_shapes():
    config = Config(6, (5, 4, 3, 8))
    model = build(detect(weights(config=config)))
    assert model.module.config == config
    assert model.spec.family == "narrow"
    assert middle(model, *torch.rand(2, 1, 3, 64, 64)).shape == (1, 3, 64, 64)


def test_halves_are_read_as_float32():
    model = build(detect({name: value.half() for name, value in weights().items()}))
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}


def test_loading_is_strict():
    state = weights()
    del state["fuse.convs.1.1.conv.weight"]
    state["fuse.surprise"] = torch.zeros(3)
    state["fuse.output_conv.bias"] = torch.zeros(7)
    with pytest.raises(UnsupportedWeightsError) as caught:
        build(detect(state))
    assert caught.value.nearest == "narrow"
    assert "fuse.convs.1.1.conv.weight" in caught.value.missing
    assert "fuse.surprise" in caught.value.unexpected
    assert "fuse.output_conv.bias" in str(caught.value)


@pytest.mark.parametrize(
    "lost",
    ["predict_flow._predictor._convs.0.conv.weight", "predict_flow._predictors.1._convs.0.conv.weight"],
)
def test_a_part_of_the_network_is_told_to_be_one(lost):
    state = weights()
    del state[lost]
    with pytest.raises(UnsupportedWeightsError, match="look like FILM") as caught:
        detect(state)
    assert caught.value.missing == (lost,)


def test_a_first_layer_that_is_no_convolution():
    with pytest.raises(UnsupportedWeightsError, match="look like FILM"):
        detect(weights() | {"extract.extract_sublevels.convs.0.0.conv.weight": torch.zeros(4)})


def test_both_archives_of_one_name_and_the_safetensors_file_are_one_model(root, tmp_path):
    """The names of v1.0.0, v1.0.2 and ComfyUI, each in its kind of file, give the same picture to the bit."""
    goldens = root / "parity" / "goldens" / "film"
    frames = torch.rand(2, 1, 3, 70, 66)
    old = read_checkpoint(goldens / "tiny_torchscript_v100.pt")
    assert "fuse.convs.0.0.weight" in old
    new = published_names(detect(old).state_dict)
    assert "fuse.convs.0.0.0.weight" in new
    save_archive(new, tmp_path / "film_net_fp32.pt")
    made = [middle(build(detect(w)), *frames) for w in (old, read_checkpoint(tmp_path / "film_net_fp32.pt"))]
    assert torch.equal(made[0], made[1])
    halves = [
        read_checkpoint(goldens / n) for n in ("tiny_torchscript_fp16.pt", "tiny_core_fp16.safetensors")
    ]
    made = [middle(build(detect(w)), *frames) for w in halves]
    assert torch.equal(made[0], made[1])


# --- sizes and channels


@pytest.mark.parametrize(
    ("size", "bare", "aligned"),
    [
        ((1, 1), (64, 64), (64, 64)),
        ((70, 110), (70, 110), (128, 128)),
        ((30, 128), (64, 128), (64, 128)),
        ((480, 832), (480, 832), (512, 832)),
    ],
)
def test_only_what_the_network_cannot_take_is_padded(size, bare, aligned):
    model = film()
    assert model.open(*size)._padded == bare
    assert model.open(*size, {"align": True})._padded == aligned
    assert middle(model, *torch.rand(2, 1, 3, *size)[..., :70, :70]).isfinite().all()


def test_padding_does_not_reach_into_a_still_picture():
    """What is cut out again is the picture: a constant frame stays constant where nothing is padded by zeros."""
    model = film()
    small, large = torch.full((1, 3, 40, 50), 0.4), torch.full((1, 3, 64, 64), 0.4)
    assert torch.equal(middle(model, small, small), middle(model, large, large)[..., :40, :50])


def constant_flow(x, y):
    """A network that finds the same flow everywhere, in both directions."""
    state = {name: torch.zeros_like(value) for name, value in weights().items()}
    state["predict_flow._predictors.2._convs.4.conv.bias"] = torch.tensor([float(x), float(y)])
    return build(detect(state))


def test_other_channels_follow_the_flow():
    left, right = torch.rand(2, 1, 5, 64, 80)
    made = middle(constant_flow(8, 4), left, right, (0.25,))
    # Frame 0 is seen where a quarter of the way leads, frame 1 where the other three quarters do.
    seen = [left.roll((-1, -2), (2, 3)), right.roll((-3, -6), (2, 3))]
    expected = 0.75 * seen[0] + 0.25 * seen[1]
    torch.testing.assert_close(
        made[:, 3:, :-3, :-6], expected[:, 3:, :-3, :-6], atol=bound("operation"), rtol=0
    )
    assert made[:, :3].abs().max() == 0


def test_values_outside_the_range_are_clamped_before_the_network():
    model, frames = film(), torch.rand(2, 1, 3, 64, 64) * 3 - 1
    assert torch.equal(middle(model, *frames), middle(model, *frames.clamp(0, 1)))


@pytest.mark.parametrize("options", [{"schedule": "bisect"}, {"flow_scale": 0.5}])
def test_options_that_it_does_not_have(options):
    with pytest.raises(BadInputError, match="does not have this option"):
        film().open(64, 64, options)


# --- motion


def test_motion_is_what_between_computes_by_itself():
    session = film().open(70, 66)
    with torch.inference_mode():
        a, b = (session.encode(x) for x in torch.rand(2, 1, 3, 70, 66))
        motion, times = session.motion(a, b), torch.tensor([0.2, 0.5, 0.9])
        together = session.between(a, b, times, motion)
        torch.testing.assert_close(session.between(a, b, times), together, atol=0, rtol=0)
        for i, t in enumerate(times):
            alone = session.between(a, b, t.view(1), motion)
            torch.testing.assert_close(alone, together[i : i + 1], atol=bound("operation"), rtol=0)


def test_one_frame_against_several():
    session = film().open(64, 64)
    with torch.inference_mode():
        one, three = session.encode(torch.rand(1, 3, 64, 64)), torch.rand(3, 3, 64, 64)
        half = torch.full((3,), 0.5)
        for order in (1, -1):
            together = session.between(*(one, session.encode(three))[::order], half)
            alone = [session.between(*(one, session.encode(x[None]))[::order], half[:1]) for x in three]
            torch.testing.assert_close(together, torch.cat(alone), atol=bound("operation"), rtol=0)


def test_features_are_not_written_to():
    session = film().open(64, 64)
    with torch.inference_mode():
        a, b = (session.encode(x) for x in torch.rand(2, 1, 3, 64, 64))
        before = [x.clone() for f in (a, b) for x in (*f.pictures, *f.features, *f.own)]
        session.between(a, b, torch.tensor([0.3, 0.6]))
        assert all(map(torch.equal, before, (x for f in (a, b) for x in (*f.pictures, *f.features, *f.own))))


# --- what is computed another way than it is written down


@pytest.mark.parametrize(
    ("small", "large"),
    [((4, 5), (8, 10)), ((1, 1), (2, 2)), ((4, 5), (9, 10)), ((4, 5), (9, 11)), ((3, 3), (3, 3))],
)
def test_doubling_and_convolving_at_the_small_size(small, large):
    conv = nn.Conv2d(6, 7, 2).requires_grad_(False)
    x = torch.randn(2, 6, *small)
    expected = conv(F.pad(F.interpolate(x, size=large, mode="nearest"), (0, 1, 0, 1)))
    for first, last in {(0, large[0]), (0, large[0] // 2), (large[0] // 4 * 2, large[0])}:
        out = torch.empty(2, 12, last - first, large[1])
        double(x, conv, out[:, 5:], slice(first, last), large[0])
        torch.testing.assert_close(
            out[:, 5:], expected[..., first:last, :], atol=bound("operation"), rtol=bound("operation")
        )


@pytest.mark.parametrize("size", [(64, 64), (70, 66), (101, 64)])
def test_strips_make_the_picture_that_the_whole_makes(monkeypatch, size):
    model, frames = film(), torch.rand(2, 2, 3, *size)
    whole = middle(model, *frames, (0.3, 0.6))
    monkeypatch.setattr(net, "_LEAST_STRIP", 6)
    for most in (2, 3, 7):
        monkeypatch.setattr(net, "_MOST_STRIPS", most)
        assert len(net.strips(size[0])) == most
        torch.testing.assert_close(middle(model, *frames, (0.3, 0.6)), whole, atol=bound("operation"), rtol=0)


@pytest.mark.parametrize("height", [1, 2, 63, 64, 127, 128, 129, 255, 1080, 1081])
def test_strips_cover_the_picture(height):
    strips = net.strips(height)
    assert [row for top, bottom in strips for row in range(top, bottom)] == list(range(height))
    assert all(top % 2 == 0 for top, _ in strips)
    assert len(strips) <= 4


@pytest.mark.parametrize(("images", "flows"), [(1, 1), (1, 3), (3, 3)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(9, 13), (1, 1), (1, 7), (6, 1)])
def test_sampling_is_warping(images, flows, layout, size):
    image = torch.rand(images, 5, *size).contiguous(memory_format=layout)
    flow = 6 * torch.randn(flows, 2, *size)
    sampled = Sampler(flow)(image)
    torch.testing.assert_close(sampled, backward_warp(image, flow), atol=bound("sampling"), rtol=0)
    assert sampled.shape == (flows, 5, *size)


def test_sampling_some_rows():
    image, flow = torch.rand(2, 5, 12, 9), 6 * torch.randn(2, 2, 12, 9)
    rows = slice(4, 11)
    sampled = Sampler(flow[..., rows, :], rows, 12)(image)
    torch.testing.assert_close(
        sampled, backward_warp(image, flow)[..., rows, :], atol=bound("sampling"), rtol=0
    )


def test_other_devices_sample_by_grid():
    flow, rows = torch.randn(1, 2, 7, 9).to("meta"), slice(4, 11)
    assert Sampler(flow, rows, 12)(torch.rand(1, 5, 12, 9).to("meta")).shape == (1, 5, 7, 9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_keep_straight_lines_straight(dtype):
    """Coordinates are float32: no flow gives the picture itself, to the last pixel of a wide frame."""
    image = torch.rand(1, 4, 8, 3840).to(dtype)
    sampled = Sampler(torch.zeros(1, 2, 8, 3840))(image)
    assert sampled.dtype == dtype
    assert torch.equal(sampled, image)


def test_flow_that_is_no_number_does_no_harm():
    flow = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e30]).view(1, 1, 1, 4).expand(1, 2, 3, 4)
    assert Sampler(flow)(torch.rand(1, 2, 3, 4)).isfinite().all()
