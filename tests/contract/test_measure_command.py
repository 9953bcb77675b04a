"""`sweep measure`, on folders with really trained trials, on a disk and in an object store; bad input there and at `sweep export`."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from commands import call, is_refused
from object_store import ObjectStore
from safetensors.torch import save
from trained_sweep import full_disk, train

from analysis.results.latency import read_latencies
from analysis.results.table import read_results
from sweep.artifacts.latency import this_machine
from sweep.store.remote.path import RemotePath
from sweep.store.store import Store

UNTRACEABLE = """\
import torch
from torch import nn
from trainer.api import Problem, Split, classification, regression

class Net(nn.Module):
    growl_layers = ("body.2",)
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
        self.heads = nn.ModuleList([nn.Linear(8, 2), nn.Linear(8, 1)])
    def forward(self, inputs):
        shared = self.body(inputs)
        if float(shared.detach().sum()) > 1e6:  # decides by its numbers
            shared = shared / 2
        return [head(shared) for head in self.heads]

def tiny():
    inputs = torch.randn(48, 4, generator=torch.Generator().manual_seed(0))
    targets = torch.stack([inputs[:, 0] > 0, inputs[:, 1]], dim=1)
    parts = [Split(inputs[a:b], targets[a:b]) for a, b in ((0, 32), (32, 40), (40, None))]
    return Problem("tiny", (classification("sign", 2), regression("value", 1.0)), {"net": Net}, *parts)
"""
UNTRACEABLE_GRID = """\
name: own
problem: {name: "untraceable_net:tiny", import_from: [.]}
preferences: {list: [[0.1, 0.45, 0.45]]}
training:
  batch_size: 8
  sparsify: {outer_iterations: 1, epochs: 1}
  retrain: {outer_iterations: 1, epochs: 1}
  lsuv: {n_samples: 16}
