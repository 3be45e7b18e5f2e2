"""Channels past RGB (alpha, masks) follow the flow of the picture, and outside the picture their edge repeats."""

import pytest
import torch
from fakes import QUICK
from midframe import interpolate
from midframe.parity.tolerances import bound
from midframe.vfi_models import architectures, build, detect
from midframe.vfi_utils import Settings
from midframe.weights.synthetic import synthetic_state_dict
from thin import thinned

ARCHITECTURES = {a.name: a for a in architectures()}
RIFE_FAMILIES = ARCHITECTURES["rife"].families
# test_rife_paper looks at the channels of the paper's networks, which are large.
OTHERS = [(a.name, a.families[-1]) for a in architectures() if a.name not in ("rife", "rife_paper")]
OTHER_SIZES = ((33, 41), (1, 1), (3, 70), (70, 90))
ROUNDING = bound("rounding")
"""Four shares of a pixel add up to 1 but for the last bits."""


@pytest.fixture(scope="module")
def models():
    kept = {}

    def get(name, family, dtype=torch.float32):
        if (name, family, dtype) not in kept:
            state = synthetic_state_dict(ARCHITECTURES[name].shapes(family), 0, 0.7)
            model = build(detect(state))
            model.module.to(dtype)
            kept[name, family, dtype] = model
        return kept[name, family, dtype]

    return get


def made(model, frames, multiplier=2, **options):
    """The frames between the source frames."""
    whole = interpolate(frames, model, multiplier, settings=Settings(options=options))
    return whole[torch.arange(len(whole)) % multiplier != 0]


def opaque(height, width, *channels):
    """Two unlike pictures with an opaque alpha, then ``channels``."""
    return torch.cat((torch.rand(2, height, width, 3), torch.ones(2, height, width, 1), *channels), -1)


def assert_opaque(frames):
    torch.testing.assert_close(frames[..., 3], torch.ones(frames.shape[:-1]), atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("family", thinned(RIFE_FAMILIES, range(0, 40, 6)))
def test_an_opaque_alpha_stays_opaque_in_every_rife_family(models, family):
    assert_opaque(made(models("rife", family), opaque(33, 41)))


@pytest.mark.parametrize(
    ("name", "family", "size"),
    [
        # One that is padded is enough for `make test`.
        pytest.param(*pair, size, marks=pytest.mark.long if size in OTHER_SIZES[1:] else ())
        for pair in OTHERS
        for size in OTHER_SIZES
    ],
)
def test_an_opaque_alpha_stays_opaque_in_every_other_architecture(models, name, family, size):
    assert_opaque(made(models(name, family), opaque(*size), **QUICK.get(name, {})))


@pytest.mark.parametrize(
    "size",
    [
        (2, 130),
        (127, 64),
        *(pytest.param(size, marks=pytest.mark.long) for size in ((1, 1), (64, 65), (90, 160))),
    ],
)
def test_an_opaque_alpha_stays_opaque_at_any_size(models, size):
    for family in ("4.6", "4.25"):
        assert_opaque(made(models("rife", family), opaque(*size)))


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("4.6", {"flow_scale": 0.5}),
        ("4.6", {"flow_scale": 4.0}),
        ("4.6", {"ensemble": True}),
        ("4.6", {"plain": True}),
        ("4.6", {"padding": "reflect"}),
        ("4.6", {"padded_size": (128, 192)}),
        ("4.0", {"restart": True}),
        ("4.25", {"flow_scale": 0.25}),
    ],
    ids=str,
)
def test_an_opaque_alpha_stays_opaque_with_every_option(models, family, options):
    assert_opaque(made(models("rife", family), opaque(45, 70), **options))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_an_opaque_alpha_stays_opaque_in_16_bits(models, dtype):
    assert_opaque(made(models("rife", "4.6", dtype), opaque(45, 70)))


@pytest.mark.parametrize(("name", "family"), [("rife", "4.6"), ("rife", "4.25"), *OTHERS])
def test_no_mask_gets_values_that_it_does_not_have(models, name, family):
    """Neither darker nor brighter, also where it is inverted."""
    masks = 0.25 + 0.5 * torch.rand(2, 40, 72, 2)
    frames = made(models(name, family), opaque(40, 72, masks), **QUICK.get(name, {}))
    assert_opaque(frames)
    assert frames[..., 4:].min() >= masks.min() - ROUNDING
    assert frames[..., 4:].max() <= masks.max() + ROUNDING


@pytest.mark.parametrize("family", ["4.0", "4.6", "4.15.lite", "4.25"])
def test_a_mask_is_what_it_is_in_a_larger_picture_whose_edge_repeats(models, family):
    """A picture that needs no padding because its black margin is its own, the mask's repeated in it."""
    frames = opaque(40, 72, torch.rand(2, 40, 72, 1))
    planes = frames.permute(0, 3, 1, 2)
    room = (0, 128 - 72, 0, 128 - 40)
    picture = torch.nn.functional.pad(planes[:, :3], room)
    masks = torch.nn.functional.pad(planes[:, 3:], room, mode="replicate")
    larger = torch.cat((picture, masks), 1).permute(0, 2, 3, 1)
    model = models("rife", family)
    expected = made(model, larger)[:, :40, :72]
    assert torch.equal(made(model, frames, padded_size=(128, 128)), expected)


@pytest.mark.parametrize(("name", "family"), [("rife", "4.6"), ("rife", "4.25"), *OTHERS])
def test_the_picture_does_not_change_with_the_channels_beside_it(models, name, family):
    frames, options = opaque(33, 41, torch.rand(2, 33, 41, 2)), QUICK.get(name, {})
    with_extra = made(models(name, family), frames, **options)[..., :3]
    assert torch.equal(with_extra, made(models(name, family), frames[..., :3], **options))
