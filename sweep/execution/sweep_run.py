"""One sweep of a run, as the supervisor sees it: its folder, the trials that remain, and how it ended."""

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from sweep.cluster.slots import worker_kinds
from sweep.errors import SweepError
from sweep.execution.failures import FailedTrials
from sweep.execution.log import relative_log
from sweep.grid.load import GridText, Study, SweepConfig
from sweep.grid.resolve import ANCHOR_STUDY, hypervolume_box
from sweep.monitor.outcome import EXIT_COMPLETE, EXIT_FAILED_TRIALS, EXIT_INTERRUPTED, EXIT_WRONG_INPUT, Outcome, Timing
from sweep.planning.inherit import Inherited, inherit, network_start
from sweep.planning.manifest import manifest_of, refuse_changed_source
from sweep.planning.pack_job import PackJob, TrialJob
from sweep.planning.packs import PackPlan, Plan, plan_sweeps
from sweep.planning.placing import place_rounds
from sweep.planning.reference_point import anchor_trials, below_anchor_runs, padded
from sweep.planning.trials import n_unplaced, trials_of
from sweep.store.manifest import selection_of
from sweep.store.remote.path import StorePath
from sweep.store.store import Store
from sweep.worker.pack_run import versions
from trainer.catalog import METHODS
from trainer.problems.custom.factory import OwnProblem
from trainer.problems.custom.source import SourceError


