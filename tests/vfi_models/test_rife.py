from functools import lru_cache
from itertools import product

import pytest
import torch
from midframe.errors import BadInputError, UnsupportedWeightsError
from midframe.parity.tolerances import bound
from midframe.vfi_models import build, detect
from midframe.vfi_models.rife import shapes
from midframe.vfi_models.rife.config import FAMILIES
from midframe.vfi_models.rife.lowres import LowResolution, _reduced, applies
from midframe.vfi_models.rife.net import IFNet, resize
from midframe.weights.synthetic import synthetic_state_dict
from thin import thinned

SMALL = ["4.0", "4.6", "4.7", "4.15.lite", "4.22.lite", "4.25", "4.25.lite"]


def weights(family, gain=0.7):
    return synthetic_state_dict(shapes(family), 0, gain)


def rife(family="4.25"):
    return build(detect(weights(family)))


@lru_cache(maxsize=8)
def shared_rife(family):
    """Built once for all tests that only run it."""
    return rife(family)


def middle(model, frames, options=None, t=(0.5,)):
    session = model.open(*frames.shape[-2:], options)
    with torch.inference_mode():
        return session.between(session.encode(frames[:1]), session.encode(frames[1:]), torch.tensor(t))


def meta_weights(family):
    return {name: torch.empty(shape, device="meta") for name, shape in shapes(family).items()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("prefix", ["", "module.", "flownet.", "module.flownet."])
def test_family_is_told_from_names_and_shapes(family, prefix):
    state = {prefix + name: value for name, value in meta_weights(family).items()}
    assert detect(state).family == family


def test_repackaged_names_and_leftovers_of_training():
    state = {
        name.replace("block", "blocks.", 1) if name.startswith("block") else name: value
        for name, value in weights("4.25").items()
    }
    assert "blocks.0.conv0.0.0.weight" in state
    state["teacher.conv.weight"] = state["caltime.0.weight"] = torch.zeros(1)
    state["block_tea.conv0.0.0.weight"] = torch.zeros(1)
    model = build(detect(state))
    assert model.spec.family == "4.25"
    assert torch.equal(model.module.block0.conv0[0][0].weight, weights("4.25")["block0.conv0.0.0.weight"])


def test_halves_are_read_as_float32():
    model = build(detect({name: value.half() for name, value in weights("4.25").items()}))
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}


def test_loading_is_strict():
    state = weights("4.25")
    del state["block3.lastconv.0.bias"]
    state["block9.surprise"] = torch.zeros(3)
    state["block2.conv0.0.0.bias"] = torch.zeros(7)
    with pytest.raises(UnsupportedWeightsError) as caught:
        build(detect(state))
    assert caught.value.nearest == "4.25"
    assert "block3.lastconv.0.bias" in caught.value.missing
    assert "block9.surprise" in caught.value.unexpected
    assert "block2.conv0.0.0.bias" in str(caught.value)


def test_other_networks_are_named():
    three = {k: v for k, v in meta_weights("4.6").items() if not k.startswith("block3")}
    with pytest.raises(UnsupportedWeightsError, match="paper"):
        detect(three)
    narrow = dict(meta_weights("4.25"))
    narrow["block4.conv0.1.0.weight"] = torch.empty(20, 10, 3, 3, device="meta")
    with pytest.raises(UnsupportedWeightsError, match="families") as caught:
        detect(narrow)
    assert caught.value.nearest in {"4.25", "4.25.lite", "4.26.heavy"}
    with pytest.raises(UnsupportedWeightsError, match="no network"):
        detect({"some.other.weight": torch.zeros(1)})
    with pytest.raises(UnsupportedWeightsError, match="no network"):
        detect({})


@pytest.mark.parametrize(
    ("family", "scale"),
    # By turns: every family at one scale, every scale with one family.
    thinned([*product(SMALL, (0.25, 0.5, 1, 2, 4))], range(0, 35, 6)),
)
def test_no_size_crashes_at_any_flow_scale(family, scale):
    model = shared_rife(family)
    for size in [(1, 1), (33, 65), (64, 2)] if scale in (0.25, 1) else [(33, 65)]:
        made = middle(model, torch.rand(2, 3, *size), {"flow_scale": scale})
        assert made.shape == (1, 3, *size)
        assert made.isfinite().all()


