"""The training of one pack in a worker process: resume from a checkpoint, train, save checkpoints, and publish rows.

This module does not import Ray, so it can be tested without a cluster. It imports torch when a `PackRun` is created.
"""

import gc
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Sequence
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
from trainer.pack.device_errors import is_backend_error, is_device_error, is_out_of_memory
from trainer.problems.custom.factory import OwnProblem
from trainer.problems.custom.source import SourceError, described
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from torch import Tensor

    from trainer.api import Problem, State, Timing, Training, TrialSpec

_CHECKPOINT_SHARE = 0.05
"""Share of the time that checkpoints may take."""
_LONGEST_PAUSE_S = 300.0
"""Seconds after which a checkpoint is written, however long that takes, unless `checkpoint_s` is longer."""
_PACKAGES = ("pareto-sweep", "torch", "numpy", "scipy", "scikit-learn", "ray", "pyarrow")


@dataclass
class Spent:
    """The seconds that a worker spent on setup, training and storing."""

    setup_s: float = 0.0
    training_s: float = 0.0
    store_s: float = 0.0


@dataclass
class _Part:
    """Trials that train together: the whole pack, or a part of it after a split because of memory or an error."""

    name: str
    """The name of the part's checkpoints: the pack's id, followed by a suffix for the part."""
    trial_ids: tuple[str, ...]
    state: "State | None" = None
    """The state from which the part resumes."""
    training: "Training | None" = None
    is_trained: bool = False
    """Whether the last epoch has ended, so that only the results remain to be measured."""
    error: str | None = None


