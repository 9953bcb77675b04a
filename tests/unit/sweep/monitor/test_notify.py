"""Messages to a web address, with a real HTTP server: they arrive, and whatever the receiver does, the sweep goes on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from receiver import SECRET, Receiver, receiving

from sweep.api import run_and_report_all
from sweep.cluster.driver import AttemptJob
from sweep.errors import SweepError
from sweep.execution import attempt
from sweep.execution.options import RunOptions
from sweep.grid.load import parse_config
from sweep.monitor import notify
from sweep.monitor.notify import Notifier, NotifyingProgress, check_address, notifying
from sweep.monitor.outcome import Outcome, Timing
from sweep.monitor.progress import Snapshot
from sweep.store.store import LockedError, Store


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


class Told:
    """What the user sees."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.n_updates = 0

    def message(self, text: str) -> None:
        self.messages.append(text)

    def update(self, snapshot: Snapshot) -> None:
        self.n_updates += 1

    def close(self) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "out")
    names = [{"name": name} for name in ("sparsity", "left", "right")]
    store.create({"schema_version": 3, "name": "tiny", "tasks": ["left", "right"], "studies": [{"name": "main"}], "objectives": names})
    return store


def fail(store: Store, trial_id: str, state: str = "error") -> None:
    row = {"trial_id": trial_id, "attempt": 1, "retry": 0, "study": "main", "seed": 3, "k": [0.5, 0.25, 0.25]}
    store.publish(row | {"state": state, "error": "ValueError: no such shape"})


def seen(n_failed: int) -> Snapshot:
    return Snapshot(n_trials=30, states={"error": n_failed}, n_before=0, live=(), elapsed_s=1.0)


def outcome(root: Path, **changes: Any) -> Outcome:
    values = {"exit_code": 3, "n_trials": 4, "states": {"ok": 2, "error": 1}, "n_trained": 3, "is_interrupted": False, "message": "1 left"}
    return Outcome(root, **(values | changes), timing=Timing())


def test_a_trial_that_fails_for_good_and_the_end_are_told(store: Store, receiver: Receiver) -> None:
    fail(store, "before")
    told = Told()
    with notifying(told, {store.root: "tiny"}, receiver.url) as (progress, ended):
        progress.update(seen(1))
        fail(store, "later")
        progress.update(seen(2))
        progress.update(seen(2))
        ended(outcome(store.root))
    assert told.messages == []
    assert told.n_updates == 3
    failed, last = receiver.messages
    assert failed == {
        "event": "trial_failed",
        "folder": str(store.root),
        "trial_id": "later",
        "study": "main",
        "k": [0.5, 0.25, 0.25],
        "seed": 3,
        "state": "error",
        "error": "ValueError: no such shape",
    }
    assert last == {
        "event": "sweep_ended",
        "sweep": "tiny",
        "folder": str(store.root),
        "exit_code": 3,
        "message": "1 left",
        "trials": 4,
        "states": {"ok": 2, "error": 1},
        "left": 1,
        "trained": 3,
    }
    for path, headers, body in receiver.requests:
        assert path == f"/{SECRET}"
        assert headers["Content-Type"] == "application/json"
        assert (body.count("\n"), body[-1]) == (1, "\n")


def test_a_flood_of_failures_is_cut_off_and_a_trial_is_told_once(store: Store, receiver: Receiver) -> None:
    notifier = Notifier(receiver.url, Told().message)
    progress = NotifyingProgress(Told(), [store.root], notifier)
    for number in range(25):
        fail(store, f"trial-{number}", "diverged")
        if number % 5 == 0:
            progress.update(seen(number + 1))
    progress.look()
    notifier.close()
    ids = [message["trial_id"] for message in receiver.messages]
    assert len(ids) == len(set(ids)) == 20


