"""Are all results equal before and after a change that should not affect them?

    python -m tests.bench.same_results record /tmp/before.json       # before the change
    python -m tests.bench.same_results compare /tmp/before.json      # after it: prints every difference, exits 1 if there is one

The script trains three small sweeps with two seeds each: MultiDigits with MDMTN and HPS, dense and sparse, with a second study and
a warm start; the problem of examples/wine; and a table of three methods. Packs train in this process, without Ray, but they are
planned and their rows are published as in a real run. The script compares the ids and the order of trials, the manifests, every
column of rows and curves that does not depend on the circumstances of the run, the digests of the weights, the trials on the front,
and the table of methods. Make both runs on the same machine, because another processor may round differently.

It uses only public names and finds the classes that run a sweep by their methods, so that it works before and after files are moved.
"""

import argparse
import importlib
import json
import math
import pkgutil
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sweep
from analysis import label_points, method_text, read_results
from analysis.method_table.table import method_table
from sweep import load_config, plan
from sweep.grid.load import GridText

REPOSITORY = Path(__file__).resolve().parents[2]

MULTIDIGITS = """
name: multidigits
problem: {name: multidigits, n_train: 400, n_validation: 100, n_test: 100}
seeds: [0, 1]
preferences: {list: [[0, 0.5, 0.5], [0, 0.2, 0.8], [0.05, 0.475, 0.475], [0.2, 0.3, 0.5]]}
training: &short
  batch_size: 100
  learning_rate: 1.0e-2
  sparsify: {outer_iterations: 2, epochs: 1}
  retrain: {outer_iterations: 1, epochs: 2}
  growl: {sparsity_min: 0.1}
  lsuv: {n_samples: 64}
studies:
  - {name: mdmtn, model: mdmtn}
  - {name: hps, model: hps}
  - {name: hps-warm, model: hps, training: {warm_start: neighbour}}
  - {name: hps-second, model: hps, method: fixed_architecture, preferences: {list: [[0, 0.5, 0.5]]}, after: hps}
output: multidigits
"""
WINE = """
name: wine
problem: {name: "problem:wine", width: 16}
model: mlp
seeds: [0, 1]
preferences: {simplex: {divisions: 3, k0: [0, 0.3]}}
training:
  batch_size: 32
  learning_rate: 1.0e-2
  sparsify: {outer_iterations: 2, epochs: 2}
  retrain: {outer_iterations: 1, epochs: 2}
  growl: {sparsity_min: 0.1}
output: wine
"""
TABLE = """
name: table
problem: {name: multidigits, n_train: 400, n_validation: 100, n_test: 100}
seeds: [0, 1]
preferences: {list: [[0, 0.5, 0.5], [0.2, 0.4, 0.4]]}
training:
  batch_size: 100
  learning_rate: 1.0e-2
  sparsify: {outer_iterations: 1, epochs: 2}
  retrain: {outer_iterations: 1, epochs: 1}
  growl: {sparsity_min: 0.1}
  lsuv: {n_samples: 64}
  one_phase: {epochs: 2, decay_every: 1}
studies:
  - {name: ours, model: hps}
  - {name: alone, method: stl}
  - {name: descent, model: hps, method: mgda}
output: table
"""
GRIDS = {"multidigits": MULTIDIGITS, "wine": WINE, "table": TABLE}

_CIRCUMSTANCES = frozenset(
    {"attempt", "retry", "pack_id", "host", "finished_at", "versions", "peak_memory_mb", "device_s", "energy_wh", "energy_estimated"}
)
_MAX_SHOWN = 40


def is_result(column: str) -> bool:
    """Return whether a column depends only on the grid, and not on when and where a trial ran."""
    return column not in _CIRCUMSTANCES and not column.startswith("wall_s")


def results_of(folder: Path, grids: Mapping[str, str] = GRIDS) -> dict[str, Any]:
    """Train the sweeps below a folder and return everything that a change should leave unchanged, as plain values."""
    torch.set_num_threads(1)
    return {name: _results(_train(folder / name, grid)) for name, grid in grids.items()}


