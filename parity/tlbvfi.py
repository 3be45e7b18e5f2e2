"""Reads the goldens of TLBVFI: the outputs of the authors' code, layer by layer and as a whole.

Each file holds plain arrays and *probes*: values at evenly spaced places of an array, under ``key.at`` and
``key.values``. Inputs that are not stored follow from their name and the seed.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..vfi_models import backward_warp, build, detect
from ..vfi_models.interface import Interpolator
from ..vfi_models.tlbvfi import shapes
from ..vfi_models.tlbvfi.bridge import mixing, plan, sample, schedule
from ..vfi_models.tlbvfi.flow import halved
from ..vfi_models.tlbvfi.net import TlbvfiNet
from ..vfi_models.tlbvfi.session import Geometry, TlbvfiOptions, TlbvfiSession
from ..vfi_models.tlbvfi.unet import UNet, embed_time
from ..vfi_models.tlbvfi.wavelet import analyse
from ..vfi_models.torch_interpolator import module_of
from ..weights.synthetic import synthetic_state_dict
from .outcome import Outcome, Place
from .tlbvfi_arrays import Compared, Golden

_NAMES = "state_dict_shapes.json.gz"
# Largest errors in float32, of values of about -1..1.
_PART_BOUND, _WHOLE_BOUND = 1e-4, 2e-4
# Dimensions of a video.
_VIDEO = 5


def reads(file: Path, arrays: Mapping[str, Any]) -> bool:
    """Tell whether a golden file is of this format."""
    return str(_meta(arrays).get("config", {}).get("model_name", "")).startswith("LBBDM")


def run(file: Path, arrays: Mapping[str, Any], place: Place) -> Iterator[Outcome]:
    """Yield the outcome of every case of a file."""
    meta, label = _meta(arrays), f"{file.parent.name}/{file.stem}"
    kind = next((kind for kind in _KINDS if _has(arrays, kind.mark)), None)
    if kind is None:
        yield Outcome(label, skipped="nothing here reads this kind of file")
        return
    seed, gain = meta["seed"], meta["gain"]
    model = place.model((file.parent, seed, gain), lambda: _model(file.parent, seed, gain))
    if place.dtype not in model.spec.dtypes:
        yield Outcome(label, skipped=f"TLBVFI does not run in {place.dtype}")
        return
    net = cast("TlbvfiNet", module_of(model))
    steps = meta["config"].get("BB", {}).get("params", {}).get("sample_step", TlbvfiOptions.sample_steps)
    for name, error in kind.read(Golden(dict(arrays), seed, place.device, steps), net):
        yield Outcome(f"{label} {name}", error, kind.bound)


def _meta(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return dict(json.loads(str(arrays["meta"]))) if "meta" in arrays else {}


def _has(arrays: Mapping[str, Any], mark: str) -> bool:
    return any(key == mark or (mark[0] == "." and key.endswith(mark)) for key in arrays)


def _model(folder: Path, seed: int, gain: float) -> Interpolator:
    """Build the network with synthetic weights, by the names that the folder lists or by its own."""
    listed = folder / _NAMES
    by_name = shapes("vimeo")
    if listed.is_file():
        entries = json.loads(gzip.decompress(listed.read_bytes()))
        # Not the rest of the list: `cond_stage_model` is the autoencoder once more, and six buffers are the
        # schedule.
        by_name = {
            e["name"]: tuple(e["shape"]) for e in entries if e["name"].startswith(("denoise_fn.", "vqgan."))
        }
    return build(detect(synthetic_state_dict(by_name, seed, gain)))


def _schedule(golden: Golden, net: TlbvfiNet) -> Iterator[Compared]:
    # The Brownian bridge: the share m_t of the known end at each of 1000 times, the variance of x_t, and the
    # same of the time before (0 before the first).
    m = mixing().double()
    variance = 2.0 * (m - m.square())
    before = F.pad(m[:-1], (1, 0))
    variance_before = F.pad(variance[:-1], (1, 0))
    # Of x_t given the x before it. The posterior, of the x before given x_t and x_0, follows from all three.
    between = variance - variance_before * ((1 - m) / (1 - before)).square()
    buffers = {
        "m_t": m,
        "m_tminus": before,
        "variance_t": variance,
        "variance_tminus": variance_before,
        "variance_t_tminus": between,
        "posterior_variance_t": between * variance_before / variance,
    }
    for name, buffer in buffers.items():
        yield golden.compare(name, buffer.to(golden.device))
    for key in golden.arrays:
        kind, _, count = key.partition("_")
        if kind == "steps":
            yield golden.compare(key, golden[key].new_tensor(schedule(int(count))))
        if kind == "update":
            # Their factors of x, Y, the predicted end and noise.
            rows = [(1 - step.pull, 0.0, step.pull, step.spread) for step in plan(int(count))[:-1]]
            yield golden.compare(key, torch.tensor(rows, dtype=torch.float32, device=golden.device))
    yield golden.compare("embedding", embed_time(golden["embedding_t"]))


def _wavelet(golden: Golden, net: TlbvfiNet) -> Iterator[Compared]:
    low, high = analyse(golden["video"])
    yield golden.compare("low1", low)
    yield golden.compare("high1", high)
    low, high = analyse(low)
    yield golden.compare("low2", low)
    yield golden.compare("high2", high)
    bands = golden.uniform("bands", golden.shape("bands"))
    yield golden.compare("bands", bands)
    yield golden.compare("extracted", net.vqgan.encoder.frequency_extractor(bands))


def _blocks(golden: Golden, net: TlbvfiNet) -> Iterator[Compared]:
    modules = dict(net.vqgan.named_modules())
    for name in golden.keys(".out.shape"):
        # A layer that attends to a context has two inputs.
        count = len([key for key in golden.arrays if key.startswith(f"{name}.in")])
        inputs = [golden.uniform(f"{name}.{i}", golden.shape(f"{name}.in{i}")) for i in range(count)]
        if ".mid." in name:
            # The three frames of one video, which the authors put where a batch stands.
            inputs = [x.transpose(0, 1).unsqueeze(0) for x in inputs]
        out = modules[name](*inputs)
        yield golden.compare(f"{name}.out", out.squeeze(0).transpose(0, 1) if out.ndim == _VIDEO else out)


def _flow(golden: Golden, net: TlbvfiNet) -> Iterator[Compared]:
    decoder = net.vqgan.decoder
    yield golden.compare("warp.out", backward_warp(golden["warp.feature"], golden["warp.flow"]))
    flows = decoder.flownet.sums(golden.frame("ifnet.frame0"), golden.frame("ifnet.frame1"))
    for i, flow in enumerate(flows, 1):
        yield golden.compare(f"ifnet.flow{i}", flow)
    for name in golden.keys(".x"):
        block = getattr(decoder.refinenet, name)
        yield golden.compare(f"{name}.out", block(*golden[f"{name}.x"].chunk(2), golden[f"{name}.flow"]))
    yield from _refinement(golden, net)


def _refinement(golden: Golden, net: TlbvfiNet) -> Iterator[Compared]:
    sides: tuple[list[Tensor], list[Tensor]] = ([], [])
    # Features of phi[0] to phi[3], at 1, 1/2, 1/4 and 1/8; both sides are drawn as one array.
    for i in range(4):
        count, *rest = golden.shape(f"refine.warped0.{i}")
        for side, half in zip(sides, golden.uniform(f"refine.{i}", (2 * count, *rest)).chunk(2), strict=True):
            side.append(half)
    flow = net.vqgan.decoder.refinenet(*sides, golden["refine.flow_in"])
    yield golden.compare("refine.flow_out", flow)
    for i in range(4):
        for k in range(2):
            yield golden.compare(
                f"refine.warped{k}.{i}", backward_warp(sides[k][i], flow[:, 2 * k : 2 * k + 2])
            )
        # From one level to the next a flow has half the size and half the values.
        flow = halved(flow)
    flow = 0.5 * golden["refine.flow_out"]
    for _ in range(3):
        flow = halved(flow)
    yield golden.compare("context.warped0.3", backward_warp(sides[0][3], flow[:, :2]))


def _session(
    net: TlbvfiNet, frame: Tensor, options: TlbvfiOptions, noise: Tensor | None = None
) -> TlbvfiSession:
    height, width = frame.shape[-2:]
    geometry = Geometry.of(height, width, options.flow_scale)
    return TlbvfiSession(net, geometry, options, lambda left, right, shape: _stored(noise, shape))


def _stored(noise: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    return torch.zeros(shape, dtype=torch.float32, device="cpu") if noise is None else noise.view(shape)


def _encoder(golden: Golden, net: TlbvfiNet) -> Iterator[Compared]:
    left, right = golden.frame("frame0"), golden.frame("frame1")
    # At scale 1 the features serve the flow too, so the encoder runs once and each tap is met once.
    session = _session(net, left, TlbvfiOptions(flow_scale=1.0))
    with golden.tapping(net.vqgan, "tap.") as taps:
        ((a,), (b,)) = session.encode(left), session.encode(right)
        yield golden.compare("latent", session.latent(a, b))
    for i, pair in enumerate(zip((a.moving[0], *a.features), (b.moving[0], *b.features), strict=True)):
        yield golden.compare(f"feature.{i}", torch.cat(pair))
    for name, outputs in taps.items():
        # Layers of single frames ran for the left, the right, and then the empty one.
        out = torch.cat([outputs[i] for i in (0, 2, 1)]) if len(outputs) == 3 else outputs[0]  # noqa: PLR2004
        yield golden.compare(f"tap.{name}", golden.frames_first(out, f"tap.{name}"))


def _quantiser(golden: Golden, net: TlbvfiNet) -> Iterator[Compared]:
    z = golden["z"]
    quantised = net.vqgan.quantize(z)
    yield golden.compare("indices", net.vqgan.quantize.indices(z).flatten())
    yield golden.compare("quantised", quantised)
    yield golden.compare("post_quant_conv", net.vqgan.post_quant_conv(quantised))


def _unet(golden: Golden, net: TlbvfiNet) -> Iterator[Compared]:
    for size in golden.keys(".x_t"):
        for key in golden.keys(".out"):
            if key.startswith(f"{size}.t"):
                with golden.tapping(_sampler(net), f"{key}.tap.") as taps:
                    time = int(key.removeprefix(f"{size}.t"))
                    out = _sampler(net)(golden[f"{size}.x_t"], golden[f"{size}.context"], time)
                yield golden.compare(f"{key}.out", out)
                for name, outputs in taps.items():
                    yield golden.compare(f"{key}.tap.{name}", outputs[0])


def _sampler(net: TlbvfiNet) -> UNet:
    return cast("UNet", net.denoise_fn)


def _sampling(golden: Golden, net: TlbvfiNet) -> Iterator[Compared]:
    for key in golden.keys(".out"):
        count, kind = key.removeprefix("steps").split(".")
        steps = plan(int(count))
        network = _RecordingNetwork(_sampler(net))
        # One draw a step but for the last; the stored noise is that of the longest run.
        noise = golden["noise"][: len(steps) - 1] if kind == "noise" else None
        out = sample(network, golden["y"], steps, noise)
        yield golden.compare(f"{key}.out", out)
        # The file keeps the last few predicted ends.
        yield golden.compare(f"{key}.x0", torch.stack(network.ends[-golden.shape(f"{key}.x0")[0] :]))
        if f"{key}.path" in golden:
            # The states after each step: the first state is the start itself.
            yield golden.compare(f"{key}.path", torch.stack([*network.states[1:], out]))


class _RecordingNetwork:
    """A sampler's network that records its input states and the ends that it predicts."""

    def __init__(self, network: UNet) -> None:
        self._network = network
        self.states: list[Tensor] = []
        self.ends: list[Tensor] = []

    def __call__(self, state: Tensor, known: Tensor, time: int) -> Tensor:
        difference: Tensor = self._network(state, known, time)
        self.states.append(state)
        self.ends.append(state - difference)
        return difference


