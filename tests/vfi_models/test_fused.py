import itertools
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from midframe.vfi_models._ops import convolution
from midframe.vfi_models._ops import fused as module
from midframe.vfi_models._ops.fused import disagreement, fused
from midframe.vfi_models._ops.warp import _plainly
from midframe.vfi_models.compact import matching

HERE = Path(__file__).parents[1] / "support"


def test_kernel_in_the_interpreter():
    pytest.importorskip("triton", reason="Triton is not installed: the fused warp is not run")
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, str(HERE / "interpreted.py")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]


_COMPILE = """
import re
from packs import load_pack
load_pack()
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from midframe.vfi_models._ops import fused_kernel as kernel, kernels

options = {"num_warps": 4, "enable_fp_fusion": True}
strides, sizes = ("i64", "i64", "i32", "constexpr"), ("i32",) * 2
one = {(i, 3): 1 for i in (5, 6, 7, 8)}
for index, pooled, kinds, channels in (
    ("int32", True, ("fp16", "fp32"), 11),
    ("int64", False, ("fp32", "fp16"), 960),
):
    signature = {"out": "*" + kinds[0], "image": "*" + kinds[1], "flow": "*fp32", "lines": "*fp32"}
    signature |= {"shape": sizes} | {f"{name}_strides": strides for name in ("out", "image", "flow", "line")}
    signature |= {"halves": ("fp32",) * 2, "lasts": ("fp32",) * 2}
    fixed = {"CHANNELS": channels, "POOLED": pooled, "INDEX": getattr(kernel.tl, index), "BLOCK": 128}
    at = {(i,): value for i, value in enumerate(fixed.values(), len(signature))}
    signature |= dict.fromkeys(fixed, "constexpr")
    source = ASTSource(kernel._warp, signature, constexprs=one | at)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    # A load for each corner of each pixel, in every channel of a step of the loop.
    loads = made.asm["ptx"].count("ld.global")
    assert loads >= (16 if pooled else 4) * 4, loads
    # The only divisions of floats are torch's, by half of a side: one for each axis of a place. Triton 3.3 writes them
    # with .ftz, which changes nothing here: one is added to what was divided, so what is tiny is lost either way.
    divisions = len(re.findall(r"\\bdiv\\.(?:rn|full|approx)(?:\\.ftz)?\\.f32", made.asm["ptx"]))
    assert divisions == (8 if pooled else 2), divisions
    print(len(made.asm["cubin"]), made.metadata.shared)
strides = ("i64", "i64", "i32", "i32")
for small, signature, fixed in (
    (kernels._add_leaky, {"y": "*fp16", "plus": "*fp16", "count": "i64"}, {"SLOPE": 0.2, "BLOCK": 1024}),
    (
        kernels._correlation,
        {"out": "*fp32", "left": "*fp16", "right": "*fp16"}
        | dict.fromkeys(("channels", "rows", "columns"), "i32")
        | dict.fromkeys(("left_strides", "right_strides"), strides),
        {"REACH": 3, "BLOCK": 128},
    ),
    (
        kernels._gradient_products,
        dict.fromkeys(("out", "left", "right", "timesteps"), "*fp32")
        | dict.fromkeys(("rows", "columns"), "i32")
        | dict.fromkeys(("left_strides", "right_strides"), strides),
        {"CHANNELS": 3, "BLOCK": 128},
    ),
    (
        kernels._least_squares,
        dict.fromkeys(("out", "means", "mask"), "*fp32") | {"mask_stride": "i32", "pixels": "i32"},
        {"FLOOR": 2e-5, "BLOCK": 128},
    ),
    (
        kernels._gate,
        dict.fromkeys(("out", "flow", "mask"), "*fp32")
        | {"update": "*fp16"}
        | dict.fromkeys(("rows", "columns"), "i32")
        | dict.fromkeys(("flow_strides", "mask_strides", "update_strides"), strides),
        {"MOVES": 4.0, "BLOCK": 128},
    ),
    (
        kernels._cubic,
        dict.fromkeys(("out", "picture", "flow", "mask"), "*fp32")
        | dict.fromkeys(("rows", "columns"), "i32")
        | dict.fromkeys(("picture_strides", "flow_strides", "mask_strides"), strides),
        {"CHANNELS": 3, "FRAMES": 2, "BLOCK": 128},
    ),
):
    at = {(i,): value for i, value in enumerate(fixed.values(), len(signature))}
    source = ASTSource(small, signature | dict.fromkeys(fixed, "constexpr"), constexprs=at)
    for capability in (70, 80, 90):
        assert triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm["cubin"]
"""


