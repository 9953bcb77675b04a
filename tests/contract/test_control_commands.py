"""pause, stop, resume, rm and --notify on the command line: what they say, and that a mistake is one message and exit code 2."""

import json
import platform
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from commands import call, is_refused

from sweep.cli import run as run_command
from sweep.cli.commands import cli
from sweep.execution.attempt import command_line
from sweep.execution.options import RunOptions
from sweep.grid.load import GridText, SweepConfig, load_config
from sweep.planning.manifest import manifest_of
from sweep.planning.stored_config import refuse_untrusted
from sweep.planning.trials import trials_of
from sweep.store.store import Store

pytestmark = pytest.mark.usefixtures("in_tmp_path")
GRID = "problem: {name: analytic/zdt1, n_steps: 1}\npreferences: {list: [[0.5, 0.5], [0.25, 0.75]]}\noutput: results\n"
OWN = """\
from pathlib import Path
Path("imported").touch()
def factory():
    raise RuntimeError("not to be called")
"""


@pytest.fixture
def results() -> Store:
    """What a run of grid.yaml left that ended after one of its two trials."""
    Path("grid.yaml").write_text(GRID, encoding="utf-8")
    config = load_config("grid.yaml")
    trials = trials_of(config)
    store = Store(Path(config.output))
    store.create(manifest_of(config, "now"))
    planned = [{"trial_id": trial.trial_id, "study": trial.study, "k": list(trial.preference), "seed": trial.seed} for trial in trials]
    record = {"config": json.loads(config.model_dump_json()), "grid_file": GRID, "trials": planned, "n_complete_before": 0}
    store.write_plan(1, {"attempt": 1, "started": "2026-01-31T12:00:00+00:00", **record})
    losses = {f"loss.{split}.{task}": 0.25 for split in ("train", "validation", "test") for task in config.problem.facts.tasks}
    row = {"trial_id": trials[0].trial_id, "attempt": 1, "retry": 0, "study": "main", "seed": 0, "k": list(trials[0].preference)}
    store.publish(row | {"state": "ok", "objective.sparsity": 0.0, **losses}, [{"epoch": 1, "phase": "dense"}])
    return store


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[SweepConfig, GridText, RunOptions]]:
    """What resume would train, instead of training it."""
    calls: list[tuple[SweepConfig, GridText, RunOptions]] = []

    def train(configs: tuple[SweepConfig, ...], grid_file: GridText, options: RunOptions, **_: Any) -> int:
        calls.append((configs[0], grid_file, options))
        return 0

    monkeypatch.setattr(run_command, "run_and_summarise", train)
    return calls


@pytest.mark.parametrize("command", [("pause",), ("stop",), ("resume",), ("rm", "a-trial")])
@pytest.mark.parametrize("folder", ["missing", "."])
def test_a_folder_that_is_no_sweep(command: tuple[str, ...], folder: str) -> None:
    is_refused(call(command[0], folder, *command[1:]), "not a results folder (no manifest.json)", "hint: ")
    assert list(Path.cwd().iterdir()) == [], "nothing was written"


# -- pause and stop -----------------------------------------------------------------------------------------------------


def test_pause_says_what_it_does_and_twice_is_once(results: Store) -> None:
    for _ in range(2):
        paused = call("pause", results.root)
        assert paused.exit_code == 0
        assert paused.stdout == f"paused: nothing is running; the next run will wait; `sweep resume {results.root}` ends the pause\n"
    assert results.control.pause_requested()
    assert not results.control.stop_requested()
    assert call("verify", results.root).exit_code == 0, "a pause is nothing odd"
    with results.lock():
        assert f"paused: the run on {platform.node()} (pid " in call("pause", results.root).stdout


def test_stop_asks_the_run_that_is_on_and_no_later_one(results: Store) -> None:
    assert call("stop", results.root).stdout == "nothing to stop: nothing is running\n"
    assert not results.control.stop_requested()
    with results.lock():
        assert "stopping: the run on " in call("stop", results.root).stdout
    assert results.control.stop_requested()


# -- resume -------------------------------------------------------------------------------------------------------------


def test_resume_runs_the_stored_config_in_this_folder_wherever_it_lies(results: Store, trained: list[Any]) -> None:
    results.control.request_pause()
    results.root.rename("moved")
    assert call("resume", "moved", "--limit", 3, "--no-dashboard", "--notify", "https://example.org").exit_code == 0
    ((config, text, options),) = trained
    assert config == load_config("grid.yaml", out="moved")
    assert text == GridText(GRID)
    assert options == RunOptions(limit=3, has_dashboard=False, notify="https://example.org")
    assert not Store(Path("moved")).control.pause_requested()


def test_resume_with_a_grid_file_runs_that_one(results: Store, trained: list[Any]) -> None:
    Path("other.yaml").write_text(f"{GRID}seeds: [0, 1]\n".replace("output: results", "output: elsewhere"), encoding="utf-8")
    assert call("resume", results.root, "--grid", "other.yaml").exit_code == 0
    ((config, text, _),) = trained
    assert (config.seeds, config.output) == ((0, 1), str(results.root))
    assert "seeds: [0, 1]" in text.grid
    is_refused(call("resume", results.root, "--grid", "missing.yaml"), "missing.yaml: no such file")


def test_resume_finds_its_sweep_in_a_grid_file_of_several(results: Store, trained: list[Any]) -> None:
    Path("several.yaml").write_text(f"{GRID}".replace("{name: analytic/zdt1, n_steps: 1}", "[analytic/zdt1, analytic/zdt2]"))
    is_refused(call("resume", results.root, "--grid", "several.yaml"), "none of its 2 sweeps has the output", "hint: ")
    results.root.rename("moved")
    Path("results").mkdir()
    Path("moved").rename("results/zdt1")
    assert call("resume", "results/zdt1", "--grid", "several.yaml").exit_code == 0
    assert trained[0][0].problem.name == "analytic/zdt1"


