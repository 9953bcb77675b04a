"""The result store: one folder a sweep, the truth about what is complete.

Workers publish rows, blobs and checkpoints without a lock: every file is whole or absent, and nothing that was published
is ever replaced. Manifest, plans and compaction belong to whoever holds `Store.lock`. `docs/store.md` is the contract.
"""

import contextlib
import hashlib
import io
import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa

from sweep.store.control import REMOTE_S, Control
from sweep.store.errors import UnreachableError
from sweep.store.files import (
    StoreError,
    StoreWriteError,
    UnreadableError,
    checked_name,
    checkpoint_header,
    finite,
    is_name,
    is_there,
    read_checkpoint_header,
    read_json,
    read_whole,
    write_first,
    write_json,
    write_whole,
)
from sweep.store.folder import COMPACTED, SUFFIX, Folder, Version, make_writable, remove, what_to_do
from sweep.store.lock import Claims, FolderLock, Lock, LockedError
from sweep.store.manifest import agreed_manifest, check_latency, check_manifest, check_plan
from sweep.store.remote.path import RemotePath, StorePath, concurrently, store_path
from sweep.store.schema import SCHEMA_VERSION, SchemaError, check_row, epoch_schema, row_schema
from sweep.store.tables import KEY_COLUMNS, TableFiles, encode_table, latest_of, merged_curves, nested, of_trials

__all__ = ["Checkpoint", "Finding", "LockedError", "Store", "StoreError", "StoreWriteError", "UnreachableError", "UnreadableError"]

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Finding(NamedTuple):
    """One thing wrong in a results folder."""

    path: StorePath
    problem: str
    hint: str


@dataclass(frozen=True)
class Checkpoint:
    """A saved unfinished pack."""

    pack_id: str
    attempt: int
    retry: int
    trial_ids: tuple[str, ...]
    epoch: int
    path: StorePath


