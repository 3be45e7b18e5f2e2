"""Workflows that were saved before still load: they hold the values of widgets by position, and links by name."""

import json

import pytest
from midframe import NODE_CLASS_MAPPINGS

WIDGETS = {
    "MidframeInterpolate": {
        "model": "default",
        "multiplier": 2,
        "source_fps": 0.0,
        "target_fps": 0.0,
        "motion_resolution": "auto",
        "last_frame": "auto",
    },
    "MidframeRIFE": {
        "model": "default",
        "multiplier": 2,
        "source_fps": 0.0,
        "target_fps": 0.0,
        "motion_resolution": "auto",
        "ensemble": False,
        "last_frame": "auto",
        "clear_cache_after_n_frames": 0,
    },
    "MidframeFILM": {
        "model": "film",
        "multiplier": 2,
        "source_fps": 0.0,
        "target_fps": 0.0,
        "schedule": "any_t",
        "align": False,
        "last_frame": "auto",
        "clear_cache_after_n_frames": 0,
    },
    "MidframeTLBVFI": {
        "model": "tlbvfi",
        "multiplier": 2,
        "source_fps": 0.0,
        "target_fps": 0.0,
        "clear_cache_after_n_frames": 0,
        "last_frame": "auto",
        "seed": 0,
        "motion_resolution": "auto",
    },
    "MidframeVideo": {
        "model": "default",
        "multiplier": 2,
        "target_fps": 0.0,
        "motion_resolution": "auto",
        "last_frame": "auto",
    },
    "MidframeChunks": {
        "model": "default",
        "multiplier": 2,
        "filename_prefix": "midframe/long",
        "target_fps": 0.0,
        "format": "mp4",
        "motion_resolution": "auto",
        "last_frame": "auto",
    },
    "MidframeRunSettings": {
        "device": "auto",
        "dtype": "auto",
        "batch": 0,
        "clear_cache_after_n_frames": 0,
        "after_run": "keep loaded",
        "storage": "auto",
        "allow_changed_picture": False,
        "memory_lines": False,
        "pairs_per_chunk": 240,
        "executor": "this process",
        "ray_address": "",
    },
    "MidframeTLBVFISettings": {
        "eta": 1.0,
        "sample_steps": 10,
        "ema": True,
        "tile": "off",
        "tile_overlap": 64,
        "published_range": False,
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

BEFORE = {
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
}
"""The same of the layout before Run Settings, which graphs for the API may still give by name."""

MOST = {"MidframeInterpolate": 7, "MidframeVideo": 7, "MidframeChunks": 7} | dict.fromkeys(
    ("MidframeRIFE", "MidframeFILM", "MidframeTLBVFI"), 9
)
"""Widgets that a node may show at most."""

MENUS = {
    "motion_resolution": ["auto", "0.25", "0.5", "1", "2", "4"],
    "schedule": ["any_t", "bisect", "peel", "direct"],
    "last_frame": ["auto", "end_on_last", "hold_last", "close_loop"],
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


@pytest.mark.parametrize("name", BEFORE)
def test_what_moved_to_run_settings_is_still_taken_by_name(name):
    inputs = NODE_CLASS_MAPPINGS[name].INPUT_TYPES()
    assert not set(BEFORE[name]) - {*rows(name), *inputs["hidden"]}


@pytest.mark.parametrize("name", MOST)
def test_a_node_asks_for_few_decisions(name):
    assert len(WIDGETS[name]) <= MOST[name]


def test_a_widget_of_one_name_has_one_default_and_one_meaning():
    shared = {}
    for name in MOST:
        for widget, row in rows(name).items():
            if widget not in ("frames", "video", "model", "multiplier", "target_fps"):
                shared.setdefault(widget, []).append(row)
    for widget, found in shared.items():
        assert all(each == found[0] for each in found), widget
