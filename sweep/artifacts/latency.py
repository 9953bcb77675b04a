"""`sweep measure`: the latencies of a trial's trained network and its compressed form on one core of this machine.

They are stored in the results folder.
"""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sweep.artifacts.networks import BATCHES, TrainedTrials
from sweep.store.records import is_line
from sweep.store.store import Store

_N_COMPARED = 256
"""Number of validation samples on which the compressed network must match the trained one before it is timed."""
_MACHINE = ("host", "processor", "torch")


@dataclass(frozen=True)
class Measured:
    """The latency of a trial, as it is stored in `latency/`."""

    trial_id: str
    latency_ms: Mapping[str, Mapping[str, float]]
    """Maps each batch size to the milliseconds `before` and `after` compression."""
    measured: str
    """The time of the measurement, in ISO 8601."""
    is_new: bool
    """False if these weights had already been measured on this machine."""


def measure_trial(trials: TrainedTrials, trial_id: str, *, again: bool = False) -> Measured:
    """Measure the latency of one trial's networks and store it, unless it is already known.

    Args:
        trials: the trained trials of the results folder.
        trial_id: id of the trial, or a unique prefix of it.
        again: measure even if the latency of these weights on this machine is known.

    Raises:
        StoreError: the trial or its weights do not exist, or the weights are damaged.
        StoreWriteError: the file could not be written; an earlier measurement is unchanged.
        SweepError: the network cannot be compressed, or its compressed form differs from it on validation data.
        DataError: the problem's data is missing.
    """
    row = trials.row(trial_id)
    known = None if again else _known(trials.store, row)
    if known is not None:
        return Measured(row["trial_id"], known["latency_ms"], known["measured"], is_new=False)
    network = trials.network(row)
    small = network.compressed().network.eval()
    network.difference(small, [network.problem.validation.first(_N_COMPARED)[0]], "validation data")
    measured = network.latencies(small)
    record = keep_latency(trials.store, row, measured)
    return Measured(row["trial_id"], record["latency_ms"], record["measured"], is_new=True)


def keep_latency(store: Store, row: Mapping[str, Any], measured: Mapping[int, tuple[float, float]]) -> dict[str, Any]:
    """Write a latency that was just measured on this machine into the results folder.

    Args:
        store: the results folder.
        row: the trial's row.
        measured: maps each batch size to the milliseconds before and after compression.

    Returns:
        The stored record.

    Raises:
        StoreWriteError: the record could not be written.
    """
    record = {
        "weights_sha256": row["weights_sha256"],
        "latency_ms": {str(n): {"before": before, "after": after} for n, (before, after) in measured.items()},
        **this_machine(),
        "product": f"pareto-sweep {version('pareto-sweep')}",
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    store.write_latency(row["trial_id"], record)
    return record


def this_machine() -> dict[str, str]:
    """Return what a latency depends on besides the network: the host, the processor and the version of torch."""
    return {"host": _line(platform.node()), "processor": _line(processor_name()), "torch": version("torch")}


def processor_name() -> str:
    """Return the name of this machine's processor, as precisely as the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _line(text: str) -> str:
    return text if is_line(text) else "unknown"


def _known(store: Store, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the stored latency of the same weights on this machine; None if it does not cover every batch size."""
    latency = store.latency(row["trial_id"])
    if latency is None or latency["weights_sha256"] != row["weights_sha256"]:
        return None
    here = this_machine()
    is_here = all(latency[name] == here[name] for name in _MACHINE)
    return latency if is_here and set(latency["latency_ms"]) >= {str(n) for n in BATCHES} else None
