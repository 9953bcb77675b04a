"""What a worker has to train: one pack, as plain values that travel as JSON. Imports nothing, so that a worker starts quickly."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class NetworkStart:
    """The dense trial whose network another trial starts from (`training.warm_start: neighbour`)."""

    trial_id: str
    """The dense trial."""
    weights_sha256: str | None
    """The blob of its network; None where it has none to start from: then the initial network is used."""
    note: str | None = None
    """What the other trial's row should say about it."""


@dataclass(frozen=True)
class TrialJob:
    """One trial of a pack."""

    trial_id: str
    k: Sequence[float] | None
    """Preference vector, shape (1 + n_tasks,); None for a method without preferences."""
    start: NetworkStart | None = None
    """None: it starts from the initial network, or from what its method inherits."""


@dataclass(frozen=True)
class PackJob:
    """All that a worker needs to train a pack."""

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
    trials: Sequence[TrialJob]
    device: str = "cpu"
    backend: str = "auto"
    gpus: float = 0.0
    """GPUs of this worker, or its share of one."""
    n_threads: int = 1
    """CPU threads beside a GPU."""
    checkpoint_s: float = 5.0
    """Seconds between two checkpoints; 0 keeps every epoch."""
    checkpoint: str | None = None
    """Path of the checkpoint that these trials continue from; None: they start at the first epoch."""
    problem_folders: Sequence[str] = ()
    """Where the module of an own problem is imported from, absolute."""
    problem_source: str | None = None
    """Digest of an own problem's source as it was planned; with any other source nothing is trained."""
    given_sha256: str | None = None
    """The blob of an earlier trial's network that the method inherits."""
    taken_over: Sequence[str] = ()
    """The trial that this network comes from."""
    notes: Sequence[str] = ()
    """What every row should say."""
    fault: str | None = None
    """Why these trials cannot be trained: they become rows that say so."""
    sweep: str = "sweep"
    """Name of the sweep, for the dashboard."""

    @property
    def trial_ids(self) -> tuple[str, ...]:
        """Ids of the trials, in order."""
        return tuple(trial.trial_id for trial in self.trials)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists, strings and numbers."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "PackJob":
        """The job that `to_json` wrote."""
        return cls(**{**values, "trials": tuple(map(_trial, values["trials"]))})


def _trial(values: Mapping[str, Any]) -> TrialJob:
    start = values.get("start")
    return TrialJob(values["trial_id"], values["k"], None if start is None else NetworkStart(**start))
