"""The table of methods: which lines, which k, which numbers, which marks."""

import numpy as np
import pytest
from method_stores import ALL_STUDIES, accuracies, study, t_half_width, table_rows, write_table_store
from other_stores import write_analytic_store, write_regression_store
from synthetic_store import TWO_TASKS, trial_row

from analysis import ResultsError, read_results
from analysis.method_table.caption import caption, warnings
from analysis.method_table.table import method_table

A, B, C = [0.0, 0.25, 0.75], [0.0, 0.5, 0.5], [0.0, 0.75, 0.25]
MAIN = study("main", "hps", "wcal_growl")


def of_store(folder, trials, studies=(MAIN,), **options):
    """The table of a store with these trials: (k, seed, changes) of study `main`, or rows as they are."""
    rows = [trial if isinstance(trial, dict) else main_row(i, *trial) for i, trial in enumerate(trials)]
    write_table_store(folder, rows, studies, **options)
    return method_table(read_results(folder))


def main_row(number, k, seed, changes=None):
    return trial_row(number, k or B, TWO_TASKS, seed=seed, model="hps", k=k) | (changes or {})


def only(table):
    (line,) = table.lines
    return line


# -- which lines --------------------------------------------------------------------------------------------------------


def test_a_sweep_of_the_paper_has_the_lines_of_table_1(tmp_path):
    write_table_store(tmp_path)
    (dataset,) = method_table(read_results(tmp_path)).datasets
    assert [(line.study.model, line.label) for line in dataset.lines] == [
        ("hps", "WC-AL"),
        ("hps", "WC-AL + GrOWL"),
        ("hps", "Weighted sum"),
        ("hps", "Weighted sum + GrOWL"),
        ("hps", "MGDA"),
        ("mdmtn", "WC-AL"),
        ("mdmtn", "WC-AL + GrOWL"),
        ("stl", "STL"),
        ("kdmtl", "KDMTL"),
    ]
    assert [(line.study.model, line.label) for line in dataset.second] == [
        ("hps", "Fixed architecture"),
        ("mdmtn", "Fixed architecture"),
    ]
    assert {line.n_seeds for line in dataset.lines} == {3}
    assert [line.preference for line in dataset.lines if line.kind == "none"] == [None] * 3


@pytest.mark.parametrize("mark", [{"candidates": [{}, {}]}, {"candidate_of": "search"}, {"name": "anchor-runs"}])
def test_searches_and_anchor_runs_have_no_line(tmp_path, mark):
    other = study("other", "hps", "wcal_growl") | mark
    rows = [main_row(1, B, 0), main_row(2, B, 0, {"study": other["name"]})]
    assert [line.study.name for line in of_store(tmp_path, rows, (MAIN, other)).lines] == ["main"]


def test_a_dense_partner_is_an_ordinary_line(tmp_path):
    """Only fixed architectures are in the second block."""
    fixed = study("fixed", "hps", "fixed_architecture")
    table = of_store(tmp_path, [main_row(1, B, 0), main_row(2, B, 0, {"study": "fixed"})], (MAIN, fixed))
    assert [line.label for line in table.datasets[0].lines] == ["WC-AL"]
    assert [line.label for line in table.datasets[0].second] == ["Fixed architecture"]


def test_labels_that_would_be_alike_have_the_study_name(tmp_path):
    other, third = study("long", "hps", "wcal_growl"), study("third", "mdmtn", "wcal_growl")
    rows = [main_row(i, B, 0, {"study": name}) for i, name in enumerate(("main", "long", "third"))]
    assert [line.label for line in of_store(tmp_path, rows, (MAIN, other, third)).lines] == ["WC-AL (main)", "WC-AL (long)", "WC-AL"]


@pytest.mark.parametrize(
    ("entry", "label"),
    [
        ({"scalarization": "weighted_sum"}, "Weighted sum"),
        ({"scalarization": "smooth_chebyshev"}, "Smooth Chebyshev"),
        ({"scalarization": "paper"}, "WC-AL (paper's Lagrangian)"),
        ({"method": "moead"}, "MOEA/D"),
        ({"method": "epo"}, "EPO"),
        ({"method": "cosmos"}, "COSMOS"),
        ({"method": "of a later version"}, "of a later version"),
    ],
)
def test_methods_have_names_for_people(tmp_path, entry, label):
    named = study("main", "hps", entry.pop("method", "wcal_growl"), **entry)
    assert only(of_store(tmp_path, [(B, 0)], (named,))).label == label


