"""The text output of `sweep status`: a few lines, or a table that is redrawn in place."""

import sys
from datetime import datetime, timedelta

from analysis.formatting import preference_text
from sweep.monitor.progress import LiveTable, PlainLines, Progress, duration, pack_columns, summary_line
from sweep.monitor.status import Failure, Status, watched
from sweep.monitor.usage import used_line
from sweep.planning.placing import placing_text
from sweep.store.remote.path import StorePath
from sweep.terminal import one_line

_MAX_FAILURES = 10
_SILENCE_S = 60.0
"""The number of seconds without a heartbeat after which a run may have died; runs write one every five seconds."""


def show(status: Status) -> str:
    """Return the status of a sweep as text: its progress, the running packs, and what failed and why."""
    shown = status.snapshot
    lines = [f"sweep {one_line(status.name)} in {status.folder}: {_state(status)}"]
    if status.is_running:
        until = "" if shown.remaining_s is None else f" (until {datetime.now() + timedelta(seconds=shown.remaining_s):%d %b %H:%M})"
        lines.append(summary_line(shown) + until)
        lines += _packs(status)
    else:
        counts = ", ".join(f"{n} {state}" for state, n in sorted(shown.states.items())) or "none yet"
        lines.append(f"{shown.n_complete}/{shown.n_trials} trials complete: {counts}")
    lines += [one_line(placing_text(placing)) for placing in status.placing]
    if status.is_paused:
        lines.append(f"paused: no pack starts until `sweep resume {status.folder}`")
    lines += [f"failed: {_failure(failure)}" for failure in status.failures[:_MAX_FAILURES]]
    if len(status.failures) > _MAX_FAILURES:
        lines.append(f"{len(status.failures) - _MAX_FAILURES} more failed: `sweep status {status.folder} --format json` lists all")
    if status.n_beyond_reference:
        lines.append(f"finished trials beyond the nadir of the hypervolume, which add nothing to it: {status.n_beyond_reference}")
    if status.used.n_timed:
        lines.append(used_line(status.used))
    lines += [f"unreadable: {text}" for text in status.unreadable]
    return "\n".join(lines)


def watch_status(folder: str | StorePath) -> None:
    """Show the progress of a sweep until its run ends.

    Raises:
        StoreError: the folder holds no sweep, or its manifest is unreadable.
    """
    view: Progress | None = None
    try:
        for status in watched(folder):
            if status.is_running:
                view = view or (LiveTable() if sys.stderr.isatty() else PlainLines())
                view.update(status.snapshot)
    finally:
        if view is not None:
            view.close()
    PlainLines().message(show(status))


def _state(status: Status) -> str:
    silent = None if status.silent_s is None else duration(status.silent_s)
    if status.holder is None:
        return "not running" + (f", last trial finished {silent} ago" if silent else "")
    on = f"running on {one_line(str(status.holder['host']))} (pid {status.holder['pid']})"
    if status.is_stopping:
        on += ", stopping"
    if status.silent_s is not None and status.silent_s > _SILENCE_S:
        return f"{on}, but without a heartbeat for {silent}: it has perhaps died"
    return f"{on}, last heartbeat {silent} ago" if silent else on


def _packs(status: Status) -> list[str]:
    """Return one line per running pack, aligned in columns."""
    rows = [pack_columns(pack) for pack in status.snapshot.live]
    if not rows:
        return []
    table = [tuple(rows[0]), *(tuple(one_line(text) for text in row.values()) for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in table]


def _failure(failure: Failure) -> str:
    k = "" if failure.k is None else f", k={preference_text(failure.k)}"
    return one_line(f"{failure.trial_id} ({failure.study}{k}, seed {failure.seed}) {failure.state}: {failure.error or 'no reason given'}")
