"""The report's section on problems with the results: trials that failed, diverged or missed their target, and files that cannot be read."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.measures.convergence import EXACT, IMPROVABLE, UNCONVERGED, gap_text, gaps, improvements, residual_share, unconverged_texts
from analysis.report.section import Section, rendered
from analysis.results.table import ResultTable

MAX_LINES = 50
"""Largest number of lines that one finding lists; its count includes the others."""
_MAX_IDS = 8


@dataclass(frozen=True)
class Finding:
    """One kind of problem."""

    title: str
    """What happened, as text for the reader."""
    count: int
    """Number of trials or files."""
    lines: tuple[tuple[str, str], ...]
    """(trial or file, message) for at most `MAX_LINES` of them; for notes, (note, trials)."""
    serious: bool
    """Whether a result is lost; otherwise the trials stay on the front and are marked."""
    n_lines: int | None = None
    """Number of lines without the limit `MAX_LINES`; None means `count`."""

    @property
    def lists_texts(self) -> bool:
        """Whether its lines begin with texts rather than trials or files."""
        return self.n_lines is not None

    @property
    def n_left_out(self) -> int:
        """Number of lines beyond `MAX_LINES`."""
        return (self.count if self.n_lines is None else self.n_lines) - len(self.lines)


def health_section(table: ResultTable) -> Section:
    """Show everything that is wrong with the results, or say that nothing is."""
    return Section("health", "Health", rendered("health.html", findings=health(table), is_empty=table.ok.frame.empty))


def health(table: ResultTable) -> list[Finding]:
    """List the problems of a results folder, serious ones first; empty for a clean sweep."""
    frame = table.frame
    ok = (frame["state"] == "ok").to_numpy(dtype=bool)
    diverged = (frame["state"] == "diverged").to_numpy(dtype=bool)
    finite = np.isfinite(table.values()).all(axis=1)
    present = set(frame["trial_id"].to_list())
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
        _of_residuals(table),
        _of_gaps(table, lambda gap: gap < -EXACT, "below their exact optimum, so the optimum or an objective is wrong", serious=True),
        _of_gaps(table, lambda gap: gap > EXACT, f"more than a relative {EXACT:g} above their exact optimum", serious=False),
        _of_notes(frame),
    ]
    return [finding for finding in findings if finding.count]


def _of_trials(title: str, rows: pd.DataFrame, serious: bool) -> Finding:
    shown = rows.head(MAX_LINES)
    lines = ((str(i), str(message) if pd.notna(message) else "") for i, message in zip(shown["trial_id"], shown["error"], strict=True))
    return Finding(title, len(rows), tuple(lines), serious)


def _of_gaps(table: ResultTable, is_wrong: Callable[[NDArray[np.float64]], NDArray[np.bool_]], title: str, serious: bool) -> Finding:
    """Collect the trials whose gap to the optimum is wrong or too large, the largest gap first."""
    gap = gaps(table.ok)
    rows = np.flatnonzero(is_wrong(gap))
    worst = rows[np.argsort(-np.abs(gap[rows]), kind="stable")][:MAX_LINES]
    names = table.ok.frame["trial_id"]
    return Finding(title, len(rows), tuple((str(names[row]), f"gap {gap_text(float(gap[row]))}") for row in worst), serious)


def _of_residuals(table: ResultTable) -> Finding:
    """Collect the unconverged trials, those with the largest improvement or residual, relative to the limit, first."""
    found, texts = improvements(table.ok), unconverged_texts(table.ok)
    excess = np.where(np.isfinite(found), found / IMPROVABLE, residual_share(table.ok) / UNCONVERGED)
    rows = np.flatnonzero([bool(text) for text in texts])
    worst = rows[np.argsort(-excess[rows], kind="stable")][:MAX_LINES]
    names = table.ok.frame["trial_id"]
    title = (
        f"unconverged: a residual is above {100 * UNCONVERGED:.0f} % of the largest weighted objective among the same objectives, or a "
        f"search from the final point lowers it by more than {100 * IMPROVABLE:.1f} %"
    )
    lines = tuple((str(names[row]), texts[row]) for row in worst)
    return Finding(title, len(rows), lines, serious=False)


def _of_notes(frame: pd.DataFrame) -> Finding:
    """Collect the trials' notes: each text appears once with its trials, the most frequent first."""
    trials = defaultdict(list)
    n_trials = 0
    for trial_id, notes in zip(frame["trial_id"].to_list(), frame["notes"].to_list(), strict=True):
        texts = notes_of(notes)
        n_trials += bool(texts)
        for text in dict.fromkeys(texts):
            trials[text].append(str(trial_id))
    ordered = sorted(trials.items(), key=lambda item: -len(item[1]))
    lines = tuple((text, _count_and_names(ids)) for text, ids in ordered[:MAX_LINES])
    return Finding("trial carries notes" if n_trials == 1 else "trials carry notes", n_trials, lines, False, len(ordered))


def notes_of(cell: Any) -> list[str]:
    """Return the notes of a row as a list of texts; empty without notes."""
    if isinstance(cell, str):
        return [cell]
    return [str(note) for note in cell if note is not None] if isinstance(cell, Iterable) else []


def _count_and_names(ids: list[str]) -> str:
    more = f" and {len(ids) - _MAX_IDS} more" if len(ids) > _MAX_IDS else ""
    return f"{len(ids)} {'trial' if len(ids) == 1 else 'trials'}: {', '.join(ids[:_MAX_IDS])}{more}"


def _is_false(frame: pd.DataFrame, column: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Mark the rows in which a nullable flag is false rather than null, shape (n_trials,)."""
    if column not in frame:
        return np.zeros(len(frame), dtype=bool)
    return np.asarray([cell is not None and cell is not pd.NA and cell == False for cell in frame[column].to_list()], dtype=bool)  # noqa: E712
