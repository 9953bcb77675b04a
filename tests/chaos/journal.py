"""Repeated work, read from the lines that every process of a sweep writes when an epoch begins and ends."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Repeated:
    """The work that one fault cost, for the pack that lost most."""

    epochs: int
    """Number of finished epochs that were trained again, plus 1 for an interrupted one."""
    seconds: float
    """Seconds of these epochs."""


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Return every line in chronological order."""
    lines = path.read_text().splitlines() if path.exists() else []
    return sorted((json.loads(line) for line in lines), key=lambda line: line["at"])


def repeated(lines: Sequence[dict[str, Any]], faults: Sequence[float]) -> list[Repeated]:
    """Return what each fault cost.

    Args:
        lines: of `read_journal`.
        faults: the times of the faults (`time.monotonic`), in order.

    Returns:
        One entry for each fault. Repeated work counts for the last fault before the repetition.
    """
    bounds = [*faults, float("inf")]
    return [_between(lines, faults, start, stop) for start, stop in pairwise(bounds)]


def _between(lines: Sequence[dict[str, Any]], faults: Sequence[float], start: float, stop: float) -> Repeated:
    """Return the most work that any trial repeated between two moments."""
    seconds: dict[tuple[str, int], float] = {}  # of each epoch that was finished or cut off before
    begun: dict[tuple[int, str, int], float] = {}
    again: dict[str, dict[int, float]] = {}
    for line in lines:
        if line["at"] >= stop:
            break
        for trial_id in line["trials"]:
            key, process = (trial_id, line["epoch"]), (line["pid"], trial_id, line["epoch"])
            if line["what"] == "end" and line["at"] < start:
                seconds[key] = line["at"] - begun.get(process, line["at"])
            elif line["what"] == "begin" and line["at"] < start:
                begun[process] = line["at"]
                seconds[key] = min(fault for fault in faults if fault > line["at"]) - line["at"]
            elif line["what"] == "begin" and key in seconds:
                again.setdefault(trial_id, {})[line["epoch"]] = seconds[key]
    most = max(again.values(), key=lambda epochs: (len(epochs), sum(epochs.values())), default={})
    return Repeated(len(most), sum(most.values()))
