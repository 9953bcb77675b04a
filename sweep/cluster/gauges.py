"""Prometheus gauges that every Ray node exports: a sweep's trials by state, and the progress of its running packs.

Ray prefixes the names with `ray_`. configs/monitoring/ holds a Grafana dashboard for them.
"""

import contextlib
import logging
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ray.util.metrics import Gauge

from sweep.monitor.status import StatusReader
from sweep.store.store import StoreError

EVERY_S = 10.0
"""Ray's own interval between two exports, and the scrape interval in configs/monitoring/."""

TRIALS = ("sweep_trials", "Trials by state: ok, diverged, error (complete), running, left (neither)", ("sweep", "state"))
PAUSED = ("sweep_paused", "1 while the sweep is paused", ("sweep",))
_PACK_TAGS = ("sweep", "study", "pack")
OF_PACKS = {
    "epoch": ("sweep_epoch", "Finished epochs of a running pack", _PACK_TAGS),
    "n_epochs": ("sweep_epochs", "Epochs that a running pack trains in all", _PACK_TAGS),
    "best_metric": ("sweep_accuracy", "Best mean validation accuracy among the models of a running pack, 0 to 1", _PACK_TAGS),
    "sparsity_rate": ("sweep_sparsity_rate", "Mean share of zero rows of the models of a running pack, 0 to 1", _PACK_TAGS),
    "samples_per_s": ("sweep_samples_per_second", "Training samples a second times models, in a pack's last epoch", _PACK_TAGS),
}
"""Maps each figure of `PackRun.progress` to the name, description and tags of its gauge."""


class PackGauges:
    """The gauges of one pack. They exist in the pack's worker process and end with it.

    Args:
        sweep: name of the sweep.
        study: name of the pack's study.
        pack_id: id of the pack.
    """

    def __init__(self, sweep: str, study: str, pack_id: str) -> None:
        self._tags = {"sweep": sweep, "study": study, "pack": pack_id}
        self._gauges = {figure: Gauge(*about) for figure, about in OF_PACKS.items()}

    def show(self, progress: Mapping[str, Any]) -> None:
        """Set the gauge of every figure that is present and finite; a diverged pack may report NaN."""
        for figure, gauge in self._gauges.items():
            value = progress.get(figure)
            if value is not None and math.isfinite(value):
                gauge.set(float(value), tags=self._tags)


@contextlib.contextmanager
def sweeps_shown(roots: Sequence[str]) -> Iterator[None]:
    """Export the trials by state of every sweep while the block runs, reading the results folders every ten seconds."""
    ended = threading.Event()
    readers = [StatusReader(root) for root in roots]
    thread = threading.Thread(target=_show_until, args=(ended, readers), name="sweep-gauges", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=EVERY_S)


def _show_until(ended: threading.Event, readers: Sequence[StatusReader]) -> None:
    trials, paused = Gauge(*TRIALS), Gauge(*PAUSED)
    while True:
        for reader in readers:
            try:
                status = reader.read()
            except StoreError as error:  # the run itself runs into this error and reports it
                logging.getLogger(__name__).warning("no figures of %s: %s", reader.folder, error)
                continue
            for state, n_trials in status.by_state().items():
                trials.set(n_trials, tags={"sweep": status.name, "state": state})
            paused.set(float(status.is_paused), tags={"sweep": status.name})
        if ended.wait(EVERY_S):
            return
