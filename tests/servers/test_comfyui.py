"""The nodes in a real ComfyUI, driven through its API; see tests/support/comfyui.py for what that needs."""

import json
import logging
import shutil
import time
import urllib.error
from fractions import Fraction

import av
import numpy as np
import pytest
from comfyui import MIB, PACK, as_arrays, images_workflow, node, square
from midframe.vfi_models.rife.config import FAMILIES
from midframe.vfi_models.rife.net import IFNet
from midframe.vfi_utils import by_fps
from midframe.weights.synthetic import synthetic_state_dict
from PIL import Image
from safetensors.torch import save_file

HEAVY = "rife_v4.25_heavy.safetensors"  # 87 MB: a leak of it cannot hide in 64
LOG = logging.getLogger(__name__)
PLAIN = {"INT", "FLOAT", "STRING", "BOOLEAN"}


@pytest.fixture(scope="module")
def server(comfyui):
    shapes = {k: tuple(v.shape) for k, v in IFNet(FAMILIES["4.25.heavy"], refine=False).state_dict().items()}
    save_file(synthetic_state_dict(shapes), comfyui.base / "models" / "frame_interpolation" / HEAVY)
    write_clip(comfyui.base / "input" / "clip.mp4", [square(i) for i in range(6)])
    return comfyui


def centre(picture):
    """Where the square is, in pixels from the left."""
    return np.nonzero(np.asarray(picture)[45, :, 0] > 150)[0].mean()


def write_clip(path, pictures, fps=Fraction(24000, 1001)):
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=fps, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv444p"
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())


def test_nodes_and_their_help_are_served(server):
    known = server.json("/object_info")
    names = (
        "MidframeRIFE",
        "MidframeFILM",
        "MidframeTLBVFI",
        "MidframeVideo",
        "MidframeModelLoader",
        "MidframeStates",
        "MidframeClearCache",
    )
    for name in names:
        assert known[name]["category"].startswith("video")
        assert known[name].get("search_aliases", True)  # not served before 0.11
        assert server.get(f"/extensions/{PACK}/docs/{name}.md").startswith(b"# ")
    models = known["MidframeRIFE"]["input"]["required"]["model"][0]
    assert models[:2] == ["default", "rife-4.25.heavy"]  # built in, then what is on the disk


def as_prompt(graph):
    """What the front end makes of a saved workflow when Run is pressed."""
    sources = {link[0]: [str(link[1]), link[2]] for link in graph["links"]}
    prompt = {}
    for item in graph["nodes"]:
        values = iter(item.get("widgets_values", []))
        inputs = {slot["name"]: next(values) for slot in item["inputs"] if "widget" in slot}
        inputs |= {
            slot["name"]: sources[slot["link"]] for slot in item["inputs"] if slot.get("link") is not None
        }
        inputs.pop("upload", None)  # a button
        if not item["type"].endswith("Note"):
            prompt[str(item["id"])] = node(item["type"], **inputs)
    return prompt


EXAMPLES = {
    "Smooth a video": 60,
    "Smooth a video (app)": 60,
    "Frames to any frame rate": 60,
    "Long video in chunks": 60,
    "Slow motion with a curve": 30,
    "Compare models": None,
}
"""Frame rate of the video that each makes. In a browser: test_browser.py."""


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_workflows_run(server, root, name):
    examples = {path.stem for path in (root / "example_workflows").glob("*.json")}
    assert examples == set(EXAMPLES)
    assert set(server.json("/workflow_templates")[PACK]) == examples
    known = server.json("/object_info")
    prompt = as_prompt(json.loads((root / "example_workflows" / f"{name}.json").read_text(encoding="utf-8")))
    unknown = {item["class_type"] for item in prompt.values()} - set(known)
    if unknown:
        pytest.skip(f"this ComfyUI is older than {', '.join(unknown)}")
    for item in prompt.values():
        if item["class_type"].startswith("Midframe"):
            rows = known[item["class_type"]]["input"]
            kinds = {
                name: row[0] for part in ("required", "optional") for name, row in rows.get(part, {}).items()
            }
            widgets = {name for name, kind in kinds.items() if isinstance(kind, list) or kind in PLAIN}
            assert widgets <= set(item["inputs"])
    shutil.copy(server.base / "input" / "clip.mp4", server.base / "input" / "midframe_example.mp4")
    files = server.run(prompt)
    if EXAMPLES[name] is None:
        assert files
    else:
        (path,) = [path for path in files if path.suffix == ".mp4"]
        with av.open(str(path)) as file:
            assert abs(file.streams.video[0].average_rate - EXAMPLES[name]) < 1e-3  # it writes thousandths
            assert len(list(file.decode(video=0))) > 6


