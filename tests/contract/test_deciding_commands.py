"""`sweep pick`, `compare`, `suggest` and the formats of `front`, on the published results."""

import csv
import io
import json
from pathlib import Path

import pytest
from commands import call, is_refused

import sweep
from analysis import compare, pick, read_results, suggest
from sweep.grid.load import load_config
from sweep.planning.trials import trials_of

REPOSITORY = Path(sweep.__file__).parents[1]
TABLE = REPOSITORY / "results/table1-multidigits"
HPS, MDMTN = REPOSITORY / "results/multifashion-hps", REPOSITORY / "results/multifashion-mdmtn"
BOUNDS = ("--min", "accuracy.test.left=0.95", "--min", "sparsity_rate=0.5")


def test_pick_prints_the_trial_and_why_others_lost() -> None:
    result = call("pick", TABLE, *BOUNDS, "--minimise", "loss.validation.right")
    assert result.exit_code == 0
    chosen = pick(read_results(TABLE), at_least={"accuracy.test.left": 0.95, "sparsity_rate": 0.5}, minimise="loss.validation.right").chosen
    assert chosen is not None
    assert result.stdout.startswith(f"trial {chosen['trial_id']}: the least loss.validation.right")
    assert "why its neighbours lost:" in result.stdout
    assert "misses accuracy.test.left >= 0.95 by" in result.stdout
    found = json.loads(call("pick", TABLE, *BOUNDS, "--minimise", "loss.validation.right", "--format", "json").stdout)
    assert found["chosen"]["trial_id"] == chosen["trial_id"]


def test_pick_says_what_to_relax_when_nothing_fits() -> None:
    arguments = ("pick", TABLE, "--min", "sparsity_rate=0.9", "--maximise", "accuracy.test.mean")
    is_refused(
        call(*arguments),
        "none of 432 finished trials satisfies sparsity_rate >= 0.9",
        "hint: with sparsity_rate >= 0.6187 one trial fits",
        "nearest: ",
    )
    result = call(*arguments, "--format", "json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["to_relax"][0]["to"] == pytest.approx(0.6187, abs=1e-4)


def test_pick_names_unknown_columns_and_wrong_bounds() -> None:
    is_refused(call("pick", TABLE, "--minimise", "loss.validation.rigth"), "no such column", "did you mean `loss.validation.right`")
    is_refused(call("pick", TABLE), "one column to decide by expected")
    for bound in ("a", "=1", "sparsity_rate=x"):
        result = call("pick", TABLE, "--min", bound, "--minimise", "seed")
        assert result.exit_code == 2
        assert "COLUMN=VALUE with a number expected" in result.stderr
    is_refused(call("pick", "nowhere", "--minimise", "seed"), "nowhere: no such folder")


def test_compare_tells_difference_reference_and_what_is_missing(tmp_path: Path) -> None:
    result = call("compare", TABLE, TABLE, "--studies", "mdmtn", "mdmtn-epo", "--figure", tmp_path / "d.html")
    assert result.exit_code == 0
    found = compare(read_results(TABLE), read_results(TABLE), studies=("mdmtn", "mdmtn-epo"))
    assert found.difference.low is not None
    assert f"difference A - B: {found.difference.mean:.5g} [{found.difference.low:.5g}, " in result.stdout
    assert "(of both manifests, by rule): share of rows kept from 0 to 1, left from 0 to 2.303" in result.stdout
    assert "whose 660 for sparsity is a GrOWL norm and is not used" in result.stdout
    assert "Content-Security-Policy" in (tmp_path / "d.html").read_text(encoding="utf-8")
    one_seed = call("compare", HPS, MDMTN, "--reference", "60,2.3,2.3", "--format", "json")
    assert json.loads(one_seed.stdout)["difference"]["low"] is None
    assert "note: no interval" in call("compare", HPS, MDMTN).stdout


def test_compare_refuses_what_does_not_compare(tmp_path: Path) -> None:
    is_refused(call("compare", TABLE, HPS), "16 studies, one expected", "--studies A B")
    is_refused(call("compare", HPS, MDMTN, "--figure", tmp_path / "no/such/d.html"), "no/such/d.html")
    assert call("compare", HPS, MDMTN, "--reference", "1,x").exit_code == 2
    is_refused(call("compare", HPS, MDMTN, "--reference", "1,2"), "expects 3 finite numbers")


def test_suggest_prints_vectors_and_appends_them_to_a_grid_file(tmp_path: Path) -> None:
    grid = tmp_path / "grid.yaml"
    grid.write_text("# mine\nproblem: {name: multidigits, n_train: 512}\npreferences: paper  # all\noutput: results\n", encoding="utf-8")
    before = {trial.trial_id for trial in trials_of(load_config(grid))}
    result = call("suggest", HPS, "-n", 4, "--append", grid, "--format", "json")
    assert result.exit_code == 0
    vectors = [tuple(one["preference"]) for one in json.loads(result.stdout)]
    assert vectors == [one.preference for one in suggest(read_results(HPS), 4)]
    assert "4 vectors added" in result.stderr
    config = load_config(grid)
    assert set(vectors) <= set(config.resolved_studies[0].preferences)
    assert {trial.trial_id for trial in trials_of(config)} > before
    assert grid.read_text(encoding="utf-8").startswith("# mine\n")
    text = call("suggest", HPS, "-n", 4).stdout.splitlines()
    assert len(text) == 5
    assert text[1].startswith("[")


def test_suggest_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    is_refused(call("suggest", TABLE), "studies with preferences, one expected", "`--study`")
    is_refused(call("suggest", HPS, "--append", tmp_path / "none.yaml"), "none.yaml: no such file")
    grid = tmp_path / "grid.yaml"
    grid.write_text("problem: analytic/zdt1\npreferences: {simplex: {divisions: 4}}\n", encoding="utf-8")
    is_refused(call("suggest", HPS, "--append", grid), "the vectors cannot be added here", "add them by hand")


def test_front_has_every_format() -> None:
    frames = {form: call("front", HPS, "--format", form).stdout for form in ("table", "csv", "json", "markdown", "latex")}
    rows = list(csv.DictReader(io.StringIO(frames["csv"])))
    assert [row["trial_id"] for row in rows] == [row["trial_id"] for row in json.loads(frames["json"])]
    for row in rows:
        for form in ("table", "markdown", "latex"):
            assert row["trial_id"] in frames[form]
    lines = frames["markdown"].strip().splitlines()
    assert {line.count("|") for line in lines} == {lines[0].count("|")}
    assert len(lines) == len(rows) + 2
    assert frames["latex"].count(r" \\") == len(rows) + 1
    assert r"sparsity\_rate" in frames["latex"]
    assert "61.3\\%" in frames["latex"]