_TAP_NAMES = {"decoder.flownet": "ifnet", "decoder.refinenet": "refined_flow"}


def _decoder(golden: Golden, net: TlbvfiNet) -> Iterator[Compared]:
    left, right = golden.frame("frame0"), golden.frame("frame1")
    for key in golden.keys(".out.shape"):
        session = _session(net, left, TlbvfiOptions(flow_scale=float(key.removeprefix("scale"))))
        ((a,), (b,)) = session.encode(left), session.encode(right)
        with golden.tapping(net.vqgan, f"{key}.tap.", _TAP_NAMES) as taps:
            # The authors' frames are -1..1, ours 0..1.
            yield golden.compare(f"{key}.out", 2 * session.decoded(golden["latent"], a, b) - 1)
        for name, outputs in taps.items():
            tap = f"{key}.tap.{_TAP_NAMES.get(name, name)}"
            yield golden.compare(tap, golden.frames_first(outputs[0], tap))
        if f"{key}.flow_given.at" in golden:
            yield golden.compare(f"{key}.flow_given", session.flow(a, b))


def _whole(golden: Golden, net: TlbvfiNet) -> Iterator[Compared]:
    latents: list[Tensor] = []
    # The latent before it is quantised, which no method returns.
    hook = net.vqgan.quantize.register_forward_pre_hook(lambda _, given: latents.append(*given))
    try:
        for key in golden.keys(".frame0"):
            frames = _middle_frames(golden, net, key)
            latent = torch.cat(latents[-len(frames) :])
            yield golden.compare(f"{key}.out", frames)
            yield golden.compare(f"{key}.latent", latent)
            yield golden.compare(f"{key}.indices", net.vqgan.quantize.indices(latent).flatten())
    finally:
        hook.remove()


