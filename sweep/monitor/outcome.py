"""The outcome of a run: its exit code, its counts, and how its time was spent."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sweep.store.remote.path import StorePath

EXIT_COMPLETE, EXIT_WRONG_INPUT, EXIT_FAILED_TRIALS, EXIT_INTERRUPTED = 0, 2, 3, 130
_WORST_FIRST = (EXIT_INTERRUPTED, EXIT_WRONG_INPUT, EXIT_FAILED_TRIALS, EXIT_COMPLETE)


@dataclass
class Timing:
    """How the time of a run was spent, in seconds. Sums over workers are divided by the number of workers."""

    total_s: float = 0.0
    ray_start_s: float = 0.0
    ray_stop_s: float = 0.0
    training_s: float = 0.0
    worker_setup_s: float = 0.0
    store_s: float = 0.0
    fit_s: float = 0.0

    @property
    def ray_s(self) -> float:
        """The seconds spent on starting and stopping Ray, and the part of the fit in which workers started, waited or were idle."""
        return self.ray_start_s + self.ray_stop_s + max(0.0, self.fit_s - self.training_s - self.worker_setup_s - self.store_s)


@dataclass(frozen=True)
class Outcome:
    """The outcome of one sweep of a run."""

    root: StorePath
    exit_code: int
    n_trials: int
    states: Mapping[str, int]
    """Maps each final state to the number of complete trials in it."""
    n_trained: int
    """Number of trials that became complete in this run."""
    is_interrupted: bool
    message: str | None
    """Why the sweep ended before everything was complete; with exit code 2, what the user has to fix."""
    timing: Timing
    """The timing of the whole run, which all its sweeps share."""
    has_new_box: bool = False
    """Whether the run wrote or replaced the box of the hypervolumes."""

    @property
    def n_left(self) -> int:
        """The number of trials that are not complete."""
        return self.n_trials - sum(self.states.values())


def worst_exit_code(outcomes: Iterable[Outcome]) -> int:
    """Return the exit code of a run, which is the worst of its sweeps: interrupted, then wrong input, failed trials and complete."""
    return min((outcome.exit_code for outcome in outcomes), key=_WORST_FIRST.index)
