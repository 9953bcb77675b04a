"""Temporary folders of an attempt: where they lie, and that nothing of it stays, and nothing else goes."""

import os
import socket
import tempfile
from datetime import datetime
from pathlib import Path

import pytest

from sweep.cluster.temporary import RaySession, new_scratch, restore_users_folder, temporary_folder, use_scratch

FATAL = (
    "[2026-11-30 13:40:21,980 C 21393 21393] (gcs_server) loader.cc:115:  An unexpected system state. Check failed: has_token No token.\n"
)


def session(base: Path, pid: int = 77, stamp: str = "2026-11-30_13-40-21_510519") -> Path:
    folder = base / "ray" / f"session_{stamp}_{pid}"
    (folder / "logs").mkdir(parents=True)
    return folder


def test_rays_variable_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    assert temporary_folder({}) == Path("/tmp")
    assert temporary_folder({"TMPDIR": "/a"}) == Path("/a")
    assert temporary_folder({"TMPDIR": "/a", "RAY_TMPDIR": "/b"}) == Path("/b")
    assert temporary_folder({"TMPDIR": "/a", "RAY_TMPDIR": ""}) == Path("/a")


@pytest.mark.parametrize("before", [{}, {"TMPDIR": "/users"}, {"TMPDIR": "/users", "RAY_TMPDIR": "/rays"}])
def test_a_worker_has_the_users_folder_again(before: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/attempt")
    environment = dict(before)
    use_scratch("/attempt", environment)
    assert environment["TMPDIR"] == "/attempt"
    assert temporary_folder(environment) == temporary_folder(before), "Ray's session stays where it would be"
    restore_users_folder(environment)
    assert environment == before | {"RAY_TMPDIR": str(temporary_folder(before))}
    assert tempfile.tempdir is None
    restore_users_folder(environment)
    assert environment.get("TMPDIR") == before.get("TMPDIR"), "a worker of a cluster that was joined keeps its own"


def test_a_scratch_folder_is_its_owners_alone(tmp_path: Path) -> None:
    scratch = Path(new_scratch(tmp_path / "not yet there"))
    assert scratch.parent == tmp_path / "not yet there"
    assert scratch.stat().st_mode & 0o777 == 0o700


def test_the_session_of_a_driver_goes_and_no_other(tmp_path: Path) -> None:
    mine, others = session(tmp_path), [session(tmp_path, 771), session(tmp_path, 7), session(tmp_path, 78)]
    (mine / "sockets").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(mine / "sockets")  # a path that is short enough
        listener.bind("raylet")
        os.chdir(tmp_path)
    (tmp_path / "ray/session_latest").symlink_to(mine)
    (tmp_path / "ray/prom_metrics_service_discovery.json").write_text("[]")
    RaySession(77, tmp_path, 0).remove()
    assert not mine.exists()
    assert all(other.exists() for other in others)
    assert not (tmp_path / "ray/session_latest").is_symlink()
    assert (tmp_path / "ray/prom_metrics_service_discovery.json").exists(), "Prometheus watches it"


def test_the_latest_session_of_another_run_stays_the_latest(tmp_path: Path) -> None:
    session(tmp_path)
    latest = tmp_path / "ray/session_latest"
    latest.symlink_to(session(tmp_path, 78))
    RaySession(77, tmp_path, 0).remove()
    assert latest.is_dir()


def test_a_session_of_an_earlier_process_with_the_same_number_stays(tmp_path: Path) -> None:
    old = session(tmp_path)
    RaySession(77, tmp_path, datetime(2026, 11, 30, 13, 40, 30).timestamp()).remove()
    assert old.exists()
    RaySession(77, tmp_path, datetime(2026, 11, 30, 13, 40, 20).timestamp()).remove()
    assert not old.exists()


def test_a_session_of_another_user_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = session(tmp_path)
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    RaySession(77, tmp_path, 0).remove()
    assert other.exists()


def test_what_a_link_points_to_stays(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.mkdir()
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/session_2026-11-30_13-40-21_510519_77").symlink_to(target)
    RaySession(77, tmp_path, 0).remove()
    assert target.exists()


def test_without_a_session_nothing_happens(tmp_path: Path) -> None:
    found = RaySession(77, tmp_path, 0)
    found.remove()
    assert (found.folders(), found.fatal_line(), list(found.log_tails())) == ([], None, [])


def test_the_ends_of_rays_logs_are_given_workers_first(tmp_path: Path) -> None:
    logs = session(tmp_path) / "logs"
    (logs / "raylet.err").write_text("raylet says")
    (logs / "worker-1.err").write_text(":job_id:01\n" + "x" * 20_000 + "\nTraceback: the end\n")
    (logs / "worker-2.out").write_text(":actor_name:Pack\n")
    (logs / "events").mkdir()
    first, second = RaySession(77, tmp_path, 0).log_tails()
    assert first.startswith("--- Ray's worker-1.err, its end:\nxxx")
    assert first.endswith("Traceback: the end\n")
    assert len(first) < 17_000
    assert second == "--- Ray's raylet.err, its end:\nraylet says\n"


def test_why_the_gcs_gave_up_is_in_its_log(tmp_path: Path) -> None:
    folder = session(tmp_path)
    (folder / "logs/gcs_server.err").write_text("[2026-11-30 I 1 1] (gcs_server) started\n" + FATAL + "*** StackTrace\n")
    assert RaySession(77, tmp_path, 0).fatal_line() == "has_token No token."
