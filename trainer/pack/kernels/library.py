"""Builds the library of `conv_pool_relu.c` on first use, and loads it.

The library is stored in the user's cache under a name that depends on the source, the compiler, its options and the processor,
so that machines that share a home folder do not load each other's libraries.
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
"""The filter sizes that the kernel supports."""
TYPES = {torch.float32: ("float", "int32_t"), torch.float64: ("double", "int64_t")}
"""The supported types, with the names of the floating-point type and of an integer of the same size in C."""
_OPTIONS = ("-O3", "-march=native", "-shared", "-fPIC")
_RESTRICTIONS = {"default": ("-mno-avx",), "avx2": ("-mno-avx512f",)}
"""Options that restrict an x86 processor as PyTorch's variable ATEN_CPU_CAPABILITY does; without AVX there is no AVX2, FMA or AVX-512."""
_X86 = ("x86_64", "amd64")
_BUILD_TIMEOUT_S = 120


@dataclass(frozen=True)
class Library:
    """The kernel for one floating-point type."""

    forward: "ctypes._NamedFuncPointer"
    backward: "ctypes._NamedFuncPointer"
    lanes: int
    """Number of samples in a tile."""


class KernelError(RuntimeError):
    """The kernel cannot be built or loaded on this machine; the message says why."""


@cache
def why_missing() -> str | None:
    """Return why this machine has no kernel, or None if it has one. Builds the kernel."""
    try:
        for dtype in TYPES:
            library_of(dtype)
    except KernelError as error:
        return str(error)
    return None


@cache
def library_of(dtype: torch.dtype) -> Library:
    """Return the kernel for a floating-point type.

    Raises:
        KernelError: the type is neither float32 nor float64, there is no compiler, or the compiler fails.
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
    compiler = next((path for name in (os.environ.get("CC"), "cc", "gcc", "clang") if name and (path := shutil.which(name))), None)
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
    """Return the compiler's options: all instructions of this processor, or fewer where PyTorch is restricted to fewer."""
    is_x86 = platform.machine().lower() in _X86
    return _OPTIONS + (_RESTRICTIONS.get(os.environ.get("ATEN_CPU_CAPABILITY", "").lower(), ()) if is_x86 else ())


def _is_ours(folder: Path) -> bool:
    """Return whether no other user can write to a folder: it is not a link, belongs to this user, and is not writable by others."""
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
    """Return a description of the processor, on which `-march=native` depends."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return "|".join(next((line for line in lines if line.startswith(key)), "") for key in ("flags", "model name")).encode()
    except OSError:
        return f"{platform.machine()} {platform.processor()} {platform.node()}".encode()


def pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    """Return a pointer to the numbers of a tensor, or a null pointer."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())
