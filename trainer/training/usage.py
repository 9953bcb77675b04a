"""What a training uses: seconds of its pack by phase, and of seconds and energy the share of each trial."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from trainer.energy.meter import JOULES_PER_WH, EnergyMeter

_PHASES = ("sparsify", "tying", "retrain", "dense", "results")


class Spending:
    """Adds up stretches of work. All trials of a pack have equal shares of them.

    Args:
        n_trials: of the pack.
        meter: counts the energy; None where nothing counts it.
    """

    def __init__(self, n_trials: int, meter: EnergyMeter | None) -> None:
        self._n_trials, self._meter = n_trials, meter
        self._wall = dict.fromkeys(_PHASES, 0.0)
        self._device_s = 0.0
        self._joules: float | None = 0.0
        self._is_estimate = False

    @contextmanager
    def on(self, phase: str, *, uses_device: bool = True) -> Iterator[None]:
        """Within it the pack works on a phase.

        Args:
            phase: one of sparsify, tying, retrain, dense and results.
            uses_device: False where the device has nothing to do meanwhile, so that others may use it.
        """
        end = self._meter.begin() if self._meter is not None and uses_device else None
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            self._wall[phase] += seconds
            self._device_s += seconds / self._n_trials
            if uses_device:
                used = None if end is None else end()
                # A sum with a part missing would be a wrong number, so it is none.
                self._joules = None if used is None or self._joules is None else self._joules + used.joules / self._n_trials
                self._is_estimate |= used is not None and used.is_estimate

    def columns(self) -> dict[str, float | bool | None]:
        """Of a trial's row: `wall_s`, `wall_s_<phase>` (seconds of the pack), `device_s`, `energy_wh` and `energy_estimated` (its own)."""
        wall = self._wall
        is_known = self._joules is not None and self._device_s > 0
        return {
            "wall_s": sum(wall.values()),
            "wall_s_sparsify": wall["sparsify"],
            "wall_s_tying": wall["tying"],
            "wall_s_retrain": wall["retrain"] + wall["dense"],
            "device_s": self._device_s,
            "energy_wh": self._joules / JOULES_PER_WH if self._joules is not None and is_known else None,
            "energy_estimated": self._is_estimate if is_known else None,
        }

    def scalars(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        own = {"device_s": self._device_s, "joules": self._joules, "is_estimate": self._is_estimate}
        return {"wall": self._wall, "own": own}

    def load(self, scalars: Mapping[str, Any], n_trials: int) -> None:
        """Go on from a checkpoint.

        Args:
            scalars: what `scalars` returned; earlier versions kept no `own`.
            n_trials: how many trials that pack had, perhaps more than this one: their own shares count here, not the pack's seconds.
        """
        self._wall |= scalars["wall"]
        own = scalars.get("own") or {"device_s": sum(self._wall.values()) / n_trials, "joules": None, "is_estimate": False}
        self._device_s, self._joules, self._is_estimate = own["device_s"], own["joules"], own["is_estimate"]