def test_images_come_out_with_a_frame_between_each_two(server):
    pictures = [np.asarray(Image.open(path)) for path in server.run(images_workflow())]
    assert len(pictures) == 5
    for i in range(3):
        assert np.array_equal(pictures[2 * i], square(i))
    for i in range(2):
        assert abs(centre(pictures[2 * i + 1]) - (centre(square(i)) + centre(square(i + 1))) / 2) < 1.5


def test_a_float_may_be_linked_to_the_multiplier_and_other_links_are_checked_as_ever(server):
    half = node("PrimitiveFloat", value=2.5)
    if "PrimitiveFloat" not in server.json("/object_info"):
        pytest.skip("this ComfyUI has no PrimitiveFloat")
    assert len(server.run({"half": half, **images_workflow(multiplier=["half", 0])})) == 6
    for widgets in ({"timing": ["half", 0]}, {"states": ["half", 0]}, {"model": ["half", 0]}):
        with pytest.raises(urllib.error.HTTPError) as caught:
            server.post({"half": half, **images_workflow(**widgets)})
        assert "return_type_mismatch" in caught.value.read().decode()


def test_a_single_picture_says_in_the_log_why_nothing_was_made(server):
    workflow = images_workflow()
    workflow["rife"]["inputs"]["frames"] = ["a", 0]
    assert len(server.run(workflow)) == 1
    assert "Nothing was made: one frame came in" in server.log()


@pytest.mark.parametrize("storage", ["disk", "disk, half precision"])
def test_a_batch_on_the_disk_is_an_ordinary_one_to_stock_nodes(server, storage):
    def through(storage):
        workflow = images_workflow(storage=storage)
        workflow["scale"] = node("ImageScaleBy", image=["rife", 0], upscale_method="bicubic", scale_by=1.5)
        workflow["all"] = node("ImageBatch", image1=["scale", 0], image2=["rife", 0])
        workflow["save"]["inputs"]["images"] = ["all", 0]
        return as_arrays(server.run(workflow))

    assert np.abs(through(storage) - through("memory")).max() <= (storage != "disk")
    assert not list((server.base / "temp").glob("midframe_*.frames"))


def test_a_video_changes_to_a_target_frame_rate(server):
    (path,) = server.run(
        {
            "load": node("LoadVideo", file="clip.mp4"),
            "parts": node("GetVideoComponents", video=["load", 0]),
            "rife": node(
                "MidframeRIFE",
                frames=["parts", 0],
                model="default",
                multiplier=2,
                source_fps=["parts", 2],
                target_fps=60.0,
            ),
            "join": node("CreateVideo", images=["rife", 0], fps=["rife", 1]),
            "save": node("SaveVideo", video=["join", 0], filename_prefix="clip", format="mp4", codec="h264"),
        }
    )
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert stream.average_rate == 60
        centres = [centre(frame.to_ndarray(format="rgb24")) for frame in file.decode(stream)]
    # Frame k shows moment k * 0.4 (24000/1001 in 60) of the source, up to the sixth and last frame.
    moments = [float(k * Fraction(24000, 1001) / 60) for k in range(13)]
    assert len(centres) == len([m for m in moments if m <= 5])
    for moment, found in zip(moments, centres, strict=False):
        assert abs(found - (centre(square(0)) + 8 * moment)) < 1.5


def test_a_second_run_does_not_load_the_model_again(server):
    server.run(images_workflow(HEAVY, multiplier=2))
    before = server.loads()
    server.run(images_workflow(HEAVY, multiplier=3))
    assert server.loads() == before
    server.free()
    server.run(images_workflow(HEAVY, multiplier=4))
    assert server.loads() == before + 1


def test_the_clear_node_lets_go_of_models(server):
    server.run(images_workflow(HEAVY, multiplier=2))
    before = server.loads()
    workflow = images_workflow(HEAVY, multiplier=5)
    workflow["clear"] = node("MidframeClearCache", passthrough=["rife", 0])
    workflow["save"]["inputs"]["images"] = ["clear", 0]
    assert len(server.run(workflow)) == 11
    server.run(images_workflow(HEAVY, multiplier=6))
    assert server.loads() == before + 1


@pytest.mark.parametrize(("after_run", "loads"), [("keep loaded", 0), ("offload to CPU", 0), ("unload", 1)])
def test_after_a_run(server, after_run, loads):
    first = 10 + 3 * len(after_run)  # a multiplier that no other run has, so that ComfyUI runs the node
    server.run(images_workflow(multiplier=first, after_run=after_run))
    before = server.loads()
    assert len(server.run(images_workflow(multiplier=first + 1))) == 2 * first + 3
    assert server.loads() == before + loads


