"""The GPU's kernels compiled for Hopper, which needs no GPU: registers are not spilled to memory, and inner loops are short.

This file is also the script that compiles them, in a process of its own, because Triton's interpreter is on in that of the tests.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[5]
COMPILED_FOR = 90
LAYERS = {
    # channels, height and width of the input, outputs, size of a filter, whether all models share the input
    "MultiMNIST's first": (1, 28, 20, 5, True),
    "MultiMNIST's second": (10, 12, 20, 5, False),
    "Cifar10Mnist's first": (3, 32, 16, 3, True),
}
PRODUCTS = {"_forward": 2.2, "_of_weight": 3.2, "_of_input": 6.0}
"""Kernel -> the largest number of instructions in its inner loop for each multiplication, with Triton 3.6 to 3.9."""
LOOP = 1_300
"""The largest number of instructions in an inner loop; longer ones do not fit into the instruction cache well."""
POINTWISE = 700
"""The largest number of instructions of a kernel without products."""


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    if find_spec("triton") is None:
        pytest.skip("Triton is not installed (it is for Linux on x86-64)")
    folder = tmp_path_factory.mktemp("compiled")
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, __file__, str(folder)], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    if isinstance(found, str):
        pytest.skip(found)
    return found  # type: ignore[no-any-return]


@pytest.mark.full
def test_no_kernel_spills_registers(kernels: list[dict[str, Any]]) -> None:
    assert {kernel["name"] for kernel in kernels} == {"_forward", "_of_weight", "_of_input", "_pool", "_unpool"}
    for kernel in kernels:
        assert kernel["stack"] == kernel["local"] == kernel["spills"] == 0, kernel


@pytest.mark.full
def test_inner_loops_are_bounded_and_mostly_multiply(kernels: list[dict[str, Any]]) -> None:
    """A loop over single taps needs 4.5 instructions for each multiplication of the forward pass and 35 for one of `_of_input`."""
    for kernel in kernels:
        if kernel["name"] in PRODUCTS:
            assert kernel["products"], kernel
            assert kernel["loop"] <= LOOP, kernel
            assert kernel["loop"] <= PRODUCTS[kernel["name"]] * kernel["products"], kernel
        else:
            assert kernel["instructions"] <= POINTWISE, kernel


def compile_all(folder: Path) -> list[dict[str, Any]]:
    """Compile each kernel as the passes of a layer launch it, for 30 models and 256 samples, without memory for the tensors."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from trainer.pack.kernels import gpu_conv_pool

    found: list[dict[str, Any]] = []
    layer = ""

    def compiled(kernel: Any, n_models: int, per_model: int, tensors: Any, numbers: Any, **constants: Any) -> None:
        options = {"enable_fp_fusion": True, "num_stages": constants.pop("num_stages", 3)}
        values = dict(zip(kernel.arg_names, (*tensors, 0, *numbers), strict=False)) | constants
        constants |= {name: 1 for name, value in values.items() if isinstance(value, int) and value == 1}  # as at a launch
        types = {torch.float32: "*fp32", torch.uint8: "*u8"}
        signature = {
            name: "constexpr" if name in constants else types[values[name].dtype] if isinstance(values[name], torch.Tensor) else "i32"
            for name in kernel.arg_names
        }
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
        result = triton.compile(source, target=GPUTarget("cuda", COMPILED_FOR, 32), options=options)
        cubin = folder / f"{kernel.fn.__name__}.cubin"
        cubin.write_bytes(result.asm["cubin"])
        found.append({"name": kernel.fn.__name__, "layer": layer, **described(cubin)})

    gpu_conv_pool._launch = compiled
    for layer, (channels, length, outputs, size, is_shared) in LAYERS.items():  # noqa: B007 - `compiled` reads it
        inputs = torch.empty(*(() if is_shared else (30,)), 256, channels, length, length, device="meta", requires_grad=not is_shared)
        weight = torch.empty(30, outputs, channels, size, size, device="meta", requires_grad=True)
        bias = torch.empty(30, outputs, device="meta", requires_grad=True)
        gpu_conv_pool.PackedConvPool.apply(inputs, weight, bias, True).sum().backward()
        if is_shared:
            values = torch.empty(256, 30, outputs, length - size + 1, length - size + 1, device="meta", requires_grad=True)
            gpu_conv_pool.PackedPool.apply(values.movedim(1, 0), bias, True).sum().backward()
    return found


def described(cubin: Path) -> dict[str, int]:
    """Read a kernel's resources, and the instructions of its longest loop with products, from its machine code."""
    import triton.backends.nvidia

    tool = str(Path(triton.backends.nvidia.__file__).parent / "bin" / "cuobjdump")
    usage = subprocess.run([tool, "-res-usage", str(cubin)], capture_output=True, text=True, check=True)
    resources = re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", usage.stdout + usage.stderr)
    assert resources is not None, usage
    code = subprocess.run([tool, "-sass", str(cubin)], capture_output=True, text=True, check=True).stdout
    lines = [(int(at, 16), text) for at, text in re.findall(r"^\s+/\*([0-9a-f]{4,})\*/\s+(.*?);", code, re.MULTILINE)]
    names = [re.sub(r"^@!?U?P\w+ ", "", text).split()[0].partition(".")[0] for _, text in lines]
    loops: list[Mapping[str, int]] = []
    for at, text in lines:
        target = re.search(r"BRA.*0x([0-9a-f]+)", text)
        if target is not None and int(target[1], 16) < at:
            body = [name for name, (place, _) in zip(names, lines, strict=True) if int(target[1], 16) <= place <= at]
            loops.append({"loop": len(body), "products": body.count("FFMA")})
    longest = max(loops, key=lambda loop: (loop["products"], loop["loop"]), default={"loop": 0, "products": 0})
    return {
        "registers": int(resources[1]),
        "stack": int(resources[2]),
        "local": int(resources[4]),
        "spills": names.count("LDL") + names.count("STL"),
        "instructions": len(lines),
        **longest,
    }


def why_not_compiled() -> str | None:
    """Return why kernels cannot be compiled or read here, or None."""
    import triton.backends.nvidia

    tools = Path(triton.backends.nvidia.__file__).parent / "bin"
    missing = [name for name in ("ptxas", "cuobjdump") if not (tools / name).exists()]
    return f"this Triton comes without {' and '.join(missing)}" if missing else None


if __name__ == "__main__":
    print(json.dumps(why_not_compiled() or compile_all(Path(sys.argv[1]))))