output: results
"""


def ids(store: Store) -> list[str]:
    return [str(row["trial_id"]) for row in store.read_rows().to_pylist()]


def sparse(store: Store) -> dict[str, Any]:
    rows: list[dict[str, Any]] = store.read_rows().to_pylist()
    return max(rows, key=lambda row: row["sparsity_rate"])


def files(root: Path) -> list[str]:
    folder = root / "latency"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def measures_nothing(done: Result, store: Store, *parts: str) -> None:
    """The command is refused, and no measurement is stored."""
    is_refused(done, *parts, prints=True)
    assert isinstance(store.root, Path)
    assert files(store.root) == []


def test_the_front_is_measured_once_on_a_machine(results: Store) -> None:
    done = call("measure", results.root)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("1 of 2: ")
    assert "batch 1 " in lines[0]
    assert "batch 256 " in lines[0]
    assert lines[-1] == f"2 measured; `sweep report {results.root}` shows them"
    assert files(results.root) == sorted(f"{trial_id}.json" for trial_id in ids(results))
    row = sparse(results)
    record = json.loads((results.root / "latency" / f"{row['trial_id']}.json").read_text())
    assert record["weights_sha256"] == row["weights_sha256"]
    assert {name: record[name] for name in this_machine()} == this_machine()
    assert {n: set(pair) for n, pair in record["latency_ms"].items()} == {n: {"before", "after"} for n in ("1", "256")}
    assert results.verify() == []
    again = call("measure", results.root)
    assert again.stdout.splitlines()[-1].startswith("0 measured, 2 measured before; ")
    assert f"measured on this machine {record['measured']}; use `--again` to repeat it" in again.stdout
    assert json.loads((results.root / "latency" / f"{row['trial_id']}.json").read_text()) == record
    page = call("report", results.root)
    assert page.exit_code == 0
    assert len(read_latencies(read_results(results.root)).of_trials) == 2


@pytest.mark.full
@pytest.mark.parametrize("change", [{"weights_sha256": "0" * 64}, {"host": "another"}, {"torch": "1.0"}, {"processor": "another"}, None])
def test_what_was_measured_elsewhere_or_of_other_weights_is_measured_anew(results: Store, change: dict[str, str] | None) -> None:
    trial_id = sparse(results)["trial_id"]
    assert call("measure", results.root, trial_id[:8]).exit_code == 0
    path = results.root / "latency" / f"{trial_id}.json"
    first = json.loads(path.read_text())
    path.write_text("{" if change is None else json.dumps(first | change))
    done = call("measure", results.root, trial_id)
    assert done.stdout.splitlines()[-1].startswith("1 measured; "), done.output
    assert json.loads(path.read_text()).keys() == first.keys()
    assert {name: json.loads(path.read_text())[name] for name in this_machine()} == this_machine()


@pytest.mark.full
def test_again_measures_anew_and_a_trial_named_twice_is_one(results: Store) -> None:
    trial_id = sparse(results)["trial_id"]
    assert call("measure", results.root, trial_id).exit_code == 0
    done = call("measure", results.root, trial_id, trial_id[:6], "--again")
    assert done.stdout.splitlines()[-1].startswith("1 measured; ")
    assert done.stdout.startswith("1 of 1: ")


def test_a_compressed_network_that_computes_something_else_is_not_timed(results: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import trainer.compression.compress

    def wrong(network: torch.nn.Module, sample: torch.Tensor, *, ties: bool = True) -> trainer.compression.compress.Compressed:
        small = trainer.compression.compress.compressed(trainer.compression.compress.trace(network, sample), ties=ties)
        tensors = {name: tensor * 1.5 if "bias" in name else tensor for name, tensor in small.program.tensors.items()}
        return replace(small, program=replace(small.program, tensors=tensors))

    monkeypatch.setattr(trainer.compression.compress, "compress", wrong)
    trial_id = sparse(results)["trial_id"]
    measures_nothing(call("measure", results.root, trial_id), results, trial_id, "differs from the trained one by", "on validation data")


@pytest.mark.full
def test_a_forgotten_trial_has_no_latency(results: Store) -> None:
    assert call("measure", results.root).exit_code == 0
    gone, left = ids(results)
    assert call("rm", results.root, gone).exit_code == 0
    assert files(results.root) == [f"{left}.json"]


@pytest.mark.full
def test_damaged_and_misnamed_files_are_found(results: Store) -> None:
    assert call("measure", results.root).exit_code == 0
    first, second = ids(results)
    folder = results.root / "latency"
    (folder / f"{first}.json").write_text("{")
    (folder / f"{second}.json").rename(folder / "elsewhere.json")
    (folder / "a b.json").write_text("{}")
    (folder / "notes.txt").write_text("x")
    done = call("verify", results.root)
    assert done.exit_code == 3
    found = {finding.path.name: finding for finding in results.verify()}
    assert set(found) == {f"{first}.json", "elsewhere.json", "a b.json", "notes.txt"}
    assert "not JSON" in found[f"{first}.json"].problem
    assert "`trial_id` is not what" in found["elsewhere.json"].problem
    assert found["a b.json"].problem == found["notes.txt"].problem == "its name is not <trial id>.json"
    assert all("`sweep measure`" in finding.hint for finding in found.values())


# -- bad input ----------------------------------------------------------------------------------------------------------------


def test_an_unknown_trial_and_one_without_weights(results: Store) -> None:
    measures_nothing(call("measure", results.root, "nosuch"), results, "no trial 'nosuch' here", "hint")
    row = sparse(results)
    keys = {name: row[name] for name in ("trial_id", "study", "model", "k", "seed")}
    results.publish({**keys, "attempt": 2, "retry": 0, "state": "diverged"})
    measures_nothing(call("measure", results.root, row["trial_id"]), results, "has no weights: it ended 'diverged'")
    done = call("measure", results.root)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("1 of 1: "), "the front's other one"


def test_no_results_folder(tmp_path: Path) -> None:
    done = call("measure", tmp_path / "nosuch")
    assert done.exit_code == 2
    assert "no run is recorded here" in done.stderr
    (tmp_path / "grid.yaml").write_text("problem: multidigits\npreferences: {simplex: {divisions: 2}}\n")
    for arguments in (("measure", tmp_path / "nosuch"), ("export", tmp_path / "nosuch", "x", "--to", "model.onnx")):
        done = call(*arguments, "--grid", tmp_path / "grid.yaml")
        assert done.exit_code == 2
        assert "not a results folder" in done.stderr


@pytest.mark.parametrize("damage", ["damaged", "no such blob"])
def test_damaged_weights_are_said_and_the_others_measured(results: Store, damage: str) -> None:
    row = sparse(results)
    path = results.root / "blobs" / row["weights_sha256"]
    if damage == "damaged":
        data = bytearray(path.read_bytes())
        data[-5] ^= 1
        path.write_bytes(data)
    else:
        path.unlink()
    measures_nothing(call("measure", results.root, row["trial_id"]), results, damage, "hint: restore it from a copy")
    done = call("measure", results.root)
    assert done.exit_code == 2
    assert damage in done.stderr
    assert done.stdout.splitlines()[-1].startswith("1 measured, 1 could not be measured; ")
    (other,) = (trial_id for trial_id in ids(results) if trial_id != row["trial_id"])
    assert files(results.root) == [f"{other}.json"]


def test_weights_that_do_not_fit_are_said(results: Store) -> None:
    row = sparse(results)
    blob = save({"trunk.0.weight": torch.zeros(3)}, {"pareto-sweep": "{}"})
    keys = {name: row[name] for name in row if name not in ("attempt", "weights_sha256")}
    results.publish({**keys, "attempt": 2}, weights=blob)
    done = call("measure", results.root, row["trial_id"])
    measures_nothing(done, results, "its weights do not fit the network hps", "hint: has the network's source changed")


def test_a_full_disk_leaves_no_half_file(results: Store, tmp_path: Path) -> None:
    with full_disk(tmp_path / "results" / "latency"):
        done = call("measure", results.root)
        assert [path.name for path in (results.root / "latency").iterdir()] == ["filler"]
    measures_nothing(done, results, "the disk is full", "hint: free some space")
    assert done.stdout == "", "it stops at the first one"


def test_a_link_in_place_of_the_folder_is_refused(results: Store, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (results.root / "latency").symlink_to(tmp_path / "outside")
    done = call("measure", results.root, sparse(results)["trial_id"])
    assert done.exit_code == 2
    assert "a link where a folder is expected" in done.stderr
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.slow
def test_a_network_that_decides_by_its_numbers_cannot_be_followed(tmp_path: Path) -> None:
    """In a process of its own, as the module is imported by its name."""
    (tmp_path / "untraceable_net.py").write_text(UNTRACEABLE)
    code = "import sys; from pathlib import Path; from trained_sweep import train; train(Path.cwd(), sys.argv[1])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=600)

    made = run("-c", code, UNTRACEABLE_GRID)
    assert made.returncode == 0, made.stderr
    store = Store(tmp_path / "results")
    (row,) = store.read_rows().to_pylist()
    assert any("torch.export cannot follow" in note for note in row["notes"])
    untrusted = run("-m", "sweep", "measure", "results")
    assert untrusted.returncode == 2
    assert "`--trust`" in untrusted.stderr
    for arguments in (("measure", "results"), ("export", "results", row["trial_id"], "--to", "model.safetensors")):
        done = run("-m", "sweep", *arguments, "--grid", "grid.yaml")
        assert done.returncode == 2, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert done.stderr.count("Error: ") == 1
        assert f"trial {row['trial_id']}: its network, net, cannot be compressed: torch.export cannot trace this network" in done.stderr
    assert not list(tmp_path.glob("model*"))
    assert files(store.root) == []


ANALYTIC = "problem: {name: analytic/zdt1, n_steps: 2}\npreferences: {list: [[0.5, 0.5]]}\n"
COSMOS = """\
problem: {name: multidigits, n_train: 300, n_validation: 100, n_test: 100}
model: hps
method: cosmos
preferences: {list: [[0, 0.5, 0.5]]}
training: {batch_size: 100, retrain: {outer_iterations: 1, epochs: 1}}
"""


@pytest.mark.full
@pytest.mark.parametrize(
    ("grid", "said"),
    [(ANALYTIC, "a point of an analytic problem"), pytest.param(COSMOS, "reads the preference beside the inputs", marks=pytest.mark.slow)],
)
def test_what_is_no_network_of_its_inputs_alone_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grid: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    store = train(tmp_path, grid)
    (trial_id,) = ids(store)
    measures_nothing(call("measure", store.root), store, f"trial {trial_id}", said)
    measures_nothing(call("export", store.root, trial_id, "--to", "model.safetensors"), store, f"trial {trial_id}", said)
    assert not list(tmp_path.glob("model*"))


# -- object stores ------------------------------------------------------------------------------------------------------------


@pytest.mark.full
def test_export_and_measure_from_an_object_store(
    trained: Path, s3_server: ObjectStore, s3_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    there = RemotePath(s3_address)
    local = Store(trained / "results")
    assert isinstance(local.root, Path)
    for path in (path for path in local.root.rglob("*") if path.is_file() and path.parent.name != "latency"):
        target = there
        for part in path.relative_to(local.root).parts:
            target = target / part
        target.write_bytes(path.read_bytes())
    store = Store(s3_address)
    row = sparse(store)
    done = call("export", s3_address, row["trial_id"], "--to", "model.safetensors")
    assert done.exit_code == 0, done.output
    assert Path("model.safetensors").stat().st_size > 1000
    done = call("measure", s3_address)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == f"1 measured, 1 measured before; `sweep report {s3_address}` shows them"
    assert [path.name for path in (there / "latency").list()] == sorted(f"{trial_id}.json" for trial_id in ids(store))
    assert store.verify() == []
    table = read_results(s3_address)
    assert len(read_latencies(table).of_trials) == 2
    (there / "latency" / f"{row['trial_id']}.json").write_bytes(b"{")
    assert [finding.path.name for finding in store.verify()] == [f"{row['trial_id']}.json"]
    assert call("rm", s3_address, row["trial_id"]).exit_code == 0
    assert row["trial_id"] not in str((there / "latency").list())
    assert call("export", s3_address, "nosuch", "--to", "other.onnx").exit_code == 2
    assert not Path("other.onnx").exists()
