"""The time and energy that a training uses: the pack's seconds by phase, and the share of each trial."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trainer.energy.meter import JOULES_PER_WH, EnergyMeter

_PHASES = ("sparsify", "tying", "retrain", "dense", "results")


@dataclass(frozen=True)
class Usage:
    """The time and energy that one trial has used so far."""

    wall_s: float
    """Seconds of its pack, in all phases together."""
    wall_s_sparsify: float
    wall_s_tying: float
    wall_s_retrain: float
    """Seconds of its pack in phase 2, or in the only phase of a dense trial."""
    device_s: float
    """The trial's own share of its pack's seconds."""
    energy_wh: float | None
    """The trial's own share of the energy, in watt-hours; None if nothing measures it."""
    energy_estimated: bool | None
    """Whether other processes also used the device; None if `energy_wh` is None."""


class UsageMeter:
    """Adds up periods of work. All trials of a pack have equal shares of them.

    Args:
        n_trials: the number of trials in the pack.
        meter: measures the energy; None if nothing can measure it.
    """

    def __init__(self, n_trials: int, meter: EnergyMeter | None) -> None:
        self._n_trials, self._meter = n_trials, meter
        self._wall = dict.fromkeys(_PHASES, 0.0)
        self._device_s = 0.0
        self._joules: float | None = 0.0
        self._is_estimate = False

    @contextmanager
    def on(self, phase: str, *, uses_device: bool = True) -> Iterator[None]:
        """Count the time and energy within the context for a phase.

        Args:
            phase: one of sparsify, tying, retrain, dense and results.
            uses_device: False if the device is idle meanwhile, so that other processes may use it.
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
                # A sum with a missing part would be wrong, so the total becomes None.
                self._joules = None if used is None or self._joules is None else self._joules + used.joules / self._n_trials
                self._is_estimate |= used is not None and used.is_estimate

    def usage(self) -> Usage:
        """Return the usage of one trial so far."""
        wall = self._wall
        is_known = self._joules is not None and self._device_s > 0
        return Usage(
            wall_s=sum(wall.values()),
            wall_s_sparsify=wall["sparsify"],
            wall_s_tying=wall["tying"],
            wall_s_retrain=wall["retrain"] + wall["dense"],
            device_s=self._device_s,
            energy_wh=self._joules / JOULES_PER_WH if self._joules is not None and is_known else None,
            energy_estimated=self._is_estimate if is_known else None,
        )

    def scalars(self) -> dict[str, Any]:
        """Return the part of the meter that a checkpoint stores."""
        own = {"device_s": self._device_s, "joules": self._joules, "is_estimate": self._is_estimate}
        return {"wall": self._wall, "own": own}

    def load(self, scalars: Mapping[str, Any], n_trials: int) -> None:
        """Continue from a checkpoint.

        Args:
            scalars: what `scalars` returned; earlier versions stored no `own`.
            n_trials: the number of trials in the pack of the checkpoint, which may be larger than this pack; the trials' own shares are
                continued, not the pack's seconds.
        """
        self._wall |= scalars["wall"]
        own = scalars.get("own") or {"device_s": sum(self._wall.values()) / n_trials, "joules": None, "is_estimate": False}
        self._device_s, self._joules, self._is_estimate = own["device_s"], own["joules"], own["is_estimate"]
