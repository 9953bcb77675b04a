"""What a machine is asked before it trains for a run that was planned on another one."""

import errno
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweep.store.store import Store
from sweep.worker.environment import NodeDiffersError, differences, expectations, product, refuse_other_node


def test_the_machine_that_planned_differs_in_nothing(tmp_path: Path) -> None:
    with Store(tmp_path / "out").lock():
        expected = expectations([str(tmp_path / "out")])
        assert differences(expected) == []
        refuse_other_node(expected)


def test_each_difference_is_named(tmp_path: Path) -> None:
    with Store(tmp_path / "out").lock():
        expected = expectations([str(tmp_path / "out")])
        other = expected | {"product": product() | {"source": "0" * 12, "torch": "1.0"}}
        found = differences(other)
        assert len(found) == 2
        assert any("the source of pareto-sweep" in text for text in found)
        assert any(text.startswith("torch is ") and text.endswith("1.0 where the run was planned") for text in found)
        with pytest.raises(NodeDiffersError, match=r"cannot train for this run: .*torch"):
            refuse_other_node(other)


@pytest.mark.parametrize("package", ["sweep", "trainer", "analysis"])
def test_another_source_of_any_of_our_packages_is_another_product(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers import all three."""
    before = product()["source"]
    copy = tmp_path / package
    shutil.copytree(Path(str(find_spec(package).origin)).parent, copy)  # type: ignore[union-attr]
    real = find_spec

    def moved(name: str) -> object:
        return SimpleNamespace(origin=str(copy / "__init__.py")) if name == package else real(name)

    monkeypatch.setattr("sweep.worker.environment.find_spec", moved)
    assert product()["source"] == before
    (copy / "__init__.py").write_text("changed = True\n")
    assert product()["source"] != before


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    (found,) = differences({"product": {}, "nonces": {str(tmp_path / "nowhere"): "1"}}, patience_s=0)
    assert "nowhere is not there" in found


def test_an_address_that_is_no_folder_is_the_same_everywhere() -> None:
    assert expectations(["s3://bucket/prefix"])["nonces"] == {}


def test_a_copy_of_the_folder_is_another_one(tmp_path: Path) -> None:
    """What a node has at the same path on a disk of its own, say from an earlier run."""
    with Store(tmp_path / "out").lock():
        pass
    (tmp_path / "out" / "lock.json").touch()
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    (tmp_path / "out" / "lock.json").unlink()
    with Store(tmp_path / "out").lock():
        nonce = expectations([str(tmp_path / "out")])["nonces"][str(tmp_path / "out")]
        assert nonce
        (found,) = differences({"product": {}, "nonces": {str(tmp_path / "copy"): nonce}}, patience_s=0)
        assert "is another one, or older" in found


def test_a_folder_that_takes_no_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path / "out").lock():
        expected = expectations([str(tmp_path / "out")])
        monkeypatch.setattr("sweep.store.files.os.open", _read_only)
        (found,) = differences(expected, patience_s=0)
        assert "cannot be used" in found
        assert "read-only" in found


_open = os.open


def _read_only(path: str, flags: int, *arguments: Any, **options: Any) -> int:
    if flags & os.O_CREAT:
        raise OSError(errno.EROFS, "Read-only file system")
    return _open(path, flags, *arguments, **options)