def test_resume_lifts_the_pause_of_a_run_that_is_on_and_starts_no_other(results: Store, trained: list[Any]) -> None:
    results.control.request_pause()
    with results.lock():
        lifted = call("resume", results.root)
    assert lifted.exit_code == 0
    assert lifted.stdout.startswith("the pause is over: the run on ")
    assert trained == []
    assert not results.control.pause_requested()


def test_resume_of_a_run_that_is_on_and_not_paused_says_who_runs_it(results: Store) -> None:
    with results.lock():
        is_refused(call("resume", results.root), "another run works here: pid ", ", since ")


def test_resume_without_a_record(results: Store) -> None:
    (results.root / "plans" / "1.json").unlink()
    is_refused(call("resume", results.root), "no run is recorded here", "sweep run GRID --out DIR")


@pytest.mark.parametrize(
    ("stored", "said"),
    [(None, "not a plan"), ({"problem": "analytic/zdt1", "from_later": 1}, "--grid FILE"), ({"problem": 3}, "--grid FILE")],
)
def test_resume_of_a_record_that_this_version_cannot_read(results: Store, stored: Any, said: str) -> None:
    results.control.request_pause()
    path = results.root / "plans" / "1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"config": stored}))
    is_refused(call("resume", results.root), "1.json: ", said)
    assert results.control.pause_requested(), "what could not be resumed stays paused"


def test_a_module_that_a_folder_names_is_imported_only_when_it_is_trusted(results: Store) -> None:
    Path("hostile.py").write_text(OWN, encoding="utf-8")
    path = results.root / "plans" / "1.json"
    record = json.loads(path.read_text())
    config = record["config"] | {"problem": {"name": "hostile:factory", "import_from": [str(Path.cwd())]}}
    path.write_text(json.dumps(record | {"config": config}))
    is_refused(call("resume", results.root), "problem hostile:factory is a Python module", "--grid FILE", "--trust")
    assert not Path("imported").exists()
    assert "hostile" not in sys.modules
    assert call("resume", results.root, "--trust").exit_code == 2
    assert Path("imported").exists(), "with --trust it is imported (and then says itself what is wrong with it)"


@pytest.mark.parametrize("problem", ["m:f", {"name": "m:f"}, [{"name": "multidigits"}, "m:f"]])
def test_every_way_to_name_a_module_is_seen(problem: Any) -> None:
    with pytest.raises(Exception, match="problem m:f is a Python module"):
        refuse_untrusted({"problem": problem}, Path("plans/1.json"), is_trusted=False)
    refuse_untrusted({"problem": problem}, Path("plans/1.json"), is_trusted=True)


@pytest.mark.parametrize("problem", ["multidigits", {"name": "analytic/zdt1"}, None, 3, [], {"name": ["m:f"]}])
def test_what_names_no_module_needs_no_trust(problem: Any) -> None:
    refuse_untrusted({"problem": problem}, Path("plans/1.json"), is_trusted=False)


# -- rm -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_compacted", [False, True])
def test_rm_forgets_trials_and_says_so(results: Store, is_compacted: bool) -> None:
    if is_compacted:
        results.compact()
    done, planned = (trial.trial_id for trial in trials_of(load_config("grid.yaml")))
    removed = call("rm", results.root, done, planned, done)
    assert removed.exit_code == 0
    assert removed.stdout == f"{done}: removed (its state was ok)\n{planned}: not complete, nothing to remove\n"
    assert results.complete() == {}
    assert "to train: 2;" in call("plan", "grid.yaml").stdout
    assert results.lock_holder() is None
    assert call("verify", results.root).exit_code == 0


def test_rm_of_an_unknown_trial_lists_close_ones_and_removes_nothing(results: Store) -> None:
    (done, _) = (trial.trial_id for trial in trials_of(load_config("grid.yaml")))
    is_refused(call("rm", results.root, done, f"{done[:-1]}x"), f"no trial '{done[:-1]}x'; nothing was removed", f"did you mean {done}")
    is_refused(call("rm", results.root, done[:6]), f"did you mean {done}")
    is_refused(call("rm", results.root, "../manifest.json"), "no trial '../manifest.json'", "show the ids")
    assert list(results.complete()) == [done]


def test_rm_waits_for_nobody(results: Store) -> None:
    with results.lock():
        is_refused(call("rm", results.root, next(iter(results.complete()))), "another run works here: pid ", ", since ")
    assert len(results.complete()) == 1


def test_rm_needs_a_trial(results: Store) -> None:
    assert CliRunner().invoke(cli, ["rm", str(results.root)]).exit_code == 2


# -- notify -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("run", "grid.yaml"), ("resume", "results")])
def test_an_address_that_is_none_is_refused_before_anything_runs(results: Store, command: tuple[str, ...]) -> None:
    before = sorted(results.root.rglob("*"))
    is_refused(call(*command, "--notify", "ftp://example.org/T0KEN"), "--notify: an http:// or https:// address is expected")
    assert sorted(results.root.rglob("*")) == before


def test_a_plan_does_not_keep_the_address() -> None:
    for arguments in (
        ["run", "g.yaml", "--notify", "https://x/T0KEN", "--quiet"],
        ["run", "g.yaml", "--notify=https://x/T0KEN", "--quiet"],
    ):
        command = command_line(["/opt/env/bin/sweep", *arguments])
        assert "T0KEN" not in command
        assert command.startswith("sweep run g.yaml --notify")
        assert command.endswith(" --quiet")
