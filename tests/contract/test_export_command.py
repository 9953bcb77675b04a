"""`sweep export` on a folder with two really trained trials."""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from sweep.cli import cli
from sweep.config import load_config
from sweep.pack_run import PackJob, PackRun, versions
from sweep.planning import manifest_of, trials_of
from sweep.store import Store
from trainer.catalog import PROBLEMS
from trainer.compress import load_compressed

GRID = """
name: small
problem: {name: multidigits, n_train: 300, n_validation: 100, n_test: 100}
model: hps
preferences: {list: [[0, 0.5, 0.5], [0.2, 0.4, 0.4]]}
training:
  batch_size: 100
  sparsify: {outer_iterations: 1, epochs: 2}
  retrain: {outer_iterations: 1, epochs: 1}
  growl: {layer_sparsity_max: 0.7}
output: results
"""


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with grid.yaml and results/, trained without a Ray."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "grid.yaml").write_text(GRID, encoding="utf-8")
    config = load_config(folder / "grid.yaml", out=folder / "results")
    store = Store(folder / "results")
    (study,) = config.resolved_studies
    with store.lock():
        store.create(manifest_of(config, "2026-01-01T00:00:00+00:00") | {"versions": versions()})
        plan = {"attempt": 1, "started": "2026-01-01T00:00:00+00:00", "trials": [], "grid_file": GRID}
        store.write_plan(1, plan | {"config": json.loads(config.model_dump_json())})
        for trial in trials_of(config):
            assert trial.preference is not None
            run = PackRun(
                PackJob(
                    root=str(store.root),
                    attempt=1,
                    pack_id=f"pack-{trial.trial_id}",
                    problem=config.problem.name,
                    problem_options=asdict(config.problem.options),
                    study=study.name,
                    model=study.model,
                    method=study.method,
                    training=asdict(study.training),
                    scaling=config.scaling,
                    reference_point=None,
                    seed=0,
                    trial_ids=[trial.trial_id],
                    preferences=[list(trial.preference)],
                )
            )
            while not run.step():
                pass
    return folder


@pytest.fixture
def results(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return Store(tmp_path / "results")


def sparse(results: Store) -> dict[str, Any]:
    rows = results.read_rows().to_pylist()
    return max(rows, key=lambda row: row["sparsity_rate"])


def test_a_sparse_trial_becomes_a_smaller_file_with_a_card(results: Store) -> None:
    row = sparse(results)
    assert row["sparsity_rate"] > 0.2
    done = call("export", results.root, row["trial_id"][:6], "--to", "model.safetensors")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("wrote model.safetensors: parameters ")
    data = Path("model.safetensors").read_bytes()
    network, card = load_compressed(data)
    assert len(data) < len(results.get_blob(row["weights_sha256"]))
    assert card["parameters"]["after"] < 0.8 * card["parameters"]["before"]
    assert (card["trial_id"], card["k"], card["weights_sha256"]) == (row["trial_id"], row["k"], row["weights_sha256"])
    assert card["verified"]["test_samples"] == 100
    assert card["verified"]["largest_difference"] <= 1e-5
    entry = PROBLEMS["multidigits"]
    test = entry.build(entry.options(n_train=300, n_validation=100, n_test=100)).test
    right = torch.stack([output.argmax(dim=1) == test.targets[:, t] for t, output in enumerate(network(test.inputs))])
    assert right.double().mean(dim=1).tolist() == pytest.approx([row["accuracy.test.left"], row["accuracy.test.right"]], abs=0.011)
    page = Path("model.safetensors.md").read_text(encoding="utf-8")
    assert row["trial_id"] in page
    assert "multiply-adds a sample" in page


@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_other_formats_compute_the_same(results: Store, form: str) -> None:
    row = sparse(results)
    done = call("export", results.root, row["trial_id"], "--to", f"model.{form}")
    assert done.exit_code == 0, done.output
    inputs = torch.randn(7, 1, *PROBLEM_SIZE)
    assert call("export", results.root, row["trial_id"], "--to", "model.safetensors").exit_code == 0
    wanted = load_compressed(Path("model.safetensors").read_bytes())[0](inputs)
    if form == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(f"model.{form}")
        found = [torch.from_numpy(output) for output in session.run(None, {"inputs": inputs.numpy()})]
        assert [output.name for output in session.get_outputs()] == ["left", "right"]
    else:
        found = torch.export.load(f"model.{form}").module()(inputs)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(wanted, found, strict=True))


PROBLEM_SIZE = tuple(PROBLEMS["multidigits"].build(PROBLEMS["multidigits"].options(n_train=10)).test.inputs.shape[2:])


def test_all_of_the_front(results: Store) -> None:
    done = call("export", results.root, "--all-front", "--to", "front")
    assert done.exit_code == 0, done.output
    files = sorted(path.name for path in Path("front").glob("*.safetensors"))
    assert files == sorted(f"{line.split()[1].removeprefix('front/').rstrip(':')}" for line in done.stdout.splitlines())
    assert files


def is_refused(done: Result, *parts: str) -> None:
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output
    for part in parts:
        assert part in done.stderr
    assert not list(Path().glob("model*")), "no half file"


def test_wrong_input_is_one_clear_message(results: Store) -> None:
    row = sparse(results)
    is_refused(call("export", results.root, "nosuch", "--to", "model.onnx"), "no trial 'nosuch' here", "hint")
    is_refused(call("export", results.root, row["trial_id"], "--to", "model.txt"), ".safetensors, .onnx, .pt2 expected")
    is_refused(call("export", results.root, "--to", "model.onnx"), "one TRIAL, or --all-front")
    is_refused(call("export", results.root, row["trial_id"], "--to", "nowhere/model.onnx"), "cannot write")


def test_a_damaged_blob_is_noticed(results: Store) -> None:
    row = sparse(results)
    path = results.root / "blobs" / row["weights_sha256"]
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    is_refused(call("export", results.root, row["trial_id"], "--to", "model.safetensors"), "damaged", "restore it from a copy")
    os.unlink(path)
    is_refused(call("export", results.root, row["trial_id"], "--to", "model.safetensors"), "no such blob")


def test_a_trial_without_weights(results: Store) -> None:
    row = sparse(results)
    results.publish(
        {**{name: row[name] for name in ("trial_id", "study", "model", "k", "seed")}, "attempt": 2, "retry": 0, "state": "diverged"}
    )
    is_refused(call("export", results.root, row["trial_id"], "--to", "model.safetensors"), "has no weights: it ended 'diverged'")


def test_results_of_another_problem_are_refused(results: Store) -> None:
    Path("other.yaml").write_text(GRID.replace("n_train: 300", "n_train: 200"), encoding="utf-8")
    row = sparse(results)
    is_refused(
        call("export", results.root, row["trial_id"], "--to", "model.onnx", "--grid", "other.yaml"), "of another problem", "--grid FILE"
    )
