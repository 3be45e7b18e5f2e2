"""Meta Batch of VideoHelperSuite in a real ComfyUI.

Needs VHS_PATH, the folder of a ComfyUI-VideoHelperSuite whose requirements are there (or on PYTHONPATH), and
what tests/support/comfyui.py needs.
"""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from comfyui import node, running, square

FPS = Fraction(24000, 1001)
FRAMES = 16


@pytest.fixture(scope="module")
def server(root, tmp_path_factory):
    if not os.environ.get("COMFYUI_PATH") or not os.environ.get("VHS_PATH"):
        pytest.skip("not run beside VideoHelperSuite: COMFYUI_PATH or VHS_PATH is not set")
    with running(root, tmp_path_factory.mktemp("comfyui"), Path(os.environ["VHS_PATH"])) as server:
        write_clip(server.base / "input" / "clip.mkv")
        assert "VHS_BatchManager" in server.json("/object_info"), server.log()
        yield server


def write_clip(path):
    """FRAMES lossless pictures, and a tone that lasts as long."""
    with av.open(str(path), "w") as file:
        video = file.add_stream("ffv1", rate=FPS)
        video.height, video.width, video.pix_fmt = 96, 128, "bgr0"
        sound = file.add_stream("pcm_s16le", rate=48000)
        sound.layout = "mono"
        for i in range(FRAMES):
            file.mux(
                video.encode(
                    av.VideoFrame.from_ndarray(square(i % 6), format="rgb24").reformat(format="bgr0")
                )
            )
        tone = np.sin(np.arange(int(48000 * FRAMES / FPS)) / 20)[None] * 9000
        block = av.AudioFrame.from_ndarray(tone.astype(np.int16), format="s16", layout="mono")
        block.sample_rate = 48000
        file.mux(sound.encode(block))
        file.mux(video.encode())
        file.mux(sound.encode())


def workflow(name, batch, **widgets):
    meta = {"meta_batch": ["manager", 0]} if batch else {}
    prompt = {
        "load": node(
            "VHS_LoadVideo",
            video="clip.mkv",
            force_rate=0,
            custom_width=0,
            custom_height=0,
            frame_load_cap=0,
            skip_first_frames=0,
            select_every_nth=1,
            **meta,
        ),
        "rife": node(
            "MidframeRIFE",
            frames=["load", 0],
            model="default",
            source_fps=23.976,
            **{"multiplier": 2} | widgets,
            **meta,
        ),
        "join": node(
            "VHS_VideoCombine",
            images=["rife", 0],
            audio=["load", 2],
            frame_rate=["rife", 1],
            loop_count=0,
            filename_prefix=name,
            format="video/ffv1-mkv",
            pix_fmt="rgba64le",
            pingpong=False,
            save_output=True,
            **meta,
        ),
    }
    if batch:
        prompt["manager"] = node("VHS_BatchManager", frames_per_batch=batch)
    return prompt


def made(server, name, batch, **widgets):
    """The file that a workflow has written, after however many runs."""
    server.post(workflow(name, batch, **widgets))

    def file():
        for done in server.json("/history").values():
            assert done["status"]["status_str"] == "success", done["status"]["messages"]
            for out in done["outputs"].get("join", {}).get("gifs", []):
                if Path(out["fullpath"]).name.startswith(f"{name}_"):
                    return out["fullpath"]
        return None

    return server.until(file, 300)


def contents(path):
    """Pictures, their times, and the sound."""
    with av.open(path) as file:
        frames = [
            (frame.pts * frame.time_base, frame.to_ndarray(format="rgb48le"))
            for frame in file.decode(video=0)
        ]
        file.seek(0)
        sound = np.concatenate([block.to_ndarray() for block in file.decode(audio=0)], 1)
    return [time for time, _ in frames], np.stack([picture for _, picture in frames]), sound


@pytest.mark.parametrize(
    ("widgets", "count"),
    [
        ({}, 31),
        ({"multiplier": 3, "last_frame": "hold_last"}, 48),
        ({"target_fps": 60.0, "last_frame": "hold_last", "storage": "disk"}, 41),
    ],
)
def test_batches_of_seven_are_the_single_run(server, widgets, count):
    name = f"x{count}"
    times, pictures, sound = contents(made(server, f"single{name}", 0, **widgets))
    assert len(times) == count
    again_times, again, again_sound = contents(made(server, f"batches{name}", 7, **widgets))
    assert again_times == times
    assert np.array_equal(again, pictures)
    assert np.array_equal(again_sound, sound)
    assert "Meta-Batch 2/" in server.log()  # it did come in batches


def test_a_second_run_begins_anew(server):
    first = contents(made(server, "again1", 5))
    second = contents(made(server, "again2", 5))
    assert np.array_equal(first[1], second[1])
    assert len(first[0]) == 31
