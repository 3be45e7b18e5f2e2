"""INTERP_MODEL both ways between our nodes and ComfyUI's own, with real RIFE 4.25 and a synthetic FILM.

See tests/support/comfyui.py for what the server needs, and tests/support/real_weights.py for the weights.
"""

import shutil

import numpy as np
import pytest
import real_weights
from comfyui import as_arrays, images_workflow, node
from midframe.vfi_models.film import shapes
from midframe.weights.synthetic import synthetic_state_dict
from safetensors.torch import save_file

pytestmark = pytest.mark.long
FILM = "film_for_both.safetensors"
RIFE = "rife_real_425.pkl"


@pytest.fixture(scope="module")
def server(comfyui):
    known = comfyui.json("/object_info")
    if "FrameInterpolate" not in known:
        pytest.skip("this ComfyUI has no frame interpolation of its own")
    folder = comfyui.base / "models" / "frame_interpolation"
    save_file(synthetic_state_dict(shapes("film"), 0, 1.0), folder / FILM)
    return comfyui


def graph(name, *, our_loader, our_node, multiplier=4):
    """The three pictures: either loader, either node.

    At a size that needs no padding: RIFE is padded by zeros as published here, and by reflection in ComfyUI.
    """
    workflow = images_workflow()
    del workflow["rife"]
    size = {"width": 128, "height": 128, "upscale_method": "area", "crop": "disabled"}
    workflow["sized"] = node("ImageScale", image=["abc", 0], **size)
    if our_loader:
        workflow["load"] = node("MidframeModelLoader", model=name, dtype="float32")
    else:
        workflow["load"] = node("FrameInterpolationModelLoader", model_name=name)
    if our_node:
        links = {"frames": ["sized", 0], "model_override": ["load", 0]}
        workflow["vfi"] = node("MidframeRIFE", model="default", multiplier=multiplier, **links)
    else:
        links = {"images": ["sized", 0], "interp_model": ["load", int(our_loader)]}
        workflow["vfi"] = node("FrameInterpolate", multiplier=multiplier, **links)
    workflow["save"]["inputs"]["images"] = ["vfi", 0]
    return workflow


@pytest.mark.parametrize("name", [RIFE, FILM])
def test_all_four_combinations_give_the_same_pictures(server, name):
    if name == RIFE:
        shutil.copy(real_weights.require("rife-4.25"), server.base / "models" / "frame_interpolation" / RIFE)
    made = {
        (loader, vfi): as_arrays(server.run(graph(name, our_loader=loader, our_node=vfi)))
        for loader in (False, True)
        for vfi in (False, True)
    }
    core = made[False, False]
    assert core.shape == (9, 128, 128, 3)
    assert np.abs(core[1::4] - core[::4][:2]).max() > 20
    for other in made.values():
        assert np.abs(other - core).max() <= 1
    # The same weights in our own code, however they came here.
    assert np.array_equal(made[True, True], made[False, True])


def test_a_second_run_reads_no_weights_and_free_does_not_break_it(server):
    workflow = graph(FILM, our_loader=True, our_node=False, multiplier=2)
    first = as_arrays(server.run(workflow))
    server.json("/free", {"unload_models": True})
    workflow["vfi"]["inputs"]["multiplier"] = 3
    assert len(server.run(workflow)) == 7
    workflow["vfi"]["inputs"]["multiplier"] = 2
    assert np.array_equal(as_arrays(server.run(workflow)), first)
