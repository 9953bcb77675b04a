"""What keeps a Ray from starting is said before any process begins; what Ray raises is sorted."""

import errno
import os
from pathlib import Path

import pytest

from sweep.cluster import ray_start
from sweep.cluster.machine import Limit, Machine
from sweep.cluster.ray_start import refuse_unusable_machine, start_fault
from sweep.cluster.slots import WorkerKind
from sweep.errors import SweepError
from sweep.worker.faults import Kind

ONE = (WorkerKind({"CPU": 1.0, "GPU": 0.0, "memory": 1.5e9}, {}),)
GOOD = Machine((Limit("CPU", 2, "2 cores"), Limit("GPU", 0, "no GPUs")))


class Place:
    """A home folder, a temporary folder and a root folder with shared memory."""

    def __init__(self, folder: Path) -> None:
        self.home, self.root, self.temporary = folder / "home", folder / "root", Path("/tmp")
        self.home.mkdir()
        (self.root / "dev/shm").mkdir(parents=True)
        self.token = self.home / ".ray" / "auth_token"
        self.environment = {"HOME": str(self.home)}

    def said(self, address: str | None = None, machine: Machine = GOOD) -> str:
        """What the user is told; empty where nothing is wrong."""
        try:
            refuse_unusable_machine(address, ONE, machine, self.environment, self.root)
        except SweepError as error:
            return str(error)
        return ""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_good_machine_is_taken_and_nothing_is_left_on_it(place: Place, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert place.said() == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_a_user_without_a_home_folder_is_told_to_set_home(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    place.environment = {}
    for address in (None, "auto"):
        said = place.said(address)
        assert said.startswith(f"no home folder: HOME is not set, and user id {os.getuid()} is not in the password database\n")
        assert "`export HOME=...`" in said


def test_a_token_that_cannot_be_read_is_named(place: Place) -> None:
    """A folder in its place stands for missing permission, which root does not know."""
    place.token.mkdir(parents=True)
    for address in (None, "auto"):
        assert f"{place.token}: Ray's token cannot be read (Is a directory)" in place.said(address)
    place.environment["RAY_AUTH_TOKEN"] = "0" * 64
    assert place.said() == ""


def test_an_empty_token_is_named(place: Place) -> None:
    place.token.parent.mkdir()
    place.token.write_text("\n")
    assert f"{place.token}: Ray's token is empty" in place.said()


def test_a_token_that_cannot_be_written_is_named(place: Place) -> None:
    place.environment["HOME"] = str(place.home / "file" / "below")
    (place.home / "file").write_text("")
    assert "auth_token: Ray's token cannot be" in place.said()


def test_a_token_file_of_the_users_own_has_to_exist_for_a_local_ray(place: Place, tmp_path: Path) -> None:
    place.environment["RAY_AUTH_TOKEN_PATH"] = str(tmp_path / "none")
    assert f"RAY_AUTH_TOKEN_PATH={tmp_path / 'none'}: there is no such file" in place.said()
    assert place.said("auto") == ""


def test_without_authentication_no_token_is_needed(place: Place) -> None:
    place.token.mkdir(parents=True)
    place.environment["RAY_AUTH_MODE"] = "disabled"
    assert place.said() == ""


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_a_temporary_folder_with_a_long_path_is_refused(place: Place, name: str) -> None:
    place.environment[name] = "/tmp/" + "a" * 115
    said = place.said()
    assert said.startswith(f"{name}=/tmp/aaa")
    assert ": 120 bytes are too many for the path of a socket; Ray needs " in said
    assert "export RAY_TMPDIR=~/.r" in said


def test_the_longest_path_that_fits_is_taken(place: Place) -> None:
    most = 107 - len(f"/ray/session_2026-01-31_23-59-59_123456_{os.getpid()}/sockets/plasma_store")
    for length, is_good in ((most, True), (most + 1, False)):
        place.environment["RAY_TMPDIR"] = f"/dev/null/{'a' * (length - len('/dev/null/'))}"  # where nothing can be made
        assert ("too many" not in place.said()) is is_good


def test_a_relative_temporary_folder_is_refused(place: Place) -> None:
    place.environment["RAY_TMPDIR"] = "tmp"
    assert place.said().startswith("RAY_TMPDIR=tmp: an absolute path is needed for temporary files")


def test_an_empty_variable_is_none(place: Place) -> None:
    """Ray itself would make a folder `ray` in the working directory, and fail."""
    place.environment["RAY_TMPDIR"] = ""
    assert place.said() == ""


def test_a_temporary_folder_that_takes_no_files_is_named_with_its_owner(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**options: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(ray_start.tempfile, "mkdtemp", refused)
    monkeypatch.setattr(ray_start.os, "getuid", lambda: 4242)
    said = place.said()
    assert said.startswith("/tmp: the folder for temporary files cannot be used (Permission denied; it belongs to user id 0)")
    assert "export RAY_TMPDIR=~/.r" in said


def test_missing_shared_memory_is_named(place: Place) -> None:
    (place.root / "dev/shm").rmdir()
    assert place.said().startswith("/dev/shm: the folder for shared memory is missing, and Ray needs it\n")
    assert "docker run --shm-size=1g" in place.said()
    assert place.said("auto") == ""


def test_all_is_said_at_once(place: Place) -> None:
    (place.root / "dev/shm").rmdir()
    place.token.mkdir(parents=True)
    place.environment["RAY_TMPDIR"] = "tmp"
    assert [line.split(":")[0] for line in place.said().splitlines() if not line.startswith("  ")] == [
        str(place.token),
        "RAY_TMPDIR=tmp",
        "/dev/shm",
    ]


def test_a_machine_without_room_for_a_worker_is_refused_before_ray_starts(place: Place) -> None:
    small = Machine((Limit("CPU", 2, "2 cores"), Limit("GPU", 0, "no GPUs"), Limit("memory", 1e9, "memory limit of this container: ...")))
    said = place.said(machine=small)
    assert said.startswith("this machine has no room for one worker: memory limit of this container: ..., a worker needs 1.5 GB\n")
    assert place.said("auto", machine=small) == ""


# -- what Ray raised -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/tmp/ray/session_1"), "RAY_TMPDIR"),
        (OSError("validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes: /a/b"), "RAY_TMPDIR"),
        (OSError(errno.EADDRINUSE, "Address already in use"), "end the program that uses the port"),
        (RuntimeError("Failed to start the dashboard: Port 8265 is already in use"), "end the program that uses the port"),
        (OSError(errno.ENOSPC, "No space left on device"), "free some space"),
        (RuntimeError("Could not determine home directory."), "set HOME"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/dev/shm"), "hint: "),
        (ValueError("Attempting to start raylet with 2 GPUs, but CUDA_VISIBLE_DEVICES contains ['0']."), "the log of this attempt"),
        (RuntimeError("something that nobody has foreseen"), "the log of this attempt"),
    ],
)
def test_an_error_that_waiting_does_not_mend_is_the_users(error: Exception, hint: str) -> None:
    kind, message = start_fault(error, None)
    assert kind is Kind.USER
    assert message.startswith("Ray did not start on this machine: ")
    assert str(error).splitlines()[0] in message
    assert hint in message.partition("\n  hint: ")[2] or hint in message


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("The current node timed out during startup. This could happen because some of the raylet failed to startup."),
        RuntimeError("Timed out waiting for file /tmp/ray/session_1/gcs_server_port_1"),
        RuntimeError("Failed to start GCS.  Last 0 lines of error files:\n\n."),
        ConnectionError("Could not connect to Ray"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        OSError(errno.EAGAIN, "Resource temporarily unavailable"),
        MemoryError(),
    ],
)
def test_an_error_that_may_pass_is_tried_again(error: Exception) -> None:
    kind, message = start_fault(error, None)
    assert kind is Kind.TRANSIENT
    assert message.startswith("Ray did not start on this machine: ")


def test_why_the_gcs_gave_up_counts_more_than_that_it_timed_out() -> None:
    kind, message = start_fault(
        RuntimeError("Timed out waiting for file /tmp/ray/session_1/gcs_server_port_1"),
        "has_token || ignore_auth_mode Token authentication is enabled but Ray couldn't find an authentication token.",
    )
    assert kind is Kind.USER
    assert "couldn't find an authentication token" in message
    assert "RAY_AUTH_TOKEN" in message
