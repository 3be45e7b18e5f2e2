"""FILM and TLBVFI in a real ComfyUI, in each layout of their weights; see tests/support/comfyui.py for what that needs."""

import json
import logging
import shutil
import time

import numpy as np
import pytest
import torch
from comfyui import as_arrays, images_workflow, node, square
from midframe.benchmarks.loading import save_archive
from midframe.vfi_models import tlbvfi
from midframe.vfi_models.film import shapes as film_shapes
from midframe.vfi_models.film.config import published_names
from midframe.weights.convert import convert
from midframe.weights.synthetic import synthetic_state_dict
from PIL import Image
from safetensors.torch import save_file

LOG = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def server(comfyui):
    return comfyui


def save_tlbvfi(models):
    """A small TLBVFI in each layout that it may come in, in the folders of this and of older packs."""
    weights = synthetic_state_dict(tlbvfi.shapes("small"), 0, 0.7)
    again = {name.replace("vqgan", "cond_stage_model", 1): value for name, value in weights.items()}
    averages = {name: value for name, value in weights.items() if name.startswith("denoise_fn.")}
    published = {"step": 1, "epoch": 1, "model": {**weights, **again}, "ema": averages}
    (models / "interpolation").mkdir(exist_ok=True)
    torch.save(published, models / "interpolation" / "tlbvfi_zip.pth")
    folder = models / "frame_interpolation"
    torch.save(published, folder / "tlbvfi_legacy.pth", _use_new_zipfile_serialization=False)
    save_file(weights, folder / "tlbvfi_small.safetensors")


def film_workflow(model, multiplier=3, **widgets):
    """The three pictures through the FILM node."""
    film = node("MidframeFILM", frames=["abc", 0], model=model, multiplier=multiplier, **widgets)
    workflow = images_workflow() | {"film": film}
    del workflow["rife"]
    workflow["save"]["inputs"]["images"] = ["film", 0]
    return workflow


def test_film_in_every_layout(server, root):
    """The archives of both versions, which share a name, in both precisions, and the safetensors layout."""
    weights = synthetic_state_dict(film_shapes("narrow"), 0, 1.0)
    halves = {name: value.half() for name, value in weights.items()}
    folder = server.base / "models" / "frame_interpolation"
    older = server.base / "custom_nodes" / "comfyui-frame-interpolation" / "ckpts" / "film"
    older.mkdir(parents=True)
    goldens = root / "parity" / "goldens" / "film"
    shutil.copy(goldens / "tiny_torchscript_v100.pt", older / "film_net_fp32.pt")
    save_archive(published_names(weights), folder / "film_102.pt")
    save_archive(published_names(halves), folder / "film_102_fp16.pt")
    save_file(weights, folder / "film_core.safetensors")
    save_file(halves, folder / "film_core_fp16.safetensors")
    names = ["film_102.pt", "film_core.safetensors", "film_102_fp16.pt", "film_core_fp16.safetensors"]
    made = {name: as_arrays(server.run(film_workflow(name))) for name in names}
    assert all(pictures.shape == (7, 96, 128, 3) for pictures in made.values())
    assert np.array_equal(made[names[0]], made[names[1]])
    assert np.array_equal(made[names[2]], made[names[3]])
    assert np.abs(made[names[0]] - made[names[2]]).max() <= 2
    for schedule in ("any_t", "bisect"):
        assert len(server.run(film_workflow("film_net_fp32.pt", schedule=schedule))) == 7


def test_film_makes_the_pictures_that_comfyuis_own_node_makes(server):
    """With the published network's size and a file that `midframe convert` wrote."""
    if "FrameInterpolate" not in server.json("/object_info"):
        pytest.skip("this ComfyUI has no frame interpolation of its own")
    archive = server.base / "film.pt"
    save_archive(published_names(synthetic_state_dict(film_shapes("film"), 0, 1.0)), archive)
    convert(archive, server.base / "models" / "frame_interpolation" / "film_full.safetensors")
    ours = as_arrays(server.run(film_workflow("film_full.safetensors", 4)))
    theirs = film_workflow("") | {
        "load": node("FrameInterpolationModelLoader", model_name="film_full.safetensors"),
        "film": node("FrameInterpolate", interp_model=["load", 0], images=["abc", 0], multiplier=4),
    }
    assert np.abs(ours - as_arrays(server.run(theirs))).max() <= 1
    assert np.abs(ours[1::4] - ours[::4][:2]).max() > 20


