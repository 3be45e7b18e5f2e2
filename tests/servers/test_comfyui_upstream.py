"""What cannot work is said before a sampler runs: a real ComfyUI with a slow fake sampler before our nodes."""

import pytest
from upstream import sampling, told

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def server(root, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIDFRAME_OFFLINE", "1")
        with sampling(root, tmp_path_factory.mktemp("upstream")) as server:
            folder = server.base / "models" / "frame_interpolation"
            (folder / "wrong.pth").write_bytes(b"not weights at all" * 99)
            yield server


CASES = {
    "missing RIFE, offline": ("MidframeRIFE", {"model": "rife-4.6"}, "rife46.pth"),
    "missing FILM, offline": ("MidframeFILM", {"model": "film"}, "film_net"),
    "missing TLBVFI": ("MidframeTLBVFI", {"model": "tlbvfi"}, "vimeo_unet.pth"),
    "unknown name": ("MidframeRIFE", {"model": "no-such-model"}, "no-such-model"),
    "wrong file": ("MidframeRIFE", {"model": "wrong.pth"}, "wrong.pth"),
    "option of another network": ("MidframeRIFE", {"ensemble": True, "scale": "8"}, "scale"),
    "target without source rate": ("MidframeRIFE", {"target_fps": 60.0}, "source fps"),
    "old id, missing weights": (
        "RIFE VFI",
        {"model": "rife46.pth", "clear_cache_after_n_frames": 10},
        "rife46",
    ),
    "old id without a network": ("AMT VFI", {}, "Midframe)"),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_said_before_the_sampler_runs(server, case):
    kind, widgets, text = CASES[case]
    if kind == "RIFE VFI":
        old = {
            "fast_mode": True,
            "ensemble": True,
            "scale_factor": 1.0,
            "dtype": "float32",
            "torch_compile": False,
        }
        widgets = {**widgets, **old, "batch_size": 1}
    before = server.sampled()
    message, _ = told(server, kind, **widgets)
    assert message is not None
    assert text in message
    assert server.sampled() == before


def test_what_can_work_runs_the_sampler_once(server):
    before = server.sampled()
    message, seconds = told(server, "MidframeRIFE")
    assert message is None, message
    assert seconds > 1
    assert server.sampled() == before + 1
