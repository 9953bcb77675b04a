"""Results folders at the edges of what a sweep can leave: nothing, one trial, all failed, alike, infinite, hostile names, very many."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from method_stores import ALL_STUDIES, NO_PREFERENCE, study_rows, table_rows, write_table_store
from other_stores import NOTHING_PRUNED, no_accuracies, task_objectives, write_analytic_store, write_regression_store
from synthetic_store import TWO_TASKS, preference_grid, trial_row, write_epochs, write_manifest, write_parquet, write_plan, write_row

from sweep.store.schema import FINAL_STATES, row_schema

SPARSE, DENSE = (0.01, 0.5, 0.49), (0.0, 0.5, 0.5)
HOSTILE_NAMES = (
    "<script>alert(1)</script>",
    "a.b",
    '"quotes" & <b>',
    "\U0001f600 emoji",
    "ימין לשמאל",
    "{braces} %s ${x} \\ `tick` $x^2$",
    "a" * 200,
)
"""Names of tasks, studies, trials and sweeps that are text and nothing else."""
_NEEDED = frozenset({"trial_id", "attempt", "retry", "state", "objective.sparsity"})
_ALONE = ("stl", "mgda")


def write_rows(folder: Path, rows: Sequence[dict[str, Any]], tasks: Sequence[str] = TWO_TASKS, **manifest: Any) -> None:
    """Manifest, plan, compacted rows, curves of the first trial."""
    write_manifest(folder, tasks, **manifest)
    write_plan(folder, [{"study": None, "k": None, "seed": None} | row for row in rows])
    write_parquet(folder / "trials.parquet", rows, row_schema(tasks))
    if rows:
        write_epochs(folder, rows[0], tasks)


def _grid(n_trials: int, **changes: Any) -> list[dict[str, Any]]:
    """Rows of the usual preferences over two tasks."""
    return [trial_row(i, k, TWO_TASKS, **changes) for i, k in enumerate(preference_grid(2, n_trials))]


def _nothing_planned(folder: Path) -> None:
    write_manifest(folder, TWO_TASKS)


def _no_result_yet(folder: Path) -> None:
    write_manifest(folder, TWO_TASKS)
    write_plan(folder, _grid(5))


def _no_rows(folder: Path) -> None:
    write_rows(folder, [])


def _no_rows_and_odd_types(folder: Path) -> None:
    """A table without rows, whose columns pandas gave the type of nothing."""
    _no_result_yet(folder)
    pd.DataFrame(columns=row_schema(TWO_TASKS).names).to_parquet(folder / "trials.parquet")


def _no_rows_and_columns_of_nulls(folder: Path) -> None:
    _no_result_yet(folder)
    names = row_schema(TWO_TASKS).names
    pq.write_table(pa.table({name: pa.nulls(0) for name in names}), folder / "trials.parquet")


def _no_rows_and_hardly_a_column(folder: Path) -> None:
    _no_result_yet(folder)
    pq.write_table(pa.table({name: pa.array([], pa.string()) for name in ("trial_id",)} | _no_attempts()), folder / "trials.parquet")


def _no_attempts() -> dict[str, pa.Array]:
    return {name: pa.array([], pa.int64()) for name in ("attempt", "retry")}


def _trials_of(*vectors: Sequence[float]) -> Callable[[Path], None]:
    return lambda folder: write_rows(folder, [trial_row(i, k, TWO_TASKS) for i, k in enumerate(vectors)])


def _all_in_state(state: str, message: str | None, **changes: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        grid = preference_grid(2, 6)
        write_rows(folder, [trial_row(i, k, TWO_TASKS, state=state, error=message, **changes) for i, k in enumerate(grid)])

    return write


def _failed_without_a_number(folder: Path) -> None:
    """What is left of a trial that failed before its first step."""
    kept = ("trial_id", "attempt", "retry", "problem", "model", "method", "study", "seed", "k", "k_0", "k_1", "k_2")
    rows = _grid(6)
    write_rows(folder, [{name: row[name] for name in kept} | {"state": "error", "error": "MemoryError: none left"} for row in rows])


def _diverged(folder: Path) -> None:
    rows = _grid(6, state="diverged")
    write_rows(folder, [row | dict.fromkeys(_real_names(row), math.nan) for row in rows])


def _one_objective(folder: Path) -> None:
    rows = [trial_row(i, [0.0, 1.0], ("only",), **NOTHING_PRUNED) for i in range(5)]
    write_rows(folder, rows, ("only",), objectives=task_objectives(("only",)), hypervolume_reference=[2.3])


def _sparsity_alone(folder: Path) -> None:
    sparsity = [{"name": "sparsity", "column": "objective.sparsity", "sense": "min", "unit": "norm"}]
    write_rows(
        folder,
        _grid(8),
        objectives=sparsity,
        hypervolume_reference=[120.0],
    )


def _many_tasks(n_tasks: int, n_trials: int = 12) -> Callable[[Path], None]:
    tasks = tuple(f"t{i}" for i in range(n_tasks))
    return lambda folder: write_rows(folder, [trial_row(i, k, tasks) for i, k in enumerate(preference_grid(n_tasks, n_trials))], tasks)


def _maximised(folder: Path) -> None:
    objectives = [{"name": task, "column": f"accuracy.validation.{task}", "sense": "max", "unit": ""} for task in TWO_TASKS]
    rows = _grid(12)
    write_rows(folder, rows, objectives=objectives, hypervolume_reference=[0.1, 0.1])


def _identical(folder: Path) -> None:
    row = trial_row(1, SPARSE, TWO_TASKS)
    write_rows(folder, [row | {"trial_id": f"same{i}"} for i in range(6)])


def _identical_with_dense_ones(folder: Path) -> None:
    rows = [
        trial_row(1, k, TWO_TASKS) | {"trial_id": f"{name}{i}", "seed": i} for name, k in (("s", SPARSE), ("d", DENSE)) for i in range(3)
    ]
    write_rows(folder, rows)


def _one_preference(folder: Path) -> None:
    write_rows(folder, [trial_row(i, SPARSE, TWO_TASKS, seed=i) for i in range(12)])


def _seeds(folder: Path) -> None:
    grid = preference_grid(2, 6)
    write_rows(folder, [trial_row(10 * i + seed, k, TWO_TASKS, seed=seed) for i, k in enumerate(grid) for seed in range(3)])


def _only(is_sparse: bool) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        grid = [k for k in preference_grid(2, 24) if (k[0] > 0) == is_sparse]
        write_rows(folder, [trial_row(i, k, TWO_TASKS) for i, k in enumerate(grid)])

    return write


def _each_its_own_cluster(folder: Path) -> None:
    rows = [trial_row(i, SPARSE, TWO_TASKS) | {"sparsity_rate": i / 30, "seed": i} for i in range(30)]
    write_rows(folder, rows)


def _nulls(folder: Path) -> None:
    """Only what an `ok` row must have."""
    rows = _grid(8)
    write_rows(folder, [{name: cell for name, cell in row.items() if name in _NEEDED or name.startswith("loss.")} for row in rows])


def _nulls_and_a_bare_manifest(folder: Path) -> None:
    _nulls(folder)
    bare = dict.fromkeys(("problem", "metrics", "studies", "scaling", "reference_point", "hypervolume_reference", "created"))
    write_manifest(folder, TWO_TASKS)
    _drop(folder / "manifest.json", bare)


def _drop(path: Path, keys: dict[str, Any]) -> None:
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({key: value for key, value in manifest.items() if key not in keys}), encoding="utf-8")


def _no_preference(folder: Path) -> None:
    write_rows(folder, [trial_row(i, DENSE, TWO_TASKS, method="mgda", **NO_PREFERENCE_OF_TWO) for i in range(5)])


NO_PREFERENCE_OF_TWO = {name: None for name in NO_PREFERENCE if name in ("k", "k_0", "k_1", "k_2")}


def _real_names(row: dict[str, Any], *, objectives: bool = True) -> list[str]:
    """Columns of real numbers; without objectives those that a front is not made of."""
    names = [name for name, cell in row.items() if isinstance(cell, float) and not name.startswith("k_")]
    return names if objectives else [name for name in names if name != "objective.sparsity" and not name.startswith("loss.validation")]


def _every_number_is(value: float, *, objectives: bool) -> Callable[[Path], None]:
    """Half of the trials with another number everywhere: in all columns of real numbers, or in all but the front's."""

    def write(folder: Path) -> None:
        rows = [
            trial_row(i, k, TWO_TASKS, device_s=0.5, energy_wh=0.1, energy_estimated=False) for i, k in enumerate(preference_grid(2, 12))
        ]
        changed = [row | (dict.fromkeys(_real_names(row, objectives=objectives), value) if i % 2 else {}) for i, row in enumerate(rows)]
        lists = {"multipliers": [value] * 3, "anchors": [value] * 3, "reference_point": [value] * 3, "gradient_cosine": [value]}
        write_rows(folder, [row | (lists | {"layer_sparsity": {"trunk.3": value}} if i % 2 else {}) for i, row in enumerate(changed)])

    return write