def differences(before: Any, after: Any, where: str = "") -> Iterator[str]:
    """Return a sentence for each place in which two plain values differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(name for name in after if name not in before)]:
            place = f"{where}/{name}" if where else str(name)
            if name not in after or name not in before:
                yield f"{place}: {'gone' if name in before else 'new'}"
            else:
                yield from differences(before[name], after[name], place)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for i, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, f"{where}[{i}]")
    elif before != after:
        yield f"{where}: {before!r} before, {after!r} now"


def main() -> int:
    """See the module's documentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = results_of(Path(folder))
    n_trials = sum(len(part["rows"]) for part in found.values())
    print(f"trained {n_trials} trials in {time.perf_counter() - started:.0f} s")
    if options.action == "record":
        options.file.write_text(json.dumps(found, indent=1), encoding="utf-8")
        return 0
    wrong = list(differences(json.loads(options.file.read_text(encoding="utf-8")), found))
    print("\n".join(wrong[:_MAX_SHOWN]))
    if len(wrong) > _MAX_SHOWN:
        print(f"... and {len(wrong) - _MAX_SHOWN} more")
    print(f"{len(wrong)} differences" if wrong else "no difference")
    return 1 if wrong else 0


def _train(folder: Path, grid: str) -> Path:
    """Plan and train until nothing is left, as a supervisor does with one worker."""
    folder.mkdir(parents=True)
    (folder / "grid.yaml").write_text(grid, encoding="utf-8")
    if "problem:wine" in grid:
        (folder / "problem.py").write_bytes((REPOSITORY / "examples/wine/problem.py").read_bytes())
    config = load_config(folder / "grid.yaml", out=folder / "results")
    of_sweep, of_pack, timing = (
        _class_with("begin_attempt", "take_plan"),
        _class_with("_settled_backend", "step"),
        _class_with("ray_s", "total_s"),
    )
    member = of_sweep(config, None, GridText(grid))
    with member.store.lock():
        member.open()
        member.take_plan(plan(config))
        member.begin_run()
        attempt = 0
        while member.plan.packs:
            attempt += 1
            for job in member.begin_attempt(attempt, member.store.root / "logs/log.txt", {"started": "2026-01-01T00:00:00+00:00"}):
                run = of_pack(job)
                while not run.step():
                    pass
            member.take_plan(plan(config))
        outcome = member.finish(False, timing())
    if outcome.message or outcome.exit_code:
        raise RuntimeError(f"{config.name}: {outcome.message or outcome.states}")
    return folder / "results"


def _class_with(*names: str) -> Any:
    """Return the class of `sweep` that has these attributes; imports only modules whose source contains their names."""
    for module in pkgutil.walk_packages(sweep.__path__, "sweep."):
        spec = find_spec(module.name)
        if spec is None or spec.origin is None or module.name.endswith("__main__"):
            continue
        text = Path(spec.origin).read_text(encoding="utf-8")
        if "class " not in text or not all(name in text for name in names):
            continue
        for found in vars(importlib.import_module(module.name)).values():
            if isinstance(found, type) and found.__module__ == module.name and all(name in dir(found) for name in names):
                return found
    raise LookupError(f"no class of sweep has {', '.join(names)}")


def _results(folder: Path) -> dict[str, Any]:
    table = read_results(folder)
    rows = {str(row["trial_id"]): {n: v for n, v in row.items() if is_result(str(n))} for row in table.frame.to_dict("records")}
    epochs: dict[str, list[Any]] = {}
    for row in table.read_epochs().sort_values(["trial_id", "epoch"]).to_dict("records"):
        epochs.setdefault(str(row["trial_id"]), []).append({n: v for n, v in row.items() if is_result(str(n)) and n != "trial_id"})
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    planned = json.loads((folder / "plans/1.json").read_text(encoding="utf-8"))
    labels = label_points(table)
    found = {
        "trial_ids": [trial["trial_id"] for trial in planned["trials"]],
        "manifest": {n: v for n, v in manifest.items() if n not in ("created", "versions")},
        "rows": rows,
        "curves": epochs,
        "front": table.ok.frame.loc[labels["kept"].to_numpy(dtype=bool), "trial_id"].tolist(),
        "clusters": labels["cluster"].tolist(),
    }
    if len(manifest["studies"]) > 1:
        found["methods"] = _without_times(json.loads(method_text(method_table([table]), "json")))
    plain: dict[str, Any] = _plain(found)
    return plain


def _without_times(value: Any) -> Any:
    """Return the table of methods without seconds, also in lists of columns and in texts."""
    if isinstance(value, Mapping):
        return {name: _without_times(item) for name, item in value.items() if not name.startswith("device_s") and not name.endswith("_s")}
    if isinstance(value, list):
        return [_without_times(item) for item in value if not str(item).startswith("device_s")]
    return re.sub(r"[\d.,]+ s\b", "... s", value) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    """Return a value as JSON stores it, to the bit; numbers that are not finite become text, since NaN differs from itself."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


if __name__ == "__main__":
    sys.exit(main())