def test_free_gives_the_memory_back(server):
    server.run(images_workflow(HEAVY, multiplier=7))
    before = server.free()
    server.run(images_workflow(HEAVY, multiplier=8))
    loaded = server.rss()
    after = server.free()
    megabytes = [number // MIB for number in (before, loaded, after)]
    LOG.info("RSS MiB: %d before, %d with the model, %d after /free", *megabytes)
    assert loaded - before > 70 * MIB  # the model was there, so that its absence means something
    assert after - before < 64 * MIB


def test_cancel_answers_within_one_forward(server):
    server.run(images_workflow(HEAVY, multiplier=2))
    began = time.monotonic()
    server.run(images_workflow(HEAVY, multiplier=22))
    forward = (time.monotonic() - began) / 42
    prompt_id = server.post(images_workflow(HEAVY, multiplier=1000))
    server.until(lambda: server.json("/queue")["queue_running"], 30)
    time.sleep(10 * forward)
    began = time.time()
    server.json("/interrupt", {})
    messages = dict(server.result(prompt_id)["status"]["messages"])
    assert "execution_interrupted" in messages
    # When the run ended, by the host's clock, and not when we hear of it: ComfyUI collects garbage after a prompt,
    # during which its web server answers nobody (1.2 s on a machine with six busy processes).
    waited = messages["execution_interrupted"]["timestamp"] / 1000 - began
    LOG.info("cancel answered after %.3f s; one frame takes %.3f s", waited, forward)
    assert waited < forward + 0.5
    assert len(server.run(images_workflow(HEAVY, multiplier=3))) == 7


def test_weights_that_cannot_be_had_are_refused_before_anything_runs(server):
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.post(images_workflow("no-such-model", scale="1"))
    answer = json.loads(refused.value.read())
    (error,) = answer["node_errors"]["rife"]["errors"]  # once, whatever else is set
    assert "no-such-model" in error["details"]


def test_a_scale_may_be_saved_as_a_number(server):
    for scale in (1, 0.5, "2.0"):  # each another one, or ComfyUI would find the run before in its cache
        assert len(server.run(images_workflow(motion_resolution=scale))) == 5
    for name in ("scale", "motion_resolution"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            server.post(images_workflow(**{name: 3}))
        assert "value_not_in_list" in refused.value.read().decode()


def test_settings_by_their_older_names_and_by_link_make_the_same_pictures(server):
    given = {"scale": "0.5", "dtype": "float32", "batch": 1, "last_frame": "hold_last", "storage": "disk"}
    older = as_arrays(server.run(images_workflow(**given)))
    linked = images_workflow(motion_resolution=0.5, last_frame="hold_last", run_settings=["run", 0])
    linked["run"] = node("MidframeRunSettings", dtype="float32", batch=1, storage="disk")
    assert np.array_equal(older, as_arrays(server.run(linked)))
    assert len(older) == 6
    assert not np.array_equal(older, as_arrays(server.run(images_workflow(last_frame="hold_last"))))
    for wrong in ({"dtype": "float8"}, {"batch": 65}, {"batch": "many"}, {"after_run": "explode"}):
        with pytest.raises(urllib.error.HTTPError) as refused:
            server.post(images_workflow(**wrong))
        (error,) = json.loads(refused.value.read())["node_errors"]["rife"]["errors"]
        assert next(iter(wrong)) in error["details"].lower()


def test_settings_that_a_node_has_no_use_for_are_named_in_the_log(server):
    workflow = images_workflow(multiplier=3, run_settings=["run", 0])
    workflow["run"] = node("MidframeRunSettings", executor="ray")
    assert len(server.run(workflow)) == 7
    assert "Not used by this node, of Run Settings: executor" in server.log()


def test_a_video_linked_to_source_fps_says_its_rate(server):
    inputs = {"frames": ["parts", 0], "model": "default", "multiplier": 2, "target_fps": 60.0}
    (path,) = server.run(
        {
            "load": node("LoadVideo", file="clip.mp4"),
            "parts": node("GetVideoComponents", video=["load", 0]),
            "frames": node("MidframeInterpolate", source_fps=["load", 0], **inputs),
            "join": node("CreateVideo", images=["frames", 0], fps=["frames", 1]),
            "save": node("SaveVideo", video=["join", 0], filename_prefix="rate", format="mp4", codec="h264"),
        }
    )
    with av.open(str(path)) as file:
        assert file.streams.video[0].average_rate == 60
        assert len(list(file.decode(video=0))) == by_fps(Fraction(24000, 1001), 60).count(6)


def test_a_name_of_an_older_pack_finds_the_file(server):
    assert len(server.run(images_workflow("rife425_heavy.pth", multiplier=1))) == 3


def test_wrong_widget_values_end_in_our_words(server):
    done = server.result(server.post(images_workflow(HEAVY, ensemble=True)))
    (error,) = [data for kind, data in done["status"]["messages"] if kind == "execution_error"]
    assert "What to do:" in error["exception_message"]
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.post(images_workflow(target_fps=60.0))
    (error,) = json.loads(refused.value.read())["node_errors"]["rife"]["errors"]
    assert "source fps" in error["details"]
