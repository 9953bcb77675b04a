"""A Tune scheduler that begins no pack of a sweep that is paused or asked to stop."""

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from sweep.store import Store


class LetGoWhileHeld(FIFOScheduler):
    """First come, first served; but packs of a held sweep that have not begun leave the fit.

    Tune cannot keep a pack waiting, and one that waits in its worker would hold the worker's resources. So the fit ends
    with the packs that were running, and whoever started it plans the others again once the sweep is held no more.
    Workers whose packs end before that stay idle, unless another sweep of the fit has packs for them.

    Args:
        roots: the results folders of the fit's sweeps.
    """

    def __init__(self, roots: list[str]) -> None:
        super().__init__()
        self._stores = {root: Store(root) for root in roots}  # kept: each knows when it last looked into an object store

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Called at each turn of Tune's loop, before it starts anything."""
        held = {root for root, store in self._stores.items() if store.control.is_held()}
        if held:
            for trial in tune_controller.get_trials():
                if trial.status == Trial.PENDING and trial.config["pack"]["job"]["root"] in held:
                    tune_controller.stop_trial(trial)
        return super().choose_trial_to_run(tune_controller)