def test_a_study_that_the_manifest_does_not_name_is_known_by_its_rows(tmp_path):
    rows = [main_row(1, B, 0, {"study": "old", "method": "epo"}), main_row(2, B, 0, {"study": None, "method": None})]
    assert [(line.study.name, line.label) for line in of_store(tmp_path, rows, ()).lines] == [("old", "EPO"), ("", "unknown method")]


# -- which k ------------------------------------------------------------------------------------------------------------


def test_k_is_chosen_on_validation_and_never_on_test(tmp_path):
    """A is best on test data in every seed, B on validation data: B is shown, with B's test numbers."""
    trials = [(A, seed, accuracies(0.90, 0.99)) for seed in (0, 1)] + [(B, seed, accuracies(0.91, 0.80)) for seed in (0, 1)]
    line = only(of_store(tmp_path, trials))
    assert line.preference == tuple(B)
    assert line.values["accuracy.test.mean"].mean == 0.80


def test_k_is_chosen_by_the_mean_over_seeds_not_by_the_best_seed(tmp_path):
    trials = [(A, 0, accuracies(0.99, 0.5)), (A, 1, accuracies(0.70, 0.5)), (B, 0, accuracies(0.9, 0.6)), (B, 1, accuracies(0.9, 0.6))]
    assert only(of_store(tmp_path, trials)).preference == tuple(B)


def test_of_equal_preferences_the_first_in_the_plan_is_shown(tmp_path):
    trials = [(k, seed, accuracies(0.9, 0.8)) for k in (C, A, B) for seed in (0, 1, 2)]
    assert only(of_store(tmp_path, trials)).preference == tuple(C)
    rows = [main_row(i, *trial) for i, trial in enumerate(trials)]
    write_table_store(tmp_path / "other", rows, (MAIN,), planned=rows[::-1])
    assert only(method_table(read_results(tmp_path / "other"))).preference == tuple(B)


def test_only_preferences_with_every_seed_are_compared(tmp_path):
    """A is best where it finished, but one of its seeds diverged."""
    trials = [
        (A, 0, accuracies(0.99, 0.9)),
        (A, 1, {"state": "diverged", "loss.validation.left": np.nan}),
        (B, 0, accuracies(0.8, 0.7)),
        (B, 1, accuracies(0.8, 0.7)),
    ]
    table = of_store(tmp_path, trials)
    line = only(table)
    assert (line.preference, line.n_seeds, line.n_seeds_planned, line.n_incomplete) == (tuple(B), 2, 2, 1)
    assert line.counts == {"ok": 3, "diverged": 1, "error": 0, "missing": 0}
    text = " ".join(warnings(table))
    assert "of 4 trials 1 diverged" in text
    assert "1 preference without a result for every seed could not be chosen" in text


def test_missing_seeds_are_counted_and_said(tmp_path):
    rows = [main_row(i, A, seed, accuracies(0.9, 0.8)) for i, seed in enumerate((0, 1, 2))]
    write_table_store(tmp_path, [*rows[:1], rows[1] | {"state": "error"}], (MAIN,), planned=rows)
    table = method_table(read_results(tmp_path))
    line = only(table)
    assert (line.n_seeds, line.n_seeds_planned) == (1, 3)
    assert line.counts == {"ok": 1, "diverged": 0, "error": 1, "missing": 1}
    text = " ".join(warnings(table))
    assert "1 of 3 seeds" in text
    assert "of 3 trials 1 failed, 1 has no result yet" in text
    assert "chosen among those with the most" in text


def test_a_line_without_a_result_is_there_and_empty(tmp_path):
    table = of_store(tmp_path, [(B, 0, {"state": "error"}), (A, 1, {"state": "diverged"})])
    line = only(table)
    assert (line.n_seeds, line.n_seeds_planned) == (0, 2)
    assert all(found.mean is None for found in line.values.values())
    assert not line.boxed | line.bold
    assert "0 of 2 seeds" in " ".join(warnings(table))