def _middle_frames(golden: Golden, net: TlbvfiNet, key: str) -> Tensor:
    """Make the frames in the middle, one for each pair, -1..1."""
    pairs = [golden.frame(f"{key}.frame{i}").unsqueeze(1) for i in range(2)]
    noise = golden[f"{key}.noise"] if f"{key}.noise" in golden.arrays else None
    options = TlbvfiOptions(
        # The last step draws nothing, so there is one draw less than there are steps.
        sample_steps=golden.steps if noise is None else len(noise) + 1,
        flow_scale=float(golden[f"{key}.scale"]),
        published_range=True,
    )
    # Pair by pair, each as a batch of one: in a batch the authors' code mixes the frames of different pairs.
    frames = []
    for i, (left, right) in enumerate(zip(*pairs, strict=True)):
        session = _session(net, left, options, None if noise is None else noise[:, i])
        frames.append(session.between(session.encode(left), session.encode(right), left.new_tensor([0.5])))
    return 2 * torch.cat(frames) - 1


class _Kind(NamedTuple):
    """A kind of file."""

    mark: str
    """A key that only such files have; with a dot, the end of one."""
    read: Callable[[Golden, TlbvfiNet], Iterator[Compared]]
    bound: float


_KINDS = tuple(
    _Kind(*row)
    for row in (
        ("m_t", _schedule, _PART_BOUND),
        ("video", _wavelet, _PART_BOUND),
        ("warp.flow", _flow, _PART_BOUND),
        ("feature.0.shape", _encoder, _PART_BOUND),
        ("z", _quantiser, _PART_BOUND),
        (".x_t", _unet, _PART_BOUND),
        ("y", _sampling, _PART_BOUND),
        ("code_margin", _decoder, _PART_BOUND),
        (".scale", _whole, _WHOLE_BOUND),
        (".in0.shape", _blocks, _PART_BOUND),
    )
)
