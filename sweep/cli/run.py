"""`sweep plan` and `sweep run`: the plan as text, the run itself, and its summary."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sweep.cluster.slots import WorkerCount
from sweep.execution.options import RunOptions
from sweep.grid.load import SweepConfig
from sweep.monitor.outcome import Outcome, Timing
from sweep.monitor.progress import duration
from sweep.monitor.usage import Used, expected, expected_line, used_in, used_line
from sweep.planning.packs import Plan
from sweep.planning.placing import placing_text
from sweep.store.remote.path import StorePath
from sweep.terminal import echo

if TYPE_CHECKING:
    from sweep.grid.load import GridText, SweepConfig


def plan_lines(configs: Sequence[SweepConfig], plans: Sequence[Plan], workers: WorkerCount) -> Iterator[str]:
    """Yield the lines of a plan: each sweep with its studies, then the packs and the estimated time of all sweeps together."""
    for config, plan in zip(configs, plans, strict=True):
        yield f"sweep {config.name}: {len(plan.trials) + plan.n_unplaced} trials -> {config.output}"
        searches = {study.name: study.candidate_of for study in config.resolved_studies}
        for study in config.resolved_studies:
            mine = [trial for trial in plan.trials if trial.study == study.name]
            n_complete = sum(trial.trial_id in plan.complete for trial in mine)
            waits_for = dict.fromkeys(searches.get(name) or name for name in study.after)
            after = f", after {', '.join(waits_for)}" if study.after else ""
            yield f"  study {study.name}: {study.model}, {study.method}{after}: {len(mine)} trials, {n_complete} complete"
            warm = [trial.warm_start for trial in mine if trial.warm_start is not None]
            if warm:
                yield f"    {len(warm)} sparse trials start from the networks of {len(set(warm))} dense ones (warm_start: neighbour)"
        yield from (f"  {placing_text(placing)}" for placing in plan.placing)
        n_failed = sum(state != "ok" for state in plan.complete.values())
        yield f"complete: {len(plan.complete)} ({n_failed} failed); to train: {plan.n_todo}; waiting for others: {plan.n_waiting}"
    packs = [pack for plan in plans for pack in plan.packs]
    if packs:
        sizes = [len(pack.trials) for pack in packs]
        n_adopted = sum(pack.checkpoint is not None for pack in packs)
        size = f"{min(sizes)} to {max(sizes)} trials" if max(sizes) > min(sizes) else f"{max(sizes)} trial{'s' * (max(sizes) > 1)} each"
        yield f"packs: {len(sizes)} of {size}, {n_adopted} from a checkpoint"
        yield f"workers: {workers.text}"
        if not workers.n:
            yield "  no worker fits here: lower `resources` in the grid file, or join a larger cluster with --address"
        left = [expected(config, plan) for config, plan in zip(configs, plans, strict=True) if plan.n_todo]
        known = [each for each in left if each is not None]
        if len(known) == len(left):
            yield expected_line(known, configs[0].costs)
            yield f"time: about {duration(sum(each.device_s for each in known) / max(1, workers.n))}"
        else:
            yield "time, device hours: unknown until a trial is complete"


def outcome_lines(configs: Sequence[SweepConfig], ended: Sequence[tuple[Outcome, StorePath]]) -> Iterator[str]:
    """Yield the lines of a run's summary: the counts of each sweep, how the time was spent, and the reports."""
    outcomes = [outcome for outcome, _ in ended]
    for config, outcome in zip(configs, outcomes, strict=True):
        name = f"{config.name}: " if len(configs) > 1 else ""
        counts = ", ".join(f"{n} {state}" for state, n in outcome.states.items()) or "none complete"
        left = f", {outcome.n_left} left" if outcome.n_left else ""
        yield f"{name}{outcome.n_trials} trials: {counts}{left}"
    if any(outcome.n_trained for outcome in outcomes):
        yield timing_line(outcomes[0].timing)
        yield used_line(sum((used_in(outcome.root) for outcome in outcomes), Used()))
    elif not any(outcome.n_left for outcome in outcomes):
        yield "nothing to do: every trial is complete"
    if any(outcome.is_interrupted and outcome.n_left for outcome in outcomes):
        yield "interrupted: run the same command again to continue"
    for _, report in ended:
        yield f"report: {report}"


def timing_line(timing: Timing) -> str:
    """Return a line of text on how the time of a run was spent."""
    parts = (
        ("training", timing.training_s),
        ("loading workers", timing.worker_setup_s),
        ("store", timing.store_s),
        ("Ray", timing.ray_s),
    )
    rest = timing.total_s - sum(seconds for _, seconds in parts)
    shares = [
        f"{name} {duration(seconds)} ({100 * seconds / max(timing.total_s, 1e-9):.0f} %)" for name, seconds in (*parts, ("other", rest))
    ]
    return f"{duration(timing.total_s)}: " + ", ".join(shares)


def run_and_summarise(configs: "Sequence[SweepConfig]", grid_file: "GridText", options: RunOptions, *, started: float) -> int:
    """Train every trial that is not complete, write the reports and print how the run ended.

    Args:
        configs: the sweeps that run together.
        grid_file: the text of the grid file.
        options: where and how the sweeps run.
        started: `time.perf_counter()` when the command began.

    Returns:
        The exit code.
    """
    if sys.platform == "win32":
        echo("Error: sweeps are trained on Linux and macOS; on Windows use WSL. `sweep report` and `sweep front` work here.", err=True)
        return 2
    from sweep.api import run_and_report_all
    from sweep.monitor.outcome import EXIT_WRONG_INPUT, worst_exit_code

    ended = run_and_report_all(configs, options, grid_file=grid_file)
    total_s = time.perf_counter() - started
    ended = tuple((replace(outcome, timing=replace(outcome.timing, total_s=total_s)), report) for outcome, report in ended)
    for outcome, _ in ended:
        if outcome.message:
            echo(f"Error: {outcome.message}" if outcome.exit_code == EXIT_WRONG_INPUT else outcome.message, err=True)
    if not options.is_quiet:
        for line in outcome_lines(configs, ended):
            echo(line)
    return worst_exit_code(outcome for outcome, _ in ended)
