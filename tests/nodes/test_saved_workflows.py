"""Workflows that were saved before still load: they hold the values of widgets by position, and links by name."""

import json

import pytest
from midframe import NODE_CLASS_MAPPINGS

WIDGETS = {
    "MidframeRIFE": {
        "model": "default",
        "multiplier": 2,
        "source_fps": 0.0,
        "target_fps": 0.0,
        "scale": "1",
        "ensemble": False,
        "dtype": "auto",
        "batch": 0,
        "clear_cache_after_n_frames": 0,
        "last_frame": "end_on_last",
        "device": "auto",
        "after_run": "keep loaded",
        "allow_changed_picture": False,
        "storage": "auto",
    },
    "MidframeFILM": {
        "model": "film",
        "multiplier": 2,
        "source_fps": 0.0,
        "target_fps": 0.0,
        "schedule": "any_t",
        "align": False,
        "dtype": "auto",
        "batch": 0,
        "clear_cache_after_n_frames": 0,
        "last_frame": "end_on_last",
        "device": "auto",
        "after_run": "keep loaded",
        "storage": "auto",
    },
    "MidframeTLBVFI": {
        "model": "tlbvfi",
        "multiplier": 2,
        "source_fps": 0.0,
        "target_fps": 0.0,
        "clear_cache_after_n_frames": 0,
        "last_frame": "end_on_last",
        "device": "auto",
        "after_run": "keep loaded",
        "allow_changed_picture": False,
        "seed": 0,
        "eta": 1.0,
        "sample_steps": 10,
        "flow_scale": 0.5,
        "ema": True,
        "tile": "off",
        "tile_overlap": 64,
        "published_range": False,
        "memory_lines": False,
        "storage": "auto",
    },
    "MidframeVideo": {
        "model": "default",
        "multiplier": 2,
        "target_fps": 0.0,
        "scale": "1",
        "dtype": "auto",
        "batch": 0,
        "clear_cache_after_n_frames": 0,
        "last_frame": "hold_last",
        "device": "auto",
        "after_run": "keep loaded",
    },
    "MidframeChunks": {
        "model": "default",
        "multiplier": 2,
        "filename_prefix": "midframe/long",
        "target_fps": 0.0,
        "format": "mp4",
        "pairs_per_chunk": 240,
        "scale": "1",
        "dtype": "auto",
        "batch": 0,
        "clear_cache_after_n_pairs": 0,
        "last_frame": "hold_last",
        "device": "auto",
        "after_run": "keep loaded",
        "executor": "this process",
        "ray_address": "",
    },
    "MidframeModelLoader": {
        "model": "default",
        "dtype": "auto",
        "device": "auto",
    },
    "MidframeStates": {
        "frame_indices": "",
        "is_skip_list": True,
    },
}
"""Of each node the widgets in the order in which workflows have them, with their defaults. Only append."""

MENUS = {
    "scale": ["0.25", "0.5", "1", "2", "4"],
    "schedule": ["any_t", "bisect", "peel", "direct"],
    "last_frame": ["end_on_last", "hold_last", "close_loop"],
    "dtype": ["auto", "float32", "float16", "bfloat16"],
    "after_run": ["keep loaded", "offload to CPU", "unload"],
    "storage": ["auto", "memory", "disk", "disk, half precision"],
    "tile": ["off", "256", "512", "1024", "1536", "2048"],
    "format": ["mp4", "mkv", "mov", "webm"],
    "executor": ["this process", "ray"],
}
"""Values that saved workflows may have."""


def rows(name):
    inputs = NODE_CLASS_MAPPINGS[name].INPUT_TYPES()
    return {**inputs["required"], **inputs.get("optional", {})}


@pytest.mark.parametrize("name", WIDGETS)
def test_widgets_keep_their_places_and_defaults(name):
    widgets = {widget: row[1]["default"] for widget, row in rows(name).items() if "default" in row[1]}
    assert list(widgets.items()) == list(WIDGETS[name].items())


@pytest.mark.parametrize("name", WIDGETS)
def test_menus_keep_their_values(name):
    for widget, (kind, _) in rows(name).items():
        if isinstance(kind, list) and widget not in ("model", "device"):  # these say what is on the computer
            assert json.loads(json.dumps(kind)) == MENUS[widget]


@pytest.mark.parametrize("name", ["MidframeVideo", "MidframeChunks"])
def test_a_new_input_stands_behind_all_others(name):
    assert list(rows(name))[-2:] == ["states", "timing"]
