"""Checkpoints: the newest counts, a torn one is skipped, and none outlives its trials."""

import json

import pytest
from example_store import row_of, safetensors_of

from sweep.store.store import Store, StoreError


def test_a_checkpoint_is_found_by_its_header(store: Store) -> None:
    data = safetensors_of(["a", "b"], epoch=12)
    store.save_checkpoint("p", 1, 2, data)
    (checkpoint,) = store.checkpoints()
    assert checkpoint.pack_id == "p"
    assert (checkpoint.attempt, checkpoint.retry, checkpoint.trial_ids, checkpoint.epoch) == (1, 2, ("a", "b"), 12)
    assert store.load_checkpoint(checkpoint) == data
    store.remove_checkpoints("p")
    assert store.checkpoints() == []
    with pytest.raises(StoreError, match="gone"):
        store.load_checkpoint(checkpoint)


def test_the_library_that_writes_checkpoints_is_understood(store: Store) -> None:
    numpy = pytest.importorskip("numpy")
    safetensors = pytest.importorskip("safetensors.numpy")
    notes = {"trial_ids": json.dumps(["a"]), "epoch": "4"}
    store.save_checkpoint("p", 1, 0, safetensors.save({"x": numpy.ones(3), "y": numpy.ones((2, 2))}, metadata=notes))
    store.save_checkpoint("q", 1, 0, safetensors.save({}, metadata=notes))
    assert [checkpoint.epoch for checkpoint in store.checkpoints()] == [4, 4]


def test_a_newer_checkpoint_replaces_older_ones_and_fences_off_late_writers(store: Store) -> None:
    for attempt, retry, epoch in ((1, 0, 5), (1, 0, 6), (2, 1, 7), (2, 0, 99), (1, 3, 99)):
        store.save_checkpoint("p", attempt, retry, safetensors_of(epoch=epoch))
    store.save_checkpoint("p.1", 1, 0, safetensors_of(epoch=1))
    assert [(checkpoint.pack_id, checkpoint.epoch) for checkpoint in store.checkpoints()] == [("p", 7), ("p.1", 1)]


@pytest.mark.parametrize(
    "data",
    [b"", b"1234567", b"\xff" * 100, safetensors_of()[:-1], safetensors_of() + b"x", safetensors_of("a"), safetensors_of(["a"], "3")]
    + [(10**12).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"[]", (2).to_bytes(8, "little") + b"{}"]
    + [safetensors_of()[: 8 + n_bytes] for n_bytes in (1, 50, 100)],
)
def test_a_torn_checkpoint_is_skipped_and_named(store: Store, data: bytes) -> None:
    store.save_checkpoint("good", 1, 0, safetensors_of())
    with pytest.raises(StoreError):
        store.save_checkpoint("bad", 1, 0, data)
    path = store.root / "checkpoints" / "bad.1-0.safetensors"
    path.write_bytes(data)
    assert [checkpoint.pack_id for checkpoint in store.checkpoints()] == ["good"]
    assert [name for name, _ in store.unreadable()] == [path]
    store.remove_checkpoints("bad")
    assert not path.exists()


def test_checkpoints_go_when_their_every_trial_is_complete(store: Store) -> None:
    store.save_checkpoint("p", 1, 0, safetensors_of(["a", "b"]))
    store.save_checkpoint("q", 1, 0, safetensors_of(["b", "c"]))
    store.remove_checkpoints("q", complete_ids={"b"})
    store.remove_checkpoints("q", complete_ids={"a", "b"})
    assert [checkpoint.pack_id for checkpoint in store.checkpoints()] == ["p", "q"]
    for trial_id in "ab":
        store.publish(row_of(trial_id))
    store.remove_checkpoints()
    assert [checkpoint.pack_id for checkpoint in store.checkpoints()] == ["q"]
    store.remove_checkpoints(complete_ids=["b", "c"])
    assert store.checkpoints() == []