class SweepRun:
    """A sweep and its results folder.

    Args:
        config: its grid file.
        limit: train only this many trials, the first ones; None means all.
        grid_file: the text of the grid file, which is stored in the plan.
    """

    def __init__(self, config: SweepConfig, limit: int | None, grid_file: GridText) -> None:
        self.config = config
        """The sweep, with the vectors that were placed so far."""
        self._grid, self._limit = config, limit
        self.trials = trials_of(config, limit)
        self._all_trials = trials_of(config) if limit is not None else self.trials
        self.store = Store(config.output)
        self.plan = Plan(self.trials, {}, (), 0)
        self.n_before = 0
        """The number of trials that were complete before this run."""
        self.last_failure: str | None = None
        """Why a pack of the last attempt failed."""
        self._failed = FailedTrials(self.store, {})
        self._n_failed = 0
        self.reported_request: str | None = None
        """The last `current_request` that was reported to the user."""
        self._grid_file = grid_file
        self._studies = {study.name: study for study in config.resolved_studies}
        self._anchors = anchor_trials(self._all_trials)
        self._reference_point: tuple[float, ...] | None = None
        self._to_fix: str | None = None
        """What the user has to fix before training can continue."""

    def open(self) -> None:
        """Prepare the results folder for a run. The caller must hold its lock."""
        manifest = manifest_of(self.config, datetime.now(UTC).isoformat(timespec="seconds"))
        refuse_changed_source(self.store.manifest() or {}, manifest, self.store.root)
        self.store.create(manifest | {"versions": versions()})
        self.store.control.clear_stop()
        self.store.remove_temporaries()

    @property
    def n_trials(self) -> int:
        """The number of trials of this run, including those whose vectors are still to be placed."""
        return len(self.trials) + n_unplaced(self.config, self.trials, self._limit)

    @property
    def n_unplaced(self) -> int:
        """The number of trials whose vectors are still to be placed."""
        return self.n_trials - len(self.trials)

    def place(self) -> list[str]:
        """Place every round of vectors whose earlier rounds are complete, and return a message for each. The caller must hold the lock."""
        if self._to_fix is not None or not any(study.placing is not None for study in self._studies.values()):
            return []
        try:
            config, messages = place_rounds(self._grid, self.store, writes=True)
            if config != self.config or messages:
                self.trials = trials_of(config, self._limit)
                self._all_trials = trials_of(config) if self._limit is not None else self.trials
        except (SweepError, SourceError) as error:
            self._to_fix = str(error)
            return []
        self.config = config
        self._studies = {study.name: study for study in config.resolved_studies}
        return messages

    def planned(self, n_workers: int, running: Collection[str]) -> Plan:
        """Return a plan for the trials that no pack is training.

        Args:
            n_workers: how many packs can run at once.
            running: the ids of trials that are being trained.
        """
        return plan_sweeps([(self.config, self.trials, self.store)], n_workers, limit=self._limit, running=running)[0]

    def take_plan(self, plan: Plan) -> None:
        """Continue with a new plan, and compute the reference point once the anchor runs are complete.

        Training ends if the source of a custom problem has changed, because the trial ids stand for the old source.
        """
        self.plan = plan
        entry = self.config.problem.entry
        try:
            if plan.packs and isinstance(entry, OwnProblem):
                entry.refuse_other_source(entry.source.digest)
            if self.config.has_auto_reference and self._reference_point is None:
                self._reference_point = self._from_anchor_runs()
        except (SweepError, SourceError) as error:
            self._to_fix = str(error)
            self.plan = replace(plan, packs=())

    def current_request(self) -> str | None:
        """Return the pending request for this sweep: `stop`, `pause` or None. It no longer changes once nothing is left to train."""
        if not self.plan.packs:
            return self.reported_request
        return "stop" if self.store.control.stop_requested() else "pause" if self.store.control.pause_requested() else None

    def position(self) -> tuple[int, int]:
        """Return the number of complete trials and of epochs in checkpoints; an attempt that makes progress raises one of them."""
        epochs = sum(checkpoint.epoch * len(checkpoint.trial_ids) for checkpoint in self.store.checkpoints())
        return len(self.store.complete()), epochs

    def states(self) -> Counter[str]:
        """Return the number of this run's trials in each state, for complete trials only."""
        if not self.plan.packs:
            return Counter(self.plan.complete.values())
        states = self.store.complete()
        return Counter(states[trial.trial_id] for trial in self.trials if trial.trial_id in states)

    def begin_run(self) -> None:
        """Record which trials were complete before this run."""
        self.n_before = len(self.plan.complete)
        self._failed = FailedTrials(self.store, self.plan.complete)
        self._n_failed = _n_failed(Counter(self.plan.complete.values()))

    def new_failures(self, states: Counter[str], log: StorePath) -> list[str]:
        """Return messages about the trials that have failed since the last call.

        Args:
            states: the current result of `states()`.
            log: the log of the attempt.
        """
        if _n_failed(states) == self._n_failed:
            return []
        self._n_failed = _n_failed(states)
        complete = self.store.complete()
        return self._failed.news({trial.trial_id: complete[trial.trial_id] for trial in self.trials if trial.trial_id in complete}, log)

    def begin_attempt(self, attempt: int, log: StorePath, circumstances: Mapping[str, Any], *, continues: bool = False) -> list[PackJob]:
        """Record the attempt in the folder, and return the jobs for its workers.

        The packs of a new round of vectors get an attempt number and a plan of their own, although the same process trains them.

        Args:
            attempt: number of the attempt in this folder.
            log: where the run's log is kept, in this folder or in another sweep's.
            circumstances: the fields of the plan that all sweeps of the run share.
            continues: whether packs of an earlier attempt are still running.

        Returns:
            One job for each pack of the plan.
        """
        self._write_plan(attempt, {**circumstances, "log": relative_log(log, self.store.root)})
        if not continues:
            self.store.clear_live()
        return [self._job(pack, attempt) for pack in self.plan.packs]

    def _write_plan(self, attempt: int, circumstances: Mapping[str, Any]) -> None:
        record = {
            **circumstances,
            "attempt": attempt,
            "grid_file": self._grid_file.grid,
            "override_file": self._grid_file.override,
            "config": json.loads(self.config.model_dump_json()),
            "trials": [
                {"trial_id": t.trial_id, "study": t.study, "k": t.preference and list(t.preference), "seed": t.seed} for t in self.trials
            ],
            "n_complete_before": self.n_before,
        }
        if self.plan.placing:
            record |= {"placing": list(self.plan.placing), "n_unplaced": self.plan.n_unplaced}
        self.store.write_plan(attempt, record)

    def _record_end_of_placing(self) -> None:
        """Write one more plan if placing has ended, or was cut differently, without any pack to train."""
        latest = self.store.latest_plan()
        if self.plan.placing and latest is not None and latest.get("placing") != list(self.plan.placing):
            self._write_plan(self.store.next_attempt(), latest)

    def finish(self, was_interrupted: bool, timing: Timing) -> Outcome:
        """Compact the new rows, and return how the sweep ended.

        Args:
            was_interrupted: whether the user stopped this sweep.
            timing: the timing of the whole run.
        """
        plan = self.plan
        counts = Counter(plan.complete.values())
        n_trained = len(plan.complete) - self.n_before
        if n_trained:
            self.store.record_backends()
            self.store.compact()
            self.store.remove_checkpoints()  # checkpoints whose trials ended in different packs
        self._record_end_of_placing()
        self.store.remove_temporaries()
        has_new_box = self.store.settle_hypervolume_box(hypervolume_box(self.config, self.config.problem.facts))
        if not plan.n_todo:
            self.store.control.clear_stop()
            self.store.control.lift_pause()
        is_interrupted = bool(plan.n_todo and was_interrupted)
        message = None
        if self._to_fix is not None:
            exit_code, message = EXIT_WRONG_INPUT, self._to_fix
        elif is_interrupted:
            exit_code = EXIT_INTERRUPTED
        elif plan.n_todo:
            reason = self.last_failure or "the attempts died"
            message = f"{plan.n_todo} trials could not be finished: {reason} (logs in {self.store.root / 'logs'})"
            exit_code = EXIT_FAILED_TRIALS
        else:
            exit_code = EXIT_COMPLETE if set(counts) <= {"ok"} else EXIT_FAILED_TRIALS
        states = dict(sorted(counts.items()))
        return Outcome(self.store.root, exit_code, self.n_trials, states, n_trained, is_interrupted, message, timing, has_new_box)

    def _from_anchor_runs(self) -> tuple[float, ...] | None:
        """Return the reference point in the manifest, computing it the first time; None before the anchor runs are complete."""
        manifest = self.store.manifest() or {}
        if manifest.get("reference_point_values") is None:
            complete = self.store.complete()
            if any(trial.trial_id not in complete for trial in self._anchors):
                return None
            wanted = {trial.trial_id for trial in self._anchors}
            rows = {row["trial_id"]: row for row in self.store.read_rows(wanted).to_pylist()}
            self.store.fix_reference_point(below_anchor_runs(self.config, self._anchors, rows))
            manifest = self.store.manifest() or {}
        return tuple(manifest["reference_point_values"])

    def _inherited(self, study: Study, seed: int) -> Inherited:
        """Return what the study inherits from the studies that it depends on, which must be complete."""
        if study.tuned_by is None and METHODS[study.method].inherits is None:
            return Inherited(study.training)
        wanted = {trial.trial_id: trial for trial in self.trials if trial.study in study.after}
        rows = self.store.read_rows(wanted).to_pylist()
        # A trial that belongs to two studies is stored under the name of the first.
        named = [row | {"study": wanted[row["trial_id"]].study} for row in rows]
        return inherit(study, seed, self._studies, named, selection_of(self.store.manifest() or {}))

    def _trials(self, pack: PackPlan) -> list[TrialJob]:
        """Return the jobs of the pack's trials, each with the network that it starts from; the source trials must be complete."""
        dense = {trial.warm_start for trial in pack.trials if trial.warm_start is not None}
        rows = {row["trial_id"]: row for row in self.store.read_rows().to_pylist() if row["trial_id"] in dense} if dense else {}
        starts = {trial_id: network_start(row) for trial_id, row in rows.items()}
        return [
            TrialJob(trial.trial_id, trial.preference and list(trial.preference), starts.get(trial.warm_start or ""))
            for trial in pack.trials
        ]

    def _job(self, pack: PackPlan, attempt: int) -> PackJob:
        config, first = self.config, pack.trials[0]
        study = self._studies[first.study]
        inherited = self._inherited(study, first.seed)
        reference = None if study.name == ANCHOR_STUDY else self._reference_point or config.given_reference
        entry = config.problem.entry
        return PackJob(
            root=str(self.store.root),
            attempt=attempt,
            pack_id=pack.pack_id,
            problem=config.problem.name,
            problem_options=asdict(config.problem.options),
            study=study.name,
            model=study.model,
            method=study.method,
            training=asdict(inherited.training),
            given_sha256=inherited.weights_sha256,
            taken_over=inherited.trial_ids,
            notes=inherited.notes,
            fault=inherited.fault,
            scaling=config.scaling,
            reference_point=None if reference is None or first.preference is None else padded(reference, config.problem.facts),
            seed=first.seed,
            trials=self._trials(pack),
            backend=config.resources.backend,
            **worker_kinds(config.resources)[0].job,
            checkpoint_s=config.resources.checkpoint_s,
            checkpoint=str(pack.checkpoint.path) if pack.checkpoint else None,
            problem_folders=config.problem.import_from or (),
            problem_source=entry.source.digest if isinstance(entry, OwnProblem) else None,
            sweep=config.name,
        )


def _n_failed(states: Counter[str]) -> int:
    return states.total() - states["ok"]