def test_tlbvfi_in_each_layout(server):
    save_tlbvfi(server.base / "models")
    made = []
    for model in ("tlbvfi_zip.pth", "tlbvfi_legacy.pth", "tlbvfi_small.safetensors"):
        workflow = images_workflow()
        frames = workflow.pop("rife")["inputs"]["frames"]
        workflow["vfi"] = node("MidframeTLBVFI", frames=frames, model=model, multiplier=2, sample_steps=3)
        workflow["save"]["inputs"]["images"] = ["vfi", 0]
        pictures = [np.asarray(Image.open(path)) for path in server.run(workflow)]
        assert len(pictures) == 5
        assert all(np.array_equal(pictures[2 * i], square(i)) for i in range(3))
        made.append(pictures[1])
    assert all(np.array_equal(made[0], other) for other in made[1:])


# --- networks of the published size on a real clip


@pytest.fixture(scope="module")
def clip(server, shared):
    """Nodes that load the first frames of a real clip, the last one called ``clip``; and these frames."""
    files = sorted((shared / "clips" / "s01_bear").glob("*.png"))[:3]
    for i, file in enumerate(files):
        shutil.copy(file, server.base / "input" / f"real{i}.png")
    nodes = {f"real{i}": node("LoadImage", image=f"real{i}.png") for i in range(3)}
    nodes["two"] = node("ImageBatch", image1=["real0", 0], image2=["real1", 0])
    nodes["clip"] = node("ImageBatch", image1=["two", 0], image2=["real2", 0])
    return nodes, np.stack([np.asarray(Image.open(file).convert("RGB")).astype(int) for file in files])


def made_of(server, nodes, kind, model, **widgets):
    last = list(nodes)[-1]
    vfi = node(kind, frames=[last, 0], model=model, multiplier=2, **widgets)
    save = node("SaveImage", images=["vfi", 0], filename_prefix=f"real_{model.partition('.')[0]}")
    return as_arrays(server.run({**nodes, "vfi": vfi, "save": save}))


def mixing_film():
    """A FILM that finds little motion and mixes both frames, each layer adding a little noise of its own."""
    weights = synthetic_state_dict(film_shapes("film"), 0, 1.0)
    for name in weights:
        if "_convs.4." in name:
            weights[name] *= 0.1
    joining, last = weights["fuse.convs.3.1.conv.weight"], weights["fuse.convs.3.2.conv.weight"]
    weights["fuse.output_conv.weight"] *= 0.01
    joining[:3], last[:3] = 0, 0
    for name in ("fuse.convs.3.1.conv.bias", "fuse.convs.3.2.conv.bias", "fuse.output_conv.bias"):
        weights[name][:3] = 0
    for c in range(3):
        joining[c, c, 1, 1] = joining[c, 67 + c, 1, 1] = (
            0.5  # 3 of the picture and 64 features, then the other's
        )
        last[c, c, 1, 1] = weights["fuse.output_conv.weight"][c, c, 0, 0] = 1
    return weights


def test_film_on_a_real_clip_from_every_file(server, root, clip):
    """Both archives of one name, the one of halves, ComfyUI's file, and what `midframe convert` makes of one."""
    nodes, frames = clip
    weights = mixing_film()
    halves = {name: value.half() for name, value in weights.items()}
    rows = json.loads((root / "parity" / "goldens" / "film" / "keys.json").read_text())["rows"]
    oldest = {row[0]: row[1] for row in rows}
    folder, other = server.base / "models" / "frame_interpolation", server.base / "models" / "interpolation"
    other.mkdir(exist_ok=True)
    save_archive({oldest[n]: v for n, v in published_names(weights).items()}, other / "film_net_fp32.pt")
    save_archive(published_names(weights), folder / "film_net_fp32_v102.pt")
    save_archive(published_names(halves), folder / "film_net_fp16.pt")
    save_file(halves, folder / "film_net_fp16.safetensors")
    convert(other / "film_net_fp32.pt", folder / "film_converted.safetensors")
    whole, half = (
        [made_of(server, nodes, "MidframeFILM", name) for name in names]
        for names in (
            ("film_net_fp32.pt", "film_net_fp32_v102.pt", "film_converted.safetensors"),
            ("film_net_fp16.pt", "film_net_fp16.safetensors"),
        )
    )
    assert whole[0].shape == (5, 256, 448, 3)
    assert np.array_equal(whole[0][::2], frames)
    assert all(np.array_equal(whole[0], other) for other in whole[1:])
    assert np.array_equal(*half)
    assert 0 < np.abs(whole[0] - half[0]).max() < 8
    mixed = (frames[:-1] + frames[1:]) / 2
    assert np.abs(whole[0][1::2] - mixed).mean() < 16


