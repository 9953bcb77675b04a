"""What `compare` found, as text for people and as JSON."""

import json
from typing import Any

from analysis.comparing import Comparison, Side
from analysis.intervals import Estimate


def comparison_text(found: Comparison) -> str:
    """Hypervolumes, their difference, both epsilons, the reference, the notes."""
    corner = ", ".join(f"{name} = {value:g}" for name, value in zip(found.objectives, found.reference, strict=True))
    lines = [
        f"A: {found.first.name} ({_seeds(found.first)})",
        f"B: {found.second.name} ({_seeds(found.second)})",
        f"hypervolume of A: {_estimate(found.first.hypervolume)}",
        f"hypervolume of B: {_estimate(found.second.hypervolume)}",
        f"difference A - B: {_estimate(found.difference)}{_verdict(found)}",
        f"additive epsilon: A shifted by {found.epsilon[0]:.4g} weakly dominates B, B shifted by {found.epsilon[1]:.4g} weakly dominates A",
        "  (shares of the range of both fronts together, means over pairs of seeds; 0 or less: no shift is needed)",
        f"reference ({found.reference_from}): {corner}",
    ]
    if found.difference.low is not None:
        lines.append(f"intervals: {100 * found.confidence:g} %, bootstrap over seeds, which are not paired")
    return "\n".join([*lines, *(f"note: {note}" for note in found.notes)])


def comparison_json(found: Comparison) -> str:
    """An object with `first` and `second` (name, hypervolume, seeds), `difference`, `epsilon`, `reference`, `objectives`, `notes`."""
    return json.dumps(
        {
            "first": _side(found.first),
            "second": _side(found.second),
            "difference": _plain(found.difference),
            "epsilon": {"first_over_second": found.epsilon[0], "second_over_first": found.epsilon[1]},
            "objectives": list(found.objectives),
            "reference": list(found.reference),
            "reference_from": found.reference_from,
            "confidence": found.confidence,
            "notes": list(found.notes),
        },
        indent=1,
    )


def _verdict(found: Comparison) -> str:
    low, high = found.difference.low, found.difference.high
    if low is None or high is None:
        return ""
    if low > 0:
        return ": A is better"
    return ": B is better" if high < 0 else ": no difference beyond the seeds"


def _seeds(side: Side) -> str:
    n_trials = sum(map(len, side.of_seed.values()))
    return f"{len(side.of_seed)} {'seed' if len(side.of_seed) == 1 else 'seeds'}, {n_trials} finished trials"


def _estimate(found: Estimate) -> str:
    if found.mean is None:
        return "unknown"
    interval = "" if found.low is None or found.high is None else f" [{found.low:.5g}, {found.high:.5g}]"
    return f"{found.mean:.5g}{interval}"


def _side(side: Side) -> dict[str, Any]:
    return {"name": side.name, "seeds": list(side.of_seed), "hypervolume": _plain(side.hypervolume)}


def _plain(found: Estimate) -> dict[str, float | int | None]:
    return {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}
