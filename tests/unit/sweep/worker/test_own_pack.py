"""A worker's side of a problem of the user's own: it imports the module itself, and what is wrong ends in rows."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from own_module import FACTS, TRAINING, write_module
from safetensors import safe_open

import sweep
from sweep.execution.sweep_run import SweepRun
from sweep.grid.load import GridText, SweepConfig, load_config
from sweep.planning.pack_job import PackJob
from sweep.planning.packs import plan_packs
from sweep.store.store import Store
from sweep.worker.pack_run import PackRun
from trainer.problems.custom.source import SourceError

pytestmark = pytest.mark.filterwarnings("ignore:.*GrOWL cannot prune:UserWarning")
REPOSITORY = Path(sweep.__file__).parents[1]
NAME = "own_tiny:tiny"


@pytest.fixture(autouse=True)
def _as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working directory where no module lies; what a worker leaves in this process is taken away."""
    torch.set_num_threads(1)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in ("own_tiny", "own_sizes", "problem"):
        sys.modules.pop(name, None)


def config_of(folder: Path, **changes: Any) -> SweepConfig:
    grid: dict[str, Any] = {
        "problem": NAME,
        "preferences": {"list": [[0, 0.5, 0.5], [0.05, 0.5, 0.45], [0.1, 0.4, 0.5]]},
        "training": TRAINING,
        "resources": {"pack": 8, "checkpoint_s": 0, "device": "cpu"},
        "output": str(folder / "out"),
    }
    (folder / "grid.yaml").write_text(json.dumps(grid | changes))
    return load_config(folder / "grid.yaml")


def jobs_of(config: SweepConfig) -> list[PackJob]:
    """What a run would give its workers; they come from JSON, and from another process."""
    member = SweepRun(config, None, GridText(""))
    with member.store.lock():
        member.open()
    member.take_plan(plan_packs(config, member.trials, {}, [], 1))
    jobs = member.begin_attempt(1, member.store.root / "logs" / "1.log", {})
    return [PackJob.from_json(json.loads(json.dumps(job.to_json()))) for job in jobs]


def another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.problems.custom.factory._known", {})
    for name in ("own_tiny", "own_sizes"):
        sys.modules.pop(name, None)


def finish(job: PackJob) -> PackRun:
    run = PackRun(job)
    for _ in range(100):
        if run.step():
            return run
    raise AssertionError("a pack of a few epochs does not end")


def rows_of(config: SweepConfig) -> list[dict[str, Any]]:
    return Store(Path(config.output)).read_rows().to_pylist()


@pytest.mark.full
def test_a_job_says_where_the_module_is_and_what_was_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(write_module(tmp_path / "here"), problem={"name": NAME, "width": 6})
    sparse, dense = jobs_of(config)
    assert sparse.problem == NAME
    assert sparse.problem_options == {"width": 6, "n_train": 32}
    assert list(sparse.problem_folders) == [str(tmp_path / "here"), str(tmp_path / "cwd")]
    another_process(monkeypatch)
    for job in (sparse, dense):
        finish(job)
    rows = rows_of(config)
    assert [row["state"] for row in rows] == ["ok"] * 3
    assert {row["problem"] for row in rows} == {NAME}
    assert {row["notes"] for row in rows} == {None}
    assert all(row["loss.test.sign"] > 0 and row["metric.test.value"] > 0 and 0 <= row["accuracy.test.sign"] <= 1 for row in rows)
    assert Store(Path(config.output)).verify() == []
    assert str(tmp_path / "here") in sys.path, "for imports in the midst of training"


@pytest.mark.full
def test_a_layer_that_is_left_out_is_in_every_rows_notes(tmp_path: Path) -> None:
    config = config_of(write_module(tmp_path / "here"), model="odd")
    for job in jobs_of(config):
        finish(job)
    note = "network odd: layer norm is a LayerNorm, which GrOWL cannot prune; it is left out"
    assert [row["notes"] for row in rows_of(config)] == [[note]] * 3
    assert {row["state"] for row in rows_of(config)} == {"ok"}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("1 / 0", "own_tiny:tiny: ZeroDivisionError: division by zero (own_tiny.py:"),
        ("import nowhere_at_all", "own_tiny:tiny: ModuleNotFoundError: No module named 'nowhere_at_all' (own_tiny.py:"),
        ("return 3", "own_tiny:tiny: ProblemError: the factory own_tiny:tiny returned int, a trainer.api.Problem expected"),
        ("return replace(good, test=Split(torch.ones(3, 4), torch.ones(2, 2)))", "the test data: as many targets as inputs expected"),
        ("return replace(good, tasks=good.tasks[:1])", "the factory's facts say tasks ['sign', 'value'], its problem has ['sign']"),
        ("return replace(good, networks={'net': good.networks['net']})", "the factory's facts say models ['net', 'odd'], its problem has"),
        (
            "def norm(make): net = make(); net.norm = nn.BatchNorm1d(width); return net\n"
            "    return replace(made(width, 33), networks={name: lambda make=make: norm(make) for name, make in good.networks.items()})",
            "the last batch of an epoch has 1 sample (33 training samples in batches of 8), which network net cannot process in training",
        ),
    ],
)
def test_a_problem_that_planning_did_not_build_fails_in_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: str, message: str
) -> None:
    text = f"""
from dataclasses import replace
made = tiny
def tiny(width: int = 8, n_train: int = 32):
    good = made(width, n_train)
    {extra}
"""
    config = config_of(write_module(tmp_path / "here", text + FACTS))
    another_process(monkeypatch)
    for job in jobs_of(config):
        finish(job)
    rows = rows_of(config)
    assert [row["state"] for row in rows] == ["error"] * 3
    assert all(message in row["error"] for row in rows)
    store = Store(Path(config.output))
    assert store.verify() == []
    assert store.checkpoints() == []
    assert store.live() == []


