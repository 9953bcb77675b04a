"""The life of one pack in a worker process: take up its checkpoint, train, keep checkpoints, publish its rows.

Knows no Ray, so it is tested without one. torch is imported when a `PackRun` is made.
"""

import os
import platform
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from sweep.store.manifest import is_count
from sweep.store.store import Checkpoint, Store, StoreError
from sweep.worker.columns import epoch_columns, row_columns, usage_columns
from sweep.worker.faults import Kind, kind_of
from trainer.catalog import METHODS, find_problem
from trainer.problems.custom.factory import OwnProblem
from trainer.problems.custom.source import SourceError, described
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from torch import Tensor

    from trainer.api import Problem, State, Training, TrialSpec

_PACKAGES = ("pareto-sweep", "torch", "numpy", "scipy", "scikit-learn", "ray", "pyarrow")


@dataclass(frozen=True)
class PackJob:
    """All that a worker needs to train a pack; plain values, so that it travels as JSON."""

    root: str
    """The results folder, absolute."""
    attempt: int
    pack_id: str
    problem: str
    problem_options: Mapping[str, Any]
    study: str
    model: str
    method: str
    training: Mapping[str, Any]
    scaling: str
    reference_point: Sequence[float] | None
    seed: int
    trial_ids: Sequence[str]
    preferences: Sequence[Sequence[float] | None]
    """None for a method without preferences."""
    device: str = "cpu"
    backend: str = "auto"
    gpus: float = 0.0
    """GPUs of this worker, or its share of one."""
    n_threads: int = 1
    """CPU threads beside a GPU."""
    checkpoint_s: float = 5.0
    """Seconds between two checkpoints; 0 keeps every epoch."""
    checkpoint_pack_id: str | None = None
    """The pack whose checkpoint these trials continue, None to begin."""
    problem_folders: Sequence[str] = ()
    """Where the module of an own problem is imported from, absolute."""
    problem_source: str | None = None
    """Digest of an own problem's source as it was planned: another one trains nothing."""
    given_sha256: str | None = None
    """The blob of an earlier trial's network that the method takes over."""
    taken_over: Sequence[str] = ()
    """The trial that it comes from."""
    starts: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    """trial_id -> where its network begins: `giver` (a trial's id), `weights_sha256` (its blob, null for the initial network) and
    `note`, for the row, or null. Empty where all begin with the initial network or with what the method takes over."""
    notes: Sequence[str] = ()
    """What every row should say."""
    fault: str | None = None
    """Why these trials cannot be trained: they become rows that say so."""
    sweep: str = "sweep"
    """Name of the sweep, for the dashboard."""

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists, strings and numbers."""
        return asdict(self)


@dataclass
class Spent:
    """Where a worker's seconds went."""

    setup_s: float = 0.0
    training_s: float = 0.0
    store_s: float = 0.0


@dataclass
class _Part:
    """Trials that train together: the whole pack, or what memory or a fault left of it."""

    name: str
    """What its checkpoints are called: the pack's id, and behind it which part."""
    trial_ids: tuple[str, ...]
    state: "State | None" = None
    """Where it goes on."""
    training: "Training | None" = None
    is_trained: bool = False
    """Whether its last epoch is over, so that only its results are left to measure."""
    error: str | None = None


