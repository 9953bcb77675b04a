"""Measures a compacted store: `sweep` and `analysis` read rows and curves, and rows are published and compacted into it."""

from argparse import Namespace
from pathlib import Path

import pyarrow.parquet as pq

from analysis import read_results
from sweep.grid.load import load_config
from sweep.store.store import Store
from tests.bench.scale.figures import seconds, show
from tests.bench.scale.made_sweep import write_grid, write_results

_EPOCHS = 3
_N_NEW = 100
_LIMIT_S = 1.0
_ROUNDS = 3


def measure(folder: Path, asked: Namespace) -> None:
    """Measure with pandas as a yardstick, which reads the same file without verification."""
    root = write_results(load_config(write_grid(folder, asked.trials // 5, 5)), _EPOCHS)
    rows, curves = root / "trials.parquet", root / "epochs.parquet"
    plain = seconds(lambda: pq.read_table(rows).to_pandas(), _ROUNDS)
    show(f"pandas reads trials.parquet ({rows.stat().st_size / 1e6:.0f} MB)", plain, "s")
    for name, function in (
        ("Store.complete: what need not be trained", lambda: Store(root).complete()),
        ("Store.read_rows: all rows, every byte checked", lambda: Store(root).read_rows()),
        ("analysis.read_results: the same as a ResultTable", lambda: read_results(root)),
    ):
        duration = seconds(function, _ROUNDS)
        show(name, duration, "s", _LIMIT_S, f"{duration / plain:.1f} times pandas")
    table = read_results(root)
    plain = seconds(lambda: pq.read_table(curves).to_pandas(), _ROUNDS)
    show(f"pandas reads epochs.parquet ({curves.stat().st_size / 1e6:.0f} MB)", plain, "s")
    duration = seconds(table.read_epochs, _ROUNDS)
    show(f"read_epochs: curves of all trials ({_EPOCHS} epochs each)", duration, "s", _LIMIT_S, f"{duration / plain:.1f} times pandas")
    show("read_epochs: curves of one trial", seconds(lambda: table.read_epochs(table.frame["trial_id"][0]), _ROUNDS), "s", _LIMIT_S)
    _write(Store(root))


def _write(store: Store) -> None:
    """Measure what a worker writes for each trial and what a run does at its end."""
    row = {name: value for name, value in store.read_rows().slice(0, 1).to_pylist()[0].items() if not isinstance(value, list)}
    curves = [{"epoch": epoch, "phase": "sparsify"} for epoch in range(1, _EPOCHS + 1)]

    def publish() -> None:
        for number in range(_N_NEW):
            store.publish({**row, "trial_id": f"new-{number}"}, curves)

    show("Store.publish: ms a row with its curves, synced", 1000 * seconds(publish) / _N_NEW, "ms")
    show(f"Store.compact: {_N_NEW} rows more", seconds(store.compact), "s")
