"""`sweep run` and `sweep resume` once their configs are read: train, and print how it ended."""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sweep.terminal import echo

if TYPE_CHECKING:
    from sweep.config import GridText, SweepConfig


def train_and_tell(
    configs: "Sequence[SweepConfig]",
    grid_file: "GridText",
    *,
    started: float,
    address: str | None,
    limit: int | None,
    no_dashboard: bool,
    fail_fast: bool,
    is_quiet: bool,
    notify: str | None,
) -> int:
    """Train every trial that is not complete.

    Args:
        configs: sweeps that run together.
        grid_file: the text that they came from.
        started: `time.perf_counter()` when the command began.
        address: joins a Ray cluster; None starts a local one.
        limit: only the first so many trials of each sweep.
        no_dashboard: start a local Ray without its dashboard.
        fail_fast: stop when the first trial has failed.
        is_quiet: print nothing but errors.
        notify: web address for messages.

    Returns:
        The exit code.
    """
    if sys.platform == "win32":
        echo("Error: sweeps are trained on Linux and macOS; on Windows use WSL. `sweep report` and `sweep front` work here.", err=True)
        return 2
    from sweep.api import run_and_report_all
    from sweep.outcome import EXIT_WRONG_INPUT, worst_exit_code
    from sweep.summaries import outcome_lines

    ended = run_and_report_all(
        configs,
        address=address,
        has_dashboard=not no_dashboard,
        limit=limit,
        is_quiet=is_quiet,
        grid_file=grid_file,
        notify=notify,
        fails_fast=fail_fast,
    )
    total_s = time.perf_counter() - started
    ended = tuple((replace(outcome, timing=replace(outcome.timing, total_s=total_s)), report) for outcome, report in ended)
    for outcome, _ in ended:
        if outcome.message:
            echo(f"Error: {outcome.message}" if outcome.exit_code == EXIT_WRONG_INPUT else outcome.message, err=True)
    if not is_quiet:
        for line in outcome_lines(configs, ended):
            echo(line)
    return worst_exit_code(outcome for outcome, _ in ended)
