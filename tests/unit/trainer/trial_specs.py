"""Specs that several tests use."""

from trainer.api import TrainingSettings, TrialSpec


def spec(k: tuple[float, ...], settings: TrainingSettings, trial_id: str = "a", model: str = "mdmtn", **changes: object) -> TrialSpec:
    return TrialSpec(trial_id, model, "wcal_growl", k, 0, settings, **changes)  # type: ignore[arg-type]


SPARSE_K = [(0.05, 0.475, 0.475), (0.1, 0.2, 0.7), (0.02, 0.6, 0.38), (0.2, 0.4, 0.4)]