def test_without_accuracies_the_least_mean_validation_loss_is_chosen(tmp_path):
    rows = write_regression_store(tmp_path, {"depth": "rmse", "pose": "mean angle", "age": "rmse"})
    table = method_table(read_results(tmp_path))
    (dataset,) = table.datasets
    assert (dataset.selection.by, [line.kind for line in dataset.lines]) == ("loss", ["dense", "sparse"])
    for line in dataset.lines:
        mine = [row for row in rows if (row["k"][0] > 0) == (line.kind == "sparse")]
        best = min(mine, key=lambda row: sum(row[f"loss.validation.{task}"] for task in ("depth", "pose", "age")))
        assert line.preference == tuple(best["k"])
        assert line.values["metric.test.pose"].mean == best["metric.test.pose"]
        assert line.values["loss.test.mean"].mean == pytest.approx(
            np.mean([best[f"loss.test.{task}"] for task in ("depth", "pose", "age")])
        )
        assert line.hypervolume is None
    marked = frozenset().union(*(line.boxed | line.bold for line in dataset.lines))
    assert "loss.test.mean" in marked
    assert not any(name.startswith("metric.") for name in marked)  # its name does not say which way is better
    assert "lowest mean validation loss" in caption(table)


# -- which numbers ------------------------------------------------------------------------------------------------------


def test_numbers_are_means_over_seeds_with_students_interval(tmp_path):
    tests = [0.90, 0.93, 0.99]
    line = only(of_store(tmp_path, [(B, seed, accuracies(0.9, test)) for seed, test in enumerate(tests)]))
    found = line.values["accuracy.test.left"]
    assert found.mean == pytest.approx(0.94)
    assert found.half_width == pytest.approx(t_half_width(tests, 4.302653), rel=1e-6)
    assert found.n == 3
    wider = method_table(read_results(tmp_path), confidence=0.99).lines[0].values["accuracy.test.left"]
    assert wider.half_width == pytest.approx(t_half_width(tests, 9.924843), rel=1e-6)


def test_seconds_are_a_trials_own_share_of_its_pack(tmp_path):
    pack = {"wall_s": 40.0, "wall_s_sparsify": 16.0, "wall_s_tying": 4.0, "wall_s_retrain": 20.0, "device_s": 5.0}
    values = only(of_store(tmp_path, [(B, 0, pack)])).values
    times = [values[f"device_s{phase}"].mean for phase in ("_sparsify", "_tying", "_retrain", "")]
    assert times == [2.0, 0.5, 2.5, 5.0]


@pytest.mark.parametrize("pack", [{"wall_s": 0.0, "device_s": 0.0}, {"wall_s": None, "device_s": None}])
def test_seconds_that_were_not_measured(tmp_path, pack):
    assert only(of_store(tmp_path, [(B, 0, pack)])).values["device_s_retrain"].mean is None


def test_what_a_method_began_from_is_told_with_its_time(tmp_path):
    write_table_store(tmp_path)
    table = method_table(read_results(tmp_path))
    kdmtl = next(line for line in table.lines if line.study.name == "kdmtl")
    assert (kdmtl.taken_from, kdmtl.taken_over_s.mean) == (("stl",), 0.5)
    assert "KDMTL, KDMTL: its time excludes the trials that it started from (stl, 0.5 s)." in warnings(table)
    assert all(line.taken_over_s is None for line in table.lines if line is not kdmtl)


def test_three_tasks(tmp_path):
    tasks = ("left", "right", "larger")
    write_table_store(tmp_path, tasks=tasks)
    table = method_table(read_results(tmp_path))
    for task in (*tasks, "mean"):
        assert all(line.values[f"accuracy.test.{task}"].n == 3 for line in table.lines)
    assert all(line.hypervolume is None for line in table.lines)


def test_a_sweep_without_sparsity_has_no_rates(tmp_path):
    write_analytic_store(tmp_path, n_tasks=2)
    (dataset,) = method_table(read_results(tmp_path)).datasets
    assert "sparsity_rate" not in [column.name for column in dataset.columns]
    assert [line.kind for line in dataset.lines] == ["dense"]


# -- which marks --------------------------------------------------------------------------------------------------------


def three_lines(folder, tests, **changes):
    """Studies a and b of HPS and c of MDMTN with these test accuracies."""
    studies = [study(name, model, "epo") for name, model in (("a", "hps"), ("b", "hps"), ("c", "mdmtn"))]
    rows = [
        main_row(i, B, 0, accuracies(0.9, test) | {"study": entry["name"], "model": entry["model"]} | changes)
        for i, (entry, test) in enumerate(zip(studies, tests, strict=True))
    ]
    lines = of_store(folder, rows, studies).lines
    return [("accuracy.test.mean" in line.boxed, "accuracy.test.mean" in line.bold) for line in lines]


