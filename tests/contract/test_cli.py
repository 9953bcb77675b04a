"""The command line: every command explains itself, and a user's mistake is one message and exit code 2, never a traceback."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from commands import call, is_refused

import sweep
from sweep.cli.commands import cli
from sweep.grid.load import SweepConfig, load_config, load_configs, parse_config, parse_configs
from sweep.planning.manifest import manifest_of
from sweep.planning.packs import plan_packs
from sweep.planning.trials import trials_of
from sweep.store.store import Store
from trainer.catalog import ProblemEntry
from trainer.problems.images.sources import DataError

pytestmark = pytest.mark.usefixtures("in_tmp_path")
REPOSITORY = Path(sweep.__file__).parents[1]
CONFIGS = sorted((REPOSITORY / "configs").glob("*.yaml"))
GRID = """\
problem: {name: multidigits, n_train: 512}
preferences: {simplex: {divisions: 5, k0: [0, 0.25]}}
seeds: [0]
output: results
"""
N_TRIALS = 8
USED = "complete trials used 0.00778 device hours"
"""By the trials of `results`."""


@pytest.fixture
def grid() -> Path:
    path = Path("grid.yaml")
    path.write_text(GRID, encoding="utf-8")
    return path


@pytest.fixture
def results(grid: Path) -> Store:
    """What a run of `grid` left: six trials ok, one diverged, one not complete."""
    config = load_config(grid)
    trials = trials_of(config)
    store = Store(Path(config.output))
    store.create(manifest_of(config, "2026-01-31T12:00:00+00:00"))
    planned = [{"trial_id": t.trial_id, "study": t.study, "k": list(t.preference), "seed": t.seed} for t in trials]
    store.write_plan(1, {"attempt": 1, "started": "2026-01-31T12:00:00+00:00", "trials": planned, "n_complete_before": 0, "versions": {}})
    for number, trial in enumerate(trials[:-1]):
        state = "diverged" if number == 0 else "ok"
        losses = {f"loss.{split}.{task}": 0.25 + trial.preference[i + 1] for split in ("train", "validation", "test") for i, task in _TASKS}
        rates = {"sparsity_rate": trial.preference[0], "compression_rate": 2.0, "parameter_sharing": 2 * (1 - trial.preference[0])}
        row: dict[str, Any] = {
            "trial_id": trial.trial_id,
            "attempt": 1,
            "retry": 0,
            "state": state,
            "model": "mdmtn",
            "method": "wcal_growl",
            "study": trial.study,
            "seed": trial.seed,
            "k": list(trial.preference),
            **{f"k_{i}": value for i, value in enumerate(trial.preference)},
            "objective.sparsity": 10.0 - number,
            "device_s": 4.0,
            **losses,
            **rates,
            **{f"accuracy.test.{name}": 0.875 for name in ("left", "right", "mean")},
        }
        if state == "diverged":
            row |= dict.fromkeys(("objective.sparsity", *losses), float("nan")) | {"error": "a loss became NaN"}
        store.publish(row, [{"epoch": 1, "phase": "dense"}], weights=None if state == "diverged" else trial.trial_id.encode())
    return store


_TASKS = ((0, "left"), (1, "right"))


# -- help ---------------------------------------------------------------------------------------------------------------


def test_every_command_is_here() -> None:
    reading = {"plan", "status", "report", "front", "table", "figure", "verify"}
    deciding = {"pick", "compare", "suggest"}
    assert set(cli.commands) == {"run", "init", "schema", "data", *reading, "pause", "stop", "resume", "rm", *deciding, "export", "measure"}
    assert isinstance(cli.commands["data"], click.Group)
    assert set(cli.commands["data"].commands) == {"show"}


def every_command(group: click.Group = cli) -> dict[str, click.Command]:
    """Name -> command; those of a group below the top are called `group command`."""
    found = dict(group.commands)
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= {f"{name} {below}": one for below, one in every_command(command).items()}
    return found


@pytest.mark.parametrize("name", sorted(every_command()))
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = call(*name.split(), "--help")
    assert result.exit_code == 0
    assert "Example:" in result.stdout
    assert f"sweep {name}" in result.stdout.partition("Example:")[2]
    command = every_command()[name]
    assert command.help
    described = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    undescribed = [option.name for option in described if option.help is None and option.name != "form"]
    assert undescribed == []


def test_the_help_names_every_command_and_exit_code() -> None:
    result = call("--help")
    assert result.exit_code == 0
    for name in cli.commands:
        assert f"\n  {name} " in result.stdout
    assert "Example:" in result.stdout
    assert "0 complete, 2 wrong input, 3 finished with failed trials, 130 interrupted" in " ".join(result.stdout.split())


def test_examples_use_options_that_exist() -> None:
    for name, command in every_command().items():
        options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        for word in (command.help or "").partition("Example:")[2].split():
            assert not word.startswith("--") or word in options, f"{name}: {word}"


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"], ["front", "--help"], ["table", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom sweep.cli.commands import main\nsys.argv = ['sweep', *sys.argv[1:]]\ntry:\n    main()\nfinally:\n"
        "    heavy = {'torch', 'ray', 'pandas', 'pydantic', 'pyarrow', 'numpy', 'rich', 'ruamel'}\n"
        "    print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stderr == "[]\n"


def test_it_runs_as_a_module_and_as_a_script() -> None:
    module = subprocess.run([sys.executable, "-m", "sweep", "--version"], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert "version" in module.stdout
    script = Path(sys.executable).with_name("sweep")
    if script.exists():
        done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout == module.stdout


@pytest.mark.parametrize(
    "arguments",
    [[], ["walk"], ["run"], ["run", "--fast", "grid.yaml"], ["run", "grid.yaml", "--limit", "0"], ["run", "grid.yaml", "--limit", "x"]],
)
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["report", "front"])
@pytest.mark.parametrize("eps", ["-1", "nan", "x", "inf"])
def test_a_wrong_eps_is_exit_code_2(results: Store, command: str, eps: str) -> None:
    result = CliRunner().invoke(cli, [command, str(results.root), f"--eps={eps}"])
    assert result.exit_code == 2
    assert "--eps" in result.output


# -- grid files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_grid_file_of_the_repository_loads_and_plans(path: Path, original_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that read files do so from small ones, by an override of their problem."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("cache").absolute()))
    arguments: dict[str, Any] = {}
    if any(hasattr(config.problem.options, "root") for config in load_configs(path)):
        smaller = {"root": str(original_data), "n_train": 40, "n_validation": 12, "n_test": 11}
        Path("smaller.yaml").write_text(json.dumps({"problem": smaller}), encoding="utf-8")
        arguments["override"] = "smaller.yaml"
    result = call("plan", path, *(f"--{name}={value}" for name, value in arguments.items()))
    assert result.exit_code == 0, result.output
    for config in load_configs(path, **arguments):
        plan = plan_packs(config, trials_of(config), {}, [], 2)
        assert plan.n_todo == len(plan.trials) + plan.n_unplaced > 0
        assert f"sweep {config.name}: {plan.n_todo} trials" in result.stdout


def test_there_are_grid_files_in_the_repository() -> None:
    assert {path.stem for path in CONFIGS} >= {"quickstart"}


def test_init_writes_a_grid_file_that_loads_and_plans() -> None:
    result = call("init")
    assert result.exit_code == 0
    assert "grid.yaml" in result.stdout
    assert load_config("grid.yaml").output == "results/grid"
    assert call("plan", "grid.yaml").exit_code == 0


def test_init_never_overwrites() -> None:
    Path("mine.yaml").write_text("problem: multidigits\n")
    is_refused(call("init", "mine.yaml"), "mine.yaml: the file exists already", "hint: ")
    assert Path("mine.yaml").read_text() == "problem: multidigits\n"


def test_init_says_where_it_cannot_write() -> None:
    is_refused(call("init", "no/such/folder/grid.yaml"), "no/such/folder/grid.yaml: cannot write: its folder is missing", "hint: ")
    is_refused(call("init", "."), ".")


def test_the_schema_is_json_schema() -> None:
    result = call("schema")
    assert result.exit_code == 0
    schema = json.loads(result.stdout)
    assert {"problem", "preferences", "training", "resources", "studies", "output"} <= set(schema["properties"])
    assert schema["required"] == ["problem"]
    assert schema["additionalProperties"] is False
    assert all("description" in value or "$ref" in value for value in schema["properties"].values())


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_missing_grid_file(command: str, grid: Path) -> None:
    is_refused(call(command, "gird.yaml"), "gird.yaml: no such file", "did you mean `grid.yaml`?")
    is_refused(call(command, grid, "--override", "more.yaml"), "more.yaml: no such file")


@pytest.mark.parametrize("command", ["run", "plan"])
def test_an_unknown_key(command: str, grid: Path) -> None:
    grid.write_text(f"{GRID}modle: hps\n", encoding="utf-8")
    is_refused(call(command, grid), "grid.yaml:5:1: modle: unknown key (got hps)", "did you mean `model`?")
    assert not Path("results").exists()


@pytest.mark.parametrize("command", ["run", "plan"])
def test_data_that_is_not_there(command: str, grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fingerprint(*_: Any) -> str:
        raise DataError("MNIST is not there\n  hint: docs/data.md says more")

    monkeypatch.setattr(ProblemEntry, "fingerprint", fingerprint)
    is_refused(call(command, grid), "MNIST is not there", "hint: ")
    assert not Path("results").exists()


@pytest.mark.parametrize("command", ["run", "plan"])
def test_every_mistake_at_once(command: str, grid: Path) -> None:
    grid.write_text(f"{GRID}modle: hps\ntraining: {{batch_size: 0, growl: {{beta: 1}}}}\n", encoding="utf-8")
    result = call(command, grid)
    assert result.exit_code == 2
    for path in ("modle", "training.batch_size", "training.growl.beta"):
        assert path in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"- a\n", b"problem: [", b"\x00" * 100])
def test_a_grid_file_that_is_none(grid: Path, content: bytes) -> None:
    grid.write_bytes(content)
    is_refused(call("plan", grid), "grid.yaml")
    is_refused(call("run", grid), "grid.yaml")


def test_plan_shows_what_a_run_would_do(grid: Path) -> None:
    result = call("plan", grid)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"sweep grid: {N_TRIALS} trials -> results"
    assert lines[1] == "  study main: mdmtn, wcal_growl: 8 trials, 0 complete"
    assert lines[2] == "complete: 0 (0 failed); to train: 8; waiting for others: 0"
    assert lines[-1] == "time, device hours: unknown until a trial is complete"
    assert not Path("results").exists(), "plan writes nothing"


def test_plan_of_a_folder_with_results(grid: Path, results: Store) -> None:
    before = sorted(results.root.rglob("*"))
    result = call("plan", grid)
    assert result.exit_code == 0
    assert "complete: 7 (1 failed); to train: 1; waiting for others: 0" in result.stdout
    expected, time = result.stdout.splitlines()[-2:]
    assert expected == "expected for 1 trial, from the mean of 7 complete ones: about 0.00111 device hours"
    assert time.startswith("time: about ")
    assert sorted(results.root.rglob("*")) == before


def test_plan_says_what_it_costs_at_the_grid_file_s_prices(grid: Path, results: Store) -> None:
    """A price changes nothing else: the same trials are complete, and none is trained again."""
    before = call("plan", grid).stdout.splitlines()
    grid.write_text(f"{GRID}costs: {{usd_per_device_hour: 1800, usd_per_kwh: 0.3, g_co2_per_kwh: 380}}\n", encoding="utf-8")
    after = call("plan", grid).stdout.splitlines()
    expected = "expected for 1 trial, from the mean of 7 complete ones: about 0.00111 device hours (2 USD), energy unknown"
    assert after[-2] == f"{expected} (no complete trial's was counted)"
    assert [*before[:-2], before[-1]] == [*after[:-2], after[-1]]


@pytest.mark.full
def test_the_report_says_what_it_cost(grid: Path, results: Store) -> None:
    """At an option's price, else at that of the run's grid file."""
    assert call("report", "results").exit_code == 0
    page = (results.root / "report.html").read_text(encoding="utf-8")
    assert '<h2 id="cost-title">What it cost</h2>' in page
    assert "The sweep took 0.00778 device hours" in page
    assert "USD for devices" not in page
    assert call("report", "results", "--usd-per-device-hour", 900, "--g-co2-per-kwh", 380).exit_code == 0
    page = (results.root / "report.html").read_text(encoding="utf-8")
    assert "7 USD for devices, at 900 USD an hour" in page
    assert "not known, as no energy was measured" in page
    assert call("report", "results").exit_code == 0
    assert "USD for devices" not in (results.root / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("option", ["--usd-per-device-hour", "--usd-per-kwh", "--g-co2-per-kwh"])
@pytest.mark.parametrize("value", ["-1", "nan", "inf", "much"])
def test_a_price_is_a_finite_number(results: Store, option: str, value: str) -> None:
    result = call("report", "results", option, value)
    assert result.exit_code == 2
    assert option in result.stderr
    assert not (results.root / "report.html").exists()


@pytest.mark.full
def test_a_run_with_nothing_to_do_prices_the_report_anew(grid: Path) -> None:
    """Prices are no part of what was trained."""
    config = load_config(grid)
    store = finished(config)
    row = store.read_rows().to_pylist()[0]
    store.publish({**row, "attempt": 2, "device_s": 7200.0})
    assert call("run", grid).exit_code == 0
    assert "USD for devices" not in (store.root / "report.html").read_text(encoding="utf-8")
    for price, total in ((3, "6 USD for devices"), (5, "10 USD for devices")):
        grid.write_text(f"{GRID}costs: {{usd_per_device_hour: {price}}}\n", encoding="utf-8")
        result = call("run", grid)
        assert result.exit_code == 0
        assert "nothing to do: every trial is complete" in result.stdout
        assert total in (store.root / "report.html").read_text(encoding="utf-8")
    assert "costs" not in (store.root / "manifest.json").read_text(encoding="utf-8")


def test_status_says_what_was_used(results: Store) -> None:
    assert USED in call("status", "results").stdout.splitlines()
    used = json.loads(call("status", "results", "--format", "json").stdout)["used"]
    assert used == {"n_trials": 7, "n_timed": 7, "device_s": 28.0, "n_counted": 0, "energy_wh": 0.0}


def test_plan_takes_limit_out_and_override(grid: Path) -> None:
    Path("more.yaml").write_text("seeds: [0, 1, 2]\n")
    result = call("plan", grid, "--limit", 3, "--out", "elsewhere", "--override", "more.yaml")
    assert result.stdout.splitlines()[0] == "sweep grid: 3 trials -> elsewhere"
    assert "24 trials" in call("plan", grid, "--override", "more.yaml").stdout


def test_plan_says_what_waits(grid: Path) -> None:
    grid.write_text(f"{GRID}studies: [{{name: first}}, {{name: second, model: hps, after: first}}]\n", encoding="utf-8")
    result = call("plan", grid)
    assert "study second: hps, wcal_growl, after first: 8 trials, 0 complete" in result.stdout
    assert "to train: 16; waiting for others: 8" in result.stdout


# -- several problems ---------------------------------------------------------------------------------------------------

SEVERAL = """\
problem: [{name: multidigits, n_train: 512}, analytic/zdt1]
preferences: {simplex: {divisions: 5}}
output: results
"""


def test_plan_of_several_problems(grid: Path) -> None:
    grid.write_text(SEVERAL, encoding="utf-8")
    result = call("plan", grid)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:6] == [
        "sweep grid-multidigits: 10 trials -> results/multidigits",
        "  study main: mdmtn, wcal_growl: 10 trials, 0 complete",
        "complete: 0 (0 failed); to train: 10; waiting for others: 0",
        "sweep grid-zdt1: 4 trials -> results/zdt1",
        "  study main: point, wcal_growl: 4 trials, 0 complete",
        "complete: 0 (0 failed); to train: 4; waiting for others: 0",
    ]
    assert len(result.stdout.splitlines()) == 9, "packs, workers and time are told once"
    assert result.stdout.splitlines()[6].startswith("packs: ")
    assert call("plan", grid, "--out", "there", "--limit", 3).stdout.startswith("sweep grid-multidigits: 3 trials -> there/multidigits\n")
    assert not Path("results").exists()


def finished(config: SweepConfig, state: str = "ok") -> Store:
    """A folder in which every trial has ended."""
    store = Store(Path(config.output))
    store.create(manifest_of(config, "2026-01-31T12:00:00+00:00"))
    tasks = config.problem.facts.tasks
    losses = {f"loss.{split}.{task}": 0.25 for split in ("train", "validation", "test") for task in tasks}
    for trial in trials_of(config):
        row = {"trial_id": trial.trial_id, "attempt": 1, "retry": 0, "study": trial.study, "seed": trial.seed, "k": list(trial.preference)}
        store.publish(row | {"state": state, "objective.sparsity": 1.0, **losses})
    return store


@pytest.mark.full
@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("error", 3)])
def test_run_of_several_problems_tells_each_and_ends_with_the_worst(grid: Path, state: str, code: int) -> None:
    grid.write_text(SEVERAL, encoding="utf-8")
    first, second = load_configs(grid)
    finished(first)
    finished(second, state)
    result = call("run", grid)
    assert result.exit_code == code, result.output
    assert result.stdout.splitlines() == [
        "grid-multidigits: 10 trials: 10 ok",
        f"grid-zdt1: 4 trials: 4 {state}",
        "nothing to do: every trial is complete",
        *(f"report: {Path.cwd() / config.output / 'report.html'}" for config in (first, second)),
    ]
    assert all((Path(config.output) / "report.html").exists() for config in (first, second))
    for config in (first, second):
        assert call("status", config.output).exit_code == call("verify", config.output).exit_code == 0
    assert call("front", second.output).exit_code == 0


def test_of_several_folders_one_that_is_in_use_stops_the_run(grid: Path) -> None:
    grid.write_text(SEVERAL, encoding="utf-8")
    configs = load_configs(grid)
    stores = [finished(config) for config in configs]
    with stores[1].lock():
        is_refused(call("run", grid), "another run works here", "results/zdt1", "hint: ")
    assert stores[0].lock_holder() is None


def test_a_failed_anchor_run_is_one_message(grid: Path) -> None:
    grid.write_text(f"{GRID}reference_point: auto\n", encoding="utf-8")
    config = load_config(grid)
    store = Store(Path(config.output))
    store.create(manifest_of(config, "now"))
    for trial in trials_of(config, 2):
        row = {"trial_id": trial.trial_id, "attempt": 1, "retry": 0, "study": trial.study, "k": list(trial.preference)}
        store.publish(row | {"state": "diverged", "error": "a loss became NaN"})
    result = call("run", grid, "--quiet")
    is_refused(result, "`reference_point: auto` needs every anchor run", "all weight on right, seed 0) ended diverged: a loss became NaN")
    assert "hint: " in result.stderr
    assert call("run", grid).stdout.startswith("10 trials: 2 diverged, 8 left\n")


# -- the output folder --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("problem: {name: multidigits, n_train: 513}", "problem.options.n_train: 512 in the folder, 513 asked for"),
        ("training: {growl: {beta1: 0.75}}", "studies.main.training.growl.beta1: 0.8 in the folder, 0.75 asked for"),
        ("scaling: anchors", 'scaling: "none" in the folder, "anchors" asked for'),
        ("reference_point: [0, 0.25, 0.5]", "reference_point: [0.0, 0.0, 0.0] in the folder, [0.0, 0.25, 0.5] asked for"),
        ("reference_point: auto", 'reference_point: [0.0, 0.0, 0.0] in the folder, "auto" asked for'),
        ("model: hps", "studies.main.model"),
    ],
)
def test_a_folder_with_another_sweep_is_refused(grid: Path, results: Store, change: str, named: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in results.root.rglob("*")}
    Path("change.yaml").write_text(change)
    is_refused(call("run", grid, "--override", "change.yaml", "--no-dashboard"), "holds another sweep", named, "hint: ")
    after = {path: path.stat().st_mtime_ns for path in results.root.rglob("*") if path.is_file()}
    assert after == {path: time for path, time in before.items() if path.is_file()}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("reference_point: null", 'reference_point: "auto" in the folder, [0.0, 0.0, 0.0] asked for'),
        ("seeds: [1, 0]", "studies.anchor-runs.seed: 0 in the folder, 1 asked for"),
        ("scaling: anchors", 'scaling: "none" in the folder, "anchors" asked for'),
    ],
)
def test_another_reference_point_than_that_of_the_anchor_runs_is_refused(grid: Path, change: str, named: str) -> None:
    grid.write_text(f"{GRID}reference_point: auto\n")
    config = load_config(grid)
    Store(Path(config.output)).create(manifest_of(config, "now"))
    Path("change.yaml").write_text(change)
    is_refused(call("run", grid, "--override", "change.yaml", "--no-dashboard"), "holds another sweep", named, "hint: ")


def test_a_folder_with_other_things_is_refused(grid: Path) -> None:
    Path("results").mkdir()
    Path("results/thesis.tex").write_text("precious")
    is_refused(call("run", grid), "results", "thesis.tex", "hint: ")
    assert [path.name for path in Path("results").iterdir()] == ["thesis.tex"]


def test_an_output_that_is_a_file_is_refused(grid: Path) -> None:
    Path("results").write_text("precious")
    is_refused(call("run", grid), "results")
    is_refused(call("plan", grid), "results")
    assert Path("results").read_text() == "precious"


def test_an_output_below_a_file_is_refused(grid: Path) -> None:
    Path("taken").write_text("")
    is_refused(call("run", grid, "--out", "taken/results"), "taken")


@pytest.mark.skipif(os.geteuid() == 0, reason="not run: root may write anywhere")
def test_an_output_that_is_not_ours_is_refused(grid: Path) -> None:
    Path("locked").mkdir(mode=0o500)
    is_refused(call("run", grid, "--out", "locked/results"), "no permission to write", "hint: ")


# -- results folders ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["front", "report", "table", "status", "verify"])
@pytest.mark.parametrize("kind", ["missing", "empty", "other things", "file"])
def test_a_folder_that_is_no_sweep(command: str, kind: str) -> None:
    folder = Path("folder")
    if kind == "file":
        folder.write_text("x")
    elif kind != "missing":
        folder.mkdir()
    if kind == "other things":
        (folder / "notes.txt").write_text("x")
    before = sorted(Path.cwd().rglob("*"))
    is_refused(call(command, folder), "folder")
    assert sorted(Path.cwd().rglob("*")) == before, "nothing was written"


@pytest.mark.parametrize("command", ["front", "report", "table", "status"])
@pytest.mark.parametrize("manifest", ["", "[]", "{}", '{"schema_version": 99}'])
def test_a_manifest_that_is_broken(results: Store, command: str, manifest: str) -> None:
    (results.root / "manifest.json").write_text(manifest)
    is_refused(call(command, results.root), "manifest.json")


def test_verify_names_a_broken_manifest(results: Store) -> None:
    (results.root / "manifest.json").write_text("{")
    result = call("verify", results.root)
    assert result.exit_code == 3
    assert result.stdout.startswith(f"{results.root / 'manifest.json'}: not JSON")
    assert "hint: restore it from a copy" in call("status", results.root).stderr


def test_damaged_compacted_results_are_never_passed_over(grid: Path, results: Store) -> None:
    """They stand for many trials: what trains or counts stops, what shows says so."""
    results.compact()
    (results.root / "trials.parquet").write_bytes(b"PAR1")
    for arguments in (["run", grid], ["plan", grid], ["status", results.root]):
        is_refused(call(*arguments), "trials.parquet", "restore it from a copy")
    assert "unreadable: trials.parquet: " in call("front", results.root).stderr
    assert call("report", results.root).exit_code == 0
    assert "trials.parquet" in (results.root / "report.html").read_text(encoding="utf-8")
    verified = call("verify", results.root)
    assert verified.exit_code == 3
    assert verified.stdout.startswith(f"{results.root / 'trials.parquet'}: ")


def test_front_as_a_table(results: Store) -> None:
    result = call("front", results.root)
    assert result.exit_code == 0
    header, *lines = result.stdout.splitlines()
    assert header.split()[:2] == ["trial_id", "group"]
    assert len(lines) >= 1


def test_front_as_csv_and_json_parse_back_to_the_same(results: Store) -> None:
    as_csv = list(csv.DictReader(io.StringIO(call("front", results.root, "--format", "csv").stdout)))
    as_json = json.loads(call("front", results.root, "--format", "json").stdout)
    assert [row["trial_id"] for row in as_csv] == [row["trial_id"] for row in as_json]
    states = results.complete()
    assert len(as_json) > 1
    for text, plain in zip(as_csv, as_json, strict=True):
        assert states[plain["trial_id"]] == "ok"
        assert json.loads(text["k"]) == plain["k"]
        assert sum(plain["k"]) == 1
        assert float(text["objective.sparsity"]) == plain["objective.sparsity"]
        assert float(text["loss.validation.left"]) == plain["loss.validation.left"]


def test_a_larger_eps_keeps_more(results: Store) -> None:
    counts = [len(json.loads(call("front", results.root, "--format", "json", "--eps", eps).stdout)) for eps in (0, 100)]
    assert counts[0] <= counts[1] == 6


def test_a_damaged_table_is_no_empty_sweep(results: Store) -> None:
    """Rows that cannot be read are not rows that are not there yet."""
    results.compact()
    path = results.root / "trials.parquet"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = call("front", results.root)
    assert result.stdout == "no trial that can be read\n"
    assert "trials.parquet" in result.stderr


def test_front_before_a_trial_is_complete(grid: Path) -> None:
    config = load_config(grid)
    Store(Path(config.output)).create(manifest_of(config, "now"))
    assert call("front", "results").stdout == "no complete trial yet\n"
    assert json.loads(call("front", "results", "--format", "json").stdout) == []
    assert call("report", "results").exit_code == 0
    assert call("verify", "results").exit_code == 0
    assert "not running" in call("status", "results").stdout


def test_table_for_people_and_for_programs(results: Store) -> None:
    """Of each kind the k that is best on validation data, which is here the one with the least loss."""
    text = call("table", results.root)
    assert text.exit_code == 0, text.output
    assert text.stderr == ""
    assert text.stdout.splitlines()[0] == "multidigits"
    assert "87.50" in text.stdout
    found = json.loads(call("table", results.root, "--format", "json").stdout)
    assert [(line["label"], line["kind"], line["n_seeds"]) for line in found["lines"]] == [
        ("WC-AL", "dense", 1),
        ("WC-AL + GrOWL", "sparse", 1),
    ]
    assert {line["values"]["accuracy.test.left"]["mean"] for line in found["lines"]} == {0.875}
    lines = list(csv.DictReader(io.StringIO(call("table", results.root, "--format", "csv").stdout)))
    assert [json.loads(line["k"]) for line in lines] == [line["k"] for line in found["lines"]]
    assert [int(line["n_diverged"]) for line in lines] == [line["n_diverged"] for line in found["lines"]]
    assert sum(line["n_diverged"] for line in found["lines"]) == sum(line["n_missing"] for line in found["lines"]) == 1
    assert r"\begin{tabular}" in call("table", results.root, "--format", "latex").stdout
    assert "| architecture |" in call("table", results.root, "--format", "markdown").stdout


def test_table_writes_where_it_says(results: Store) -> None:
    result = call("table", results.root, "--format", "csv", "--output", "table.csv")
    assert (result.exit_code, result.stdout) == (0, "table.csv\n")
    assert Path("table.csv").read_text(encoding="utf-8") == call("table", results.root, "--format", "csv").stdout
    is_refused(call("table", results.root, "--output", "no/such/folder/table.csv"), "table.csv", "hint: ")
    result = call("table", results.root, "--output", ".")
    assert result.exit_code == 2
    assert "is a directory" in result.stderr


def test_table_of_several_folders(grid: Path, results: Store) -> None:
    other = copied(grid)
    finished(other)
    found = json.loads(call("table", results.root, other.output, "--format", "json").stdout)
    assert {line["sweep"] for line in found["lines"]} == {"grid", "copy"}
    is_refused(call("table", results.root, results.root), "given twice", "hint: ")
    is_refused(call("table", results.root, "nowhere"), "nowhere: no such folder")


def copied(grid: Path) -> SweepConfig:
    Path("copy.yaml").write_text(grid.read_text(encoding="utf-8").replace("output: results", "output: others"), encoding="utf-8")
    return load_config("copy.yaml")


@pytest.mark.parametrize("arguments", [[], ["results", "--format", "pdf"], ["results", "--output"]])
def test_a_wrong_call_of_table(results: Store, arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, ["table", *arguments])
    assert result.exit_code == 2
    assert result.stderr.count("Error: ") == 1


def test_table_before_a_trial_is_planned_and_with_a_damaged_file(grid: Path, results: Store) -> None:
    config = copied(grid)
    Store(Path(config.output)).create(manifest_of(config, "now"))
    assert call("table", config.output).stdout == "No trial was planned or trained yet.\n"
    assert json.loads(call("table", config.output, "--format", "json").stdout)["lines"] == []
    path, damaged = next(_damages(results))
    path.write_bytes(damaged)
    result = call("table", results.root)
    assert result.exit_code == 0
    assert f"unreadable: {path}: " in result.stderr


@pytest.mark.full
def test_report_writes_where_it_says(results: Store) -> None:
    result = call("report", results.root)
    assert result.exit_code == 0
    path = Path(result.stdout.strip())
    assert path == results.root / "report.html"
    assert "<html" in path.read_text(encoding="utf-8")
    other = call("report", results.root, "--out", "other.html", "--eps", "0.5")
    assert other.exit_code == 0
    assert Path("other.html").exists()


def test_a_report_that_cannot_be_written_is_one_message(results: Store) -> None:
    is_refused(call("report", results.root, "--out", "no/such/folder/report.html"), "report.html")
    result = call("report", results.root, "--out", ".")
    assert result.exit_code == 2
    assert "is a directory" in result.stderr


def test_status_for_people_and_for_programs(results: Store) -> None:
    text = call("status", results.root)
    assert text.exit_code == 0
    first, second, failed, used = text.stdout.splitlines()
    assert (first, second) == (f"sweep grid in {results.root}: not running", "7/8 trials complete: 1 diverged, 6 ok")
    assert failed.endswith("seed 0) diverged: a loss became NaN")
    assert used == USED
    found = json.loads(call("status", results.root, "--format", "json").stdout)
    assert (found["name"], found["is_running"], found["holder"]) == ("grid", False, None)
    assert (found["complete"], found["failed"], found["running"]) == (7, 1, 0)
    assert found["snapshot"]["states"] == {"ok": 6, "diverged": 1}
    watched = call("status", results.root, "--watch")
    assert watched.exit_code == 0
    assert "7/8 trials complete" in watched.output


def test_status_of_a_run_that_is_on(results: Store) -> None:
    results.write_live("pack-a", {"trial_ids": ["x"], "epoch": 1, "n_epochs": 4, "best_metric": float("nan")})
    with results.lock():
        found = json.loads(call("status", results.root, "--format", "json").stdout)
        text = call("status", results.root).stdout
    assert found["is_running"]
    assert found["holder"]["pid"] == os.getpid()
    assert found["running"] == 1
    assert f"(pid {os.getpid()})" in text
    assert "7/8 trials | 1 running | 1 failed" in text


def test_verify_finds_nothing_in_a_sound_folder(results: Store) -> None:
    for _ in range(2):
        result = call("verify", results.root)
        assert (result.exit_code, result.stdout) == (0, "7 complete trials, everything is in order\n")
        results.compact()


def _damages(results: Store) -> Iterator[tuple[Path, bytes]]:
    row = sorted((results.root / "rows").iterdir())[0]
    yield row, row.read_bytes()[:-20]
    blob = sorted((results.root / "blobs").iterdir())[0]
    yield blob, blob.read_bytes() + b"x"
    curve = sorted((results.root / "epochs").iterdir())[0]
    data = bytearray(curve.read_bytes())
    data[len(data) // 2] ^= 1
    yield curve, bytes(data)
    yield results.root / "plans" / "1.json", b"{"


@pytest.mark.parametrize("which", range(4), ids=["truncated row", "changed blob", "flipped bit", "torn plan"])
def test_verify_names_what_is_damaged(results: Store, which: int) -> None:
    path, damaged = list(_damages(results))[which]
    path.write_bytes(damaged)
    result = call("verify", results.root)
    assert result.exit_code == 3
    first, hint, *_, last = result.stdout.splitlines()
    assert first.startswith(f"{path}: ")
    assert hint.startswith("  hint: ")
    assert last == "1 problem"


def test_a_truncated_row_is_said_by_status_and_planned_again(grid: Path, results: Store) -> None:
    path, damaged = next(_damages(results))
    path.write_bytes(damaged)
    assert f"unreadable: {path}" in call("status", results.root).stdout
    assert "to train: 2;" in call("plan", grid).stdout


def test_rows_go_to_standard_output_and_nothing_else(results: Store) -> None:
    for arguments in (["front", results.root, "--format", "csv"], ["status", results.root, "--format", "json"], ["schema"]):
        assert call(*arguments).stderr == ""


# -- Python -------------------------------------------------------------------------------------------------------------


def test_the_package_offers_the_same_from_python() -> None:
    config = sweep.parse_config({"problem": "multidigits", "preferences": {"list": [[0.5, 0.25, 0.25]]}, "output": "none"})
    plan = sweep.plan(config)
    assert (plan.n_todo, len(plan.packs)) == (1, 1)
    assert config == parse_config({"problem": "multidigits", "preferences": {"list": [[0.5, 0.25, 0.25]]}, "output": "none"})
    several = sweep.parse_configs({"problem": ["multidigits", "multidigits"], "output": "none"})
    assert several == parse_configs({"problem": ["multidigits", "multidigits"], "output": "none"})
    assert [plan.n_todo for plan in sweep.plan_all(several, limit=5)] == [5, 5]
    assert not Path("none").exists()
    for name in sweep.__all__:
        assert getattr(sweep, name) is not None


def test_importing_the_package_does_nothing() -> None:
    code = "import sys, sweep; print(sorted({'torch', 'ray', 'pandas', 'pydantic', 'numpy', 'click'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
