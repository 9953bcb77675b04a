"""The description of one pack that a worker trains, in plain values that can be sent as JSON.

This module imports no other module of the project, so that a worker starts quickly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class NetworkStart:
    """The dense trial whose network another trial starts from (`training.warm_start: neighbour`)."""

    trial_id: str
    """The id of the dense trial."""
    weights_sha256: str | None
    """The blob of the dense trial's network; None if it has none, in which case the initial network is used."""
    note: str | None = None
    """A note for the row of the trial that starts from it."""


@dataclass(frozen=True)
class TrialJob:
    """One trial of a pack."""

    trial_id: str
    k: Sequence[float] | None
    """Preference vector, shape (1 + n_tasks,); None for a method without preferences."""
    start: NetworkStart | None = None
    """The start of a warm-started trial; None if it starts from the initial network or from what its method inherits."""


@dataclass(frozen=True)
class PackJob:
    """Everything that a worker needs to train a pack."""

    root: str
    """The results folder, as an absolute path or an address."""
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
    trials: Sequence[TrialJob]
    device: str = "cpu"
    backend: str = "auto"
    gpus: float = 0.0
    """The number of GPUs of this worker, or its share of one."""
    n_threads: int = 1
    """The number of CPU threads that the worker may use."""
    checkpoint_s: float = 5.0
    """Minimum number of seconds between two checkpoints; 0 writes one after every epoch."""
    checkpoint: str | None = None
    """Path of the checkpoint from which these trials resume; None starts them at the first epoch."""
    problem_folders: Sequence[str] = ()
    """The absolute folders from which the module of a custom problem is imported."""
    problem_source: str | None = None
    """Digest of a custom problem's source at planning time; with any other source nothing is trained."""
    given_sha256: str | None = None
    """The blob of an earlier trial's network that the method inherits."""
    taken_over: Sequence[str] = ()
    """The id of the trial that this network comes from."""
    notes: Sequence[str] = ()
    """Notes for every row."""
    fault: str | None = None
    """Why these trials cannot be trained, which their rows then state; None if they can."""
    sweep: str = "sweep"
    """Name of the sweep, for the dashboard."""

    @property
    def trial_ids(self) -> tuple[str, ...]:
        """The ids of the trials, in order."""
        return tuple(trial.trial_id for trial in self.trials)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain dictionaries, lists, strings and numbers."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "PackJob":
        """Create a job from the result of `to_json`."""
        return cls(**{**values, "trials": tuple(map(_trial, values["trials"]))})


def _trial(values: Mapping[str, Any]) -> TrialJob:
    start = values.get("start")
    return TrialJob(values["trial_id"], values["k"], None if start is None else NetworkStart(**start))
