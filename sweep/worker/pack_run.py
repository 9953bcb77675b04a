"""The life of one pack in a worker process: resume from its checkpoint, train, keep checkpoints, publish its rows.

Imports no Ray, so it is tested without one. torch is imported when a `PackRun` is made.
"""

import os
import platform
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from sweep.planning.pack_job import PackJob
from sweep.store.records import is_count
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
    """The state that it resumes from."""
    training: "Training | None" = None
    is_trained: bool = False
    """Whether its last epoch has ended, so that only its results remain to be measured."""
    error: str | None = None


class PackRun:
    """The training of one pack: call `step` until it returns True. Every row is in the store before that.

    A fault of one trial's own (an exception out of training) ends a pack of one with an `error` row; a larger pack is
    split and its trials train one at a time, so that only the guilty one is lost. A custom problem that cannot be trained
    is the fault of every trial. Where a pack's memory is not enough its halves train one after the other, from its last
    checkpoint. An error that is not a trial's fault (sweep/worker/faults.py) is raised: the caller may try again, here or elsewhere,
    from the last checkpoint.

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
        self._trials = {trial.trial_id: trial for trial in job.trials}
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
        """The network that the method inherits."""
        if self.job.given_sha256 is None:
            return None
        from trainer.api import model_tensors

        return model_tensors(self._store.get_blob(self.job.given_sha256))

    def _read_starts(self) -> "dict[str, dict[str, Tensor]]":
        """trial_id -> the network that it begins with, where that is not the initial one."""
        from trainer.api import model_tensors

        blobs = {trial.trial_id: trial.start.weights_sha256 for trial in self.job.trials if trial.start and trial.start.weights_sha256}
        networks = {sha: model_tensors(self._store.get_blob(sha)) for sha in dict.fromkeys(blobs.values())}
        return {trial_id: networks[sha] for trial_id, sha in blobs.items()}

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
        """Keep the state of a training that has ended; drop one that an error cut off in the middle of an epoch."""
        if not part.is_trained:
            part.training = None
            return
        try:
            self.checkpoint()
        except Exception:  # noqa: BLE001 - the worker's edge: the error that counts is the first one, which may be why this fails
            traceback.print_exc()

    def _begin(self, part: _Part) -> "Training":
        from trainer.api import start

        assert self._problem is not None
        specs = [self._specs[trial_id] for trial_id in part.trial_ids]
        starts = [self._starts.get(trial_id) for trial_id in part.trial_ids] if any(trial.start for trial in self.job.trials) else None
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
        """Split a part into halves that resume from the last checkpoint; the epochs since then are trained again."""
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
        """Measure each trial of a trained part alone, without training it again; one that cannot be measured gets a row that says so."""
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
        """Publish the row of a trial that was trained but could not be measured; its checkpoint stays, so that it can be measured later."""
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
            row = self._row(result.trial_id) | row_columns(result) | {"state": result.state, "error": result.error}
            start = self._trials[result.trial_id].start
            own = [start.note] if start is not None and start.note else []
            row["notes"] = [*self._notes, *own, *result.measurements.notes] or None
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
            "taken_over": [*job.taken_over, *self._started_from(trial_id)] or None,
            "host": platform.node(),
            "device": self._device,
            "backend": None,  # a training's own columns say which
            "versions": versions(),
            "peak_memory_mb": peak_memory_mb(),
            "finished_at": datetime.now(UTC),
        }

    def _started_from(self, trial_id: str) -> list[str]:
        """The trial whose network this one started from, if there is one."""
        start = self._trials[trial_id].start
        return [start.trial_id] if start is not None and start.weights_sha256 is not None else []

    def _make_specs(self) -> "list[TrialSpec]":
        from trainer.api import TrialSpec

        job = self.job
        settings = TypeAdapter(TrainingSettings).validate_python(dict(job.training))
        reference_point = tuple(job.reference_point) if job.reference_point else None
        return [
            TrialSpec(
                trial.trial_id,
                job.model,
                job.method,
                None if trial.k is None else tuple(trial.k),
                job.seed,
                settings,
                job.scaling,
                reference_point,
            )
            for trial in job.trials
        ]

    def _first_parts(self) -> list[_Part]:
        """The pack as one part, or the parts that an earlier try left, each resumed from its furthest checkpoint."""
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
            fastest = timed_backend(specs, problem, device=self._device)
            name, seconds = fastest or ("auto", {})
            return {"backend": name, "seconds_a_step_and_model": seconds, "device": self._device}

        return self._store.settle_backend(job.model, choose)

    def _as_memory_allows(self, part: _Part) -> list[_Part]:
        """The part, or equal pieces of it where a GPU's memory does not hold it whole."""
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
        """The one that the job names, and those that earlier tries of this pack and of its parts have left; the furthest first."""
        job = self.job
        own = [
            checkpoint
            for checkpoint in self._store.checkpoints()
            if str(checkpoint.path) == job.checkpoint
            or checkpoint.pack_id == job.pack_id
            or checkpoint.pack_id.startswith(f"{job.pack_id}-")
        ]
        return sorted(own, key=lambda checkpoint: (-checkpoint.epoch, -len(checkpoint.trial_ids)))

    def _furthest_state(self, trial_ids: Sequence[str]) -> "State | None":
        """The state of the furthest checkpoint that includes these trials."""
        fitting = (self._read_state(c) for c in self._own_checkpoints() if set(trial_ids) <= set(c.trial_ids))
        return next((state for state in fitting if state is not None), None)

    def _read_state(self, checkpoint: Checkpoint) -> "State | None":
        """The state in a checkpoint; None where it is damaged."""
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
        trial_ids = list(self.job.trial_ids if part is None else part.trial_ids)
        state = {
            "pack_id": self.job.pack_id,
            "attempt": self.job.attempt,
            "retry": self._retry,
            "study": self.job.study,
            "trial_ids": trial_ids,
            "seed": self.job.seed,
            "k": [self._trials[trial_id].k for trial_id in trial_ids],
            "host": platform.node(),
            "pid": os.getpid(),
            "started": self._started_at,
            "updated": time.time(),
        }
        self._store.write_live(self.job.pack_id, state | self.progress())


def next_retry(store: Store, job: PackJob) -> int:
    """The number of this try: one more than the pack's last in this attempt, so that a late writer's files differ; 0 for the first."""
    key = (job.pack_id, job.attempt)
    tries = [live["retry"] for live in store.live() if (live.get("pack_id"), live.get("attempt")) == key and is_count(live.get("retry"))]
    return max(tries, default=-1) + 1


def versions() -> dict[str, str]:
    """The versions that a result may depend on."""
    installed = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed


def peak_memory_mb() -> float | None:
    """The largest resident size of this process so far, in MB (10^6 bytes); None where the platform does not say."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
