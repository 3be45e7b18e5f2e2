import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from midframe.vfi_models._core import fused as module
from midframe.vfi_models._core.fused import disagreement, fused
from midframe.vfi_models._core.warp import _plainly

HERE = Path(__file__).parent


def test_kernel_in_the_interpreter():
    pytest.importorskip("triton", reason="Triton is not installed: the fused warp is not run")
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, str(HERE / "interpreted.py")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]


_COMPILE = """
from packs import load_pack
load_pack()
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from midframe.vfi_models._core import fused_kernel as kernel

strides, sizes = ("i64", "i64", "i32", "constexpr"), ("i32",) * 4
one = {(i, 3): 1 for i in (5, 6, 7, 8)}
for index, pooled, kinds in (("int32", True, ("fp16", "fp32")), ("int64", False, ("fp32", "fp16"))):
    signature = {"out": "*" + kinds[0], "image": "*" + kinds[1], "flow": "*fp32", "lines": "*fp32"}
    signature |= {"shape": sizes} | {f"{name}_strides": strides for name in ("out", "image", "flow", "line")}
    signature |= {"halves": ("fp32",) * 2, "lasts": ("fp32",) * 2}
    fixed = {"POOLED": pooled, "INDEX": getattr(kernel.tl, index), "BLOCK": 128}
    at = {(i,): value for i, value in enumerate(fixed.values(), len(signature))}
    signature |= dict.fromkeys(fixed, "constexpr")
    source = ASTSource(kernel._warp, signature, constexprs=one | at)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4})
    assert "ld.global" in made.asm["ptx"]
    print(len(made.asm["cubin"]), made.metadata.shared)
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


def test_elsewhere_torch_does_it(monkeypatch):
    monkeypatch.setattr(module, "_checked", lambda *_: pytest.fail("asked for a kernel"))
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert fused(image, image, _plainly) is None
        meta = torch.empty(1, 3, 8, 8, device="meta")
        assert fused(meta, meta, _plainly) is None


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
    monkeypatch.delitem(sys.modules, "midframe.vfi_models._core.fused_kernel", raising=False)
    module._checked.cache_clear()
    assert module._checked(torch.device("cpu"), torch.float32, torch.float32, _plainly) is None
    module._checked.cache_clear()