def test_padding_follows_the_flow_scale():
    sizes = {
        scale: shared_rife("4.25").open(100, 100, {"flow_scale": scale})._padded
        for scale in (0.25, 0.5, 1, 4)
    }
    assert sizes == {0.25: (256, 256), 0.5: (128, 128), 1: (128, 128), 4: (128, 128)}
    assert rife("4.25.lite").open(100, 200)._padded == (128, 256)
    assert rife("4.6").open(65, 65)._padded == (96, 96)


@pytest.mark.parametrize("family", [n for n, f in FAMILIES.items() if not f.ensemble])
def test_ensemble_where_it_is_not_defined(family):
    with torch.device("meta"):
        net = IFNet(FAMILIES[family])
    from midframe.vfi_models.rife import Rife

    with pytest.raises(BadInputError, match="Ensemble is not defined"):
        Rife(net).open(64, 64, {"ensemble": True})


def test_ensemble_does_not_care_for_the_order_of_the_pair():
    frames = torch.rand(2, 3, 32, 64)
    model = rife("4.6")
    forth = middle(model, frames, {"ensemble": True}, (0.3,))
    back = middle(model, frames.flip(0), {"ensemble": True}, (0.7,))
    torch.testing.assert_close(forth, back, atol=bound("operation"), rtol=0)
    assert (middle(model, frames, None, (0.3,)) - back).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flow_scale": 0.1}, "flow scale"),
        ({"flow_scale": 8.0}, "flow scale"),
        ({"flowscale": 1.0}, "does not have this option"),
        ({"refine": True}, "refinement"),
        ({"restart": True}, "restart"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(BadInputError, match=message):
        shared_rife("4.25").open(64, 64, options)


def test_lighter_options_end():
    model, seen = rife("4.25"), []
    options = {}
    while options is not None:
        seen.append(options)
        options = model.low_memory(options)
    assert [o.get("flow_scale", 1.0) for o in seen] == [1.0, 0.5, 0.25]


@pytest.mark.parametrize("dtype", thinned([torch.float16, torch.bfloat16], (1,)))
def test_sixteen_bits_keep_straight_lines_straight(dtype):
    """A network that finds no motion must return the picture itself, to the last pixel of a wide frame."""
    state = {name: torch.zeros_like(value) for name, value in weights("4.25").items()}
    model = build(detect(state))
    model.module.to(dtype)
    frames = torch.rand(1, 3, 64, 1920).expand(2, -1, -1, -1)
    # A float32 grid is 1e-4 pixels off at this width; one rounded to 16 bits 0.2 pixels and more.
    assert (middle(model, frames) - frames[:1]).abs().max() < bound("nothing moves")


@pytest.mark.parametrize(
    "family",
    thinned([name for name in FAMILIES if "heavy" not in name and name != "4.0"], range(0, len(FAMILIES), 5)),
)
def test_low_resolution_pass_is_the_published_one(family):
    model = shared_rife(family)
    random = torch.Generator().manual_seed(len(family))
    for scale in (1.0, 0.5):
        height, width = torch.randint(1, 120, (2,), generator=random).tolist()
        frames = torch.rand(2, 4, height, width)
        for ensemble in {False, FAMILIES[family].ensemble}:
            options = {"flow_scale": scale, "ensemble": ensemble}
            fast = middle(model, frames, options, (0.3, 0.5))
            plain = middle(model, frames, {**options, "plain": True}, (0.3, 0.5))
            assert (fast - plain).abs().max() < bound("fast path"), (height, width, options)


def test_low_resolution_pass_knows_where_it_applies():
    assert applies((16, 8, 4, 2, 1))
    assert applies((32, 16, 8, 4, 1))
    assert applies((64, 32, 16, 8, 4))
    assert not applies((8, 4, 2, 1, 0.5))
    assert not applies((12, 6, 3, 1))
    assert not applies((8, 8, 4))


@pytest.mark.parametrize("dtype", thinned([torch.float16, torch.bfloat16], (1,)))
def test_low_resolution_pass_in_sixteen_bits(dtype):
    frames = torch.rand(2, 3, 64, 96)
    for family in ("4.6", "4.25"):
        exact = middle(shared_rife(family), frames)
        model = rife(family)
        model.module.to(dtype)
        fast, plain = (middle(model, frames, {"plain": plain}) for plain in (False, True))
        assert (fast - exact).abs().mean() < 2 * (plain - exact).abs().mean() + 1e-5


@pytest.mark.parametrize(
    ("family", "dtype"),
    thinned([("4.25", torch.float16), ("4.6", torch.bfloat16), ("4.25", torch.float32)], (0, 1)),
)
def test_where_bytes_count_the_picture_is_the_same(monkeypatch, family, dtype):
    """What runs off the CPU: reduced by strided means, carried features enlarged in the network's dtype."""
    frames, model = torch.rand(2, 3, 64, 96), rife(family).to(dtype=dtype)
    exact, expected = middle(shared_rife(family), frames), middle(model, frames)
    original = LowResolution.__init__

    def elsewhere(self, *arguments, **more):
        original(self, *arguments, **more)
        self._fewer_bytes = True

    monkeypatch.setattr(LowResolution, "__init__", elsewhere)
    found = middle(model, frames)
    if dtype == torch.float32:
        torch.testing.assert_close(found, expected, rtol=0, atol=bound("fast path"))
    assert (found - exact).abs().mean() < 1.1 * (expected - exact).abs().mean() + 1e-5


@pytest.mark.parametrize("divisor", [1, 2, 4, 8, 16])
def test_reduced_by_the_pixels_in_the_middle_of_each_cell(divisor):
    picture = torch.rand(2, 5, 48, 64)[:, 1:]
    torch.testing.assert_close(_reduced(picture, divisor), resize(picture, 1 / divisor), rtol=0, atol=1e-6)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module._orig_mod.", "generator.net.", "a.b.c."])
def test_any_prefix_is_found(prefix):
    state = {prefix + name: value for name, value in meta_weights("4.25").items()}
    state["discriminator.weight"] = torch.empty(3, device="meta")
    assert detect(state).family == "4.25"


def test_a_leftover_of_the_refinement_is_no_refinement():
    state = weights("4.6")
    state["contextnet.conv1.conv1.0.bias"] = torch.zeros(16)
    assert build(detect(state)).spec.family == "4.6"


def test_weights_that_are_no_floats_are_refused():
    state = weights("4.25")
    state["block0.conv0.0.0.weight"] = state["block0.conv0.0.0.weight"].to(torch.int32)
    with pytest.raises(UnsupportedWeightsError, match="floating-point"):
        detect(state)


def test_loading_copies():
    state = weights("4.25")
    model = build(detect(state))
    state["block0.conv0.0.0.weight"].zero_()
    assert model.module.block0.conv0[0][0].weight.abs().max() > 0


@pytest.mark.parametrize(
    "options",
    [
        {"flow_scale": 0.75},
        {"flow_scale": "1"},
        {"flow_scale": None},
        {"flow_scale": True},
        {"ensemble": "false"},
        {"padding": "mirror"},
        {"padded_size": (10, 10)},
        {"padded_size": (96, 100)},
        {"padded_size": 96},
        {"padded_size": (96, 96, 3)},
        {"padded_size": ("96", "96")},
    ],
)
def test_options_of_the_wrong_kind_are_refused_before_anything_runs(options):
    with pytest.raises(BadInputError):
        rife("4.6").open(64, 64, options)


def test_replaced_parameters_are_seen():
    model = rife("4.25")
    frames = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        session = model.open(64, 64)
        half = torch.tensor([0.5])
        before = session.between(session.encode(frames[:1]), session.encode(frames[1:]), half)
        for parameter in list(model.module.parameters()):
            parameter.data = parameter.data * 0.5
        after = session.between(session.encode(frames[:1]), session.encode(frames[1:]), half)
    assert not torch.equal(before, after)
    assert torch.equal(after, middle(model, frames))
