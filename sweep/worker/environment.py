"""A check that a machine has the same installation and the same results folder as the machine that planned the run."""

import hashlib
import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sweep.store.files import StoreError
from sweep.store.folder import make_writable
from sweep.store.store import Store

_PACKAGES = ("sweep", "trainer", "analysis")  # workers import all three, because the store reads object stores through `analysis`
_VERSIONS = ("pareto-sweep", "torch")
_PATIENCE_S, _POLL_S = 3.0, 0.25


class NodeDiffersError(Exception):
    """This machine cannot train for the run, because its installation or results folder differs from the planning machine's."""


def product() -> dict[str, str]:
    """Return what results depend on in an installation: versions, and a digest of our source.

    The digest is needed because two checkouts may have the same version number.
    """
    versions = {"python": ".".join(platform.python_version_tuple()[:2]), "source": _source_digest()}
    for package in _VERSIONS:
        try:
            versions[package] = version(package).partition("+")[0]  # a CUDA build counts as the same version
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _source_digest() -> str:
    digest = hashlib.sha256()
    for package in _PACKAGES:
        spec = find_spec(package)
        folder = Path(str(spec.origin if spec else None)).parent
        for path in sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".c")):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def expectations(roots: list[str]) -> dict[str, Any]:
    """Return what every machine of the run has to find, as plain values. The run must hold the locks of its results folders.

    Each run writes a new nonce into its lock, so a machine that reads the same nonce sees the same folder in its current state.
    Addresses of object stores are not checked, because they mean the same on every machine.

    Args:
        roots: the results folders of the run, as paths or addresses.
    """
    folders = [root for root in roots if Path(root).is_dir()]
    return {"product": product(), "nonces": {root: (Store(Path(root)).lock_holder() or {}).get("nonce") for root in folders}}


def differences(expected: Mapping[str, Any], *, patience_s: float = _PATIENCE_S) -> list[str]:
    """Describe how this machine differs from the expectations.

    Args:
        expected: the result of `expectations` on the planning machine.
        patience_s: seconds that a network file system may lag behind.

    Returns:
        One description per difference; empty if there is none.
    """
    here = product()
    differing = [
        f"{'the source of pareto-sweep' if name == 'source' else name} is {here.get(name)}, {wanted} where the run was planned"
        for name, wanted in expected["product"].items()
        if here.get(name) != wanted
    ]
    return [
        *differing,
        *(text for root, nonce in expected["nonces"].items() if (text := _folder_difference(Path(root), nonce, patience_s))),
    ]


def refuse_other_node(expected: Mapping[str, Any]) -> None:
    """Refuse to train on a node that differs. Workers check this first, because nodes may have joined since the run began.

    Args:
        expected: the result of `expectations` on the planning machine.

    Raises:
        NodeDiffersError: this machine differs; the message names every difference.
    """
    differing = differences(expected)
    if differing:
        raise NodeDiffersError(f"node {platform.node()} cannot train for this run: {'; '.join(differing)}")


def _folder_difference(root: Path, nonce: str | None, patience_s: float) -> str | None:
    if not _until(lambda: root.is_dir(), patience_s):
        return f"the results folder {root} is not there"
    try:
        is_same = nonce is None or _until(lambda: (Store(root).lock_holder() or {}).get("nonce") == nonce, patience_s)
        if not is_same:
            return f"the results folder {root} is another one, or older: it lacks this run's lock"
        make_writable(root)
    except (StoreError, OSError) as error:
        return f"the results folder {root} cannot be used: {str(error).splitlines()[0]} (as user {os.getuid()})"
    return None


def _until(condition: Callable[[], bool], patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