def _all_numbers_but_the_front_are(value: float) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        rows = [
            trial_row(i, k, TWO_TASKS, device_s=0.5, energy_wh=0.1, scalarized=0.2, optimum=0.1)
            for i, k in enumerate(preference_grid(2, 12))
        ]
        lists = {"multipliers": [value] * 3, "gradient_cosine": [value], "layer_sparsity": {"trunk.3": value}}
        write_rows(folder, [row | dict.fromkeys(_real_names(row, objectives=False), value) | lists for row in rows])

    return write


def _preferences_of(value: float) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        rows = _grid(6)
        write_rows(folder, [row | {"k": [value] * 3, **{f"k_{i}": value for i in range(3)}} for row in rows])
        write_plan(folder, [row | {"k": None} for row in rows])

    return write


def _one_objective_is_constant(folder: Path) -> None:
    rows = _grid(12)
    write_rows(folder, [row | {"loss.validation.left": 0.25} for row in rows])


def _zeros(folder: Path) -> None:
    rows = _grid(12, device_s=0.0, n_params=0, n_rows=0)
    write_rows(folder, [row | dict.fromkeys(_real_names(row), 0.0) for row in rows])


def _hostile_tasks(folder: Path) -> None:
    tasks = HOSTILE_NAMES
    rows = [trial_row(i, k, tasks) for i, k in enumerate(preference_grid(len(tasks), 12))]
    write_rows(folder, rows, tasks, name=HOSTILE_NAMES[0])


