"""Specs that several tests use, and how results are compared."""

import dataclasses
from typing import Any

from trainer.api import TrainingSettings, TrialResult, TrialSpec


def spec(k: tuple[float, ...], settings: TrainingSettings, trial_id: str = "a", model: str = "mdmtn", **changes: object) -> TrialSpec:
    return TrialSpec(trial_id, model, "wcal_growl", k, 0, settings, **changes)  # type: ignore[arg-type]


def comparable(result: TrialResult) -> dict[str, Any]:
    """Everything of a result that a repetition gives again to the bit: all but time and energy, and the weights."""
    return {"measurements": dataclasses.replace(result.measurements, usage=None), "epochs": result.epochs, "state": result.state}  # type: ignore[arg-type]


SPARSE_K = [(0.05, 0.475, 0.475), (0.1, 0.2, 0.7), (0.02, 0.6, 0.38), (0.2, 0.4, 0.4)]
