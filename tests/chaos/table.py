"""The results of many kills: one line for each kind of process, as text and as JSON."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tests.chaos.kills import Kill, Sweep
from tests.chaos.victims import KINDS

_HEADER = ("kind", "kills", "while training", "noticed after", "running again after", "epochs repeated", "seconds repeated")


def lines(sweeps: Sequence[Sweep]) -> list[str]:
    """Return a Markdown table, and a line on rows and leftovers."""
    kills = [kill for sweep in sweeps for kill in sweep.kills]
    rows = [_HEADER, ("---",) * len(_HEADER), *(_row(kind, [kill for kill in kills if kill.kind == kind]) for kind in KINDS)]
    rows.append(_row("all", kills))
    n_equal = sum(not sweep.differences for sweep in sweeps)
    n_clean = sum(not sweep.leftovers for sweep in sweeps)
    codes = [code for sweep in sweeps for code in sweep.exit_codes]
    counts = ", ".join(f"{codes.count(code)} of {code}" for code in sorted(set(codes)))
    return [
        "median, max; seconds",
        *("| " + " | ".join(row) + " |" for row in rows),
        f"{len(sweeps)} sweeps: rows equal in {n_equal}, nothing left over in {n_clean}; exit codes of {len(codes)} runs: {counts}",
        *(f"{sweep.folder.name}: {problem}" for sweep in sweeps for problem in (*sweep.differences, *sweep.leftovers)),
    ]


def to_json(sweeps: Sequence[Sweep]) -> dict[str, Any]:
    """Return every kill as JSON values."""
    return {"sweeps": [asdict(sweep) | {"folder": sweep.folder.name, "is_well": sweep.is_well} for sweep in sweeps]}


def _row(kind: str, kills: Sequence[Kill]) -> tuple[str, ...]:
    n_training = sum(kill.moment == "training" for kill in kills)
    noticed = [kill.noticed_s for kill in kills if kill.noticed_s is not None]
    again = [kill.again_s for kill in kills if kill.again_s is not None]
    epochs, seconds = [kill.work.epochs for kill in kills], [kill.work.seconds for kill in kills]
    return (kind, str(len(kills)), str(n_training), _figures(noticed), _figures(again), _figures(epochs, ".0f"), _figures(seconds, ".2f"))


def _figures(values: Sequence[float], form: str = ".1f") -> str:
    return f"{statistics.median(values):{form}}, {max(values):{form}}" if values else "-"
