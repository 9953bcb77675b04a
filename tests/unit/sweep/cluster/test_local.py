"""The token file and the environment of a local Ray."""

import os
import stat
import threading
from pathlib import Path

import pytest

from sweep.cluster.local import keep_to_loopback, private_token


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def _loose_umask() -> object:
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_token_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    private_token(tmp_path, is_needed=True)
    token = tmp_path / ".ray" / "auth_token"
    assert mode(token) == 0o600
    assert mode(token.parent) == 0o700
    assert len(bytes.fromhex(token.read_text())) == 32
    assert [path.name for path in token.parent.iterdir()] == ["auth_token"]


def test_a_token_that_all_may_read_is_closed_and_kept(tmp_path: Path) -> None:
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("f" * 64)
    token.chmod(0o664)
    private_token(tmp_path, is_needed=True)
    assert mode(token) == 0o600
    assert token.read_text() == "f" * 64


def test_no_token_is_made_for_a_cluster_of_somebody_else(tmp_path: Path) -> None:
    private_token(tmp_path, is_needed=False)
    assert not (tmp_path / ".ray").exists()


def test_two_runs_at_once_share_one_token(tmp_path: Path) -> None:
    seen: list[str] = []

    def start() -> None:
        private_token(tmp_path, is_needed=True)
        seen.append((tmp_path / ".ray" / "auth_token").read_text())

    runs = [threading.Thread(target=start) for _ in range(8)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(seen) == 8
    assert len(set(seen)) == 1


def test_what_the_user_set_stays() -> None:
    environment = {"RAY_AUTH_MODE": "disabled"}
    keep_to_loopback(environment)
    assert environment == {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
