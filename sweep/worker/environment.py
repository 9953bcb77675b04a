"""What a machine must have in common with the one that planned the run: the installation and the results folder."""

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

_PACKAGES = ("sweep", "trainer", "analysis")  # workers import all three: the store reads object stores by `analysis`
_VERSIONS = ("pareto-sweep", "torch")
_PATIENCE_S, _POLL_S = 3.0, 0.25


class NodeDiffersError(Exception):
    """This machine cannot train for the run: its installation or its results folder differs from where the run was planned."""


def product() -> dict[str, str]:
    """What results depend on in an installation: versions, and a digest of our source (two checkouts may have one version)."""
    versions = {"python": ".".join(platform.python_version_tuple()[:2]), "source": _source_digest()}
    for package in _VERSIONS:
        try:
            versions[package] = version(package).partition("+")[0]  # a build for CUDA is the same version
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
    """What every machine of the run has to find, as plain values. The run holds the locks of its results folders.

    The nonce of a lock is new in each run, so whoever reads it sees the same folder, and sees it as it is now. An address that is no
    folder here means the same everywhere.
    """
    folders = [root for root in roots if Path(root).is_dir()]
    return {"product": product(), "nonces": {root: (Store(Path(root)).lock_holder() or {}).get("nonce") for root in folders}}


def differences(expected: Mapping[str, Any], *, patience_s: float = _PATIENCE_S) -> list[str]:
    """Descriptions of what differs on this machine from what is expected; empty when nothing does.

    Args:
        expected: from `expectations`, of the machine that planned.
        patience_s: seconds that a network file system may lag behind.
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
    """Refuse to train on a node that differs; a worker asks this first, as nodes may have joined since the run began.

    Raises:
        NodeDiffersError: the message names everything that differs.
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
