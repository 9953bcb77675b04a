"""Builds `conv_pool_relu.c` at its first use, and calls it.

The library is kept in the user's cache under a name that covers the source, the compiler, its options and the processor,
so that machines that share a home folder do not take each other's.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

SIZES = (3, 5, 7)
"""Filter sizes that the kernel has."""
TYPES = {torch.float32: ("float", "int32_t"), torch.float64: ("double", "int64_t")}
"""Numbers that it computes with, and their names in C."""
_OPTIONS = ("-O3", "-march=native", "-shared", "-fPIC")
_HELD_DOWN = {"default": ("-mno-avx",), "avx2": ("-mno-avx512f",)}
"""What PyTorch's own switch, ATEN_CPU_CAPABILITY, takes away from an x86 processor; AVX takes AVX2, FMA and AVX-512 with it."""
_X86 = ("x86_64", "amd64")
_BUILD_TIMEOUT_S = 120


@dataclass(frozen=True)
class Library:
    """The kernel for one type of numbers."""

    forward: "ctypes._NamedFuncPointer"
    backward: "ctypes._NamedFuncPointer"
    lanes: int
    """Samples in a tile."""


class KernelError(RuntimeError):
    """The kernel cannot be built or loaded here; the message says why."""


@cache
def why_missing() -> str | None:
    """Why this machine has no kernel, None where it has one. Builds it."""
    try:
        for dtype in TYPES:
            library_of(dtype)
    except KernelError as error:
        return str(error)
    return None


@cache
def library_of(dtype: torch.dtype) -> Library:
    """The kernel for a type of numbers.

    Raises:
        KernelError: another type than float32 and float64, no compiler, or one that fails.
    """
    if dtype not in TYPES:
        raise KernelError(f"the kernel is for float32 and float64, found {dtype}")
    try:
        library = ctypes.CDLL(str(_built(*TYPES[dtype])))
    except OSError as error:
        raise KernelError(f"the kernel cannot be loaded: {error}") from error
    return Library(library.sweep_forward, library.sweep_backward, int(library.sweep_lanes()))


def _built(real: str, whole: str) -> Path:
    if sys.platform == "win32":
        raise KernelError("no kernel on Windows")
    compiler = next((found for name in (os.environ.get("CC"), "cc", "gcc", "clang") if name and (found := shutil.which(name))), None)
    if compiler is None:
        raise KernelError("no C compiler found (cc, gcc or clang)")
    source = resources.files("trainer.pack.kernels").joinpath("conv_pool_relu.c").read_bytes()
    options = _options()
    identity = b"|".join([source, compiler.encode(), _version(compiler), _processor(), real.encode(), " ".join(options).encode()])
    name = f"conv_pool_relu-{real}-{hashlib.sha256(identity).hexdigest()[:16]}.so"
    for folder in (_cache_folder(), Path(tempfile.gettempdir()) / f"pareto-sweep-{os.getuid()}"):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not _is_ours(folder):
                continue
            if not (folder / name).exists():
                _compile([compiler, *options, f"-DREAL={real}", f"-DWHOLE={whole}"], source, folder / name)
            return folder / name
        except OSError:
            continue
    raise KernelError("no folder for the built kernel can be written (cache and temporary folder)")


def _options() -> tuple[str, ...]:
    """The compiler's options: this processor's instructions, or fewer where PyTorch is told to use fewer."""
    is_x86 = platform.machine().lower() in _X86
    return _OPTIONS + (_HELD_DOWN.get(os.environ.get("ATEN_CPU_CAPABILITY", "").lower(), ()) if is_x86 else ())


def _is_ours(folder: Path) -> bool:
    """Whether nobody else can put a library there, which would run as this user: another owner, a link, writable for others."""
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _compile(command: list[str], source: bytes, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        code, built = Path(scratch) / "conv_pool_relu.c", Path(scratch) / "built.so"
        code.write_bytes(source)
        try:
            done = subprocess.run([*command, str(code), "-o", str(built)], capture_output=True, timeout=_BUILD_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise KernelError(f"the compiler took more than {_BUILD_TIMEOUT_S} s") from error
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise KernelError(f"{command[0]} failed: {next((line for line in lines if 'error' in line), 'no message')}")
        built.replace(target)


def _cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "pareto-sweep"


def _version(compiler: str) -> bytes:
    return subprocess.run([compiler, "--version"], capture_output=True, check=False, timeout=_BUILD_TIMEOUT_S).stdout


def _processor() -> bytes:
    """What `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return "|".join(next((line for line in lines if line.startswith(key)), "") for key in ("flags", "model name")).encode()
    except OSError:
        return f"{platform.machine()} {platform.processor()} {platform.node()}".encode()


def pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    """Where a tensor's numbers lie, for the kernel."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())