def test_kernel_compiles_for_cuda(tmp_path):
    pytest.importorskip("triton", reason="Triton is not installed: the fused warp is not compiled")
    script = tmp_path / "compiled.py"
    script.write_text(_COMPILE)
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "TRITON_CACHE_DIR": str(tmp_path / "kept")}
    done = subprocess.run(
        [sys.executable, str(script)], check=False, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_wrong_kernel_is_found_out():
    def shifted(image, flow, grid, **where):
        return _plainly(image, flow + 0.01, grid, **where)

    def incomplete(image, flow, grid, *, out, **where):
        made = torch.empty_like(out)
        _plainly(image, flow, grid, out=made, **where)
        out[..., :-1].copy_(made[..., :-1])

    cpu, kind = torch.device("cpu"), torch.float32
    assert disagreement(_plainly, _plainly, cpu, kind, kind) == 0
    for wrong in (shifted, incomplete):
        assert not disagreement(wrong, _plainly, cpu, kind, kind) <= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_wrong_small_kernel_is_found_out(dtype):
    def leaky_sum(y, plus, slope):
        return torch.nn.functional.leaky_relu(y.float() + plus.float(), slope)

    def to_the_left(left, right, reach):
        return matching._correlation(right.float(), left.float(), reach)

    def right_ones(left, right, reach):
        return matching._correlation(left.float(), right.float(), reach)

    cpu = torch.device("cpu")
    for difference, right, wrong in (
        (convolution._difference, leaky_sum, lambda y, plus, slope: leaky_sum(y, plus, 1.1 * slope)),
        (matching._difference, right_ones, to_the_left),
    ):
        with torch.no_grad():
            assert difference(right, cpu, dtype) <= module._ROUNDING[dtype]
            assert difference(wrong, cpu, dtype) > module._ROUNDING[dtype]


def test_elsewhere_torch_does_it(monkeypatch):
    monkeypatch.setattr(module, "_checked", lambda *_: pytest.fail("asked for a kernel"))
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert fused(image, image, _plainly) is None
        meta = torch.empty(1, 3, 8, 8, device="meta")
        assert fused(meta, meta, _plainly) is None


class Elsewhere:
    """What is asked of a tensor on a device that is not here."""

    dtype = torch.float32

    def __init__(self, kind):
        self.device = torch.device(kind)


@pytest.mark.parametrize(
    ("kind", "hip", "name"),
    [
        ("cuda", "6.4", "ROCm"),
        ("mps", None, "mps"),
        ("xpu", None, "xpu"),
        ("privateuseone", None, "privateuseone"),
    ],
)
def test_other_accelerators_take_the_plain_path_and_say_so_once(monkeypatch, caplog, kind, hip, name):
    monkeypatch.setattr(module, "_checked", lambda *_: pytest.fail("asked for a kernel"))
    monkeypatch.setattr(torch.version, "hip", hip)
    module._say.cache_clear()
    with torch.no_grad():
        for _ in range(3):
            assert fused(Elsewhere(kind), Elsewhere(kind), _plainly) is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"on {name}, " in caplog.text


@pytest.mark.parametrize(
    "failure",
    [
        ModuleNotFoundError("No module named 'triton'"),
        ImportError("DLL load failed while importing libtriton"),
        OSError("libtriton.so: cannot open shared object file"),
        RuntimeError("0 active drivers"),
        AttributeError("module 'triton' has no attribute 'jit'"),
    ],
)
def test_a_triton_that_is_broken_is_not_used_and_that_is_said_once(monkeypatch, caplog, failure):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "triton":
                raise failure

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    for name in [one for one in sys.modules if one.partition(".")[0] == "triton"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, module.__name__ + "_kernel", raising=False)
    forget()
    for dtype in (torch.float32, torch.float16):
        assert module._checked(torch.device("cpu"), dtype, torch.float32, _plainly) is None
    assert len(caplog.records) == 1
    assert str(failure) in caplog.text
    forget()


@pytest.mark.parametrize(
    "failure",
    [
        RuntimeError("Failed to find C compiler. Please specify via CC environment variable."),
        subprocess.CalledProcessError(1, ["cc", "a.c"]),
        FileNotFoundError("ptxas"),
    ],
)
def test_where_nothing_compiles_that_is_said_once(monkeypatch, caplog, failure):
    kernel = ModuleType(module.__name__ + "_kernel")
    tries = itertools.count()

    def warp(*_, **__):
        if isinstance(failure, subprocess.CalledProcessError):
            failure.cmd = ["cc", f"/tmp/{next(tries)}.c"]
        raise failure

    kernel.warp = warp
    monkeypatch.setitem(sys.modules, kernel.__name__, kernel)
    forget()
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        assert module._checked(torch.device("cpu"), dtype, torch.float32, _plainly) is None
    assert len(caplog.records) == 1
    assert "separate operations" in caplog.text
    forget()


def forget():
    module._checked.cache_clear()
    module._say.cache_clear()


@pytest.mark.parametrize("failure", [RuntimeError("no such architecture"), None])
def test_a_kernel_that_fails_is_not_used(monkeypatch, caplog, failure):
    pytest.importorskip("triton", reason="Triton is not installed")

    def apart(*_):
        if failure:
            raise failure
        return float("nan")

    monkeypatch.setattr(module, "disagreement", apart)
    module._checked.cache_clear()
    for _ in range(2):
        assert module._checked(torch.device("cpu"), torch.float32, torch.float32, _plainly) is None
    assert len(caplog.records) == 1  # said once
    module._checked.cache_clear()


def test_without_triton(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "midframe.vfi_models._ops.fused_kernel", raising=False)
    module._checked.cache_clear()
    assert module._checked(torch.device("cpu"), torch.float32, torch.float32, _plainly) is None
    module._checked.cache_clear()
