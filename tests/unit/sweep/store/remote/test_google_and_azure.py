"""A results folder in Google's and Azure's stores, by real HTTP servers: the same claims as on a disk, and what is different there."""

import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from claims_of_a_store import CLAIMS, DAMAGES, check, name_of
from cloud_servers import KINDS, CloudServer, cloud_server
from example_store import epochs_of, manifest_of_a_sweep, row_of, safetensors_of
from object_store import proxy_before

from analysis.results.table import read_results
from sweep.store.remote.path import RemotePath
from sweep.store.store import Store, StoreError, StoreWriteError, UnreachableError
from tests.unit.sweep.store import test_store

pytestmark = pytest.mark.slow  # needs emulators, which `tests/cloud_servers.py` names


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[CloudServer]:
    with cloud_server(request.param) as found:
        yield found


@pytest.fixture
def address(server: CloudServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a results folder in a bucket of its own."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server.address(server.make_bucket(f"bucket-{uuid.uuid4().hex[:12]}"))


@pytest.fixture
def store(address: str) -> Store:
    store = Store(address)
    store.create(manifest_of_a_sweep())
    return store


def bucket_of(address: str) -> str:
    return address.split("/")[2].partition("@")[0]


def root_of(store: Store) -> RemotePath:
    assert isinstance(store.root, RemotePath)
    return store.root


@pytest.mark.parametrize("claim", CLAIMS, ids=name_of)
def test_it_holds_what_a_folder_on_a_disk_does(claim: Callable[..., None], store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    check(claim, store, monkeypatch)


@pytest.mark.parametrize("damage", DAMAGES)
def test_verify_names_each_damage(store: Store, damage: Callable[[Store], Any]) -> None:
    test_store.test_verify_names_each_damage_and_what_to_do(store, damage)


def test_a_new_prefix_has_no_manifest_and_nothing_complete(address: str) -> None:
    store = Store(address)
    assert store.manifest() is None
    assert store.complete() == {}
    assert store.unreadable() == store.checkpoints() == store.live() == []
    assert store.next_attempt() == 1
    assert store.lock_holder() is None


def test_compaction_keeps_every_row_and_analysis_reads_them(store: Store, address: str) -> None:
    for trial_id in "abc":
        store.publish(row_of(trial_id), epochs_of(2), weights=trial_id.encode())
    before = store.read_rows()
    store.compact()
    assert store.read_rows().equals(before)
    assert [path.name for path in (store.root / "rows").list()] == []
    store.publish(row_of("d"))
    store.compact()
    assert store.complete() == dict.fromkeys("abcd", "ok")
    assert store.verify() == []
    assert sorted(read_results(address).frame["trial_id"]) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("name", ["thesis.tex", "thesis/chapter.tex"])
def test_a_prefix_that_holds_other_things_is_refused(address: str, name: str) -> None:
    store = Store(address)
    (root_of(store) / name).write_bytes(b"x")
    with pytest.raises(StoreError, match="thesis"):
        store.lock()


def test_one_run_at_a_time(store: Store, address: str) -> None:
    with store.lock():
        assert (store.lock_holder() or {})["pid"] == os.getpid()
        with pytest.raises(StoreError, match="another run works here"), Store(address).lock():
            pass
    assert store.lock_holder() is None
    with Store(address).lock():
        pass


def test_a_pause_and_a_stop_are_seen_and_lifted(store: Store) -> None:
    store.control.request_pause()
    assert store.control.pause_requested()
    store.control.lift_pause()
    assert not store.control.pause_requested()
    store.write_live("p", {"epoch": 1})
    assert store.live()[0]["epoch"] == 1
    store.clear_live()
    assert store.live() == []


def test_what_a_crash_left_is_removed_by_the_next_run(store: Store) -> None:
    (store.root / ".trials.parquet.0123abcd.tmp").write_bytes(b"half")
    if root_of(store).writes_aside:
        (store.root / "rows" / ".x.0123abcd.tmp").write_bytes(b"half")
    store.remove_temporaries()
    assert store.verify() == []


def test_a_large_object_is_there_whole(store: Store) -> None:
    data = bytes(range(256)) * 50_000
    assert store.get_blob(store.put_blob(data)) == data
    store.save_checkpoint("p", 1, 0, safetensors_of([f"trial-{number:05}" for number in range(5000)]))
    assert len(store.checkpoints()[0].trial_ids) == 5000


def test_a_reader_sees_the_old_or_the_new_content(store: Store) -> None:
    """pyarrow's client for Azure makes an object empty first, Google's loses one that is replaced while it is read."""
    path = root_of(store) / "live" / "p.json"
    path.write_bytes(b"a" * 2000)
    ended = threading.Event()

    def replace() -> None:
        while not ended.is_set():
            for letter in (b"a", b"b"):
                path.write_bytes(letter * 2000)
                time.sleep(0.02)

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        seen = {path.read_bytes() for _ in range(60)}
    finally:
        ended.set()
        writer.join()
    assert seen <= {b"a" * 2000, b"b" * 2000}


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the store would have waited before it asked again; it does not wait."""
    waited: list[float] = []
    monkeypatch.setattr("sweep.store.remote.path.time", SimpleNamespace(sleep=waited.append))
    return waited


def test_a_bucket_that_is_not_there_is_said_at_once(server: CloudServer, address: str, pauses: list[float]) -> None:
    nowhere = server.address("no-such-bucket")
    for attempt in (Store(nowhere).lock, Store(nowhere).manifest, lambda: Store(nowhere).put_blob(b"x")):
        with pytest.raises(StoreWriteError, match=r"there is no (bucket|container) no-such-bucket") as refused:
            attempt()
        assert nowhere.partition("?")[0] in str(refused.value)
    assert pauses == [], "it is not asked again"


def test_a_bucket_that_goes_is_said(server: CloudServer, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = RemotePath(address)
    root.list()
    monkeypatch.setattr("sweep.store.remote.path.RemotePath._place", lambda self: f"gone-{uuid.uuid4().hex[:8]}/x/{self.name}")
    with pytest.raises(StoreWriteError, match="there is no"):
        (root / "x").write_bytes(b"x")


def test_no_access_is_the_users_to_mend(server: CloudServer, address: str) -> None:
    with proxy_before(server) as proxy:
        store = Store(server.address(bucket_of(address), port=proxy.port))
        store.create(manifest_of_a_sweep())
        proxy.content_type = "text/plain"
        proxy.fault = lambda request: (403, b'{"error": {"code": 403, "message": "no"}}')
        for attempt in (store.lock, lambda: store.put_blob(b"x"), store.manifest):
            with pytest.raises(StoreWriteError, match=r"no access to (bucket|container)(?s:.*)check the credentials"):
                attempt()


def test_an_endpoint_that_does_not_answer_is_asked_again_for_less_than_half_a_minute(
    server: CloudServer, address: str, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    with pytest.raises(UnreachableError, match="check the network"):
        Store(server.address("bucket", port=9)).manifest()
    assert sum(pauses) < 30
    monkeypatch.setattr("analysis.results.cloud._FIRST_ANSWER_S", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(UnreachableError, match="no answer within 3 s"):
        Store(server.address("bucket", port=silent.getsockname()[1])).lock()


def test_credentials_that_are_none_end_no_process() -> None:
    """pyarrow's client for Azure ends the process; nothing is asked here, or by a process of its own."""
    code = "import sys; from sweep.store.store import Store\ntry: Store(sys.argv[1]).manifest()\nexcept Exception as error: print(error)"
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE_", "GOOGLE_"))}
    emulator = "abfs://bucket@a/x?blob_storage_authority=127.0.0.1:9&blob_storage_scheme=http"
    for address, more, said in (
        (emulator, {}, "set AZURE_STORAGE_KEY"),
        (emulator, {"AZURE_STORAGE_KEY": "hello"}, "AZURE_STORAGE_KEY is not a key"),
        ("abfs://bucket@a/x?blob_storage_authority=127.0.0.1:9", {}, "no credentials were found"),
        ("gs://bucket/x", {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere.json"}, "no credentials were found"),
    ):
        asked = subprocess.run([sys.executable, "-c", code, address], capture_output=True, text=True, timeout=60, env={**plain, **more})
        assert (asked.returncode, said in asked.stdout) == (0, True), asked.stdout + asked.stderr
