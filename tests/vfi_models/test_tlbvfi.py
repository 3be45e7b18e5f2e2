"""TLBVFI beyond what its goldens and the contract of all models hold it to."""

import gzip
import json
import math
import sys
from itertools import pairwise
from types import ModuleType, SimpleNamespace

import pytest
import torch
from fakes import QUICK
from midframe import NODE_CLASS_MAPPINGS, interpolate
from midframe.api import load_model
from midframe.errors import BadInputError, UnsupportedWeightsError
from midframe.memory.cache import MODELS
from midframe.parity.tolerances import bound
from midframe.vfi_models import build, detect
from midframe.vfi_models._ops.warp import backward_warp, identity_grid
from midframe.vfi_models.tlbvfi import shapes
from midframe.vfi_models.tlbvfi.bridge import plan, sample, schedule
from midframe.vfi_models.tlbvfi.noise import SeededNoise, fingerprint
from midframe.vfi_models.tlbvfi.refine import RefineBlock
from midframe.vfi_models.tlbvfi.session import Geometry
from midframe.vfi_models.tlbvfi.tiles import TiledSession, places, ramps
from midframe.vfi_utils import Settings
from midframe.weights.loading import open_weights
from midframe.weights.synthetic import synthetic_state_dict
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

GAIN = 0.7


@pytest.fixture(scope="module")
def weights():
    return synthetic_state_dict(shapes("small"), 0, GAIN)


@pytest.fixture(scope="module")
def model(weights):
    return build(detect(weights))


def middle(model, left, right, **options):
    with torch.inference_mode():
        session = model.open(*left.shape[-2:], {**QUICK["tlbvfi"], **options})
        return session.between(session.encode(left), session.encode(right), torch.tensor([0.5]))


def pair(*size, channels=3):
    return torch.rand(2, 1, channels, *size)


# --- files


def published(weights, prefix=""):
    """What the authors' training saves of a network: the autoencoder twice, the schedule, counters, and
    layers that nothing calls."""
    state = {**weights, "m_t": torch.zeros(1000), "variance_tminus": torch.zeros(1000)}
    state["vqgan.decoder.up.0.cross_attn.proj_in.1.num_batches_tracked"] = torch.tensor(1)
    state["vqgan.decoder.up.1.cross_attn.out_conv.1.bias"] = torch.zeros(2)
    state["vqgan.encoder.down.0.block.0.nin_shortcut.weight"] = torch.zeros(16, 16, 1, 1)
    state["vqgan.encoder.down.0.block.0.nin_shortcut.bias"] = torch.zeros(16)
    again = {
        "cond_stage_model." + n.removeprefix("vqgan."): v for n, v in state.items() if n.startswith("vqgan.")
    }
    return {prefix + name: value for name, value in {**state, **again}.items()}


def test_every_name_of_the_published_checkpoint(root):
    listed = json.loads(
        gzip.decompress((root / "parity/goldens/tlbvfi/state_dict_shapes.json.gz").read_bytes())
    )
    state = {e["name"]: torch.empty(e["shape"], device="meta") for e in listed}
    assert len(state) == 1776
    found = detect(state)
    assert found.family == "vimeo"
    assert {n: tuple(v.shape) for n, v in found.state_dict.items()} == shapes("vimeo")
    autoencoder = {n.removeprefix("vqgan."): v for n, v in state.items() if n.startswith("vqgan.")}
    found = detect({**autoencoder, "loss.logvar": torch.zeros(1)})
    assert found.family == "vimeo-autoencoder"
    assert {n: tuple(v.shape) for n, v in found.state_dict.items()} == shapes("vimeo-autoencoder")


def test_other_networks_and_broken_ones(weights):
    assert detect(published(weights, "module.")).family == "small"
    wide = {n: v for n, v in weights.items() if "quantize" not in n}
    wide["vqgan.quantize.embedding.weight"] = torch.zeros(100, 3)
    with pytest.raises(UnsupportedWeightsError, match="100 codes"):
        detect(wide)
    with pytest.raises(UnsupportedWeightsError, match="no network"):
        detect({n: v for n, v in weights.items() if n.startswith("denoise_fn.")})
    broken = dict(weights)
    del broken["denoise_fn.out.2.bias"]
    broken["vqgan.encoder.surprise"] = torch.zeros(1)
    with pytest.raises(UnsupportedWeightsError) as caught:
        build(detect(broken))
    assert caught.value.missing == ("denoise_fn.out.2.bias",)
    assert caught.value.unexpected == ("vqgan.encoder.surprise",)