def _hostile_names(folder: Path) -> None:
    """Names of everything but tasks; two seeds, so that sections over seeds are there."""
    studies = [
        {"name": name, "model": name, "method": name, "after": None, "training": {"scalarization": name}} for name in HOSTILE_NAMES[:4]
    ]
    tasks = (HOSTILE_NAMES[0], HOSTILE_NAMES[1])
    rows = []
    for entry in studies:
        for seed in (0, 1):
            for k in preference_grid(2, 4):
                number = len(rows)
                row = trial_row(number, k, tasks, seed=seed, device_s=0.5)
                names = {"study": entry["name"], "model": entry["model"], "method": entry["method"], "problem": entry["name"]}
                rows.append(
                    row | names | {"trial_id": f"{number}{HOSTILE_NAMES[number % 6]}", "notes": [*HOSTILE_NAMES], "host": HOSTILE_NAMES[0]}
                )
    rows[3] |= {"state": "error", "error": HOSTILE_NAMES[0]}
    rows[4] |= {"state": HOSTILE_NAMES[0]}
    objectives = [
        {"name": HOSTILE_NAMES[2], "column": "objective.sparsity", "sense": "min", "unit": HOSTILE_NAMES[0]},
        *({"name": task, "column": f"loss.validation.{task}", "sense": "min", "unit": HOSTILE_NAMES[2]} for task in tasks),
    ]
    write_rows(
        folder,
        rows,
        tasks,
        name=" ".join(HOSTILE_NAMES[:6]),
        problem={"name": HOSTILE_NAMES[0], "options": {}, "fingerprint": HOSTILE_NAMES[2]},
        metrics=dict.fromkeys(tasks, "accuracy"),
        studies=studies,
        scaling=HOSTILE_NAMES[0],
        reference_point=HOSTILE_NAMES[0],
        objectives=objectives,
    )


def _long_names(folder: Path) -> None:
    """Two hundred letters without a place to break, and two hundred letters in words."""
    tasks = ("w" * 200, " ".join(["word"] * 40))
    studies = [{"name": "s" * 200, "model": "m" * 200, "method": "wcal_growl", "after": None, "training": {}}]
    rows = [trial_row(i, k, tasks, study="s" * 200, model="m" * 200) for i, k in enumerate(preference_grid(2, 8))]
    for i, row in enumerate(rows):
        row |= {"trial_id": f"{i}{'i' * 200}", "notes": ["n" * 400]}
    rows[-1] |= {"state": "error", "error": "e" * 2000}
    write_rows(folder, rows, tasks, name="x" * 200, studies=studies, problem={"name": "p" * 200, "options": {}, "fingerprint": "f"})


