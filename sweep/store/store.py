"""The door to a results folder: one folder a sweep, the truth about what is complete.

Workers publish rows, blobs and checkpoints without a lock: every file is whole or absent, and nothing that was published
is ever replaced. Manifest, plans and compaction belong to whoever holds `Store.lock`. `docs/store.md` is the contract.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from sweep.store.checkpoints import Checkpoint, Checkpoints
from sweep.store.control import Control
from sweep.store.errors import StoreError, StoreWriteError, UnreachableError, UnreadableError
from sweep.store.files import Blobs, read_json
from sweep.store.folder import SUFFIX, Finding, Folder, make_writable, problems_of, what_to_do
from sweep.store.lock import Claims, FolderLock, Lock, LockedError
from sweep.store.manifest import Manifest
from sweep.store.records import Latencies, Live, Plans, read_plan
from sweep.store.remote.path import RemotePath, StorePath, concurrently, store_path
from sweep.store.rows import Rows

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Checkpoint", "Finding", "LockedError", "Store", "StoreError", "StoreWriteError", "UnreachableError", "UnreadableError"]


class Store:
    """One results folder, on a disk or in an object store.

    Args:
        root: the folder, which need not exist before `lock` or `create`; or its address as text.

    Every method raises StoreError, with a message for the user, when a file of the folder cannot be read as the contract
    says, StoreWriteError when the disk is full, read-only or not ours, and UnreachableError when an object store does not
    answer for a while. Instances are cheap and can be pickled.

    Each noun of the folder is a class of its own, which documents what the method named after it here does.
    """

    def __init__(self, root: str | StorePath) -> None:
        self.root = store_path(root)
        self.control = Control(self.root)
        self._folder = Folder(self.root)
        self._plans = Plans(self._folder)
        self._manifest = Manifest(self._folder, self._plans)
        self._blobs = Blobs(self.root)
        self._rows = Rows(self._folder, self._manifest, self._blobs)
        self._checkpoints = Checkpoints(self._folder, self._rows)
        self._latencies = Latencies(self._folder)
        self._live = Live(self._folder)

    # -- the folder -------------------------------------------------------------------------------------------------

    @property
    def is_remote(self) -> bool:
        """Whether it is in an object store, where every look is a request."""
        return isinstance(self.root, RemotePath)

    def check_reachable(self) -> None:
        """Refuse at once an object store that does not answer, has no such bucket or denies access; a disk is not looked at.

        Raises:
            StoreError: the message says what to check.
        """
        if isinstance(self.root, RemotePath):
            self.root.check_reachable()

    def takes_files(self) -> bool:
        """Whether this machine can write into the folder, as far as an empty file can tell."""
        try:
            make_writable(self.root)
        except StoreError:
            return False
        return True

    def lock(self, *, patience: float = 30.0) -> FolderLock:
        """The right to run: `with store.lock() as lock: ...`; makes the folder if there is none.

        Args:
            patience: seconds to watch a holder on another host before it counts as dead.

        Raises:
            LockedError: on entering, when another run is alive.
            StoreError: the folder holds things that are no results.
        """
        if self.is_remote:
            make_writable(self.root)  # first: a bucket that is not there looks empty
            self._folder.check_ours()
        else:
            self._folder.check_ours()
            make_writable(self.root)
        return self._folder_lock(patience)

    def lock_holder(self, *, include_dead: bool = True) -> dict[str, Any] | None:
        """Who holds the lock: host, pid, started ...; None when nobody does.

        Args:
            include_dead: name also a holder that ran on this machine and has ended.
        """
        holder = self._folder_lock().current_holder(include_dead=include_dead)
        return None if holder is None else asdict(holder)

    def _folder_lock(self, patience: float = 30.0) -> FolderLock:
        if isinstance(self.root, RemotePath):
            return Claims(self.root / "locks", patience=patience)
        return Lock(self.root / "lock.json", patience=patience)

    def next_attempt(self) -> int:
        """A number that no run before had: 1, 2, ... The caller holds the lock."""
        attempts = [version.attempt for folder in SUFFIX for version in self._folder.versions(folder)]
        return 1 + max([*self._folder.plans(), *attempts], default=0)

    def remove_temporaries(self) -> None:
        """Remove files whose writing never ended. The caller holds the lock, before its run begins or when it is over."""
        self._folder.remove_temporaries()

    def forget(self, trial_ids: Collection[str]) -> None:
        """Remove the rows, curves and latencies of these trials, so that they are planned again. The caller holds the lock."""
        self._rows.forget(trial_ids)
        self._latencies.forget(trial_ids)

    # -- verification -----------------------------------------------------------------------------------------------

    def unreadable(self) -> list[tuple[StorePath, str]]:
        """Every result and checkpoint that cannot be read, and why. Reads every table whole."""
        return [(finding.path, finding.problem) for finding in self._unreadable()]

    def verify(self) -> list[Finding]:
        """Everything wrong in this folder: reads and checks every file but the report."""
        stray = "being written right now, or left by a write that did not end"
        findings = [Finding(path, stray, "the next run removes it") for path in self._folder.temporaries()]
        try:
            self._manifest.known()
        except StoreError as error:
            hint = error.hint or "restore it from a copy: without it no result can be read"
            return [*findings, Finding(self.root / "manifest.json", error.problem, hint)]
        findings += self._unreadable()
        findings += self._problems_of([(path, partial(self._blobs.get, path.name)) for path in self._folder.paths("blobs")])
        for path in (path for folder in ("plans", "live", ".") for path in self._folder.paths(folder, ".json")):
            is_plan = path.parent.name == "plans" and "-" not in path.stem
            findings += problems_of(path, partial(read_plan if is_plan else read_json, path))
        return [*findings, *self._latencies.problems(), *self._rows.wrong()]

    def _unreadable(self) -> list[Finding]:
        if self._folder.is_new():
            return []
        misnamed = [
            Finding(path, f"its name is not <id>.<attempt>-<retry>.{suffix}", what_to_do(path))
            for folder, suffix in SUFFIX.items()
            for path in self._folder.misnamed(folder)
        ]
        return misnamed + self._problems_of([*self._rows.every(), *self._checkpoints.every()])

    def _problems_of(self, files: Sequence[tuple[StorePath, Callable[[], object]]]) -> list[Finding]:
        found = concurrently(lambda file: problems_of(*file), files, is_remote=self.is_remote)
        return [problem for problems in found for problem in problems]

    # -- manifest and plans (`Manifest`, `Plans`) -------------------------------------------------------------------

    def manifest(self) -> dict[str, Any] | None:
        """What this folder holds; None before the first run."""
        return self._manifest.read()

    def create(self, manifest: dict[str, Any]) -> None:
        """Make the folder ready for a run of the sweep that `manifest` describes. The caller holds the lock."""
        self._manifest.create(manifest)

    def has_given_reference(self) -> bool:
        """Whether the manifest's hypervolume reference comes from a grid file; it never moves then."""
        return self._manifest.has_given_reference()

    def settle_hypervolume_reference(self, reference: Sequence[float], *, is_given: bool) -> bool:
        """Write the hypervolume reference, shape (n_objectives,), into the manifest; whether it changed. The caller holds the lock."""
        return self._manifest.settle_hypervolume_reference(reference, is_given=is_given)

    def fix_reference_point(self, values: Sequence[float]) -> None:
        """Write the values that `reference_point: auto` stands for into the manifest, once. The caller holds the lock."""
        self._manifest.fix_reference_point(values)

    def settle_backend(self, model: str, choose: Callable[[], Mapping[str, Any]]) -> str:
        """The backend that this sweep's GPUs train a model with: what the first worker chose holds for all."""
        return self._manifest.settle_backend(model, choose)

    def record_backends(self) -> None:
        """Copy the backends that workers settled into the manifest. The caller holds the lock."""
        self._manifest.record_backends()

    def write_plan(self, attempt: int, plan: Mapping[str, Any]) -> None:
        """Record what run `attempt` is going to do. The caller holds the lock."""
        self._plans.write(attempt, plan)

    def latest_plan(self) -> dict[str, Any] | None:
        """The plan of the last run; None before the first."""
        return self._plans.latest()

    # -- rows and curves (`Rows`) -----------------------------------------------------------------------------------

    def publish(self, row: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]] = (), weights: bytes | None = None) -> None:
        """Make one finished trial complete: its weights, then its curves, then its row."""
        self._rows.publish(row, epochs, weights)

    def complete(self, trial_ids: Collection[str] | None = None) -> dict[str, str]:
        """The state of each complete trial's latest row; `trial_ids` restricts the loose rows that are looked at."""
        return self._rows.complete(trial_ids)

    def read_rows(self, trial_ids: Collection[str] | None = None, columns: Sequence[str] | None = None) -> "pa.Table":
        """The latest row of each trial, once, in the order of trial ids."""
        return self._rows.read(trial_ids, columns)

    def compact(self) -> None:
        """Move loose rows and curves into trials.parquet and epochs.parquet. The caller holds the lock."""
        self._rows.compact()

    # -- blobs, checkpoints, latencies, live packs ------------------------------------------------------------------

    def put_blob(self, data: bytes) -> str:
        """Keep `data` under its SHA-256, which is returned."""
        return self._blobs.put(data)

    def get_blob(self, sha256: str) -> bytes:
        """The bytes with this SHA-256."""
        return self._blobs.get(sha256)

    def save_checkpoint(self, pack_id: str, attempt: int, retry: int, data: bytes) -> None:
        """Keep the state of an unfinished pack; its earlier ones are removed afterwards."""
        self._checkpoints.save(pack_id, attempt, retry, data)

    def checkpoints(self) -> list[Checkpoint]:
        """All checkpoints that can be read, in the order of pack id, attempt and retry."""
        return self._checkpoints.read()

    def load_checkpoint(self, checkpoint: Checkpoint) -> bytes:
        """The whole safetensors file."""
        return self._checkpoints.load(checkpoint)

    def remove_checkpoints(self, pack_id: str | None = None, complete_ids: Collection[str] | None = None) -> None:
        """Remove one pack's checkpoints, or those whose every trial is complete."""
        self._checkpoints.remove(pack_id, complete_ids)

    def write_latency(self, trial_id: str, latency: Mapping[str, Any]) -> None:
        """Keep what was measured of one trial's networks in place of an earlier measurement; needs no lock."""
        self._latencies.write(trial_id, latency)

    def latency(self, trial_id: str) -> dict[str, Any] | None:
        """What was measured of a trial; None where nothing was, or its file is damaged and `verify` names it."""
        return self._latencies.read(trial_id)

    def write_live(self, pack_id: str, state: Mapping[str, Any]) -> None:
        """Show where a running pack is; in an object store at most every two seconds."""
        self._live.write(pack_id, state)

    def live(self) -> list[dict[str, Any]]:
        """The states of the running packs, each with its `pack_id`, in the order of ids."""
        return self._live.read()

    def remove_live(self, pack_id: str) -> None:
        """The pack has ended: remove its live state."""
        self._live.remove(pack_id)

    def clear_live(self) -> None:
        """No pack runs: remove all live states. The caller holds the lock."""
        self._live.clear()