def test_the_best_of_an_architecture_is_boxed_and_of_the_dataset_bold(tmp_path):
    assert three_lines(tmp_path / "one", [0.8, 0.7, 0.9]) == [(True, False), (False, False), (False, True)]
    assert three_lines(tmp_path / "two", [0.8, 0.95, 0.9]) == [(False, False), (True, True), (False, False)]


def test_equal_numbers_are_all_marked(tmp_path):
    assert three_lines(tmp_path, [0.9, 0.9, 0.9]) == [(True, True), (True, True), (False, True)]


def test_numbers_are_compared_before_they_are_rounded(tmp_path):
    assert three_lines(tmp_path, [0.97001, 0.970011, 0.9]) == [(False, False), (True, True), (False, False)]


def test_time_and_what_nobody_pruned_are_not_marked(tmp_path):
    untouched = {"sparsity_rate": 0.0, "compression_rate": 1.0, "parameter_sharing": 1.0}
    three_lines(tmp_path, [0.9, 0.8, 0.7], **untouched)
    lines = method_table(read_results(tmp_path)).lines
    assert {name.split(".")[0] for line in lines for name in line.boxed | line.bold} == {"accuracy"}


def test_the_second_study_is_marked_by_itself(tmp_path):
    write_table_store(tmp_path)
    (dataset,) = method_table(read_results(tmp_path)).datasets
    assert any("accuracy.test.mean" in line.bold for line in dataset.lines)
    assert any("accuracy.test.mean" in line.bold for line in dataset.second)


# -- several sweeps -----------------------------------------------------------------------------------------------------


def test_two_datasets_stand_apart_and_one_dataset_together(tmp_path):
    write_table_store(tmp_path / "a", table_rows(ALL_STUDIES[5:6]), ALL_STUDIES[5:6])
    write_table_store(tmp_path / "b", table_rows(ALL_STUDIES[4:6]), ALL_STUDIES[4:6])
    other = {"name": "cifar10mnist", "options": {}, "fingerprint": "e" * 64}
    write_table_store(
        tmp_path / "c", table_rows(ALL_STUDIES[5:6], tasks=("CIFAR", "MNIST")), ALL_STUDIES[5:6], ("CIFAR", "MNIST"), problem=other
    )
    table = method_table([read_results(tmp_path / name) for name in "abc"])
    assert [dataset.name for dataset in table.datasets] == ["multimnist", "cifar10mnist"]
    assert [line.label for line in table.datasets[0].lines] == ["STL (stl), a", "STL (stl), b", "WC-AL", "WC-AL + GrOWL"]
    assert "accuracy.test.CIFAR" in table.datasets[1].lines[0].values


def test_datasets_that_share_a_name_are_told_apart(tmp_path):
    for name, fingerprint in (("a", "1"), ("b", "2")):
        problem = {"name": "multimnist", "options": {}, "fingerprint": fingerprint}
        write_table_store(tmp_path / name, table_rows(ALL_STUDIES[5:6]), ALL_STUDIES[5:6], problem=problem)
    table = method_table([read_results(tmp_path / name) for name in "ab"])
    assert [dataset.name for dataset in table.datasets] == ["multimnist (a)", "multimnist (b)"]


def test_wrong_arguments(tmp_path):
    write_table_store(tmp_path)
    table = read_results(tmp_path)
    with pytest.raises(ResultsError, match="given twice"):
        method_table([table, table])
    with pytest.raises(ValueError, match="0 < confidence < 1"):
        method_table(table, confidence=95)


def test_an_empty_store_has_no_lines(tmp_path):
    table = of_store(tmp_path, [])
    assert table.lines == ()
    assert caption(table) == "No trial was planned or trained yet."


def test_each_of_many_studies_has_a_line(tmp_path):
    studies = [study(f"study {i}", "hps", "epo") for i in range(60)]
    write_table_store(tmp_path, table_rows(studies), studies)
    table = method_table(read_results(tmp_path))
    assert len({line.label for line in table.lines}) == 60


def test_the_caption_says_how_much_was_trained(tmp_path):
    rows = [row | {"n_epochs": 39 if row["study"] == "hps" else 100} for row in table_rows()]
    problem = {"name": "multimnist", "options": {"n_train": 50_000}, "fingerprint": "d" * 64}
    write_table_store(tmp_path, rows, problem=problem)
    assert "multimnist: 50,000 training samples, 39 to 100 epochs a trial." in caption(method_table(read_results(tmp_path)))
