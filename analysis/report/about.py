"""The report's sections on the sweep itself: objectives, filter, reference, seeds, command, versions; and how its vectors were placed."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from analysis.formatting import preference_text
from analysis.measures.convergence import EXACT, gap_text
from analysis.measures.labels import MODE_TEXT
from analysis.measures.study_indicators import hypervolume_caption
from analysis.pareto.indicators import MAX_EXACT_OBJECTIVES
from analysis.report.section import Section, rendered
from analysis.results.manifest import PlacedRound, read_placements
from analysis.results.table import ResultTable


def about_section(table: ResultTable, facts: dict[str, Any]) -> Section:
    """Describe the sweep; arguments as for `about`."""
    return Section("about", "About this sweep", rendered("facts.html", sentence="", facts=about(table, facts), hints=()))


def about(table: ResultTable, facts: dict[str, Any]) -> list[tuple[str, str]]:
    """List facts about a sweep as (term, text) pairs; unknown facts are left out.

    Args:
        table: what `read_results` gave.
        facts: what `summary` returned for it.
    """
    manifest, plan = table.manifest, table.plan or {}
    problem = manifest.get("problem")
    has_sparsity = table.sparsity_objective is not None
    n_unplanned = len(set(table.frame["trial_id"].to_list()).difference(table.planned_ids))
    pairs = [
        ("Problem", problem.get("name") if isinstance(problem, dict) else problem),
        ("Studies", "\n".join(_study(study) for study in manifest.get("studies") or [])),
        ("Objectives", "\n".join(_objective(objective) for objective in table.objectives)),
        ("Scaling", manifest.get("scaling")),
        ("Reference point", _reference_point(manifest)),
        ("Filter", _filter(facts, has_sparsity)),
        ("Hypervolume", _hypervolume(table, facts)),
        ("Exact front", _exact_front(table, facts)),
        ("Exactness", _exactness(facts)),
        ("Seeds", ", ".join(str(seed) for seed in sorted({int(seed) for seed in table.frame["seed"].dropna()}))),
        ("Runs so far", plan.get("attempt")),
        ("Command", _words(plan.get("command"))),
        ("Versions", _versions(plan.get("versions"))),
        ("Git commit", plan.get("git_sha")),
        ("Host", plan.get("host")),
        ("From earlier plans", f"{n_unplanned} trials that are not in the latest plan" if n_unplanned else None),
        ("Sweep created", manifest.get("created")),
        ("Report written", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
    ]
    return [(term, str(value)) for term, value in pairs if value not in (None, "")]


def placing_section(table: ResultTable) -> Section | None:
    """Show the rounds in which the vectors of each study were placed, and why each was chosen; None if all studies have grids."""
    placings = (table.plan or {}).get("placing") or []
    if not placings:
        return None
    if table.mirror is not None:
        table.mirror.copy_placements()
    studies = [_placed_study(placing, read_placements(table.folder, str(placing["study"]))) for placing in placings]
    return Section("placing", "Where the preference vectors were placed", rendered("placing.html", studies=studies))


def _placed_study(placing: dict[str, Any], rounds: Sequence[PlacedRound]) -> dict[str, Any]:
    rows, n_left = [], int(placing["n_placed"])
    for number, placed in enumerate(rounds, 1):
        shown = placed.vectors[:n_left]
        n_left -= len(shown)
        promised = "" if placed.promised is None else f"{100 * placed.promised:.2g} %"
        rows += [(number, placed.kind, promised, preference_text(vector), reason) for vector, reason in shown]
    end = placing.get("end")
    n_rounds = rows[-1][0] if rows else 0
    said = f"Placing {end}." if end else f"{placing['n_placed']} of {placing['n']} vectors placed in {n_rounds} rounds."
    return {"name": placing["study"], "sentence": said, "rows": rows}


def _study(study: dict[str, Any]) -> str:
    return f"{study.get('name')}: {', '.join(str(study[key]) for key in ('model', 'method') if study.get(key))}"


def _objective(objective: dict[str, str]) -> str:
    direction = "maximised" if objective.get("sense") == "max" else "minimised"
    return f"{objective.get('name')}: {', '.join(str(item) for item in (objective['column'], objective.get('unit'), direction) if item)}"


def _filter(facts: dict[str, Any], has_sparsity: bool) -> str:
    groups = ", k0 = 0 apart from k0 > 0" if has_sparsity else ""
    return f"eps = {facts['eps']:g} {MODE_TEXT[facts['mode']]}; each study by itself{groups}"


def _hypervolume(table: ResultTable, facts: dict[str, Any]) -> str:
    caption = hypervolume_caption(table)
    if facts["hypervolume"] is None:
        return caption
    is_estimate = len(table.axes) > MAX_EXACT_OBJECTIVES
    value = f"about {facts['hypervolume']:.4g}" if is_estimate else f"{facts['hypervolume']:.5g}"
    return f"{value}, of all finished trials. {caption}"


def _reference_point(manifest: dict[str, Any]) -> str | None:
    """Describe the reference point of the grid file, with the numbers that `auto` was resolved to."""
    setting, values = manifest.get("reference_point"), manifest.get("reference_point_values")
    numbers = values if isinstance(values, list) else setting
    shown = f"({', '.join(_number(value) for value in numbers)})" if isinstance(numbers, list) else None
    return ": ".join(text for text in (setting if isinstance(setting, str) else None, shown) if text) or None


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, (int, float)) else str(value)


def _exact_front(table: ResultTable, facts: dict[str, Any]) -> str | None:
    if table.true_front is None:
        return None
    distance = facts["igd_plus"]
    text = f"{len(table.true_front):,} points"
    return (
        text
        if distance is None
        else f"{text}, on average {distance:.3g} from what the finished trials dominate, in shares of each objective's range (IGD+)"
    )


def _exactness(facts: dict[str, Any]) -> str | None:
    if not facts["n_optimum"]:
        return None
    return (
        f"{facts['n_exact']} of {facts['n_optimum']} trials within {EXACT:g} of their optimum; relative gap (max g - optimum) / optimum "
        f"(the difference where the optimum is 0): "
        f"median {gap_text(facts['median_gap'])}, largest {gap_text(facts['largest_gap'])}"
    )


def _words(command: Any) -> str | None:
    return " ".join(str(word) for word in command) if isinstance(command, list) else command


def _versions(versions: Any) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items()) if isinstance(versions, dict) else str(versions or "")
