"""What `pick` found, as text for people and as JSON."""

import json
import math
from typing import Any

import pandas as pd

from analysis.convergence import UNCONVERGED, residual_share
from analysis.json_cells import plain, plain_row
from analysis.picking import Bound, Loser, Pick
from analysis.point_style import preference_text
from analysis.table import ResultTable

_ABOUT = ("study", "seed", "k", "sparsity_rate", "compression_rate")


def pick_text(table: ResultTable, found: Pick) -> str:
    """The trial that was chosen with its numbers, and why its neighbours lost; without one, which bound to relax."""
    return _chosen_text(table, found, found.chosen) if found.chosen is not None else _nothing_text(found)


def pick_json(found: Pick) -> str:
    """An object with `chosen` (a row, or null), `column`, `sense`, `bounds`, `n_trials`, `n_fitting`, `losers`, `to_relax`,
    `nearest_misses`.
    """
    row = None if found.chosen is None else plain_row(found.chosen.to_dict())
    return json.dumps(
        {
            "chosen": row,
            "column": found.column,
            "sense": "max" if found.is_maximised else "min",
            "bounds": [_bound(bound) for bound in found.bounds],
            "n_trials": found.n_trials,
            "n_fitting": found.n_fitting,
            "losers": [
                {
                    "trial_id": loser.trial_id,
                    "missed": [_bound(bound) | {"by": plain(by)} for bound, by in loser.missed],
                    "worse_by": loser.worse_by,
                }
                for loser in found.losers
            ],
            "to_relax": [_bound(bound) | {"to": to} for bound, to in found.to_relax],
            "nearest_misses": [_bound(bound) | {"by": plain(by)} for bound, by in found.conflicts],
        },
        indent=1,
    )


def _bound(bound: Bound) -> dict[str, Any]:
    return {"column": bound.column, "rule": "min" if bound.is_least else "max", "value": bound.value}


def _chosen_text(table: ResultTable, found: Pick, row: "pd.Series") -> str:
    superlative = "largest" if found.is_maximised else "least"
    lines = [f"trial {row['trial_id']}: the {superlative} {found.column} of {_fitting(found)}"]
    names = [
        found.column,
        *(bound.column for bound in found.bounds),
        *_ABOUT,
        *(n for n in row.index if str(n).startswith("accuracy.test.")),
    ]
    for name in dict.fromkeys(str(name) for name in names):
        value = row[name]
        text = preference_text(value, table.sparsity_objective is not None) if name == "k" else _value(value)
        if text:
            lines.append(f"  {name} = {text}")
    share = residual_share(table.ok)[(table.ok.frame["trial_id"] == row["trial_id"]).to_numpy()]
    if len(share) and share[0] > UNCONVERGED:
        lines.append(f"  unconverged: its KKT residual is {100 * share[0]:.0f} % of its largest weighted objective")
    if found.losers:
        lines.append("why its neighbours lost:")
        lines += [f"  {loser.trial_id}: {_why(found, loser)}" for loser in found.losers]
    return "\n".join(lines)


def _fitting(found: Pick) -> str:
    if not found.bounds:
        return f"{found.n_trials} finished trials"
    keep = "keeps" if found.n_fitting == 1 else "keep"
    which = f"{found.n_fitting} of {found.n_trials} finished trials that {keep} {', '.join(map(str, found.bounds))}"
    return f"the {which}"


def _why(found: Pick, loser: Loser) -> str:
    parts = [_missed(bound, by) for bound, by in loser.missed]
    if loser.worse_by is None:
        parts.append(f"{found.column} is not known")
    elif loser.worse_by >= 0 and not loser.missed:
        direction = "lower" if found.is_maximised else "higher"
        parts.append(
            f"{found.column} is {loser.worse_by:.4g} {direction}" if loser.worse_by else f"the same {found.column}, later in the plan"
        )
    elif loser.worse_by < 0:
        parts.append(f"though its {found.column} is {-loser.worse_by:.4g} better")
    return ", ".join(parts)


def _missed(bound: Bound, by: float) -> str:
    return f"{bound.column} is not known" if math.isnan(by) else f"misses {bound} by {by:.4g}"


def _nothing_text(found: Pick) -> str:
    lines = [f"none of {found.n_trials} finished trials keeps {' and '.join(map(str, found.bounds)) or found.column}"]
    for bound, to in found.to_relax:
        relaxed = f"{bound.column} {'>=' if bound.is_least else '<='} {_outwards(to, bound.is_least)}"
        lines.append(f"  hint: with {relaxed} one fits, the other bounds as they are")
    if not found.to_relax:
        lines.append("  hint: relax more than one bound: no single one is in the way")
    if found.losers:
        lines.append(f"  nearest: trial {found.losers[0].trial_id} {', '.join(_missed(bound, by) for bound, by in found.conflicts)}")
    return "\n".join(lines)


def _outwards(value: float, is_least: bool) -> str:
    """Four digits, rounded so that the trial with this value keeps the bound."""
    text = f"{value:.4g}"
    if (float(text) > value) if is_least else (float(text) < value):
        digit = 10.0 ** (math.floor(math.log10(abs(value))) - 3) if value else 0.0
        text = f"{float(text) + (-digit if is_least else digit):.4g}"
    return text


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value
    number = plain(value)
    if isinstance(number, float):
        return f"{number:.6g}"
    return "" if number is None else str(number)