class Store:
    """One results folder, on a disk or in an object store.

    Args:
        root: the folder, which need not exist before `lock` or `create`; or its address as text.

    Every method raises StoreError, with a message for the user, when a file of the folder cannot be read as the contract
    says, StoreWriteError when the disk is full, read-only or not ours, and UnreachableError when an object store does not
    answer for a while. Instances are cheap and can be pickled.
    """

    def __init__(self, root: str | StorePath) -> None:
        self.root = store_path(root)
        self._folder = Folder(self.root)
        self._tasks: tuple[str, ...] | None = None
        self._plan: tuple[StorePath, dict[str, Any]] | None = None
        self._tables: dict[str, TableFiles] = {}
        self._live_written: dict[str, float] = {}
        self.control = Control(self.root)

    @property
    def is_remote(self) -> bool:
        """In an object store, where every look is a request?"""
        return isinstance(self.root, RemotePath)

    def check_reachable(self) -> None:
        """Say at once that an object store does not answer, has no such bucket or refuses us; a folder on a disk is not looked at.

        Raises:
            StoreError: the message says what to check.
        """
        if isinstance(self.root, RemotePath):
            self.root.check_reachable()

    # -- identity ---------------------------------------------------------------------------------------------------

    def manifest(self) -> dict[str, Any] | None:
        """What this folder holds; None before the first run.

        Raises:
            StoreError: manifest.json is torn, or of another schema version.
        """
        path = self.root / "manifest.json"
        try:
            manifest = read_json(path)
        except FileNotFoundError:
            return None
        check_manifest(manifest, path)
        return manifest

    def create(self, manifest: dict[str, Any]) -> None:
        """Make the folder ready for a run of the sweep that `manifest` describes. The caller holds the lock.

        On the first run the manifest is written. Later it has to agree with the one that is there: everything but
        `created`, `name`, `hypervolume_reference` (`settle_hypervolume_reference` changes it) and `reference_point_values`, which
        stay as they are. New studies are
        added; studies that are not asked for this time stay.

        Raises:
            StoreError: the folder holds another sweep (the message names each key that differs, with both values), or
                things that are no results.
        """
        path = self.root / "manifest.json"
        asked = json.loads(json.dumps(manifest, allow_nan=False))
        check_manifest(asked, path)
        self._folder.check_ours()
        stored = self.manifest()
        agreed = asked if stored is None else agreed_manifest(stored, asked, self.root)
        self._folder.make()
        if agreed != stored:
            write_json(path, agreed)

    def has_given_reference(self) -> bool:
        """Whether the manifest's hypervolume reference comes from a grid file; it never moves then.

        Manifests of earlier versions do not say so: there it is one that the grid file of some run gave.
        """
        manifest = self._known_manifest()
        reference, is_given = manifest.get("hypervolume_reference"), manifest.get("hypervolume_reference_given")
        if reference is None or is_given is not None:
            return bool(is_given)
        configs = [_read_plan(path).get("config", {}) for path in self._folder.plans().values()]
        return any(config.get("hypervolume_reference") == reference for config in configs)

    def settle_hypervolume_reference(self, reference: Sequence[float], *, is_given: bool) -> bool:
        """Write the hypervolume reference into the manifest in place of an earlier one. The caller holds the lock.

        Args:
            reference: shape (n_objectives,).
            is_given: the grid file gives it. Such a one is replaced by another given one alone.

        Returns:
            Whether the reference changed.
        """
        values = self._checked_point("a hypervolume reference", reference)
        if not is_given and self.has_given_reference():
            return False
        manifest = self._known_manifest()
        settled = {**manifest, "hypervolume_reference": values, "hypervolume_reference_given": is_given}
        if settled != manifest:
            write_json(self.root / "manifest.json", settled)
        return bool(manifest.get("hypervolume_reference") != values)

    def fix_reference_point(self, values: Sequence[float]) -> None:
        """Write what `reference_point: auto` came to into the manifest, once. The caller holds the lock."""
        manifest = self._known_manifest()
        if manifest.get("reference_point_values") is None:
            point = self._checked_point("a reference point", values)
            write_json(self.root / "manifest.json", {**manifest, "reference_point_values": point})

    def _checked_point(self, name: str, point: Sequence[float]) -> list[float]:
        n_objectives = len(self._known_manifest()["objectives"])
        values = [float(value) for value in point]
        if len(values) != n_objectives or finite(values) != values:
            raise StoreError(f"{name} has {n_objectives} finite values, found {values}", self.root / "manifest.json")
        return values

    def settle_backend(self, model: str, choose: Callable[[], Mapping[str, Any]]) -> str:
        """The backend that this sweep's GPUs train a model with: what the first worker chose holds for all.

        Args:
            model: its name.
            choose: measures; returns `backend` and whatever else should be kept. Called where nothing is settled yet.
        """
        path = self.root / "plans" / f"backend-{checked_name(model, 'model')}.json"
        settled = (self.manifest() or {}).get("backends", {}).get(model)
        if settled is None:
            try:
                settled = read_json(path)
            except (FileNotFoundError, UnreadableError):  # not there, or being written
                write_first(path, dict(choose()))
                settled = read_json(path)
        return str(settled["backend"])

    def record_backends(self) -> None:
        """Take what the workers settled into the manifest. The caller holds the lock."""
        found = {path.stem.removeprefix("backend-"): read_json(path) for path in self._folder.paths("plans", ".json") if "-" in path.stem}
        manifest = self._known_manifest()
        if not found.keys() <= manifest.get("backends", {}).keys():
            write_json(self.root / "manifest.json", {**manifest, "backends": {**found, **manifest.get("backends", {})}})

    # -- plans ------------------------------------------------------------------------------------------------------

    def next_attempt(self) -> int:
        """A number that no run before had: 1, 2, ... The caller holds the lock."""
        attempts = [version.attempt for folder in SUFFIX for version in self._folder.versions(folder)]
        return 1 + max([*self._folder.plans(), *attempts], default=0)

    def write_plan(self, attempt: int, plan: Mapping[str, Any]) -> None:
        """Record what run `attempt` is going to do. The caller holds the lock.

        Raises:
            StoreError: that run has a plan already.
        """
        path = self.root / "plans" / f"{attempt}.json"
        if is_there(path):
            raise StoreError(f"run {attempt} has a plan already", path, "take the number from next_attempt()")
        write_json(path, dict(plan))

    def latest_plan(self) -> dict[str, Any] | None:
        """The plan of the last run; None before the first. A plan never changes, so each is read once."""
        plans = self._folder.plans()
        if not plans:
            return None
        newest = plans[max(plans)]
        if self._plan is None or self._plan[0] != newest:
            self._plan = (newest, _read_plan(newest))
        return self._plan[1]

    # -- rows -------------------------------------------------------------------------------------------------------

    def publish(self, row: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]] = (), weights: bytes | None = None) -> None:
        """Make one finished trial complete: its weights, then its curves, then its row.

        The row is what counts, so it is written last. Publishing the same (trial, attempt, retry) again does nothing.

        Args:
            row: columns of `row_schema`; those that are absent become null. `trial_id`, `attempt`, `retry` and `state`
                are required; `weights_sha256` is filled in when `weights` is given.
            epochs: columns of `epoch_schema`; `trial_id`, `attempt` and `retry` are filled in.
            weights: a safetensors file.

        Raises:
            SchemaError: the row breaks the contract.
            StoreWriteError: the disk did not take it; the row does not count.
        """
        trial_id, attempt, retry = checked_name(row.get("trial_id"), "trial id"), row.get("attempt"), row.get("retry")
        if type(attempt) is not int or type(retry) is not int or min(attempt, retry) < 0:
            raise SchemaError(f"row {trial_id}: attempt and retry are whole numbers >= 0, found {attempt!r} and {retry!r}")
        name = f"{trial_id}.{attempt}-{retry}.parquet"
        if is_there(self.root / "rows" / name):
            return
        if weights is not None:
            row = {**row, "weights_sha256": hashlib.sha256(weights).hexdigest()}
        check_row(row, self._task_names())
        row_file = encode_table(self._files("rows").made_of([row]))
        curves = [{**epoch, "trial_id": trial_id, "attempt": attempt, "retry": retry} for epoch in epochs]
        epoch_file = encode_table(self._files("epochs").made_of(curves)) if curves else None
        if weights is not None:
            self.put_blob(weights)
        if epoch_file is not None:
            write_whole(self.root / "epochs" / name, epoch_file)
        write_whole(self.root / "rows" / name, row_file)

    def complete(self, trial_ids: Collection[str] | None = None) -> dict[str, str]:
        """The state of each complete trial's latest row. Rows that cannot be read do not count: see `unreadable`.

        Args:
            trial_ids: look at the loose rows of these trials only; None: of all.
        """
        if self._folder.is_new():
            return {}
        table = self._files("rows").latest_keys(trial_ids)
        return dict(zip(table["trial_id"].to_pylist(), table["state"].to_pylist(), strict=True))

    def read_rows(self, trial_ids: Collection[str] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """The latest row of each trial, once, in the order of trial ids, with the lists and mappings of `NESTED`. Rows that cannot be
        read are left out: see `unreadable`.

        Args:
            trial_ids: only of these trials; None: of all.
            columns: read these and the key columns (trial id, attempt, retry, state) only; none of `LATER_COLUMNS`. None: all.
        """
        rows = self._files("rows").latest(None if columns is None else list(dict.fromkeys((*KEY_COLUMNS, *columns))))
        return nested(rows if trial_ids is None else of_trials(rows, trial_ids))

    def unreadable(self) -> list[tuple[StorePath, str]]:
        """Every result and checkpoint that cannot be read, and why. Reads every table whole."""
        return [(found.path, found.problem) for found in self._unreadable()]

    def _unreadable(self) -> list[Finding]:
        if self._folder.is_new():
            return []
        problems = []
        for folder, suffix in SUFFIX.items():
            misnamed = f"its name is not <id>.<attempt>-<retry>.{suffix}"
            problems += [Finding(path, misnamed, what_to_do(path)) for path in self._folder.misnamed(folder)]
        to_read = [*self._files("rows").every(), *self._files("epochs").every()]
        to_read += [(version.path, partial(self._checkpoint, version)) for version in self._folder.versions("checkpoints")]
        found = concurrently(lambda one: _problems(*one), to_read, is_remote=self.is_remote)
        return [*problems, *(problem for each in found for problem in each)]

    def compact(self) -> None:
        """Move loose rows and curves into trials.parquet and epochs.parquet. The caller holds the lock.

        The new file is read back before it takes the old one's place; then exactly those loose files go that are in it or
        superseded by it. A crash in between leaves rows in both places, which readers take once. Files that cannot be
        read stay where they are.
        """
        self._raise_version()
        files = self._files("rows")
        rows = files.loose()
        if rows:
            files.publish_compacted(latest_of([*(table for _, table in rows), files.compacted()]))
            remove(version.path for version, _ in rows)
        latest = files.latest(KEY_COLUMNS)
        order = {row["trial_id"]: (row["attempt"], row["retry"]) for row in latest.to_pylist()}
        files = self._files("epochs")
        # curves are published before their row: those of a newer attempt may still get one
        curves = [(version, table) for version, table in files.loose() if version.order <= order.get(version.id, (-1, -1))]
        if curves:
            files.publish_compacted(merged_curves(files.compacted(), [table for _, table in curves], latest))
            remove(version.path for version, _ in curves)

    def takes_files(self) -> bool:
        """Whether this machine can write into the folder, as far as an empty file can tell."""
        try:
            make_writable(self.root)
        except StoreError:
            return False
        return True

    def remove_temporaries(self) -> None:
        """Remove files whose writing never ended. The caller holds the lock, before its run begins or when it is over."""
        self._folder.remove_temporaries()

    def verify(self) -> list[Finding]:
        """Everything wrong in this folder: reads and checks every file but the report."""
        stray = "being written right now, or left by a write that did not end"
        found = [Finding(path, stray, "the next run removes it") for path in self._folder.temporaries()]
        manifest = self.root / "manifest.json"
        try:
            self._known_manifest()
        except StoreError as error:
            return [*found, Finding(manifest, error.problem, error.hint or "restore it from a copy: without it no result can be read")]
        problems = self._unreadable()
        blobs = self._folder.paths("blobs")
        found_in = concurrently(lambda path: _problems(path, partial(self.get_blob, path.name)), blobs, is_remote=self.is_remote)
        problems += [problem for each in found_in for problem in each]
        for path in (path for folder in ("plans", "live", ".") for path in self._folder.paths(folder, ".json")):
            is_plan = path.parent.name == "plans" and "-" not in path.stem
            problems += _problems(path, partial(_read_plan if is_plan else read_json, path))
        for path in self._folder.paths("latency"):
            if path.suffix != ".json" or not is_name(path.stem):
                problems.append(Finding(path, "its name is not <trial id>.json", what_to_do(path)))
            else:
                problems += _problems(path, partial(_read_latency, path))
        return [*found, *problems, *self._wrong_rows()]

    def _wrong_rows(self) -> Iterator[Finding]:
        """Rows that can be read and yet break the contract."""
        tasks, blobs = self._task_names(), set(self._folder.names("blobs"))
        for path, load in self._files("rows").every():
            if _problems(path, load):
                continue  # `unreadable` names it
            rows = nested(load()).to_pylist()
            for row in rows:
                sha256 = row["weights_sha256"]
                try:
                    check_row(row, tasks)
                except ValueError as error:
                    yield Finding(path, str(error), "another program wrote it? forget this trial and the next run trains it again")
                if sha256 is not None and not (_SHA256.fullmatch(sha256) and sha256 in blobs):
                    yield Finding(path, f"row {row['trial_id']}: its weights, blobs/{sha256}, are missing", "restore the blob from a copy")
            if len(rows) != len({row["trial_id"] for row in rows}):
                yield Finding(path, "a trial is in it twice", "harmless: readers take the latest, and the next compaction mends it")

    def forget(self, trial_ids: Collection[str]) -> None:
        """Remove the rows, curves and latencies of these trials, so that they are planned again. The caller holds the lock."""
        self._raise_version()
        for folder in COMPACTED:
            files = self._files(folder)
            old = files.compacted()
            kept = [trial_id not in trial_ids for trial_id in old["trial_id"].to_pylist()]
            if not all(kept):
                files.publish_compacted(old.filter(pa.array(kept)))
            remove(version.path for version in self._folder.versions(folder) if version.id in trial_ids)
        remove(path for path in self._folder.paths("latency", ".json") if path.stem in trial_ids)

    # -- blobs ------------------------------------------------------------------------------------------------------

    def put_blob(self, data: bytes) -> str:
        """Keep `data` under its SHA-256, which is returned. A damaged blob of the same content is replaced."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self._blob_path(sha256)
        try:
            if read_whole(path) == data:
                return sha256
        except FileNotFoundError:
            pass
        write_whole(path, data)
        return sha256

    def get_blob(self, sha256: str) -> bytes:
        """The bytes with this SHA-256.

        Raises:
            StoreError: there are none, or they are damaged.
        """
        path = self._blob_path(sha256)
        try:
            data = read_whole(path)
        except FileNotFoundError as error:
            raise StoreError("no such blob", path, "restore it from a copy, or forget its trial and train it again") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise UnreadableError("damaged: its content is not what its name says", path, "restore it from a copy")
        return data

    # -- latency ----------------------------------------------------------------------------------------------------

    def write_latency(self, trial_id: str, latency: Mapping[str, Any]) -> None:
        """Keep what was measured of one trial's networks in place of an earlier measurement; needs no lock.

        Args:
            trial_id: of the trial.
            latency: `weights_sha256`, `latency_ms` (batch as text -> `before` and `after`, milliseconds), `host`, `processor`,
                `torch`, `product` and `measured` (a time with its zone).

        Raises:
            StoreWriteError: the folder did not take it; an earlier measurement is as it was.
        """
        path = self.root / "latency" / f"{checked_name(trial_id, 'trial id')}.json"
        record = {"trial_id": trial_id, **latency}
        check_latency(record, path)
        self._folder.make_later("latency")
        write_json(path, record)

    def latency(self, trial_id: str) -> dict[str, Any] | None:
        """What was measured of a trial; None where nothing was, or its file is damaged and `verify` names it."""
        try:
            return _read_latency(self.root / "latency" / f"{checked_name(trial_id, 'trial id')}.json")
        except (FileNotFoundError, UnreadableError):
            return None

    # -- checkpoints ------------------------------------------------------------------------------------------------

    def save_checkpoint(self, pack_id: str, attempt: int, retry: int, data: bytes) -> None:
        """Keep the state of an unfinished pack; its earlier ones are removed afterwards.

        A writer that a newer attempt or retry has replaced writes nothing.

        Args:
            pack_id: of the pack.
            attempt: number of the run.
            retry: of the pack within the run.
            data: a safetensors file whose metadata holds, as JSON, `trial_ids` (a list) and `epoch` (a whole number).
        """
        path = self.root / "checkpoints" / f"{checked_name(pack_id, 'pack id')}.{attempt:d}-{retry:d}.safetensors"
        checkpoint_header(io.BytesIO(data), len(data), path)
        others = [version for version in self._folder.versions("checkpoints") if version.id == pack_id and version.path != path]
        if any(version.order > (attempt, retry) for version in others):
            return
        write_whole(path, data)
        remove(version.path for version in others)

    def checkpoints(self) -> list[Checkpoint]:
        """All that can be read, in the order of pack id, attempt and retry; only headers are read. A pack may have two after a crash."""

        def read(version: Version) -> list[Checkpoint]:
            with contextlib.suppress(UnreadableError, FileNotFoundError):  # `unreadable` names it; or its pack has just replaced it
                return [self._checkpoint(version)]
            return []

        return [one for found in concurrently(read, self._folder.versions("checkpoints"), is_remote=self.is_remote) for one in found]

    def load_checkpoint(self, checkpoint: Checkpoint) -> bytes:
        """The whole safetensors file."""
        try:
            return read_whole(checkpoint.path)
        except FileNotFoundError as error:
            raise StoreError("this checkpoint is gone", checkpoint.path, "list the checkpoints again") from error

    def remove_checkpoints(self, pack_id: str | None = None, complete_ids: Collection[str] | None = None) -> None:
        """Remove one pack's checkpoints, or those whose every trial is complete.

        Args:
            pack_id: only this pack's, whatever is in them.
            complete_ids: only those whose trials are all among these. With neither argument, the trials of `complete`, but for those that
                were trained to their end and could not be measured: with its checkpoint such a trial is measured again, not trained.
        """
        if pack_id is not None and complete_ids is None:
            remove(version.path for version in self._folder.versions("checkpoints") if version.id == pack_id)
            return
        found = self.checkpoints()
        if not found:
            return
        done = self._measured() if complete_ids is None else set(complete_ids)
        ended = [checkpoint for checkpoint in found if done.issuperset(checkpoint.trial_ids)]
        remove(checkpoint.path for checkpoint in ended if pack_id in (None, checkpoint.pack_id))

    def _measured(self) -> set[str]:
        """Complete trials, without those that ended in `error` after their last epoch."""
        rows = self.read_rows(columns=("n_epochs",)).to_pylist()
        return {row["trial_id"] for row in rows if row["state"] != "error" or row["n_epochs"] is None}

    def _checkpoint(self, version: Version) -> Checkpoint:
        trial_ids, epoch = read_checkpoint_header(version.path)
        return Checkpoint(version.id, version.attempt, version.retry, trial_ids, epoch, version.path)

    # -- live packs -------------------------------------------------------------------------------------------------

    def write_live(self, pack_id: str, state: Mapping[str, Any]) -> None:
        """Show where a running pack is. NaN becomes null; nothing is synced, as nobody misses it after a power cut.

        In an object store at most every two seconds: what comes sooner is not shown.
        """
        path = self.root / "live" / f"{checked_name(pack_id, 'pack id')}.json"
        if self.is_remote and time.monotonic() - self._live_written.get(pack_id, -REMOTE_S) < REMOTE_S:
            return
        self._live_written[pack_id] = time.monotonic()
        write_json(path, {**finite(dict(state)), "pack_id": pack_id}, durable=False)

    def live(self) -> list[dict[str, Any]]:
        """The states of the running packs, each with its `pack_id`, in the order of ids."""
        states = []
        for path in self._folder.paths("live", ".json"):
            try:
                states.append(read_json(path))
            except (FileNotFoundError, UnreadableError):
                continue  # the pack has just ended; or a power cut tore it
        return states

    def remove_live(self, pack_id: str) -> None:
        """The pack runs no more."""
        remove([self.root / "live" / f"{checked_name(pack_id, 'pack id')}.json"])

    def clear_live(self) -> None:
        """No pack runs. The caller holds the lock."""
        remove(self._folder.paths("live", ".json"))

    # -- lock -------------------------------------------------------------------------------------------------------

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

    # -- the folder -------------------------------------------------------------------------------------------------

    def _known_manifest(self) -> dict[str, Any]:
        manifest = self.manifest()
        if manifest is None:
            raise StoreError(
                "no manifest.json here, so this is no results folder", self.root, "check the path; a first `sweep run` makes it"
            )
        return manifest

    def _raise_version(self) -> None:
        """Say in the manifest that tables of this version follow, so that an earlier release refuses the folder, not a table as damaged."""
        manifest = self._known_manifest()
        if manifest["schema_version"] < SCHEMA_VERSION:
            write_json(self.root / "manifest.json", {**manifest, "schema_version": SCHEMA_VERSION})

    def _task_names(self) -> tuple[str, ...]:
        if self._tasks is None:
            self._tasks = tuple(self._known_manifest()["tasks"])
        return self._tasks

    def _blob_path(self, sha256: str) -> StorePath:
        if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
            raise StoreError(f"a blob's name is a SHA-256, 64 digits 0-9 a-f, found {sha256!r}")
        return self.root / "blobs" / sha256

    def _files(self, kind: str) -> TableFiles:
        """The tables `rows` or `epochs`; their columns follow from the manifest."""
        if not self._tables:
            tasks = self._task_names()
            schemas = {"rows": row_schema(tasks), "epochs": epoch_schema(tasks)}
            self._tables = {each: TableFiles(self._folder, each, schema) for each, schema in schemas.items()}
        return self._tables[kind]


def _read_plan(path: StorePath) -> dict[str, Any]:
    plan = read_json(path)
    check_plan(plan, path)
    return plan


def _read_latency(path: StorePath) -> dict[str, Any]:
    latency = read_json(path)
    check_latency(latency, path)
    return latency


def _problems(path: StorePath, load: Callable[[], object]) -> list[Finding]:
    """What is wrong with a file, by reading it; one that has just gone is no problem."""
    try:
        load()
    except StoreError as error:
        # What the system refuses is perhaps whole: to delete it would lose a result.
        is_damaged = isinstance(error, UnreadableError) or error.hint is None
        return [Finding(path, error.problem, what_to_do(path) if is_damaged else str(error.hint))]
    except FileNotFoundError:
        return []
    return []
