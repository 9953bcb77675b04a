"""A cache of built data in files, so that each worker maps the data instead of building it again."""

import hashlib
import os
import secrets
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def cache_folder(chosen: str | None) -> Path:
    """Return `chosen`, or `pareto-sweep` in the user's cache folder, which may not exist yet."""
    if chosen is not None:
        return Path(os.path.expanduser(chosen))
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pareto-sweep"


def publish(path: Path, write: Callable[[Path], object]) -> None:
    """Write a temporary file and rename it, so that no reader sees an incomplete file and two writers do not conflict.

    If the cache cannot be written, a warning is issued and the work continues.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(aside)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        warnings.warn(f"{path} cannot be written, so that it is built again each time ({error}); set the problem's `cache`", stacklevel=2)


def cached(path: Path, build: Callable[[], Mapping[str, "Tensor"]]) -> Mapping[str, "Tensor"]:
    """Return the tensors of a file, mapped into memory; they are built and stored first if the file is missing or damaged.

    Args:
        path: a safetensors file whose name identifies its content. The SHA-256 of its tensors is in its metadata.
        build: creates the tensors, which have to be contiguous.

    Returns:
        The tensors of `build`, which must not be modified, as they may be mapped from the file.
    """
    from safetensors.torch import save

    stored = _verified(path)
    if stored is not None:
        return stored
    tensors = dict(build())
    publish(path, lambda aside: aside.write_bytes(save(tensors, {"sha256": _digest(tensors)})))
    return tensors


def _verified(path: Path) -> "dict[str, Tensor] | None":
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (not a dict)
            expected = (stream.metadata() or {}).get("sha256")
    except (OSError, SafetensorError):
        return None
    return tensors if _digest(tensors) == expected else None


def _digest(tensors: "Mapping[str, Tensor]") -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.numpy().data)
    return digest.hexdigest()
