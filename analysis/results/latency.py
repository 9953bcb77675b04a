"""Latencies that `sweep measure` wrote into `latency/`: milliseconds per call of the trained and the compressed networks on one core."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis.results.file_errors import is_link, names_in
from analysis.results.files import read_json
from analysis.results.table import ResultTable

_MAX_BYTES = 2**16
_MAX_TEXT = 200
_MAX_MS = 1e9
_BATCH = re.compile(r"[1-9]\d{0,5}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class Latency:
    """The latency of one trial's network."""

    milliseconds: Mapping[int, tuple[float, float]]
    """Batch size -> milliseconds of the trained network and of the compressed one."""
    machine: tuple[str, str, str]
    """Host, processor and PyTorch version; times from different machines are not compared."""
    measured: str
    """When the latency was measured, ISO 8601."""


@dataclass(frozen=True)
class Latencies:
    """The latencies measured on one machine."""

    of_trials: Mapping[str, Latency]
    """trial_id -> latency, for the trials whose current weights were measured."""
    n_elsewhere: int
    """Number of trials measured on other machines, which are left out."""


def read_latencies(table: ResultTable) -> Latencies:
    """Read the latencies of a table's finished trials from the machine that measured most of them (in a tie, the latest).

    Nothing in the folder is trusted: a file that is not plain and small, holds an invalid number, or does not match the weights of
    its row is left out; `sweep verify` names it.
    """
    if table.mirror is not None:
        table.mirror.copy_latencies()
    frame = table.ok.frame
    weights = dict(zip(frame["trial_id"].astype(str), frame["weights_sha256"], strict=True))
    found = {
        trial_id: one for trial_id in _measured_ids(table) if trial_id in weights and (one := _read(table, trial_id, weights[trial_id]))
    }
    counts = Counter(one.machine for one in found.values())
    latest = {one.machine: max(other.measured for other in found.values() if other.machine == one.machine) for one in found.values()}
    machine = max(counts, key=lambda known: (counts[known], latest[known]), default=None)
    of_trials = {trial_id: one for trial_id, one in found.items() if one.machine == machine}
    return Latencies(of_trials, len(found) - len(of_trials))


def _measured_ids(table: ResultTable) -> list[str]:
    folder = table.folder / "latency"
    names = [] if is_link(folder) else names_in(folder)
    return [name.removesuffix(".json") for name in names if name.endswith(".json") and _NAME.fullmatch(name.removesuffix(".json"))]


def _read(table: ResultTable, trial_id: str, weights_sha256: Any) -> Latency | None:
    """Read one trial's latency; None if the file is not what `sweep measure` writes for these weights."""
    try:
        record = read_json(table.folder / "latency" / f"{trial_id}.json", _MAX_BYTES)
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("trial_id") != trial_id or record.get("weights_sha256") != weights_sha256:
        return None
    texts = [record.get(name) for name in ("host", "processor", "torch", "measured")]
    times = record.get("latency_ms")
    if not all(isinstance(text, str) and len(text) <= _MAX_TEXT and text.isprintable() for text in texts) or not isinstance(times, dict):
        return None
    if not all(_BATCH.fullmatch(batch) and _is_pair(pair) for batch, pair in times.items()):
        return None
    host, processor, torch, measured = map(str, texts)
    milliseconds = {int(batch): (float(pair["before"]), float(pair["after"])) for batch, pair in times.items()}
    return Latency(milliseconds, (host, processor, torch), measured)


def _is_pair(pair: object) -> bool:
    return isinstance(pair, dict) and all(_is_time(pair.get(name)) for name in ("before", "after"))


def _is_time(value: object) -> bool:
    """Return whether a value is a duration in milliseconds; NaN is not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MAX_MS