# The other kind of file is read by the same code as any network's: tests/weights has both.
@pytest.mark.parametrize("legacy", [False, pytest.param(True, marks=pytest.mark.long)])
def test_averages_take_the_place_of_what_was_averaged(tmp_path, weights, legacy, caplog):
    averages = {n: v + 1 for n, v in weights.items() if n.startswith("denoise_fn.")}
    saved = {"step": 3, "epoch": 1, "model": published(weights), "ema": averages}
    path = tmp_path / "vimeo_unet.pth"
    torch.save(saved, path, _use_new_zipfile_serialization=not legacy)
    name = "denoise_fn.out.2.bias"
    for averaged, expected in ((True, averages), (False, weights)):
        state = open_weights(path, averaged=averaged).module.state_dict()
        assert torch.equal(state[name], expected[name])
        assert torch.equal(state["vqgan.quant_conv.bias"], weights["vqgan.quant_conv.bias"])
    torch.save({**saved, "model": published(weights, "module.")}, path)  # trained on several devices
    assert torch.equal(open_weights(path).module.state_dict()[name], averages[name])
    assert not caplog.messages
    averages["somebody.else"] = torch.zeros(1)
    torch.save(saved, path)
    assert torch.equal(open_weights(path).module.state_dict()[name], weights[name])
    assert "last weights are used" in caplog.text


@pytest.fixture
def lightning(monkeypatch):
    """Modules with two classes that files of older Lightning name."""
    made = []
    for name in ("", ".callbacks", ".utilities"):
        monkeypatch.setitem(sys.modules, f"pytorch_lightning{name}", ModuleType(name))
    for name, kind, base in (
        ("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint", object),
        ("pytorch_lightning.utilities.parsing", "AttributeDict", dict),
    ):
        module = ModuleType(name)
        setattr(module, kind, type(kind, (base,), {"__module__": name}))
        monkeypatch.setitem(sys.modules, name, module)
        made.append(getattr(module, kind))
    return made


@pytest.mark.long  # no way of a user
def test_the_autoencoder_alone_runs_without_the_sampler(tmp_path, lightning):
    checkpoint, settings = lightning
    state = synthetic_state_dict(shapes("vimeo-autoencoder"), 0, GAIN)
    saved = {
        "epoch": 1,
        "pytorch-lightning_version": "1.4.2",
        "state_dict": {n.removeprefix("vqgan."): v for n, v in state.items()},
        "callbacks": {checkpoint: {"best_model_score": torch.tensor(1.0), "best_model_path": "x"}},
        "optimizer_states": [{"state": {0: {"step": 1, "exp_avg": torch.ones(2)}}}],
        "hyper_parameters": settings(ch=64),
    }
    torch.save(saved, tmp_path / "vimeo_new.ckpt")
    found = open_weights(tmp_path / "vimeo_new.ckpt")
    assert found.spec.family == "vimeo-autoencoder"
    with torch.inference_mode():
        session = found.open(64, 64, {"flow_scale": 0.25})
        latent = torch.rand(1, 3, 3, 8, 8)
        assert torch.equal(session.sampled(latent, None), latent)
        assert session.draws(1, 2, (8, 8)) is None


def test_a_dtype_that_it_cannot_run_in(tmp_path, weights):
    torch.save(weights, tmp_path / "small.pth")
    with pytest.raises(BadInputError, match=r"cannot run in torch\.float16"):
        load_model(tmp_path / "small.pth", "cpu", torch.float16)
    assert next(load_model(tmp_path / "small.pth", "cpu").module.parameters()).dtype == torch.float32
    MODELS.clear()


# --- sizes


@pytest.mark.parametrize(
    ("size", "padded"),
    [
        ((1, 255), (256, 256)),
        ((256, 257), (256, 512)),
        ((480, 854), (512, 1024)),
        ((720, 1280), (1024, 1536)),
        ((1080, 1920), (1536, 2048)),
        ((2160, 3840), (2560, 4096)),
    ],
)
def test_padded_sizes(size, padded):
    assert Geometry.of(*size, 0.5).padded == padded


