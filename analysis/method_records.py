"""The table of methods for programs: JSON and CSV, fractions at full precision, the store's names."""

import csv
import io
import json
from typing import Any

from analysis.intervals import Estimate
from analysis.loss_hypervolume import REFERENCE
from analysis.method_caption import caption, warnings
from analysis.method_line import Line
from analysis.method_table import DatasetLines, MethodTable

HYPERVOLUME = "hypervolume.test"
TAKEN_OVER = "taken_over_s"
_IDENTITY = ("block", "dataset", "sweep", "architecture", "study", "method", "scalarization", "label", "kind", "k")
_COUNTS = ("n_seeds", "n_seeds_planned", "n_ok", "n_diverged", "n_error", "n_missing")
_MARKS = ("boxed", "bold")
_LISTS = ("k", *_MARKS)


def as_json(table: MethodTable) -> str:
    """An object with `confidence`, `caption`, `warnings` and `lines` (`records`)."""
    found = {
        "confidence": table.confidence,
        "hypervolume_reference": list(REFERENCE),
        "caption": caption(table),
        "warnings": list(warnings(table)),
        "lines": records(table),
    }
    return json.dumps(found, indent=1, ensure_ascii=False)


def as_csv(table: MethodTable) -> str:
    """One row a line: a number's mean under its own name, its interval under `<name>.low` and `<name>.high`; lists as JSON."""
    names = dict.fromkeys(column.name for dataset in table.datasets for column in dataset.columns)
    numbers = [part for name in (*names, HYPERVOLUME, TAKEN_OVER) for part in (name, f"{name}.low", f"{name}.high")]
    file = io.StringIO()
    writer = csv.DictWriter(file, [*_IDENTITY, *_COUNTS, *numbers, *_MARKS], restval="", lineterminator="\n")
    writer.writeheader()
    for record in records(table):
        values = record.pop("values")
        row = record | {name: None if record[name] is None else json.dumps(record[name]) for name in _LISTS}
        for name, found in values.items():
            row |= {name: found["mean"], f"{name}.low": found["low"], f"{name}.high": found["high"]}
        writer.writerow(row)
    return file.getvalue().rstrip("\n")


def records(table: MethodTable) -> list[dict[str, Any]]:
    """One dictionary a line, plain values: what it is, its counts, `values` (name -> mean, low, high, n), `boxed`, `bold`.

    `block` is `methods` or `second study`; `kind` is `none`, `dense` (k0 = 0) or `sparse` (k0 > 0); `k` has k0 first.
    """
    return [
        _record(dataset, block, line)
        for dataset in table.datasets
        for block, lines in (("methods", dataset.lines), ("second study", dataset.second))
        for line in lines
    ]


def _record(dataset: DatasetLines, block: str, line: Line) -> dict[str, Any]:
    study = line.study
    texts = (block, dataset.name, line.sweep, study.model, study.name, study.method, study.scalarization, line.label, line.kind)
    k = None if line.preference is None else list(line.preference)
    record: dict[str, Any] = dict(zip(_IDENTITY, (*texts, k), strict=True))
    record |= {"n_seeds": line.n_seeds, "n_seeds_planned": line.n_seeds_planned}
    record |= {f"n_{state}": n for state, n in line.counts.items()}
    values = {column.name: line.values[column.name] for column in dataset.columns if column.name in line.values}
    others = {HYPERVOLUME: line.hypervolume, TAKEN_OVER: line.taken_over_s}
    record["values"] = {name: _plain(found) for name, found in {**values, **others}.items() if found is not None}
    return record | {"boxed": sorted(line.boxed), "bold": sorted(line.bold)}


def _plain(found: Estimate) -> dict[str, float | int | None]:
    return {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}