class PackRun:
    """The training of one pack. Call `step` until it returns True; by then every row is in the store.

    If a trial itself fails (an exception in training), a pack with one trial ends with an `error` row. A larger pack is split
    and its trials train one at a time, so that only the failing trial is lost. If a custom problem cannot be trained, every trial
    fails. If memory is insufficient for a pack, its halves train one after the other, starting from the last checkpoint. If the backend was
    chosen by measurement and its kernel cannot be compiled here, the pack continues from the last checkpoint without the kernel. Any other
    error (sweep/worker/faults.py) is raised, and the caller may try again from the last checkpoint, here or elsewhere.

    Nothing that happens after the last epoch makes a trial train again. If the results of a pack cannot be measured together, its
    final state is saved in a checkpoint, and each trial is measured alone from there. A trial that still fails gets an `error` row,
    and its checkpoint is kept for `sweep rm` and the next run.

    Args:
        job: the pack and its settings.

    Raises:
        Exception: any error whose `kind_of` is not `Kind.TRIAL`, from the constructor and from `step`.
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
        """Trials that were trained but have an `error` row; their checkpoints are kept."""
        self._samples_per_s = 0.0
        self._has_begun = False
        self._report_live(None)  # written first, so that the next try counts this one even if it ends early
        self._fault = job.fault
        self._problem, notes = (None, []) if job.fault else self._build_problem()
        self._notes = [*job.notes, *notes]
        self._given = self._read_given()
        self._starts = self._read_starts()
        # If an earlier try was cut off while it published rows, only the remaining trials are left for this one.
        complete = self._store.complete(job.trial_ids)
        self._specs = {spec.trial_id: spec for spec in self._make_specs() if spec.trial_id not in complete}
        device = resolve_device(job.device)
        self._device, self._meter = str(device), energy_meter(device)
        self._backend = self._settled_backend()
        self._parts = [part for first in self._first_parts() for part in self._as_memory_allows(first)]
        self._checkpointed_at = time.monotonic()
        self._checkpoint_cost_s = 0.0
        """Seconds that the last checkpoint took."""
        self._checkpointed_phase: str | None = None
        """The phase of training at the last checkpoint, or at the start of the part."""
        if self._parts:
            self._report_live(self._parts[0])
        else:
            self._store.remove_live(job.pack_id)
        self.spent.setup_s = time.perf_counter() - started

    @property
    def is_done(self) -> bool:
        """Whether every trial has its row."""
        return not self._parts

    def step(self) -> bool:
        """Train one epoch of the current part, and publish its rows after the last epoch.

        Returns:
            Whether every trial of the pack has its row (`is_done`).
        """
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
        """Return whether a stop of the sweep was requested; `step` then saves the last finished epoch in a checkpoint."""
        return self._store.control.stop_requested()

    def checkpoint(self) -> None:
        """Save the last finished epoch of the current part in a checkpoint."""
        part = self._parts[0] if self._parts else None
        if part is None or part.training is None:
            return
        from trainer.api import to_bytes

        started = time.monotonic()
        self._store.save_checkpoint(part.name, self.job.attempt, self._retry, to_bytes(part.training.state_dict()))
        self._checkpointed_at = time.monotonic()
        self._checkpoint_cost_s = self._checkpointed_at - started
        self._checkpointed_phase = _phase_of(part.training)

    def progress(self) -> dict[str, Any]:
        """Return a few flat figures of the current part; empty before its training has begun."""
        training = self._parts[0].training if self._parts else None
        return training.progress() | {"samples_per_s": self._samples_per_s} if training is not None else {}

    def leave(self) -> None:
        """Stop training this pack here, and save its last finished epoch. A pack that has not begun is no longer listed as running."""
        if not self._has_begun:
            self._store.remove_live(self.job.pack_id)
        self.checkpoint()

    def _n_samples(self, part: _Part) -> float:
        """Return the number of training samples in an epoch, summed over the part's networks."""
        n_samples = len(self._problem.train) if self._problem is not None else 0
        return n_samples * float(self.job.training.get("data_share", 1.0)) * len(part.trial_ids)

    def _build_problem(self) -> "tuple[Problem | None, list[str]]":
        """Build the problem, and return it with the notes for every row. If a custom problem fails, set `_fault` and return None."""
        job = self.job
        entry = find_problem(job.problem, tuple(job.problem_folders))
        # Pydantic turns JSON lists into the tuples that the options have.
        options = TypeAdapter(entry.options).validate_python(dict(job.problem_options))
        if not isinstance(entry, OwnProblem):
            return entry.build(options), []
        if job.problem_source is not None:
            entry.refuse_other_source(job.problem_source)
        try:
            settings = TypeAdapter(TrainingSettings).validate_python(dict(job.training))
            return entry.prepare(options, job.model, settings, trains=METHODS[job.method].takes_steps)
        except (OSError, SourceError):
            raise
        except Exception as error:  # the worker's edge: an exception in the user's code becomes a row
            if is_device_error(error):
                raise
            self._fault = f"{job.problem}: {described(error, entry.source)}"
            return None, []

    def _read_given(self) -> "dict[str, Tensor] | None":
        """Return the tensors of the network that the method inherits, or None."""
        if self.job.given_sha256 is None:
            return None
        from trainer.api import model_tensors

        return model_tensors(self._store.get_blob(self.job.given_sha256))

    def _read_starts(self) -> "dict[str, dict[str, Tensor]]":
        """Return a mapping from trial id to the network that the trial starts from, for trials that do not start from scratch."""
        from trainer.api import model_tensors

        blobs = {trial.trial_id: trial.start.weights_sha256 for trial in self.job.trials if trial.start and trial.start.weights_sha256}
        networks = {sha: model_tensors(self._store.get_blob(sha)) for sha in dict.fromkeys(blobs.values())}
        return {trial_id: networks[sha] for trial_id, sha in blobs.items()}

    def _advance(self, part: _Part) -> tuple[list[Any] | None, bool]:
        """Train one epoch. Return the results if it was the last one, and whether memory was insufficient for so many trials."""
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
        except Exception as error:
            kind = kind_of(error)
            if kind is not Kind.TRIAL:
                self._keep_whole_epochs(part)
                if is_out_of_memory(error) and len(part.trial_ids) > 1:
                    return None, True
                if self._take_simpler_backend(error):
                    part.training, part.state = None, self._furthest_state(part.trial_ids) or part.state
                    return None, False
                raise
            part.error = f"{type(error).__name__}: {error}"
            return None, False

    def _keep_whole_epochs(self, part: _Part) -> None:
        """Save the state of a part that is trained; drop a training that an error interrupted in the middle of an epoch."""
        if not part.is_trained:
            part.training = None
            return
        try:
            self.checkpoint()
        except Exception:  # noqa: BLE001 - the worker's edge: the first error matters, and may be the cause of this one
            traceback.print_exc()

    def _begin(self, part: _Part) -> "Training":
        from trainer.api import start

        assert self._problem is not None
        specs = [self._specs[trial_id] for trial_id in part.trial_ids]
        starts = [self._starts.get(trial_id) for trial_id in part.trial_ids] if any(trial.start for trial in self.job.trials) else None
        training = start(
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
        self._checkpointed_phase = _phase_of(training)
        return training

    def _take_simpler_backend(self, error: Exception) -> bool:
        """Give up the backend's kernel, if it caused the error and the backend was chosen by measurement, perhaps on another GPU.

        A backend that the grid file names is kept.

        Args:
            error: the error that ended the pack's training or measurement.

        Returns:
            Whether the pack now has another backend.
        """
        from trainer.training.measurements import reason_of

        if not is_backend_error(error) or self.job.backend != "auto" or "+" not in self._backend:
            return False
        failed, self._backend = self._backend, self._backend.partition("+")[0]
        self._notes.append(f"backend {failed} does not work here ({reason_of(error)}): {self._backend} was used instead")
        return True

    def _halve(self, part: _Part) -> None:
        """Split a part into halves that resume from the last checkpoint, so the epochs since then are repeated."""
        from torch import cuda

        what = "measured" if part.is_trained else "trained"
        part.training = None
        gc.collect()  # otherwise objects in reference cycles keep the memory of the larger pack
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
        if part.state is not None:  # the checkpoint may be the cause, so try once more without it
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
        """Measure each trial of a trained part alone, without retraining; a trial that cannot be measured gets an `error` row."""
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
        """Publish the row of a trial that was trained but not measured. Its checkpoint is kept so that it can be measured later."""
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
        """Publish the rows one by one, so that a row which the store refuses does not affect the others."""
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
            "backend": None,  # filled in from the training's own columns
            "versions": versions(),
            "peak_memory_mb": peak_memory_mb(),
            "finished_at": datetime.now(UTC),
        }

    def _started_from(self, trial_id: str) -> list[str]:
        """Return the id of the trial whose network this trial started from, as a list of one; otherwise an empty list."""
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
        """Return the pack as one part, or the parts that an earlier try left, each resumed from its most advanced checkpoint."""
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
        """Return the backend of the job; on a GPU, `auto` is replaced by the one that the sweep's first worker measured as fastest."""
        from trainer.api import resolve_device, timed_backend

        job, store = self.job, self._store
        if job.backend != "auto" or self._problem is None or not self._specs or resolve_device(self._device).type != "cuda":
            return job.backend

        def settle(measure: "Callable[[], Timing]") -> str:
            def choose() -> dict[str, Any]:
                timing = measure()
                return {
                    "backend": timing.backend,
                    "seconds_a_step_and_model": dict(timing.step_s),
                    "left_out": dict(timing.failures),
                    "device": self._device,
                }

            return store.settle_backend(job.model, choose)

        settled = store.settled_backend(job.model)
        if settled is None:
            settled = timed_backend(list(self._specs.values()), self._problem, device=self._device, settle=settle)
        return settled or job.backend

    def _as_memory_allows(self, part: _Part) -> list[_Part]:
        """Return the part, or pieces of equal size if it does not fit into the GPU's memory."""
        if self._problem is None or len(part.trial_ids) == 1:
            return [part]
        largest = self._largest_pack([self._specs[trial_id] for trial_id in part.trial_ids], self._problem)
        if largest is None or len(part.trial_ids) <= largest:
            return [part]
        n_parts = -(-len(part.trial_ids) // largest)
        bounds = [round(i * len(part.trial_ids) / n_parts) for i in range(n_parts + 1)]
        pieces = [part.trial_ids[start:stop] for start, stop in pairwise(bounds)]
        return [_Part(f"{part.name}-{number}", ids, part.state) for number, ids in enumerate(pieces, start=1)]

    def _largest_pack(self, specs: "Sequence[TrialSpec]", problem: "Problem") -> int | None:
        """Return how many of these trials fit into the GPU's memory; None if that does not matter here."""
        from trainer.api import fits

        try:
            return fits(specs, problem, device=self._device, backend=self._backend, share=min(1.0, self.job.gpus or 1.0))
        except Exception as error:
            if not self._take_simpler_backend(error):
                raise
        return self._largest_pack(specs, problem)

    def _own_checkpoints(self) -> list[Checkpoint]:
        """Return the checkpoint that the job names and those of earlier tries of this pack and its parts, most advanced first."""
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
        """Return the state of the most advanced readable checkpoint that includes these trials, or None."""
        fitting = (self._read_state(c) for c in self._own_checkpoints() if set(trial_ids) <= set(c.trial_ids))
        return next((state for state in fitting if state is not None), None)

    def _read_state(self, checkpoint: Checkpoint) -> "State | None":
        """Return the state in a checkpoint; None if it is damaged."""
        from trainer.api import CheckpointError, from_bytes

        try:
            return from_bytes(self._store.load_checkpoint(checkpoint))
        except (CheckpointError, StoreError):
            return None

    def _checkpoint_if_due(self, part: _Part) -> None:
        if self._is_checkpoint_due(part) or self.stop_requested():
            self.checkpoint()

    def _is_checkpoint_due(self, part: _Part) -> bool:
        """Return whether the last checkpoint is old enough, compared with what one costs, or belongs to an earlier phase of training."""
        if part.training is None:
            return False
        age, shortest = time.monotonic() - self._checkpointed_at, self.job.checkpoint_s
        if age < shortest or shortest == 0:
            return shortest == 0
        is_affordable = age >= min(self._checkpoint_cost_s / _CHECKPOINT_SHARE, _LONGEST_PAUSE_S)
        return is_affordable or _phase_of(part.training) != self._checkpointed_phase

    def _report_live(self, part: _Part | None) -> None:
        """Write the current progress of this try into the store; without a part the try is still starting."""
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


def _phase_of(training: "Training") -> str:
    return str(training.progress()["phase"])


def next_retry(store: Store, job: PackJob) -> int:
    """Return the number of this try of a pack in its attempt, starting at 0.

    The number is part of file names, so that an earlier worker that is still writing cannot use the same names.
    """
    key = (job.pack_id, job.attempt)
    tries = [live["retry"] for live in store.live() if (live.get("pack_id"), live.get("attempt")) == key and is_count(live.get("retry"))]
    return max(tries, default=-1) + 1


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that results may depend on."""
    installed = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed


def peak_memory_mb() -> float | None:
    """Return the peak resident memory of this process in MB (10^6 bytes); None if the platform does not report it."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
