"""Small originals of the paper's data sets and an object store, for tests in any folder; how the whole set is run.

(This file also puts `commands`, `original_files`, `object_store` and `waiting` on Python's path.)
"""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from object_store import CREDENTIALS, ObjectStore, object_store
from original_files import write_cifar_binary, write_idx

pytest_plugins = ["rerun_alone"]  # what fails beside others runs once more alone

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton's functions are made: the GPU's kernels run on the CPU


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make `tmp_path` the working folder and the place of caches."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture(scope="session")
def original_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with 60 training and 20 test images of MNIST and Fashion-MNIST, and 60 and 12 of CIFAR-10; noise, not pictures."""
    root = tmp_path_factory.mktemp("originals")
    write_idx(root / "MNIST/raw", seed=1)
    write_idx(root / "FashionMNIST/raw", seed=2, packed=True)
    write_cifar_binary(root, seed=3)
    return root


@pytest.fixture(scope="session")
def s3_server() -> Iterator[ObjectStore]:
    """A server that speaks S3."""
    pytest.importorskip("moto.server")
    with object_store() as found:
        yield found


@pytest.fixture
def s3_address(s3_server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a results folder in a bucket of its own; the credentials are in the environment."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return s3_server.address(s3_server.make_bucket(f"bucket-{uuid.uuid4().hex[:12]}"))


_FULL = ("browser", "chaos", "fuzz", "integration")
"""Folders whose tests take long: the short set runs only those with the mark `short`."""
_ALONE = ("integration", "chaos")
"""Folders whose tests start a Ray: each runs in one process, one test after the other."""


_SPREAD = ("test_on_cuda.py", "test_epo.py", "test_backends.py")
"""Files of many long cases that share nothing: each case goes to whichever process is free, instead of all to one."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `pytest -n 3` tests that start a Ray run one after the other in two processes, and everything else beside them.

    (Marks would say it more simply, but xdist 3.8 does not see its groups under pytest 9.2.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class Halves(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            if path.endswith(_SPREAD):
                return nodeid
            return next((kind for kind in _ALONE if f"{kind}/" in path), path)

    config.option.loadscopereorder = False  # by the number of tests the longest would begin last
    return Halves(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the tests into the short set, the full set and the slow one; of several processes' tests the longest begin first."""
    for item in items:
        is_long = item.path.relative_to(Path(__file__).parent).parts[0] in _FULL
        if item.get_closest_marker("slow"):  # of a test that is `full`, a case that takes too long for that
            item.own_markers = [mark for mark in item.own_markers if mark.name != "full"]
        elif is_long and not item.get_closest_marker("short"):
            item.add_marker(pytest.mark.full)
    if hasattr(config, "workerinput"):
        order = {kind: place for place, kind in enumerate(_ALONE)}
        items.sort(key=lambda item: next((order[kind] for kind in _ALONE if f"{kind}/" in item.nodeid), len(order)))
