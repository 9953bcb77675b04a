"""What a reader of a report must know before believing it: what failed, diverged, missed its target or cannot be read."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.table import ResultTable

MAX_LINES = 50
"""Lines that one finding lists; the count tells of the rest."""


@dataclass(frozen=True)
class Finding:
    """One kind of trouble."""

    title: str
    """What happened, for people."""
    count: int
    """How many trials or files."""
    lines: tuple[tuple[str, str], ...]
    """(trial or file, message) of at most `MAX_LINES` of them."""
    serious: bool
    """Whether a result is lost; the others are still in the front, and marked."""


def health(table: ResultTable) -> list[Finding]:
    """All kinds of trouble that a results folder has, the serious ones first; empty for a clean sweep."""
    frame = table.frame
    ok = (frame["state"] == "ok").to_numpy(dtype=bool)
    diverged = (frame["state"] == "diverged").to_numpy(dtype=bool)
    finite = np.isfinite(table.values()).all(axis=1)
    present = set(frame["trial_id"])
    missing = tuple((trial_id, "") for trial_id in table.planned_ids if trial_id not in present)
    files = tuple((path, reason) for path, _, reason in (entry.partition(": ") for entry in table.unreadable))
    findings = [
        _of_trials("failed", frame[~ok & ~diverged], serious=True),
        _of_trials("diverged: a loss became NaN or infinite", frame[diverged], serious=True),
        _of_trials("finished with an objective that is not finite", frame[ok & ~finite], serious=True),
        Finding(
            "file that cannot be read" if len(files) == 1 else "files that cannot be read", len(files), files[:MAX_LINES], serious=True
        ),
        Finding("planned and without a result yet", len(missing), missing[:MAX_LINES], serious=False),
        _of_trials("did not reach the least sparsity asked for", frame[ok & _is_false(frame, "sparsity_reached")], serious=False),
        _of_trials("tying did not converge in some layer", frame[ok & _is_false(frame, "tying_converged")], serious=False),
    ]
    return [finding for finding in findings if finding.count]


def _of_trials(title: str, rows: pd.DataFrame, serious: bool) -> Finding:
    shown = rows.head(MAX_LINES)
    lines = ((str(i), str(message) if pd.notna(message) else "") for i, message in zip(shown["trial_id"], shown["error"], strict=True))
    return Finding(title, len(rows), tuple(lines), serious)


def _is_false(frame: pd.DataFrame, column: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Where a nullable flag is there and false, shape (n_trials,)."""
    if column not in frame:
        return np.zeros(len(frame), dtype=bool)
    return np.asarray([cell is not None and cell is not pd.NA and cell == False for cell in frame[column]])  # noqa: E712