def test_tlbvfi_on_a_real_clip_from_every_file(server, clip):
    """What its training saves, with averages and the autoencoder twice, as zip and as it was before; the
    autoencoder alone as Lightning saves it; and what `midframe convert` makes of one. At 128 x 224."""
    nodes, _ = clip
    sized = node(
        "ImageScale", image=["clip", 0], upscale_method="area", width=224, height=128, crop="disabled"
    )
    nodes = {**nodes, "small": sized}
    weights = synthetic_state_dict(tlbvfi.shapes("vimeo"), 0, 0.8)
    weights["vqgan.decoder.moduleout.6.weight"] *= 0.2  # little to be added to what is seen of both frames
    again = {n.replace("vqgan", "cond_stage_model", 1): v for n, v in weights.items() if "vqgan" in n}
    averages = {name: 0.5 * value for name, value in weights.items() if name.startswith("denoise_fn.")}
    published = {"step": 9, "epoch": 1, "model": {**weights, **again}, "ema": averages}
    lightning = {n.removeprefix("vqgan."): v for n, v in weights.items() if n.startswith("vqgan.")}
    folder, other = server.base / "models" / "frame_interpolation", server.base / "models" / "interpolation"
    other.mkdir(exist_ok=True)
    torch.save(published, other / "vimeo_unet.pth")
    torch.save(published, folder / "vimeo_unet_legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 1, "global_step": 9, "state_dict": lightning}, folder / "vimeo_new.ckpt")
    convert(other / "vimeo_unet.pth", folder / "vimeo_converted.safetensors")
    files = ("tlbvfi", "vimeo_unet_legacy.pth", "vimeo_converted.safetensors")
    same = [made_of(server, nodes, "MidframeTLBVFI", name, seed=3) for name in files]
    assert same[0].shape == (5, 128, 224, 3)
    assert all(np.array_equal(same[0], made) for made in same[1:])
    raw = made_of(server, nodes, "MidframeTLBVFI", "vimeo_unet.pth", seed=3, ema=False)
    alone = made_of(server, nodes, "MidframeTLBVFI", "vimeo_new.ckpt", seed=3)
    for made in (raw, alone):
        assert np.array_equal(made[::2], same[0][::2])
        assert not np.array_equal(made[1::2], same[0][1::2])


def test_cancel_ends_a_tlbvfi_frame(server, clip):
    """One frame takes seconds here, and ten times that at 4 times the size: nobody waits for it to be done."""
    nodes, _ = clip
    torch.save(
        synthetic_state_dict(tlbvfi.shapes("vimeo"), 0, 0.8),
        server.base / "models" / "frame_interpolation" / "slow.pth",
    )
    vfi = node("MidframeTLBVFI", frames=["clip", 0], model="slow.pth", multiplier=2, flow_scale=1.0)
    save = node("SaveImage", images=["vfi", 0], filename_prefix="slow")
    loads = server.log().count("loaded slow.pth")
    prompt = server.post({**nodes, "vfi": vfi, "save": save})
    server.until(lambda: server.log().count("loaded slow.pth") > loads, 60)
    time.sleep(1)
    began = time.monotonic()
    server.json("/interrupt", {})
    messages = dict(server.result(prompt)["status"]["messages"])
    waited = time.monotonic() - began
    LOG.info("cancel answered after %.2f s", waited)
    assert "execution_interrupted" in messages
    assert waited < 3
