"""One, three and five tasks, regression among them, from the grid file to the report, in one run."""

from pathlib import Path

import numpy as np
import pytest
from sweep_process import sweep_command

from analysis.measures.labels import label_points
from analysis.report.embed import choose_rows
from analysis.report.front import front_views
from analysis.results.table import read_results

GRID = """
name: tasks
problem:
  - {name: multidigits, tasks: [left], n_train: 256, n_validation: 64, n_test: 64}
  - {name: multidigits, tasks: [left, sum, parity], n_train: 256, n_validation: 64, n_test: 64}
  - {name: multidigits, tasks: [left, right, sum, larger, parity], n_train: 256, n_validation: 64, n_test: 64}
model: hps
preferences: {simplex: {divisions: 5, k0: [0, 0.05]}}
training:
  sparsify: {outer_iterations: 1, epochs: 1}
  retrain: {outer_iterations: 1, epochs: 1}
  growl: {sparsity_min: 0}
"""


@pytest.mark.ray
@pytest.mark.slow
def test_any_number_of_tasks_from_grid_file_to_report(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(GRID)
    ended = sweep_command("run", "grid.yaml", "--out", "results", "--limit", "3", "--no-dashboard", folder=tmp_path)
    assert ended.code == 0, ended.stderr
    for folder, tasks in (("multidigits", 1), ("multidigits-2", 3), ("multidigits-3", 5)):
        table = read_results(tmp_path / "results" / folder)
        assert len(table.tasks) == tasks
        assert np.isfinite(table.ok.values()).all()
        assert table.counts["ok"] == min(3, table.planned)
        if "sum" in table.tasks:
            assert table.frame["metric.test.sum"].notna().all()
        views = {view["kind"] for view in front_views(choose_rows(table, label_points(table)))}
        assert {"parallel", "matrix"} <= views if tasks > 2 else views <= {"plane", "space"}
        assert (tmp_path / "results" / folder / "report.html").stat().st_size > 1_000_000
