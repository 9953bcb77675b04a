"""A results folder in an object store: the same claims as on a disk, by a real HTTP server, and what is different there."""

import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from claims_of_a_store import CLAIMS, DAMAGES, check, name_of
from example_store import epochs_of, manifest_of_a_sweep, row_of, safetensors_of
from object_store import ObjectStore, failing_share, proxy_before

from sweep.store.remote.path import RemotePath
from sweep.store.store import Store, StoreError, StoreWriteError, UnreachableError
from tests.unit.sweep.store import test_store


@pytest.fixture
def store(s3_address: str) -> Store:
    store = Store(s3_address)
    store.create(manifest_of_a_sweep())
    return store


@pytest.mark.parametrize("claim", CLAIMS, ids=name_of)
def test_it_holds_what_a_folder_on_a_disk_does(claim: Callable[..., None], store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    check(claim, store, monkeypatch)


@pytest.mark.parametrize("damage", DAMAGES)
def test_verify_names_each_damage(store: Store, damage: Callable[[Store], Any]) -> None:
    test_store.test_verify_names_each_damage_and_what_to_do(store, damage)


def names(store: Store) -> set[str]:
    """Of all objects below the root."""
    assert isinstance(store.root, RemotePath)
    found, folders = set(), [store.root]
    while folders:
        for path in folders.pop().list():
            if path._status is None:
                folders.append(path)
            else:
                found.add(str(path.relative_to(store.root)))
    return found


def test_a_new_prefix_has_no_manifest_and_nothing_complete(s3_address: str) -> None:
    store = Store(s3_address)
    assert store.manifest() is None
    assert store.complete() == {}
    assert store.unreadable() == store.checkpoints() == store.live() == []
    assert store.next_attempt() == 1
    assert store.lock_holder() is None
    assert names(store) == set()


def test_compaction_leaves_one_object_of_each_kind(store: Store) -> None:
    for trial_id in "abc":
        store.publish(row_of(trial_id), epochs_of(2), weights=trial_id.encode())
    before = store.read_rows()
    store.compact()
    assert store.read_rows().equals(before)
    assert store.complete() == dict.fromkeys("abc", "ok")
    assert {name for name in names(store) if not name.startswith("blobs/")} == {"manifest.json", "trials.parquet", "epochs.parquet"}
    store.publish(row_of("d", energy_wh=math.nan))
    store.compact()
    assert store.complete() == dict.fromkeys("abcd", "ok")
    assert store.verify() == []


def test_a_prefix_that_holds_other_things_is_refused(s3_address: str) -> None:
    store = Store(s3_address)
    assert isinstance(store.root, RemotePath)
    (store.root / "thesis.tex").write_bytes(b"x")
    with pytest.raises(StoreError, match=r"thesis\.tex"):
        store.lock()
    assert names(store) == {"thesis.tex"}


def test_what_a_crash_left_of_a_compaction_is_removed_by_the_next_run(store: Store) -> None:
    assert isinstance(store.root, RemotePath)
    (store.root / ".trials.parquet.0123abcd.tmp").write_bytes(b"half")
    assert [finding.path.name for finding in store.verify()] == [".trials.parquet.0123abcd.tmp"]
    store.remove_temporaries()
    assert store.verify() == []


def test_a_large_object_is_there_whole(store: Store) -> None:
    data = bytes(range(256)) * 50_000  # 12.8 MB: put in parts
    assert store.get_blob(store.put_blob(data)) == data
    checkpoint = safetensors_of([f"trial-{number:05}" for number in range(5000)])  # a header beyond the first read
    store.save_checkpoint("p", 1, 0, checkpoint)
    assert len(store.checkpoints()[0].trial_ids) == 5000


def test_running_packs_are_shown_now_and_then(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("sweep.store.records.time.monotonic", lambda: now[0])
    for epoch, seconds in ((1, 0.0), (2, 1.0), (3, 1.5)):
        now[0] += seconds
        store.write_live("p", {"epoch": epoch})
        assert store.live()[0]["epoch"] == (3 if epoch == 3 else 1)
    store.write_live("q", {"epoch": 9})
    assert len(store.live()) == 2
    store.clear_live()
    assert store.live() == []


def test_the_first_workers_backend_holds_for_all(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.store.files._SETTLE_S", 0.0)
    assert store.settle_backend("mdmtn", lambda: {"backend": "packed"}) == "packed"
    assert store.settle_backend("mdmtn", lambda: {"backend": "vmap"}) == "packed"
    assert store.settle_backend("hps", lambda: {"backend": store.settle_backend("hps", lambda: {"backend": "vmap"}) + "?"}) == "vmap"
    store.record_backends()
    manifest = store.manifest()
    assert manifest is not None
    assert manifest["backends"]["mdmtn"]["backend"] == "packed"


def test_a_bucket_that_is_not_there_is_said_at_once(s3_server: ObjectStore, s3_address: str) -> None:
    address = s3_server.address("no-such-bucket")
    with pytest.raises(StoreWriteError, match=r"there is no bucket no-such-bucket(?s:.*)AWS_ENDPOINT_URL") as refused:
        Store(address).lock()
    assert address in str(refused.value)
    with pytest.raises(StoreWriteError, match="there is no bucket"):
        Store(address).put_blob(b"x")


def test_an_endpoint_that_does_not_answer_is_said(s3_address: str) -> None:
    with pytest.raises(UnreachableError, match="check the network, the endpoint and the region"):
        Store("s3://bucket/results?endpoint_override=127.0.0.1:9&scheme=http").lock()


def test_no_access_is_the_users_to_mend(s3_server: ObjectStore, s3_address: str) -> None:
    bucket = s3_address.split("/")[2]
    with proxy_before(s3_server) as proxy:
        address = s3_server.address(bucket, port=proxy.port)
        store = Store(address)
        store.create(manifest_of_a_sweep())
        proxy.fault = lambda request: (403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
        for attempt in (store.lock, lambda: store.put_blob(b"x"), store.manifest):
            with pytest.raises(StoreWriteError, match=r"no access to bucket(?s:.*)check the credentials"):
                attempt()


def test_a_third_of_requests_failing_costs_no_result(s3_server: ObjectStore, s3_address: str) -> None:
    bucket = s3_address.split("/")[2]
    with proxy_before(s3_server) as proxy:
        store = Store(s3_server.address(bucket, port=proxy.port))
        proxy.fault = failing_share(1 / 3)
        with store.lock():
            store.create(manifest_of_a_sweep())
            for trial_id in "abcdef":
                store.publish(row_of(trial_id), epochs_of(2), weights=trial_id.encode())
            store.compact()
        assert proxy.n_faults > 20
        proxy.fault = lambda request: None
        assert store.complete() == dict.fromkeys("abcdef", "ok")
        assert store.verify() == []
        assert store.lock_holder() is None


def test_a_store_that_stays_away_is_a_passing_error_and_leaves_no_half(
    store: Store, s3_server: ObjectStore, s3_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweep.store.remote.path._ATTEMPTS", 3)
    bucket = s3_address.split("/")[2]
    with proxy_before(s3_server) as proxy:
        away = Store(s3_server.address(bucket, port=proxy.port))
        away.complete()
        proxy.fault = lambda request: (503, b"<Error><Code>SlowDown</Code><Message>slow down</Message></Error>")
        with pytest.raises(UnreachableError, match="cannot"):
            away.publish(row_of("a"))
        assert not away.control.stop_requested()
    assert store.complete() == {}
    assert store.verify() == []


def test_errors_travel_from_workers(s3_address: str) -> None:
    error = pickle.loads(pickle.dumps(UnreachableError("cannot write: SLOW_DOWN", RemotePath(s3_address), "wait")))
    assert str(error) == f"{s3_address}: cannot write: SLOW_DOWN\n  hint: wait"


def test_a_trial_takes_few_requests(s3_server: ObjectStore, s3_address: str) -> None:
    """What docs/store.md says."""
    bucket = s3_address.split("/")[2]
    with proxy_before(s3_server) as proxy:
        store = Store(s3_server.address(bucket, port=proxy.port))
        store.create(manifest_of_a_sweep())
        store.complete()

        def counted(call: Callable[[], object]) -> dict[str, int]:
            proxy.reset()
            call()
            return dict(proxy.counts)

        assert counted(lambda: store.publish(row_of("a"), epochs_of(3), b"weights")) == {"HEAD": 2, "GET": 1, "PUT": 3}
        assert counted(lambda: store.save_checkpoint("p", 1, 0, safetensors_of())) == {"GET": 1, "PUT": 1}
        assert counted(lambda: store.write_live("p", {"epoch": 1})) == {"PUT": 1}
        assert counted(lambda: [store.write_live("p", {"epoch": epoch}) for epoch in range(9)]) == {}
        assert counted(store.control.stop_requested) == {"HEAD": 1, "GET": 1}
        assert counted(store.control.stop_requested) == {}
        assert counted(lambda: store.remove_checkpoints("p")) == {"GET": 1, "HEAD": 1, "DELETE": 1, "PUT": 1}
        store.complete()
        assert counted(store.complete) == {"HEAD": 3, "GET": 2}  # a known row is not read again