def test_every_flow_scale_covers_the_picture():
    for side in (256, *range(512, 4097, 512)):
        for percent in range(5, 101):
            scale = percent / 100
            (canvas, _) = Geometry.of(side, side, scale).canvas
            assert canvas % 16 == 0
            assert math.floor(canvas * (1 + 1e-12) / scale) >= side, (side, scale)
    assert Geometry.of(512, 1024, 0.25).canvas == (128, 256)
    assert Geometry.of(512, 512, 0.3).canvas == (160, 160)


@pytest.mark.parametrize(
    "scale", [0.05, 1.0, *(pytest.param(s, marks=pytest.mark.long) for s in (0.33, 0.925))]
)
def test_flow_scales_that_the_published_code_cannot_run(model, scale):
    left, right = pair(64, 40)
    made = middle(model, left, right, flow_scale=scale)
    assert made.shape == (1, 3, 64, 40)
    assert made.isfinite().all()


def test_frames_in_any_memory_layout(model):
    left, right = pair(40, 64)
    turned = [x.contiguous(memory_format=torch.channels_last) for x in (left, right)]
    assert torch.equal(middle(model, *turned), middle(model, left, right))


@pytest.mark.long  # test_extra_channels has every model
def test_a_matte_stays_a_matte(model):
    left, right = pair(40, 64, channels=4)
    left[:, 3], right[:, 3] = 1.0, 1.0
    made = middle(model, left, right)
    assert torch.equal(made[:, :3], middle(model, left[:, :3], right[:, :3]))
    torch.testing.assert_close(made[:, 3], torch.ones(1, 40, 64))


# --- noise


@pytest.mark.long  # three runs; test_seed_and_eta has the noise
def test_the_same_pair_has_the_same_noise_on_any_way(model):
    """Whole, in chunks, resumed in the middle, and with frames of 8 bits."""
    clip = (torch.rand(3, 32, 48, 3) * 255).round().to(torch.uint8)
    settings = Settings(options=QUICK["tlbvfi"])
    whole = interpolate(clip, model, settings=settings)
    assert torch.equal(interpolate(clip[1:], model, 4, settings=settings)[::2], whole[2:])
    assert torch.equal(interpolate(clip[:2].float() / 255, model, settings=settings), whole[:3])


def test_seed_and_eta(model):
    left, right = pair(32, 48)
    made = middle(model, left, right)
    assert torch.equal(middle(model, left, right, seed=0), made)
    assert not torch.equal(middle(model, left, right, seed=1), made)
    still = middle(model, left, right, eta=0.0)
    assert torch.equal(middle(model, left, right, eta=0.0, seed=1), still)
    assert not torch.equal(still, made)


def test_noise_follows_from_seed_and_pair():
    draw = SeededNoise(3)
    shape = (9, 1, 3, 3, 8, 8)
    noise = draw(1, 2, shape)
    draw(5, 6, shape)
    assert torch.equal(draw(1, 2, shape), noise)
    others = [draw(2, 1, shape), draw(1, 3, shape), SeededNoise(4)(1, 2, shape)]
    assert all(not torch.equal(other, noise) for other in others)
    assert abs(float(noise.mean())) < 0.03
    assert abs(float(noise.std()) - 1) < 0.03


