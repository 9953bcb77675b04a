"""A results folder may hold links, pipes and files of enormous size: none is followed, waited for or read."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from example_store import epochs_of, manifest_of_a_sweep, row_of, row_path, safetensors_of

from sweep.store.files import NotPlainError, UnreadableError, open_plain, read_json, read_plain
from sweep.store.store import Store, StoreError

pytestmark = pytest.mark.timeout(60)  # a pipe that is waited for never ends


def link(path: Path) -> None:
    other = path.parents[1] / "outside.json"
    other.write_text('{"secret": 1}')
    path.symlink_to(other)


def enormous(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


def listener(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket has 107 bytes at most
        one.bind(path.name)
        os.chdir(here)


STRANGE: dict[str, Callable[[Path], None]] = {
    "link": link,
    "link to itself": lambda path: path.symlink_to(path.name),
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "enormous": enormous,
    "socket": listener,
}


@pytest.fixture(params=STRANGE)
def strange(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    return STRANGE[request.param]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    store.create(manifest_of_a_sweep())
    store.publish(row_of("a"), epochs_of(2), weights=b"weights")
    return store


def test_only_a_plain_file_is_opened(tmp_path: Path, strange: Callable[[Path], None]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "x.json"
    with pytest.raises(FileNotFoundError):
        read_plain(path)
    path.write_text("{}")
    assert read_plain(path) == b"{}"
    path.unlink()
    strange(path)
    with pytest.raises(NotPlainError):
        open_plain(path)
    with pytest.raises(UnreadableError, match="hint: no run wrote it"):
        read_json(path)


def test_a_strange_row_counts_as_damaged(store: Store, strange: Callable[[Path], None]) -> None:
    path = row_path(store, "b")
    strange(path)
    assert store.complete() == {"a": "ok"}
    assert [found.path for found in store.verify()] == [path]


@pytest.mark.parametrize(
    "name", ["manifest.json", "trials.parquet", "plans/1.json", "lock.json", "blobs/" + "0" * 64, "checkpoints/p.1-0.safetensors"]
)
def test_no_method_waits_for_or_follows_a_strange_file(store: Store, strange: Callable[[Path], None], name: str) -> None:
    path = store.root / name
    path.unlink(missing_ok=True)
    strange(path)
    reads: dict[str, Callable[[], object]] = {
        "manifest.json": store.manifest,
        "trials.parquet": store.complete,
        "plans/1.json": store.latest_plan,
        "lock.json": store.lock_holder,
    }
    if name in reads:
        with pytest.raises(StoreError):
            reads[name]()
    assert path in [found.path for found in store.verify()]


def test_a_folder_that_is_a_link_is_refused(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (store.root / "blobs").rename(outside)
    (store.root / "blobs").symlink_to(outside)
    before = sorted(outside.iterdir())
    with pytest.raises(StoreError, match="a link where a folder is expected"):
        store.create(manifest_of_a_sweep())
    with pytest.raises(StoreError, match="a link where a folder is expected"):
        store.verify()
    assert sorted(outside.iterdir()) == before


def test_logs_are_not_written_through_a_link(store: Store, tmp_path: Path) -> None:
    (store.root / "logs").symlink_to(tmp_path)
    with pytest.raises(StoreError, match="logs: a link"):
        store.create(manifest_of_a_sweep())


def test_the_results_folder_itself_may_be_a_link(store: Store, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.symlink_to(store.root)
    assert Store(other).verify() == []
    assert Store(other).complete() == {"a": "ok"}


def test_what_is_written_replaces_a_link(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    outside.write_text("{}")
    (store.root / "live" / "p.json").symlink_to(outside)
    store.write_live("p", {"epoch": 1})
    store.save_checkpoint("q", 1, 0, safetensors_of())
    assert outside.read_text() == "{}"
    assert store.live() == [{"epoch": 1, "pack_id": "p"}]


def test_a_checkpoint_of_endless_tensors_is_named(store: Store) -> None:
    header = b'{"__metadata__": {"trial_ids": "[\\"a\\"]", "epoch": "1"}, "x": {"data_offsets": [0, Infinity]}}'
    path = store.root / "checkpoints" / "p.1-0.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert store.checkpoints() == []
    (finding,) = store.verify()
    assert (finding.path, "not a checkpoint header" in finding.problem) == (path, True)