@pytest.mark.parametrize(
    "error",
    [
        "OSError(28, 'No space left on device')",
        "MemoryError()",
        "torch.OutOfMemoryError('CUDA')",
        "RuntimeError('CUDA error: out of memory')",
    ],
)
def test_a_passing_error_of_the_factory_is_raised_and_not_recorded(tmp_path: Path, error: str) -> None:
    config = config_of(write_module(tmp_path / "here", f"\ndef tiny(width: int = 8, n_train: int = 32):\n    raise {error}\n" + FACTS))
    with pytest.raises((OSError, MemoryError, RuntimeError)):
        PackRun(jobs_of(config)[0])
    assert rows_of(config) == []


@pytest.mark.full
def test_another_source_than_planned_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(write_module(tmp_path / "here"))
    job, _ = jobs_of(config)
    (tmp_path / "here" / "own_sizes.py").write_text("N_FEATURES = 5\n")
    for _ in range(2):
        with pytest.raises(SourceError, match=r"the source of own_tiny:tiny.* is not what was planned"):
            PackRun(job)
        another_process(monkeypatch)
    write_module(tmp_path / "here")
    finish(job)
    assert {row["state"] for row in rows_of(config)} == {"ok"}


def test_a_module_that_is_not_on_this_machine_loses_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(write_module(tmp_path / "here"))
    job, _ = jobs_of(config)
    another_process(monkeypatch)
    (tmp_path / "here" / "own_tiny.py").rename(tmp_path / "here" / "moved.py")
    with pytest.raises(SourceError, match="no module `own_tiny` in "):
        PackRun(job)
    assert rows_of(config) == []


# -- the example with residual connections ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The ResNet-18 of examples/, pruned for a moment: its results folder and its row."""
    root = tmp_path_factory.mktemp("resnet")
    short = (REPOSITORY / "examples/resnet/short.yaml").read_text()
    (root / "short.yaml").write_text(short + "preferences: {list: [[0.6, 0.2, 0.2]]}\nresources: {device: cpu}\n")
    config = load_config(REPOSITORY / "examples/resnet/grid.yaml", override=root / "short.yaml", out=root / "out")
    (job,) = jobs_of(config)
    finish(job)
    (row,) = rows_of(config)
    return root / "out", row


@pytest.mark.full
@pytest.mark.timeout(300)
def test_the_residual_network_trains(residual: tuple[Path, dict[str, Any]]) -> None:
    _, row = residual
    assert (row["state"], row["model"]) == ("ok", "resnet18")
    assert row["sparsity_rate"] > 0.05
    pruned = {name for name, share in row["layer_sparsity"] if share}
    assert pruned
    assert all(name.endswith("conv2.weight") for name in pruned)
    assert row["n_rows"] == 4867
    assert row["removable_params"] > 0, "its relus work in place, and are compressed"


@pytest.mark.full
@pytest.mark.timeout(300)
def test_channels_that_were_pruned_can_be_cut_out_of_their_blocks(residual: tuple[Path, dict[str, Any]]) -> None:
    """What examples/resnet promises: without them conv1, bn1 and conv2 are smaller, and every output is the same."""
    from torch import nn

    root, row = residual
    config = load_config(REPOSITORY / "examples/resnet/grid.yaml", override=root.parent / "short.yaml", out=root)
    problem = config.problem.entry.build(config.problem.options)
    network = problem.networks["resnet18"]().eval()
    weights = root / "blobs" / row["weights_sha256"]
    with safe_open(weights, framework="pt") as stream:
        stored = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (not a dict)
    assert "backbone.bn1.running_mean" in stored, "batch norm's statistics are the trial's own"
    network.load_state_dict({name: value for name, value in stored.items() if not name.endswith(".labels")})
    inputs, _ = problem.test.first(8)
    with torch.no_grad():
        before = network(inputs)
        n_before = sum(parameter.numel() for parameter in network.parameters())
        for name in network.growl_layers:
            block = network.get_submodule(name.removesuffix(".conv2"))
            kept = block.conv2.weight.abs().sum(dim=(0, 2, 3)).nonzero().flatten()
            first, second = block.conv1, block.conv2
            smaller = nn.Conv2d(first.in_channels, len(kept), 3, first.stride, padding=1, bias=False)
            smaller.weight.copy_(first.weight[kept])
            norm = nn.BatchNorm2d(len(kept))
            for part in ("weight", "bias", "running_mean", "running_var"):
                getattr(norm, part).copy_(getattr(block.bn1, part)[kept])
            last = nn.Conv2d(len(kept), second.out_channels, 3, padding=1, bias=False)
            last.weight.copy_(second.weight[:, kept])
            block.conv1, block.bn1, block.conv2 = smaller, norm.eval(), last
        after = network(inputs)
    assert sum(parameter.numel() for parameter in network.parameters()) < n_before
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4)