@pytest.mark.parametrize("code", [500, 403, 302])
def test_a_receiver_that_refuses_is_one_warning_without_the_secret(store: Store, receiver: Receiver, code: int) -> None:
    receiver.code = code
    told = Told()
    with notifying(told, {store.root: "tiny"}, receiver.url) as (_, ended):
        ended(outcome(store.root))
        ended(outcome(store.root))
    (warning,) = told.messages
    assert warning == f"--notify: no message reached http://127.0.0.1:{receiver.server_port} (HTTP {code}); the sweep goes on"
    assert [path for path, _, _ in receiver.requests] == [f"/{SECRET}"] * 2, "a message goes nowhere else"


def test_a_receiver_that_is_not_there_or_never_answers_is_one_warning(
    store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "TIMEOUT_S", 0.2)
    receiver.wait_s = 30.0
    gone = Receiver()
    gone.server_close()
    for url in (receiver.url, gone.url):
        told = Told()
        with notifying(told, {store.root: "tiny"}, url) as (progress, ended):
            progress.update(seen(0))
            ended(outcome(store.root))
        (warning,) = told.messages
        assert warning.startswith("--notify: no message reached http://127.0.0.1:")
        assert SECRET not in warning


def test_an_error_of_the_user_ends_the_sweep_too_but_a_run_that_never_began_does_not(store: Store, receiver: Receiver) -> None:
    with pytest.raises(SweepError), notifying(Told(), {store.root: "tiny"}, receiver.url):
        raise SweepError("the disk is full")
    with pytest.raises(LockedError), notifying(Told(), {store.root: "tiny"}, receiver.url):
        raise LockedError("another run works here")
    (message,) = receiver.messages
    assert (message["event"], message["exit_code"], message["message"]) == ("sweep_ended", 2, "the disk is full")


def test_without_an_address_nothing_changes(store: Store) -> None:
    told = Told()
    with notifying(told, {store.root: "tiny"}, None) as (progress, ended):
        assert progress is told
        ended(outcome(store.root))


class OneFails:
    """A driver whose first trial fails for good, and whose others are never trained."""

    def __init__(self, job: AttemptJob, log: Path) -> None:
        pack = job.packs[0]
        trial = pack["trials"][0]
        row = {"trial_id": trial["trial_id"], "attempt": pack["attempt"], "retry": 0, "study": "main", "k": trial["k"]}
        Store(Path(pack["root"])).publish(row | {"state": "error", "error": "ValueError: no"})
        Store(Path(pack["root"])).control.request_stop()

    def is_running(self) -> bool:
        return False

    def events(self) -> Iterator[dict[str, Any]]:
        yield from ()

    def stop_now(self) -> None:
        pass


def test_a_run_tells_of_its_failures_and_its_end(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "DriverProcess", OneFails)
    grid = {"name": "told", "problem": {"name": "analytic/zdt1", "n_steps": 1}, "preferences": {"list": [[0.5, 0.5], [0.25, 0.75]]}}
    config = parse_config(grid | {"output": str(tmp_path / "out")})
    ((outcome, report),) = run_and_report_all((config,), RunOptions(is_quiet=True, notify=receiver.url))
    assert (outcome.exit_code, report.exists()) == (130, True)
    failed, ended = receiver.messages
    assert (failed["event"], failed["error"], failed["folder"]) == ("trial_failed", "ValueError: no", str(tmp_path / "out"))
    assert (ended["event"], ended["sweep"], ended["exit_code"], ended["left"]) == ("sweep_ended", "told", 130, 1)


@pytest.mark.parametrize("url", ["https://example.org/hook", "http://127.0.0.1:8000", "http://[::1]:8000/x?y=z"])
def test_web_addresses_are_taken(url: str) -> None:
    assert check_address(url) == url


@pytest.mark.parametrize(
    "url",
    ["", "example.org", "ftp://example.org", "file:///etc/passwd", "http://", "http://x:99999/", "http://a b/", "http://x\n/", "http://[/"],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(SweepError, match="--notify: an http:// or https:// address is expected"):
        check_address(url)


def test_a_password_in_the_address_is_refused() -> None:
    with pytest.raises(SweepError, match="without user and password") as refused:
        check_address("https://me:hunter2@example.org/")
    assert "hunter2" not in str(refused.value)