class PackRun:
    """Call `step` until it returns True. Every row is in the store before that.

    A fault of one trial's own (an exception out of training) ends a pack of one with an `error` row; a larger pack is
    split and its trials train one at a time, so that only the guilty one is lost. An own problem that cannot be trained
    is the fault of every trial. Where a pack's memory is not enough its halves train one after the other, from its last
    checkpoint. What is no trial's fault (sweep/worker/faults.py) is raised: the caller may try again, here or elsewhere, from the
    last checkpoint.

    Nothing that happens after the last epoch makes a trial train again. Where the results of a pack cannot be measured as a whole, its last
    state is kept in a checkpoint, and each trial is measured alone from there; one that still fails ends with an `error` row, and its
    checkpoint stays for `sweep rm` and the next run.

    Raises:
        Exception: whatever `kind_of` does not sort as a trial's own; from the constructor and from `step`.
    """

    def __init__(self, job: PackJob) -> None:
        from trainer.api import energy_meter, resolve_device

        started = time.perf_counter()
        self.job = job
        self.spent = Spent()
        self._store = Store(job.root)
        self._started_at = time.time()
        self._retry = next_retry(self._store, job)
        self._parts: list[_Part] = []
        self._unmeasured: set[str] = set()
        """Trials that were trained and have an `error` row: their checkpoint stays."""
        self._samples_per_s = 0.0
        self._has_begun = False
        self._report_live(None)  # the next try counts this one, wherever it ends
        self._fault = job.fault
        self._problem, notes = (None, []) if job.fault else self._build_problem()
        self._notes = [*job.notes, *notes]
        self._given = self._read_given()
        self._starts = self._read_starts()
        # A retry of a pack that was cut off while it published its rows has only the others left.
        complete = self._store.complete(job.trial_ids)
        self._specs = {spec.trial_id: spec for spec in self._make_specs() if spec.trial_id not in complete}
        device = resolve_device(job.device)
        self._device, self._meter = str(device), energy_meter(device)
        self._backend = self._settled_backend()
        self._parts = [part for first in self._first_parts() for part in self._as_memory_allows(first)]
        self._checkpointed_at = time.monotonic()
        if self._parts:
            self._report_live(self._parts[0])
        else:
            self._store.remove_live(job.pack_id)
        self.spent.setup_s = time.perf_counter() - started

    @property
    def is_done(self) -> bool:
        """True when every trial has its row."""
        return not self._parts

    def step(self) -> bool:
        """Train one epoch of the current part; publish it when it is done. Returns `is_done`."""
        if self.is_done:
            return True
        part = self._parts[0]
        self._has_begun = True
        started = time.perf_counter()
        results, is_too_large = self._advance(part)
        seconds = time.perf_counter() - started
        self.spent.training_s += seconds
        self._samples_per_s = self._n_samples(part) / seconds

        started = time.perf_counter()
        if is_too_large:
            self._halve(part)
        elif part.error is not None:
            self._settle_fault(part)
        elif results is not None:
            self._publish(part, results)
            self._parts.pop(0)
        else:
            self._checkpoint_if_due(part)
        if self._parts:
            self._report_live(self._parts[0])
        else:
            self._store.remove_checkpoints(complete_ids=set(self.job.trial_ids) - self._unmeasured)
            self._store.remove_live(self.job.pack_id)
        self.spent.store_s += time.perf_counter() - started
        return self.is_done

    def stop_requested(self) -> bool:
        """Whether the sweep was asked to stop; the last finished epoch is then in a checkpoint."""
        return self._store.control.stop_requested()

    def checkpoint(self) -> None:
        """Keep the last finished epoch."""
        part = self._parts[0] if self._parts else None
        if part is None or part.training is None:
            return
        from trainer.api import to_bytes

        self._store.save_checkpoint(part.name, self.job.attempt, self._retry, to_bytes(part.training.state_dict()))
        self._checkpointed_at = time.monotonic()

    def progress(self) -> dict[str, Any]:
        """Small flat figures of the current part."""
        training = self._parts[0].training if self._parts else None
        return training.progress() | {"samples_per_s": self._samples_per_s} if training is not None else {}

    def leave(self) -> None:
        """This pack is not trained on here: keep the last finished epoch; one that has not begun is no running pack any more."""
        if not self._has_begun:
            self._store.remove_live(self.job.pack_id)
        self.checkpoint()

    def _n_samples(self, part: _Part) -> float:
        """Training samples that an epoch passes through the part's networks."""
        n_samples = len(self._problem.train) if self._problem is not None else 0
        return n_samples * float(self.job.training.get("data_share", 1.0)) * len(part.trial_ids)

    def _build_problem(self) -> "tuple[Problem | None, list[str]]":
        """The problem, None with a `_fault` when an own one cannot be trained; and what every row should say of it."""
        from torch import OutOfMemoryError

        job = self.job
        entry = find_problem(job.problem, tuple(job.problem_folders))
        # Through pydantic, since the lists of JSON are tuples in the options.
        options = TypeAdapter(entry.options).validate_python(dict(job.problem_options))
        if not isinstance(entry, OwnProblem):
            return entry.build(options), []
        if job.problem_source is not None:
            entry.refuse_other_source(job.problem_source)
        try:
            settings = TypeAdapter(TrainingSettings).validate_python(dict(job.training))
            return entry.prepare(options, job.model, settings, trains=METHODS[job.method].takes_steps)
        except (OutOfMemoryError, MemoryError, OSError, SourceError):
            raise
        except Exception as error:  # noqa: BLE001 - the worker's edge: what the user's code raises becomes a row
            self._fault = f"{job.problem}: {described(error, entry.source)}"
            return None, []

    def _read_given(self) -> "dict[str, Tensor] | None":
        """The network that the method takes over."""
        if self.job.given_sha256 is None:
            return None
        from trainer.api import model_tensors

        return model_tensors(self._store.get_blob(self.job.given_sha256))

    def _read_starts(self) -> "dict[str, dict[str, Tensor]]":
        """trial_id -> the network that it begins with, where that is not the initial one."""
        from trainer.api import model_tensors

        blobs = {trial_id: start["weights_sha256"] for trial_id, start in self.job.starts.items()}
        networks = {sha: model_tensors(self._store.get_blob(sha)) for sha in dict.fromkeys(blobs.values()) if sha is not None}
        return {trial_id: networks[sha] for trial_id, sha in blobs.items() if sha is not None}

    def _advance(self, part: _Part) -> tuple[list[Any] | None, bool]:
        """Train an epoch. Returns the results, if it was the last one, and whether memory was not enough for so many trials."""
        from torch import OutOfMemoryError

        if self._problem is None:
            part.error = self._fault
            return None, False
        try:
            if part.training is None:
                part.training = self._begin(part)
            if not part.training.done:
                part.training.step()
            part.is_trained = part.training.done
            return part.training.results() if part.is_trained else None, False
        except (OutOfMemoryError, MemoryError):
            self._keep_whole_epochs(part)
            if len(part.trial_ids) == 1:
                raise
            return None, True
        except Exception as error:
            if kind_of(error) is not Kind.TRIAL:
                self._keep_whole_epochs(part)
                raise
            part.error = f"{type(error).__name__}: {error}"
            return None, False

    def _keep_whole_epochs(self, part: _Part) -> None:
        """After an error: keep the state of a training that is over, and forget one that was cut off in the midst of an epoch."""
        if not part.is_trained:
            part.training = None
            return
        try:
            self.checkpoint()
        except Exception:  # noqa: BLE001 - the worker's edge: what it was called for is the error that counts, and may be why this fails
            traceback.print_exc()

    def _begin(self, part: _Part) -> "Training":
        from trainer.api import start

        assert self._problem is not None
        specs = [self._specs[trial_id] for trial_id in part.trial_ids]
        starts = [self._starts.get(trial_id) for trial_id in part.trial_ids] if self.job.starts else None
        return start(
            specs,
            self._problem,
            device=self._device,
            backend=self._backend,
            n_threads=self.job.n_threads,
            meter=self._meter,
            state=part.state,
            given=self._given,
            starts=starts,
        )

    def _halve(self, part: _Part) -> None:
        """Its halves go on from the last checkpoint; the epochs since then are trained again."""
        from torch import cuda

        what = "measured" if part.is_trained else "trained"
        part.training = None
        if cuda.is_available():
            cuda.empty_cache()
        self._parts.pop(0)
        middle = (len(part.trial_ids) + 1) // 2
        halves = (("a", part.trial_ids[:middle]), ("b", part.trial_ids[middle:]))
        self._parts = [_Part(f"{part.name}-{letter}", ids, self._furthest_state(ids)) for letter, ids in halves] + self._parts
        note = f"memory was not enough for a pack of {len(part.trial_ids)}: its halves were {what} one after the other"
        self._notes.append(note)

    def _settle_fault(self, part: _Part) -> None:
        if part.is_trained:
            self._settle_unmeasured(part)
            return
        if part.state is not None:  # perhaps the checkpoint is at fault: once more without it
            part.state, part.training, part.error = None, None, None
            return
        self._parts.pop(0)
        if len(part.trial_ids) > 1:
            alone = [_Part(f"{part.name}-{number}", (trial_id,)) for number, trial_id in enumerate(part.trial_ids, start=1)]
            self._parts = alone + self._parts
            return
        (trial_id,) = part.trial_ids
        self._publish_error(part, trial_id, str(part.error))

    def _settle_unmeasured(self, part: _Part) -> None:
        """Its training is over and is not repeated: each trial is measured alone, and one that cannot be has a row that says so."""
        self._keep_whole_epochs(part)
        self._parts.pop(0)
        if len(part.trial_ids) == 1:
            self._publish_unmeasured(part, part.trial_ids[0], str(part.error))
            return
        assert part.training is not None
        state = part.training.state_dict()
        names = [(f"{part.name}-{number}", trial_id) for number, trial_id in enumerate(part.trial_ids, start=1)]
        self._parts = [_Part(name, (trial_id,), state, is_trained=True) for name, trial_id in names] + self._parts

    def _publish_unmeasured(self, part: _Part, trial_id: str, reason: str) -> None:
        """The row of a trial that was trained and has no results; its checkpoint stays, so that they can be measured later."""
        self._unmeasured.add(trial_id)
        training = part.training
        n_epochs = training.epoch if training is not None else part.state.epoch if part.state is not None else None
        reason = f"its training is over, but its results could not be measured: {reason}"
        self._publish_error(part, trial_id, reason, n_epochs=n_epochs)

    def _publish_error(self, part: _Part, trial_id: str, error: str, **columns: Any) -> None:
        from trainer.training.measurements import storable

        usage = {} if part.training is None else usage_columns(part.training.usage())
        self._store.publish(self._row(trial_id) | usage | {"state": "error", "error": storable(error)} | columns)

    def _publish(self, part: _Part, results: list[Any]) -> None:
        """One row after the other: one that the store refuses costs the others nothing."""
        for result in results:
            columns = row_columns(result)
            row = self._row(result.trial_id) | columns | {"state": result.state, "error": result.error}
            own = self.job.starts.get(result.trial_id, {}).get("note")
            row["notes"] = [*self._notes, *([own] if own else ()), *result.measurements.notes] or None
            try:
                self._store.publish(row, epoch_columns(result), result.weights)
            except Exception as error:
                self._keep_whole_epochs(part)
                if kind_of(error) is not Kind.TRIAL:
                    raise
                self._publish_unmeasured(part, result.trial_id, f"{type(error).__name__}: {error}")

    def _row(self, trial_id: str) -> dict[str, Any]:
        job, spec = self.job, self._specs[trial_id]
        return {
            "trial_id": trial_id,
            "pack_id": job.pack_id,
            "attempt": job.attempt,
            "retry": self._retry,
            "problem": job.problem,
            "model": job.model,
            "method": job.method,
            "study": job.study,
            "seed": job.seed,
            "k": None if spec.preference is None else list(spec.preference),
            **{f"k_{i}": value for i, value in enumerate(spec.preference or ())},
            "taken_over": [*job.taken_over, *self._givers_of(trial_id)] or None,
            "host": platform.node(),
            "device": self._device,
            "backend": None,  # a training's own columns say which
            "versions": versions(),
            "peak_memory_mb": peak_memory_mb(),
            "finished_at": datetime.now(UTC),
        }

    def _givers_of(self, trial_id: str) -> list[str]:
        """The trial whose network this one began with."""
        start = self.job.starts.get(trial_id, {})
        giver = start.get("giver")
        return [giver] if giver is not None and start.get("weights_sha256") is not None else []

    def _make_specs(self) -> "list[TrialSpec]":
        from trainer.api import TrialSpec

        job = self.job
        settings = TypeAdapter(TrainingSettings).validate_python(dict(job.training))
        reference_point = tuple(job.reference_point) if job.reference_point else None
        return [
            TrialSpec(trial_id, job.model, job.method, k if k is None else tuple(k), job.seed, settings, job.scaling, reference_point)
            for trial_id, k in zip(job.trial_ids, job.preferences, strict=True)
        ]

    def _first_parts(self) -> list[_Part]:
        """The pack as one, or divided as an earlier try has left it: each part where its furthest checkpoint is."""
        parts, left = [], dict.fromkeys(self._specs)
        for checkpoint in self._own_checkpoints():
            ids = tuple(trial_id for trial_id in left if trial_id in checkpoint.trial_ids)
            is_part = checkpoint.pack_id.startswith(f"{self.job.pack_id}-")
            state = self._read_state(checkpoint) if ids and (is_part or len(ids) == len(left)) else None
            if state is not None:
                parts.append(_Part(checkpoint.pack_id if is_part else self.job.pack_id, ids, state))
                left = {trial_id: None for trial_id in left if trial_id not in ids}
        return [*parts, _Part(self.job.pack_id, tuple(left))] if left else parts

    def _settled_backend(self) -> str:
        """On a GPU, `auto` is what the sweep's first worker found to be the fastest."""
        from trainer.api import resolve_device, timed_backend

        job = self.job
        if job.backend != "auto" or self._problem is None or not self._specs or resolve_device(self._device).type != "cuda":
            return job.backend
        problem, specs = self._problem, list(self._specs.values())

        def choose() -> dict[str, Any]:
            found = timed_backend(specs, problem, device=self._device)
            name, seconds = found or ("auto", {})
            return {"backend": name, "seconds_a_step_and_model": seconds, "device": self._device}

        return self._store.settle_backend(job.model, choose)

    def _as_memory_allows(self, part: _Part) -> list[_Part]:
        """The part, or equal parts of it where a GPU's memory does not take it whole."""
        from trainer.api import fits

        if self._problem is None:
            return [part]
        specs = [self._specs[trial_id] for trial_id in part.trial_ids]
        largest = fits(specs, self._problem, device=self._device, backend=self._backend, share=min(1.0, self.job.gpus or 1.0))
        if largest is None or len(part.trial_ids) <= largest:
            return [part]
        n_parts = -(-len(part.trial_ids) // largest)
        bounds = [round(i * len(part.trial_ids) / n_parts) for i in range(n_parts + 1)]
        pieces = [part.trial_ids[start:stop] for start, stop in pairwise(bounds)]
        return [_Part(f"{part.name}-{number}", ids, part.state) for number, ids in enumerate(pieces, start=1)]

    def _own_checkpoints(self) -> list[Checkpoint]:
        """Those of this pack, of its parts and of the pack that it continues; the furthest first."""
        wanted = (self.job.pack_id, self.job.checkpoint_pack_id)
        own = [c for c in self._store.checkpoints() if c.pack_id in wanted or c.pack_id.startswith(f"{self.job.pack_id}-")]
        return sorted(own, key=lambda checkpoint: (-checkpoint.epoch, -len(checkpoint.trial_ids)))

    def _furthest_state(self, trial_ids: Sequence[str]) -> "State | None":
        """Of a checkpoint that includes these trials."""
        fitting = (self._read_state(c) for c in self._own_checkpoints() if set(trial_ids) <= set(c.trial_ids))
        return next((state for state in fitting if state is not None), None)

    def _read_state(self, checkpoint: Checkpoint) -> "State | None":
        """None where the checkpoint is damaged."""
        from trainer.api import CheckpointError, from_bytes

        try:
            return from_bytes(self._store.load_checkpoint(checkpoint))
        except (CheckpointError, StoreError):
            return None

    def _checkpoint_if_due(self, part: _Part) -> None:
        if time.monotonic() - self._checkpointed_at >= self.job.checkpoint_s or self.stop_requested():
            self.checkpoint()

    def _report_live(self, part: _Part | None) -> None:
        """Where this try is; without a part it is starting."""
        k = dict(zip(self.job.trial_ids, self.job.preferences, strict=True))
        trial_ids = list(self.job.trial_ids if part is None else part.trial_ids)
        state = {
            "pack_id": self.job.pack_id,
            "attempt": self.job.attempt,
            "retry": self._retry,
            "study": self.job.study,
            "trial_ids": trial_ids,
            "seed": self.job.seed,
            "k": [k[trial_id] for trial_id in trial_ids],
            "host": platform.node(),
            "pid": os.getpid(),
            "started": self._started_at,
            "updated": time.time(),
        }
        self._store.write_live(self.job.pack_id, state | self.progress())


def next_retry(store: Store, job: PackJob) -> int:
    """One more than the last try of this pack in this attempt, so that a late writer's files differ from ours; 0 for the first."""
    key = (job.pack_id, job.attempt)
    tries = [live["retry"] for live in store.live() if (live.get("pack_id"), live.get("attempt")) == key and is_count(live.get("retry"))]
    return max(tries, default=-1) + 1


def versions() -> dict[str, str]:
    """The versions that a result may depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def peak_memory_mb() -> float | None:
    """The largest resident size of this process so far, in MB (10^6 bytes); None where the platform does not tell."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
