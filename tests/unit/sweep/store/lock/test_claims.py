"""What only the claims of an object store do. What both locks do is in `test_folder_lock.py`."""

import json
from dataclasses import asdict

import pytest

from sweep.store.lock.claims import Claims, read_claims
from sweep.store.lock.folder_lock import Holder
from tests.unit.sweep.store.lock.test_folder_lock import NEVER, Bucket, FakeClock, ended_pid


@pytest.fixture
def bucket(s3_address: str) -> Bucket:
    return Bucket(s3_address)


@pytest.mark.parametrize("is_held", [True, False])
def test_a_dead_runs_claim_is_removed_whether_or_not_it_held_the_folder(bucket: Bucket, is_held: bool) -> None:
    dead = bucket.leave(pid=ended_pid(), is_held=is_held)
    clock = FakeClock()
    with bucket.lock(clock=clock):
        (name,) = bucket.names()
        assert name != f"{dead.nonce}.json"
        assert clock.now == 0


def test_objects_that_are_no_claims_hold_nothing(bucket: Bucket) -> None:
    for name, data in (("a.json", b"{"), ("b.json", b'{"host": "h"}'), ("c.json", json.dumps(asdict(Holder.myself())).encode())):
        (bucket.path / name).write_bytes(data)
    assert bucket.lock().current_holder() is None
    clock = FakeClock()
    with bucket.lock(clock=clock):
        assert clock.now == 0


def test_a_late_heartbeat_of_a_replaced_holder_does_not_count(bucket: Bucket) -> None:
    """The holder slept, and another host judged it dead; its heartbeat comes after its claim was removed."""
    with Claims(bucket.path, beat_every=NEVER) as lock:
        replaced = lock.current_holder()
        assert replaced is not None
        bucket.replace(replaced)
        bucket.remove(replaced)
        lock._write_heartbeat(replaced)
        assert set(read_claims(bucket.path)) == {"successor"}
    assert bucket.names() == ["successor.json"]
