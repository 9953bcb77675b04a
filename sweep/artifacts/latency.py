"""`sweep measure`: the latency of a trial's trained and compressed network on one core of this machine, kept in the results folder."""

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
"""Validation samples on which the compressed network must compute what the trained one does before it is timed."""
_MACHINE = ("host", "processor", "torch")


@dataclass(frozen=True)
class Measured:
    """The latency of a trial in `latency/`."""

    trial_id: str
    latency_ms: Mapping[str, Mapping[str, float]]
    """Batch -> `before` and `after`."""
    measured: str
    """When it was measured."""
    is_new: bool
    """False if it was measured earlier, for these weights on this machine."""


def measure_trial(trials: TrainedTrials, trial_id: str, *, again: bool = False) -> Measured:
    """Measure the latency of one trial's networks and keep it, unless it is known.

    Args:
        trials: of the folder.
        trial_id: its id, or a beginning that no other one has.
        again: measure even if the latency of these weights on this machine is known.

    Raises:
        StoreError: no such trial or weights, or they are damaged.
        StoreWriteError: the folder did not take the file; an earlier one is as it was.
        SweepError: the network cannot be compressed, or the compressed one computes something else on validation data.
        DataError: the problem's data is not here.
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
    """Write a latency that was just measured on this machine into the folder.

    Args:
        store: the results folder.
        row: of the trial.
        measured: batch size -> milliseconds before and after compression.

    Raises:
        StoreWriteError: the folder did not take it.
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
    """What a latency depends on beside the network: host, processor and version of torch."""
    return {"host": _line(platform.node()), "processor": _line(processor_name()), "torch": version("torch")}


def processor_name() -> str:
    """The name of this machine's processor, as exact as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _line(text: str) -> str:
    return text if is_line(text) else "unknown"


def _known(store: Store, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """The stored latency of the same weights on this machine; None unless it has every batch size."""
    latency = store.latency(row["trial_id"])
    if latency is None or latency["weights_sha256"] != row["weights_sha256"]:
        return None
    here = this_machine()
    is_here = all(latency[name] == here[name] for name in _MACHINE)
    return latency if is_here and set(latency["latency_ms"]) >= {str(n) for n in BATCHES} else None
