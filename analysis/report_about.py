"""Where a report's numbers come from: objectives, filter, reference, seeds, command, versions."""

from datetime import UTC, datetime
from typing import Any

from analysis.table import ResultTable


def about(table: ResultTable, facts: dict[str, Any]) -> list[tuple[str, str]]:
    """(term, text) pairs for people, what is unknown left out.

    Args:
        table: what `read_results` gave.
        facts: what `summary` returned for it.
    """
    manifest, plan = table.manifest, table.plan or {}
    problem = manifest.get("problem")
    n_unplanned = len(set(table.frame["trial_id"]) - set(table.planned_ids))
    pairs = [
        ("Problem", problem.get("name") if isinstance(problem, dict) else problem),
        ("Studies", "\n".join(_study(study) for study in manifest.get("studies") or [])),
        ("Objectives", "\n".join(_objective(objective) for objective in table.objectives)),
        ("Scaling", manifest.get("scaling")),
        ("Filter", f"eps = {facts['eps']:g}, {facts['mode']}; each study by itself, k0 = 0 apart from k0 > 0"),
        ("Hypervolume", _hypervolume(facts)),
        ("Seeds", ", ".join(str(seed) for seed in sorted({int(seed) for seed in table.frame["seed"].dropna()}))),
        ("Runs so far", plan.get("attempt")),
        ("Command", _words(plan.get("command"))),
        ("Versions", _versions(plan.get("versions"))),
        ("Git commit", plan.get("git_sha")),
        ("Host", plan.get("host")),
        ("Of earlier plans", f"{n_unplanned} trials that the latest plan does not ask for" if n_unplanned else None),
        ("Sweep created", manifest.get("created")),
        ("Report written", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
    ]
    return [(term, str(value)) for term, value in pairs if value not in (None, "")]


def _study(study: dict[str, Any]) -> str:
    return f"{study.get('name')}: {', '.join(str(study[key]) for key in ('model', 'method') if study.get(key))}"


def _objective(objective: dict[str, str]) -> str:
    direction = "maximised" if objective.get("sense") == "max" else "minimised"
    return f"{objective.get('name')}: {', '.join(str(item) for item in (objective['column'], objective.get('unit'), direction) if item)}"


def _hypervolume(facts: dict[str, Any]) -> str:
    if facts["hypervolume"] is None:
        return "not computed: the manifest has no reference point yet"
    reference = ", ".join(f"{value:g}" for value in facts["hypervolume_reference"])
    return f"{facts['hypervolume']:.7g}, of all finished trials, below the reference point ({reference})"


def _words(command: Any) -> str | None:
    return " ".join(str(word) for word in command) if isinstance(command, list) else command


def _versions(versions: Any) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items()) if isinstance(versions, dict) else str(versions or "")