def _methods(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: _write_table(folder, [row | changes for row in table_rows()])


def _write_table(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    write_table_store(folder, rows)


def _methods_one_trial_each(folder: Path) -> None:
    rows: list[dict[str, Any]] = []
    for entry in ALL_STUDIES:
        rows += study_rows(entry, (0,), len(rows))[:1]
    write_table_store(folder, rows)


def _second_study_without_a_first(folder: Path) -> None:
    rows = [row for row in table_rows() if row["study"].endswith("-fixed")]
    write_table_store(folder, rows)


def _regression_without_a_value(folder: Path) -> None:
    rows = write_regression_store(folder, {"depth": "root mean squared error", "pose": "mean angle"}, n_trials=8)
    empty = {f"metric.{split}.{task}": None for split in ("train", "validation", "test") for task in ("depth", "pose")}
    for row in rows:
        write_row(folder, row | {"attempt": 2} | empty, ("depth", "pose"))


def _no_reference(folder: Path) -> None:
    write_rows(folder, _grid(8), hypervolume_reference=None)


def _reference_that_nothing_beats(folder: Path) -> None:
    write_rows(folder, _grid(8), hypervolume_reference=[-1.0, -1.0, -1.0])


def _no_seed(folder: Path) -> None:
    write_rows(folder, _grid(8, seed=None))


def _preference_of_another_length(folder: Path) -> None:
    write_rows(folder, [trial_row(i, k, TWO_TASKS) | {"k": [0.5, 0.5]} for i, k in enumerate(preference_grid(2, 8))])


def _exact_front_alone(folder: Path) -> None:
    write_analytic_store(folder, n_trials=0)


def _one_exact_trial(folder: Path) -> None:
    write_analytic_store(folder, n_trials=1, n_front=1)


def _many_analytic_tasks(folder: Path) -> None:
    write_analytic_store(folder, n_tasks=6, n_trials=12)


def _every_state(folder: Path) -> None:
    states = (*FINAL_STATES, "running", "")
    write_rows(folder, [trial_row(i, k, TWO_TASKS, state=states[i % 5]) for i, k in enumerate(preference_grid(2, 10))])


def _losses_alone(folder: Path) -> None:
    changes = no_accuracies(TWO_TASKS)
    write_rows(folder, _grid(8, **changes))


EDGE_STORES: dict[str, Callable[[Path], None]] = {
    "nothing planned": _nothing_planned,
    "no result yet": _no_result_yet,
    "no rows": _no_rows,
    "no rows, odd types": _no_rows_and_odd_types,
    "no rows, columns of nulls": _no_rows_and_columns_of_nulls,
    "no rows, hardly a column": _no_rows_and_hardly_a_column,
    "one trial": _trials_of(SPARSE),
    "one dense trial": _trials_of(DENSE),
    "two trials": _trials_of(SPARSE, DENSE),
    "two sparse trials": _trials_of(SPARSE, (0.02, 0.2, 0.78)),
    "all failed": _all_in_state("error", "RuntimeError: out of luck"),
    "all failed, no message": _all_in_state("error", None),
    "all failed, no number": _failed_without_a_number,
    "all diverged": _diverged,
    "one ok of every state": _every_state,
    "one objective": _one_objective,
    "sparsity alone": _sparsity_alone,
    "one task and sparsity": _many_tasks(1),
    "six objectives and sparsity": _many_tasks(6),
    "six objectives": _many_analytic_tasks,
    "twelve objectives": _many_tasks(12, n_trials=4),
    "one trial, six objectives": _many_tasks(6, n_trials=1),
    "maximised objectives": _maximised,
    "identical points": _identical,
    "identical points, some dense": _identical_with_dense_ones,
    "one preference, many seeds": _one_preference,
    "several seeds": _seeds,
    "only dense": _only(is_sparse=False),
    "only sparse": _only(is_sparse=True),
    "each its own cluster": _each_its_own_cluster,
    "one constant objective": _one_objective_is_constant,
    "nulls": _nulls,
    "nulls, bare manifest": _nulls_and_a_bare_manifest,
    "losses alone": _losses_alone,
    "no preference": _no_preference,
    "no seed": _no_seed,
    "zeros": _zeros,
    "half NaN": _every_number_is(math.nan, objectives=True),
    "half infinite": _every_number_is(math.inf, objectives=True),
    "half minus infinity": _every_number_is(-math.inf, objectives=True),
    "half huge": _every_number_is(1e308, objectives=True),
    "half tiny": _every_number_is(5e-324, objectives=True),
    "half negative": _every_number_is(-3.5, objectives=True),
    "all NaN but the front": _all_numbers_but_the_front_are(math.nan),
    "all infinite but the front": _all_numbers_but_the_front_are(math.inf),
    "all minus infinity but the front": _all_numbers_but_the_front_are(-math.inf),
    "all huge but the front": _all_numbers_but_the_front_are(1e308),
    "all tiny but the front": _all_numbers_but_the_front_are(5e-324),
    "NaN preferences": _preferences_of(math.nan),
    "infinite preferences": _preferences_of(math.inf),
    "preferences of another length": _preference_of_another_length,
    "hostile tasks": _hostile_tasks,
    "hostile names": _hostile_names,
    "long names": _long_names,
    "methods, all failed": _methods(state="error", error="no"),
    "methods, no time": _methods(device_s=None, wall_s=None),
    "methods, one trial each": _methods_one_trial_each,
    "second study without a first": _second_study_without_a_first,
    "regression without a value": _regression_without_a_value,
    "no hypervolume reference": _no_reference,
    "a reference that nothing beats": _reference_that_nothing_beats,
    "exact front alone": _exact_front_alone,
    "one exact trial": _one_exact_trial,
}
"""Name -> what writes such a folder."""
