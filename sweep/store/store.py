"""The public interface to a results folder. Each sweep has one, and it alone determines which trials are complete.

Workers publish rows, blobs and checkpoints without a lock: every file is either complete or absent, and a published file is never
replaced. Only the holder of `Store.lock` may write the manifest and plans and compact the tables. `docs/store.md` is the contract.
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
from sweep.store.manifest import Manifest, StatedBox
from sweep.store.records import Latencies, Live, Placements, Plans, read_plan
from sweep.store.remote.path import RemotePath, StorePath, concurrently, store_path
from sweep.store.rows import Rows

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Checkpoint", "Finding", "LockedError", "Store", "StoreError", "StoreWriteError", "UnreachableError", "UnreadableError"]


class Store:
    """One results folder, on a disk or in an object store.

    Args:
        root: the folder, which need not exist before `lock` or `create`; or the text of an address.

    Every method may raise StoreError, with a message for the user, if a file of the folder violates the contract; StoreWriteError if
    the disk is full, read-only or not ours; and UnreachableError if an object store does not answer for a while. Instances are cheap
    to create and can be pickled.

    Most methods delegate to a class for one part of the folder (`Manifest`, `Plans`, `Rows` and so on), which documents them in full.
    """

    def __init__(self, root: str | StorePath) -> None:
        self.root = store_path(root)
        self.control = Control(self.root)
        self._folder = Folder(self.root)
        self._plans = Plans(self._folder)
        self._manifest = Manifest(self._folder)
        self._blobs = Blobs(self.root)
        self._rows = Rows(self._folder, self._manifest, self._blobs)
        self._checkpoints = Checkpoints(self._folder, self._rows)
        self._latencies = Latencies(self._folder)
        self._placements = Placements(self._folder)
        self._live = Live(self._folder)

    # -- the folder -------------------------------------------------------------------------------------------------

    @property
    def is_remote(self) -> bool:
        """Whether the folder is in an object store, where every access is a request."""
        return isinstance(self.root, RemotePath)

    def check_reachable(self) -> None:
        """Refuse an object store that does not answer, lacks the bucket or denies access. For a disk this does nothing.

        Raises:
            StoreError: the object store cannot be used; the message states what to check.
        """
        if isinstance(self.root, RemotePath):
            self.root.check_reachable()

    def takes_files(self) -> bool:
        """Return whether this machine can write an empty file into the folder."""
        try:
            make_writable(self.root)
        except StoreError:
            return False
        return True

    def lock(self, *, patience: float = 30.0) -> FolderLock:
        """Return the lock that a run must hold: `with store.lock() as lock: ...`. The folder is created if it does not exist.

        Args:
            patience: seconds without a heartbeat after which a holder on another host counts as dead.

        Raises:
            LockedError: another run is alive; raised on entering the `with` block.
            StoreError: the folder contains files that are not results.
        """
        if self.is_remote:
            make_writable(self.root)  # first, because a missing bucket looks empty
            self._folder.check_ours()
        else:
            self._folder.check_ours()
            make_writable(self.root)
        return self._folder_lock(patience)

    def lock_holder(self, *, include_dead: bool = True) -> dict[str, Any] | None:
        """Return the holder of the lock (host, pid, started and so on), or None if no run holds it.

        Args:
            include_dead: whether to include a holder that ran on this machine and has ended.
        """
        holder = self._folder_lock().current_holder(include_dead=include_dead)
        return None if holder is None else asdict(holder)

    def _folder_lock(self, patience: float = 30.0) -> FolderLock:
        if isinstance(self.root, RemotePath):
            return Claims(self.root / "locks", patience=patience)
        return Lock(self.root / "lock.json", patience=patience)

    def next_attempt(self) -> int:
        """Return the next unused attempt number: 1, 2 and so on. The caller must hold the lock."""
        attempts = [version.attempt for folder in SUFFIX for version in self._folder.versions(folder)]
        return 1 + max([*self._folder.plans(), *attempts], default=0)

    def remove_temporaries(self) -> None:
        """Remove temporary files of interrupted writes. The caller must hold the lock, and no worker may be running."""
        self._folder.remove_temporaries()

    def forget(self, trial_ids: Collection[str]) -> None:
        """Remove the rows, curves and latencies of these trials, so that they are planned again. The caller must hold the lock."""
        self._rows.forget(trial_ids)
        self._latencies.forget(trial_ids)

    # -- verification -----------------------------------------------------------------------------------------------

    def unreadable(self) -> list[tuple[StorePath, str]]:
        """Return every result and checkpoint that cannot be read, with the reason. This reads every table completely."""
        return [(finding.path, finding.problem) for finding in self._unreadable()]

    def verify(self) -> list[Finding]:
        """Read and check every file of the folder except the report, and return all problems."""
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
        return [*findings, *self._latencies.problems(), *self._placements.problems(), *self._rows.wrong()]

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
        """Return the manifest; None before the first run."""
        return self._manifest.read()

    def create(self, manifest: dict[str, Any]) -> None:
        """Prepare the folder for a run of the sweep that `manifest` describes. The caller must hold the lock."""
        self._manifest.create(manifest)

    def settle_hypervolume_box(self, box: StatedBox) -> bool:
        """Write the box of the hypervolumes into the manifest if it is to replace the stored one, and return whether it changed.

        The caller must hold the lock.
        """
        return self._manifest.settle_hypervolume_box(box)

    def fix_reference_point(self, values: Sequence[float]) -> None:
        """Write the values that `reference_point: auto` stands for into the manifest, once. The caller must hold the lock."""
        self._manifest.fix_reference_point(values)

    def settle_backend(self, model: str, choose: Callable[[], Mapping[str, Any]]) -> str:
        """Return the backend with which this sweep trains a model on GPUs. The first worker chooses it for all."""
        return self._manifest.settle_backend(model, choose)

    def settled_backend(self, model: str) -> str | None:
        """Return the backend that this sweep's first worker has chosen for a model; None if none has been chosen yet."""
        return self._manifest.settled_backend(model)

    def record_backends(self) -> None:
        """Copy the backends that workers chose into the manifest. The caller must hold the lock."""
        self._manifest.record_backends()

    def write_plan(self, attempt: int, plan: Mapping[str, Any]) -> None:
        """Store the plan of attempt number `attempt`. The caller must hold the lock."""
        self._plans.write(attempt, plan)

    def latest_plan(self) -> dict[str, Any] | None:
        """Return the plan of the last attempt; None before the first."""
        return self._plans.latest()

    def write_placement(self, study: str, number: int, record: Mapping[str, Any]) -> dict[str, Any]:
        """Store a round of placed vectors of a study, once, and return what is stored. The caller must hold the lock."""
        return self._placements.write(study, number, record)

    def placements(self, study: str) -> list[dict[str, Any]]:
        """Return the rounds of placed vectors of a study, in their order."""
        return self._placements.read(study)

    # -- rows and curves (`Rows`) -----------------------------------------------------------------------------------

    def publish(self, row: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]] = (), weights: bytes | None = None) -> None:
        """Publish one finished trial: its weights, then its curves, then its row."""
        self._rows.publish(row, epochs, weights)

    def complete(self, trial_ids: Collection[str] | None = None) -> dict[str, str]:
        """Return the state of each complete trial from its latest row; `trial_ids` restricts the loose rows that are read."""
        return self._rows.complete(trial_ids)

    def read_rows(self, trial_ids: Collection[str] | None = None, columns: Sequence[str] | None = None) -> "pa.Table":
        """Return the latest row of each trial, ordered by trial id."""
        return self._rows.read(trial_ids, columns)

    def compact(self) -> None:
        """Move loose rows and curves into trials.parquet and epochs.parquet. The caller must hold the lock."""
        self._rows.compact()

    # -- blobs, checkpoints, latencies, live packs ------------------------------------------------------------------

    def put_blob(self, data: bytes) -> str:
        """Store `data` under its SHA-256, and return the SHA-256."""
        return self._blobs.put(data)

    def get_blob(self, sha256: str) -> bytes:
        """Return the bytes that have this SHA-256."""
        return self._blobs.get(sha256)

    def save_checkpoint(self, pack_id: str, attempt: int, retry: int, data: bytes) -> None:
        """Store a checkpoint of an unfinished pack, then remove the pack's earlier checkpoints."""
        self._checkpoints.save(pack_id, attempt, retry, data)

    def checkpoints(self) -> list[Checkpoint]:
        """Return all readable checkpoints, ordered by pack id, attempt and retry."""
        return self._checkpoints.read()

    def load_checkpoint(self, checkpoint: Checkpoint) -> bytes:
        """Return the content of a checkpoint, which is a safetensors file."""
        return self._checkpoints.load(checkpoint)

    def remove_checkpoints(self, pack_id: str | None = None, complete_ids: Collection[str] | None = None) -> None:
        """Remove the checkpoints of one pack, or those whose trials are all complete."""
        self._checkpoints.remove(pack_id, complete_ids)

    def write_latency(self, trial_id: str, latency: Mapping[str, Any]) -> None:
        """Store the measured latency of one trial's networks, replacing an earlier measurement. This needs no lock."""
        self._latencies.write(trial_id, latency)

    def latency(self, trial_id: str) -> dict[str, Any] | None:
        """Return the measured latency of a trial; None if there is none, or if its file is damaged (`verify` reports it)."""
        return self._latencies.read(trial_id)

    def write_live(self, pack_id: str, state: Mapping[str, Any]) -> None:
        """Store the live state of a running pack; in an object store at most every two seconds."""
        self._live.write(pack_id, state)

    def live(self) -> list[dict[str, Any]]:
        """Return the live states of the running packs, each with its `pack_id`, ordered by id."""
        return self._live.read()

    def remove_live(self, pack_id: str) -> None:
        """Remove the live state of a pack that has ended."""
        self._live.remove(pack_id)

    def clear_live(self) -> None:
        """Remove all live states when no pack is running. The caller must hold the lock."""
        self._live.clear()
