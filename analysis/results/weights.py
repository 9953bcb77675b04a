"""The pruned layers of a trained network as matrices of rows, read without torch."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.formatting import as_text
from analysis.results.files import NotPlainError, check_plain
from analysis.results.mirror import below
from analysis.results.table import ResultsError, ResultTable

_SHARED = "Shared network"
_OF_TASK = {"monitors": "Monitor", "attentions": "Attention", "trunks": "Network"}
_KINDS = {2: "Linear", 4: "Convolutional"}


@dataclass(frozen=True)
class PrunedLayer:
    """One layer that GrOWL may prune."""

    name: str
    """Name of its weight tensor."""
    component: str
    """Display name of the part of the network that the layer belongs to, such as `Shared network` or `Monitor (left)`."""
    kind: str
    """`Linear`, `Convolutional`, or the number of its weight's dimensions."""
    position: int
    """Position among the component's layers with weights, pruned or not, starting at 1."""
    rows: NDArray[np.float64]
    """Shape (n_rows, row_length), one row for each input unit; rows of zeros are suppressed."""

    @property
    def sparsity(self) -> float:
        """Fraction of suppressed rows."""
        return float((self.rows == 0).all(axis=1).mean()) if len(self.rows) else 0.0


def read_pruned_layers(table: ResultTable, trial_id: str) -> list[PrunedLayer]:
    """Read the layers of a trial's network that GrOWL may prune, in the network's order.

    Args:
        table: the table of the sweep.
        trial_id: the full id of a trial.

    Raises:
        ResultsError: the trial has no weights, they are missing or damaged, or the network has no layer that may be pruned.
    """
    tensors, metadata = _read(table, trial_id)
    names = [name for name in metadata.get("growl_layers", []) if name in tensors]
    if not names:
        raise ResultsError(f"trial {trial_id}: its network has no layer that GrOWL may prune\n  hint: models mdmtn, hps and mtan have some")
    weighted = sorted(metadata.get("layer_sparsity") or names, key=_natural)
    return [
        PrunedLayer(
            name,
            _component(name, metadata),
            _KINDS.get(tensors[name].ndim, f"{tensors[name].ndim} dimensions"),
            1 + [other for other in weighted if _stem(other) == _stem(name)].index(name),
            np.moveaxis(tensors[name], metadata.get("row_dim", 1), 0)
            .reshape(tensors[name].shape[metadata.get("row_dim", 1)], -1)
            .astype(np.float64),
        )
        for name in names
    ]


def find_trial(table: ResultTable, trial: str) -> str:
    """Find the finished trial whose id begins with `trial`.

    Args:
        table: the table of the sweep.
        trial: the id of a trial, or a prefix that only one finished trial has.

    Returns:
        The full id.

    Raises:
        ResultsError: no trial or several trials match.
    """
    ids = [str(found) for found in table.ok.frame["trial_id"]]
    matching = [found for found in ids if found == trial] or [found for found in ids if found.startswith(trial)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise ResultsError(f"{table.place}: {len(matching)} trials begin with {trial}\n  hint: give more letters of the id")
    known = trial in set(table.frame["trial_id"].astype(str))
    problem = f"trial {trial} has no usable result" if known else f"no trial is called {trial}"
    raise ResultsError(
        f"{table.place}: {problem}\n  hint: `sweep front {table.place}` lists trials, for example {ids[0]}" if ids else problem
    )


def _read(table: ResultTable, trial_id: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    from safetensors.numpy import load

    row = table.ok.frame[table.ok.frame["trial_id"] == trial_id].iloc[0]
    sha256 = row["weights_sha256"]
    if not isinstance(sha256, str) or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ResultsError(f"trial {trial_id}: its row names no weights\n  hint: choose another trial with --trial")
    path = table.folder / "blobs" / sha256
    if table.mirror is not None:
        table.mirror.copy_blob(sha256)
    shown = str(path) if table.mirror is None else below(table.mirror.address, f"blobs/{sha256}")
    try:
        check_plain(path)
        data = path.read_bytes()
    except NotPlainError as error:
        raise ResultsError(f"{path}: {error}\n  hint: no run wrote it: restore it from a copy") from error
    except OSError as error:
        reason = "are not in this folder" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise ResultsError(f"{shown}: the weights of trial {trial_id} {reason}\n  hint: copy the folder with its blobs/") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ResultsError(f"{shown}: damaged, its content is not what its name says\n  hint: restore it from a copy")
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        return dict(load(data)), dict(json.loads(header["pareto-sweep"]))
    except Exception as error:
        raise ResultsError(f"{shown}: not a network that this program stored ({type(error).__name__}: {error})") from error


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key by which layer 10 comes after layer 9."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in name.split(".")]


def _stem(name: str) -> str:
    """Return the common prefix of a component's weights: `monitors.0` for `monitors.0.4.weight`."""
    parts = name.removeprefix("network.").split(".")
    return ".".join(parts[:2]) if parts[0] in _OF_TASK else parts[0]


def _component(name: str, metadata: Mapping[str, Any]) -> str:
    kind, _, number = _stem(name).partition(".")
    if kind == "trunk":
        return _SHARED
    if kind not in _OF_TASK:
        return as_text(kind)
    tasks = metadata.get("tasks") or []
    task = str(tasks[int(number)]) if number.isdigit() and int(number) < len(tasks) else number
    return f"{_OF_TASK[kind]} ({as_text(task)})"
