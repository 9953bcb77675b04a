"""`sweep export` on a folder with two really trained trials."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from commands import call, is_refused
from trained_sweep import GRID, full_disk

from sweep.artifacts.export import format_of
from sweep.store.store import Store
from trainer.catalog import PROBLEMS
from trainer.compression.compress import load_compressed


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


@pytest.mark.full
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


def leaves_no_file(done: Result, *parts: str) -> None:
    """The command is refused before or while it writes, and no half file stays."""
    is_refused(done, *parts, prints=True)
    assert not list(Path().glob("model*"))


@pytest.mark.parametrize("name", ["a.onnx", "a.ONNX", "a.b.Onnx"])
def test_capitals_in_the_ending_are_alike(name: str) -> None:
    assert format_of(Path(name)) == "onnx"


def test_wrong_input_is_one_clear_message(results: Store) -> None:
    row = sparse(results)
    leaves_no_file(call("export", results.root, "nosuch", "--to", "model.onnx"), "no trial 'nosuch' here", "hint")
    for name in ("model.txt", "model", ".onnx", "model.onnx.gz"):
        leaves_no_file(
            call("export", results.root, row["trial_id"], "--to", name), f"{name}: ", "ends in .safetensors, .onnx or .pt2 expected", "hint"
        )
    leaves_no_file(call("export", results.root, "--to", "model.onnx"), "expected either one TRIAL, or --all-front")
    missing = call("export", results.root, row["trial_id"], "--to", "nowhere/model.onnx")
    leaves_no_file(missing, "nowhere/model.onnx: the folder nowhere does not exist", "hint: create it first")
    assert "run" not in missing.stderr, "no hint about runs"
    Path("taken").write_text("")
    leaves_no_file(call("export", results.root, row["trial_id"], "--to", "taken/model.onnx"), "the folder taken is not a folder")
    Path("folder.onnx").mkdir()
    leaves_no_file(call("export", results.root, row["trial_id"], "--to", "folder.onnx", "--force"), "folder.onnx: a folder has this name")


def test_a_file_that_exists_is_replaced_only_with_force(results: Store) -> None:
    row = sparse(results)
    for taken in ("other.safetensors", "other.pt2.md"):
        Path(taken).write_text("dear to somebody")
        path = taken.removesuffix(".md")
        leaves_no_file(call("export", results.root, row["trial_id"], "--to", path), f"{taken}: the file exists already", "add `--force`")
        assert Path(taken).read_text() == "dear to somebody"
        assert sorted(entry.name for entry in Path().glob("other*")) == [taken]
        Path(taken).unlink()
    Path("other.safetensors").write_text("old")
    done = call("export", results.root, row["trial_id"], "--to", "other.safetensors", "--force")
    assert done.exit_code == 0, done.output
    assert load_compressed(Path("other.safetensors").read_bytes())[1]["trial_id"] == row["trial_id"]
    assert Path("other.safetensors.md").exists()


@pytest.mark.full
def test_a_front_with_one_file_there_already_writes_none(results: Store) -> None:
    assert call("export", results.root, "--all-front", "--to", "front").exit_code == 0
    last = sorted(Path("front").glob("*.safetensors"))[-1]
    for path in Path("front").iterdir():
        if path != last:
            path.unlink()
    last.write_text("dear to somebody")
    done = call("export", results.root, "--all-front", "--to", "front")
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"{last}: the file exists already" in done.stderr
    assert [(path, path.read_text()) for path in Path("front").iterdir()] == [(last, "dear to somebody")]
    assert call("export", results.root, "--all-front", "--to", "front", "--force").exit_code == 0


@pytest.mark.full
def test_the_sizes_of_weights_and_file_are_both_printed(results: Store) -> None:
    row = sparse(results)
    done = call("export", results.root, row["trial_id"], "--to", "model.pt2")
    assert done.exit_code == 0, done.output
    network = torch.export.load("model.pt2").module()
    tensors = {**network.state_dict(), **dict(network.named_buffers())}
    n_bytes = sum(tensor.nbytes for tensor in tensors.values() if tensor.is_floating_point())
    before = len(results.get_blob(row["weights_sha256"]))
    after = Path("model.pt2").stat().st_size
    assert f" -> {n_bytes:,}, bytes of the file {before:,} -> {after:,}; " in done.stdout
    assert "bytes of weights " in done.stdout
    assert after < n_bytes + 12_000
    page = Path("model.pt2.md").read_text(encoding="utf-8")
    assert f"| {n_bytes:,} |" in page
    assert f"| bytes of the file | {before:,} | {after:,} |" in page


def test_a_damaged_blob_is_noticed(results: Store) -> None:
    row = sparse(results)
    path = results.root / "blobs" / row["weights_sha256"]
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    leaves_no_file(call("export", results.root, row["trial_id"], "--to", "model.safetensors"), "damaged", "restore it from a copy")
    os.unlink(path)
    leaves_no_file(call("export", results.root, row["trial_id"], "--to", "model.safetensors"), "no such blob")


def test_a_trial_without_weights(results: Store) -> None:
    row = sparse(results)
    results.publish(
        {**{name: row[name] for name in ("trial_id", "study", "model", "k", "seed")}, "attempt": 2, "retry": 0, "state": "diverged"}
    )
    leaves_no_file(call("export", results.root, row["trial_id"], "--to", "model.safetensors"), "has no weights: it ended 'diverged'")


def test_results_of_another_problem_are_refused(results: Store) -> None:
    Path("other.yaml").write_text(GRID.replace("n_train: 300", "n_train: 200"), encoding="utf-8")
    row = sparse(results)
    leaves_no_file(
        call("export", results.root, row["trial_id"], "--to", "model.onnx", "--grid", "other.yaml"), "of another problem", "--grid FILE"
    )


@pytest.mark.full
def test_after_an_override_the_grid_file_needs_it_too(results: Store) -> None:
    Path("plain.yaml").write_text(GRID.replace("n_train: 300", "n_train: 200"), encoding="utf-8")
    Path("over.yaml").write_text("problem: {n_train: 300}\n", encoding="utf-8")
    arguments = ("export", results.root, sparse(results)["trial_id"], "--to", "model.safetensors", "--grid", "plain.yaml")
    leaves_no_file(call(*arguments), "of another problem", "--override FILE", "`--trust`")
    done = call(*arguments, "--override", "over.yaml")
    assert done.exit_code == 0, done.output


@pytest.mark.full
def test_the_times_go_into_the_results_folder_too(results: Store) -> None:
    row = sparse(results)
    done = call("export", results.root, row["trial_id"], "--to", "model.onnx")
    assert done.exit_code == 0, done.output
    assert results.latency(row["trial_id"]) is None, "in ONNX tied rows are written out: another network than `measure` measures"
    done = call("export", results.root, row["trial_id"], "--to", "model.safetensors")
    assert done.exit_code == 0, done.output
    card = load_compressed(Path("model.safetensors").read_bytes())[1]
    kept = results.latency(row["trial_id"])
    assert kept is not None
    assert kept["latency_ms"] == {batch.removeprefix("batch "): pair for batch, pair in card["latency_ms"].items()}
    assert results.verify() == []
    measured = call("measure", results.root, row["trial_id"])
    assert "0 measured, 1 measured before" in measured.stdout


def test_a_folder_that_takes_no_file_is_no_obstacle(results: Store) -> None:
    row = sparse(results)
    (results.root / "latency").write_text("a file where a folder is needed")
    done = call("export", results.root, row["trial_id"], "--to", "model.safetensors")
    assert done.exit_code == 0, done.output
    assert "the latencies could not be stored in" in done.stderr
    assert Path("model.safetensors").exists()


@pytest.mark.full
def test_a_full_disk_leaves_no_half_file(results: Store, tmp_path: Path) -> None:
    row = sparse(results)
    with full_disk(tmp_path / "disk") as disk:
        done = call("export", results.root, row["trial_id"], "--to", disk / "model.safetensors")
        assert [path.name for path in disk.iterdir()] == ["filler"]
    leaves_no_file(done, "the disk is full", "hint: free some space")


@pytest.mark.full
def test_a_disk_that_takes_the_network_and_not_its_card_keeps_neither(results: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import sweep.artifacts.export
    from sweep.store.files import StoreWriteError, write_whole

    def write(path: Path, data: bytes, **options: Any) -> None:
        if path.suffix == ".md":
            raise StoreWriteError("cannot write: the disk is full", path, "free some space")
        write_whole(path, data, **options)

    monkeypatch.setattr(sweep.artifacts.export, "write_whole", write)
    names = ["other.safetensors", "other.safetensors.md"]
    for name in names:
        Path(name).write_text("old")
    leaves_no_file(call("export", results.root, sparse(results)["trial_id"], "--to", names[0], "--force"), "the disk is full")
    assert [(path.name, path.read_text()) for path in sorted(Path().glob("*other*"))] == [(name, "old") for name in names]
    leaves_no_file(call("export", results.root, sparse(results)["trial_id"], "--to", "model.safetensors"), "the disk is full")
