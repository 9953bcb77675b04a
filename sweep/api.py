"""The same as the command line, from Python: plan a sweep, run it, get the table of its results.

from sweep import load_config, plan, run

config = load_config("configs/quickstart.yaml")
print(plan(config).n_todo, "trials to train")
table = run(config)
table.frame[["k", "sparsity_rate", "accuracy.test.mean"]]

A grid file that lists several problems goes through `load_configs`, `plan_all` and `run_all`, which start Ray once.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweep.errors import SweepError
from sweep.execution.options import RunOptions
from sweep.execution.supervisor import expected_workers, run_sweeps
from sweep.grid.load import GridText, SweepConfig
from sweep.monitor.notify import notifying
from sweep.monitor.outcome import EXIT_WRONG_INPUT, Outcome
from sweep.monitor.progress import choose_progress
from sweep.planning.packs import Plan, plan_sweeps
from sweep.planning.trials import trials_of
from sweep.store.files import is_there
from sweep.store.remote.path import StorePath
from sweep.store.store import Store

if TYPE_CHECKING:
    from analysis.results.table import ResultTable


def plan(config: SweepConfig, *, limit: int | None = None, address: str | None = None) -> Plan:
    """What `run` would do now; reads the results folder, writes nothing.

    Args:
        config: a grid file, from `load_config`.
        limit: only the first so many trials.
        address: as for `run`; only the expected number of workers depends on it.

    Raises:
        StoreError: the results folder cannot be read.
    """
    return plan_all((config,), limit=limit, address=address)[0]


def plan_all(configs: Sequence[SweepConfig], *, limit: int | None = None, address: str | None = None) -> tuple[Plan, ...]:
    """What `run_all` would do now; arguments and errors as for `plan`, `limit` for each sweep."""
    sweeps = [(config, trials_of(config, limit), Store(config.output)) for config in configs]
    for _, _, store in sweeps:
        store.check_reachable()
    return plan_sweeps(sweeps, expected_workers(configs[0], address).n)


def run(
    config: SweepConfig, *, address: str | None = None, dashboard: bool = True, limit: int | None = None, quiet: bool = False
) -> "ResultTable":
    """Train what is not complete yet, write the report, and return all results.

    Ctrl-C (in a notebook: interrupt) ends running epochs, keeps them and returns what is there.

    Args:
        config: a grid file, from `load_config` or `parse_config`.
        address: None starts a local Ray; `auto` or `host:port` joins a cluster.
        dashboard: start Ray's dashboard with a local Ray.
        limit: only the first so many trials.
        quiet: show no progress.

    Returns:
        One row a trial; `table.frame` is a pandas DataFrame.

    Raises:
        StoreError: the results folder cannot be used.
        SweepError: the cluster cannot be used, or an anchor run of `reference_point: auto` failed.
    """
    return run_all((config,), address=address, dashboard=dashboard, limit=limit, quiet=quiet)[0]


def run_all(
    configs: Sequence[SweepConfig], *, address: str | None = None, dashboard: bool = True, limit: int | None = None, quiet: bool = False
) -> "tuple[ResultTable, ...]":
    """Train several sweeps with one Ray, for example those of `load_configs`; arguments and errors as for `run`.

    Args:
        configs: sweeps with the same `resources`, and an output each.
        address: None starts a local Ray; `auto` or `host:port` joins a cluster.
        dashboard: start Ray's dashboard with a local Ray.
        limit: only the first so many trials of each sweep.
        quiet: show no progress.

    Returns:
        The results of each sweep.
    """
    from analysis.results.table import read_results

    ended = run_and_report_all(configs, RunOptions(address=address, limit=limit, has_dashboard=dashboard, is_quiet=quiet))
    to_mend = [outcome.message for outcome, _ in ended if outcome.exit_code == EXIT_WRONG_INPUT and outcome.message]
    if to_mend:
        raise SweepError("\n".join(to_mend))
    return tuple(read_results(str(outcome.root)) for outcome, _ in ended)


def run_and_report_all(
    configs: Sequence[SweepConfig],
    options: RunOptions,
    *,
    grid_file: GridText | None = None,
) -> tuple[tuple[Outcome, StorePath], ...]:
    """Train several sweeps with one Ray, and write the report of each sweep that has new results.

    Args:
        configs: sweeps with the same `resources`, and an output each.
        options: where and how they run.
        grid_file: the text that the configs came from, kept in the plans.

    Returns:
        For each sweep how it ended, and the path of its report.

    Raises:
        StoreError: a results folder cannot be used.
        SweepError: the cluster cannot be used.
    """
    names = {Store(config.output).root: config.name for config in configs}
    progress = choose_progress(options.is_quiet)
    with notifying(progress, names, options.notify) as (notified_progress, notify_end):
        try:
            outcomes = run_sweeps(configs, notified_progress, options, grid_file=grid_file)
        finally:
            progress.close()
        for outcome in outcomes:
            notify_end(outcome)
    return tuple((outcome, _report(config, outcome)) for config, outcome in zip(configs, outcomes, strict=True))


def _report(config: SweepConfig, outcome: Outcome) -> StorePath:
    report = outcome.root / "report.html"
    prices = config.costs.model_dump(exclude_none=True)
    is_new = outcome.n_trained or outcome.has_new_reference or not is_there(report)
    if is_new or prices:  # the prices may have changed since
        from analysis.measures.costs import Costs
        from analysis.report.page import write_report

        write_report(str(outcome.root), costs=Costs(**prices))
    return report
