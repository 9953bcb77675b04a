"""The wine example with a real Ray: its module is imported on the workers, and a folder that another source began is refused."""

import shutil
import sys
from pathlib import Path

import pytest
from sweep_process import REPOSITORY, rows_of, sweep_command

from analysis import read_results
from sweep.store.store import Store

pytestmark = [
    pytest.mark.short,
    pytest.mark.ray,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="not run: needs /proc"),
]

SHORT = """
preferences: {list: [[0, 0.4, 0.3, 0.3], [0.3, 0.3, 0.2, 0.2]]}
output: out
"""


@pytest.fixture
def wine(tmp_path: Path) -> Path:
    """The example's files in a folder that is not the working directory, with a helper module beside them."""
    folder = tmp_path / "wine"
    folder.mkdir()
    for name in ("problem.py", "grid.yaml"):
        shutil.copy(REPOSITORY / "examples" / "wine" / name, folder)
    text = (folder / "problem.py").read_text()
    assert "N_TRAIN, N_VALIDATION = 106, 36\n" in text
    (folder / "problem.py").write_text(text.replace("N_TRAIN, N_VALIDATION = 106, 36\n", "from sizes import N_TRAIN, N_VALIDATION\n"))
    (folder / "sizes.py").write_text("N_TRAIN, N_VALIDATION = 106, 36\n")
    (folder / "short.yaml").write_text(SHORT)
    return folder


RUN = ("run", "wine/grid.yaml", "--override", "wine/short.yaml", "--no-dashboard")


def test_the_wine_example_runs_with_its_module_on_the_workers(wine: Path, tmp_path: Path) -> None:
    ended = sweep_command(*RUN, folder=tmp_path)
    assert ended.code == 0, ended.stderr
    assert "2 trials: 2 ok" in ended.stdout
    print(f"{ended.seconds:.1f} s")
    rows = rows_of(tmp_path / "out")
    assert {row["state"] for row in rows.values()} == {"ok"}
    assert {row["problem"] for row in rows.values()} == {"problem:wine"}
    assert {row["notes"] for row in rows.values()} == {None}
    assert sorted(row["sparsity_rate"] > 0.1 for row in rows.values()) == [False, True], "k0 steers"
    assert all(row["accuracy.test.grower"] > 0.6 for row in rows.values())
    assert all(row["metric.test.alcohol"] < 1 for row in rows.values())
    store = Store(tmp_path / "out")
    manifest = store.manifest()
    assert manifest is not None
    assert set(manifest["problem"]["sources"]) == {"problem", "sizes"}
    assert store.verify() == []
    assert (tmp_path / "out" / "report.html").stat().st_size > 100_000
    assert len(read_results(tmp_path / "out").ok.frame) == 2
    assert sorted(path.name for path in wine.iterdir()) == ["grid.yaml", "problem.py", "short.yaml", "sizes.py"], "no bytecode is left"

    again = sweep_command(*RUN, folder=tmp_path)
    assert again.code == 0
    assert "nothing to do: every trial is complete" in again.stdout

    (wine / "sizes.py").write_text("N_TRAIN, N_VALIDATION = 107, 35\n")
    refused = sweep_command(*RUN, folder=tmp_path)
    assert refused.code == 2
    assert "out: the source of problem:wine changed since this folder was begun (sizes)\n  hint: choose another `output`" in refused.stderr
    assert rows_of(tmp_path / "out").keys() == rows.keys()
    for command in (("status", "out"), ("front", "out"), ("report", "out"), ("verify", "out")):
        assert sweep_command(*command, folder=tmp_path).code == 0