class Unasked(TorchFunctionMode):
    """Fails where a value is fetched from the device."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        assert func.__name__ not in {"tolist", "item", "cpu", "numpy", "__bool__", "__int__", "__float__"}
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("tile", [0, 256])
def test_to_encode_a_frame_nothing_is_fetched_from_the_device(model, tile):
    frame = torch.rand(1, 3, 9, 257)
    as_it_was = frame.clone()
    session = model.open(9, 257, {**QUICK["tlbvfi"], "tile": tile})
    with torch.inference_mode(), Unasked():
        (features,) = session.encode(frame)
        frame.zero_()
    assert int(features.identity) == int(features.identity) == fingerprint(as_it_was[0])


def test_fingerprints():
    frame = (torch.rand(3, 50, 70) * 255).round() / 255
    seen = {fingerprint(frame)}
    assert fingerprint(frame * (1 + 2**-23)) in seen  # another device's rounding
    for other in (frame.flip(0), frame.flip(1), frame.flip(2), frame.roll(1, 2), frame.transpose(1, 2)):
        seen.add(fingerprint(other))
    changed = frame.clone()
    changed[1, 20, 30] = 1.0 - changed[1, 20, 30]
    seen.add(fingerprint(changed))
    assert len(seen) == 7
    assert fingerprint(torch.full((3, 4, 4), torch.nan)) == fingerprint(torch.zeros(3, 4, 4))


def test_a_bridge_to_a_known_end():
    """A network that knows the end brings every start there, whatever the noise on the way."""
    end, start = torch.randn(2, 1, 3, 3, 8, 8)
    for steps in (3, 10, 50):
        noise = torch.randn(steps - 1, *start.shape)
        made = sample(lambda x, y, t: x - end, start, plan(steps), noise)
        torch.testing.assert_close(made, end, atol=bound("operation"), rtol=0)
        assert len(schedule(steps)) == steps


# --- what is computed once


def test_nothing_is_computed_twice(model):
    calls = []
    hook = model.module.vqgan.encoder.conv_in.register_forward_hook(lambda *given: calls.append(given))
    left, right = pair(32, 48)
    with torch.inference_mode():
        session = model.open(32, 48, {"sample_steps": 3})
        a, b = session.encode(left), session.encode(right)
        assert len(calls) == 4, "each frame at its own size and shrunken"
        for one, other in ((a, b), (b, a)):
            session.between(one, other, torch.tensor([0.5]))
        assert len(calls) == 5, "the empty frame, once"
        whole = model.open(32, 48, {"flow_scale": 1.0})
        whole.encode(left)
        assert len(calls) == 6, "at scale 1 there is nothing shrunken"
    hook.remove()


def test_refinement_tap_by_tap_is_the_published_unfolding():
    torch.manual_seed(1)
    block = RefineBlock(8).eval()
    features, flow = torch.randn(1, 8, 9, 11), 3 * torch.randn(1, 2, 9, 11)
    expected = torch.randn(1, 8, 9, 11)
    unfolded = F.unfold(features, 3, padding=1).view(1, 8, 9, 9, 11).transpose(1, 2).flatten(1, 2)
    taps = backward_warp(unfolded, flow).view(1, 9, 8, 9, 11)
    wanted = F.cosine_similarity(taps, expected.unsqueeze(1), 2)
    made = block._agreement(expected, features, flow, identity_grid(9, 11))
    torch.testing.assert_close(made, wanted, atol=bound("operation"), rtol=0)


# --- range


@pytest.mark.long  # the network twice; the whole of it is compared with goldens
def test_only_bright_pairs_have_a_published_range(model):
    left, right = pair(32, 48)
    assert torch.equal(middle(model, left, right, published_range=True), middle(model, left, right))
    left, right = 0.5 + left / 2, 0.5 + right / 2
    made, pale = middle(model, left, right), middle(model, left, right, published_range=True)
    assert (made - pale).abs().max() > 0.05


# --- tiles


@pytest.mark.parametrize(
    ("length", "side", "overlap"), [(256, 256, 64), (257, 256, 64), (700, 256, 64), (1080, 512, 0)]
)
def test_tiles_cover_every_pixel_and_weigh_nowhere_nothing(length, side, overlap):
    starts = places(length, side, overlap)
    weights = torch.zeros(length)
    for start, ramp in zip(starts, ramps(starts, side), strict=True):
        assert ramp.min() > 0
        weights[start : start + side] += ramp
    assert starts[0] == 0
    assert starts[-1] == max(length - side, 0)
    assert all(a + side - b >= overlap for a, b in pairwise(starts))
    assert weights.min() > 0.5
    assert weights[0] == weights[-1] == 1


def test_tiles_that_agree_make_the_picture_exactly():
    """A stand-in for the network that returns the left frame: what comes out must be that, border and all."""
    tile = SimpleNamespace(
        geometry=SimpleNamespace(size=(64, 96), latent=(2, 3)),
        encode=lambda frames: (frames,),
        middle=lambda left, right, noise: left,
        draws=lambda left, right, size: torch.zeros(2, 1, 3, 3, *size),
        close=lambda: None,
    )
    session = TiledSession((150, 200), tile, 16)
    left, right = pair(150, 200)
    made = session.between(session.encode(left), session.encode(right), torch.tensor([0.5]))
    torch.testing.assert_close(made, left, atol=bound("rounding"), rtol=0)


@pytest.mark.long  # tiles of a stand-in are above
def test_tiles_of_the_network(model):
    left, right = pair(256, 340)
    options = {"sample_steps": 3, "tile": 256, "flow_scale": 0.25}
    made = middle(model, left, right, **options)
    assert made.shape == left.shape
    with torch.inference_mode():
        session = model.open(256, 256, options)
        noise = SeededNoise(0)(fingerprint(left[0]), fingerprint(right[0]), (2, 1, 3, 3, 8, 10))
        sides = [session.encode(x[..., :256])[0] for x in (left, right)]
        first = session.middle(*sides, noise[..., :8])
    # Left of the overlap there is the first tile alone, to the outermost pixel.
    torch.testing.assert_close(made[..., :84], first[..., :84], atol=bound("rounding"), rtol=0)
    assert not torch.equal(made[..., 84:256], first[..., 84:256])


# --- options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sample_steps": 2}, r"3 to 1000 steps.*\n.*times 1 and 0"),
        ({"sample_steps": 1001}, "3 to 1000"),
        ({"flow_scale": 0.04}, "flow scale"),
        ({"flow_scale": 1.5}, "flow scale"),
        ({"eta": -0.1}, "eta"),
        ({"seed": -1}, "seed"),
        ({"tile": 300}, "multiples of 512"),
        ({"tile": 256, "overlap": 200}, "overlap"),
        ({"steps": 10}, "does not have this option"),
    ],
)
def test_options_that_cannot_be(model, options, words):
    with pytest.raises(BadInputError, match=words):
        model.open(64, 64, options)


def test_lighter_options_end(model):
    options, seen = {"flow_scale": 1.0, "tile": 2048, "overlap": 300}, []
    while options is not None:
        model.open(64, 64, options)
        seen.append((options["flow_scale"], options["tile"], options["overlap"]))
        options = model.low_memory(options)
    assert seen == [(1.0, 2048, 300), (0.5, 2048, 300), (0.5, 1024, 300), (0.5, 512, 256), (0.5, 256, 128)]
    assert model.activation_bytes(2000, 2000, {"tile": 512}) == model.activation_bytes(512, 512)


# --- the node


@pytest.fixture
def node_run(tmp_path, weights):
    """The file of a whole training, and how the node makes the frame between two with it."""
    averages = {n: v * 1.1 for n, v in weights.items() if n.startswith("denoise_fn.")}
    path = tmp_path / "vimeo_unet.pth"
    torch.save({"model": published(weights), "ema": averages}, path)
    node, clip = NODE_CLASS_MAPPINGS["MidframeTLBVFI"](), torch.rand(2, 32, 48, 3)

    def run(**widgets):
        made, fps, count, _ = node.interpolate(clip, str(path), source_fps=12.0, **QUICK["tlbvfi"], **widgets)
        assert (fps, count, len(made)) == (24.0, 3, 3)
        return made[1]

    def expected(**how):
        settings = Settings(options={**QUICK["tlbvfi"], "seed": 0})
        return interpolate(clip, open_weights(path, **how), settings=settings)[1]

    yield run, expected
    MODELS.clear()


def test_the_node(node_run):
    run, expected = node_run
    made = run()
    assert torch.equal(made, expected())
    assert not torch.equal(run(seed=7), made)


@pytest.mark.long  # the node three times more; averages are chosen in a test above too
def test_tiles_and_averages_of_the_node(node_run):
    run, expected = node_run
    made = run()
    assert torch.equal(run(seed=0, tile="512"), made)
    raw = run(ema=False)
    assert torch.equal(raw, expected(averaged=False))
    assert not torch.equal(raw, made)


@pytest.mark.long  # the node with each of its widgets; test_the_node runs it
def test_memory_lines_and_clearing(model, caplog):
    caplog.set_level("INFO")
    settings = Settings(options={"sample_steps": 3}, clear_every=2, memory_lines=True)
    interpolate(torch.rand(4, 16, 16, 3), model, settings=settings)
    lines = [line for line in caplog.messages if line.startswith("pair ")]
    assert [line.split(":")[0] for line in lines] == ["pair 1", "pair 2", "pair 3"]
    assert [line.endswith("cleared") for line in lines] == [False, True, False]
    assert all("GiB free" in line for line in lines)


def test_weights_that_are_not_here(monkeypatch):
    node = NODE_CLASS_MAPPINGS["MidframeTLBVFI"]
    for switch in ("MIDFRAME_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(switch, raising=False)
    assert node.VALIDATE_INPUTS("tlbvfi") is True, "they are downloaded before the clip is made"
    monkeypatch.setenv("MIDFRAME_OFFLINE", "1")
    answer = node.VALIDATE_INPUTS("tlbvfi")
    assert "vimeo_unet.pth" in answer
    assert "huggingface.co/ucfzl/TLBVFI" in answer
