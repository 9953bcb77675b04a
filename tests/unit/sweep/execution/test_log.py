"""The log of an attempt: written on a disk, kept beside the results."""

from pathlib import Path

import pytest

from sweep.execution.log import keep_log, relative_log, written_log
from sweep.store.remote.path import RemotePath
from sweep.store.store import StoreWriteError


def test_beside_a_folder_it_is_written_where_it_is_kept(tmp_path: Path) -> None:
    kept = tmp_path / "results" / "logs" / "3.log"
    assert written_log(kept) == kept
    assert kept.parent.is_dir()
    keep_log(kept, kept)
    assert not kept.exists()
    assert relative_log(kept, tmp_path / "results") == "logs/3.log"
    assert relative_log(kept, tmp_path / "other") == "../results/logs/3.log"


def test_for_an_object_store_it_is_put_when_the_attempt_ends(tmp_path: Path, s3_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = RemotePath(s3_address)
    kept = root / "logs" / "3.log"
    log = written_log(kept)
    assert log.is_relative_to(tmp_path / "cache")
    assert log != written_log(RemotePath(s3_address.replace("results", "other")) / "logs" / "3.log")
    keep_log(log, kept)  # nothing was written
    assert not kept.exists()
    log.write_text("what Ray said")
    keep_log(log, kept)
    assert kept.read_bytes() == b"what Ray said"
    assert relative_log(kept, root) == "logs/3.log"
    assert relative_log(kept, root.parent / "other") == "../results/logs/3.log"
    assert relative_log(kept, tmp_path) == str(kept)
    assert relative_log(tmp_path / "3.log", root) == str(tmp_path / "3.log")


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(StoreWriteError, match="cannot write"):
        written_log(RemotePath("s3://bucket/x/logs/1.log"))
