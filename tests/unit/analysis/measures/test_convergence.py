"""How exact a sweep is where the optimum is known, and silence where it is not."""

import numpy as np
import pytest
from other_stores import write_analytic_store
from synthetic_store import TWO_TASKS, trial_row, write_manifest, write_row, write_store

from analysis import gaps, read_results, summary, write_report
from analysis.report.about import about
from analysis.report.health import health


def write_gaps(folder, pairs):
    """A store of trials with these (scalarized, optimum)."""
    write_manifest(folder, TWO_TASKS)
    for number, (scalarized, optimum) in enumerate(pairs):
        row = trial_row(number, [0.01, 0.5, 0.49], TWO_TASKS, scalarized=scalarized, optimum=optimum)
        write_row(folder, row, TWO_TASKS)
    return read_results(folder)


def test_a_gap_is_relative_to_the_size_of_the_optimum_and_absolute_at_zero(tmp_path):
    table = write_gaps(tmp_path, [(1.5, 1.0), (-1.0, -2.0), (0.25, 0.0), (1.0, None), (None, 1.0), (float("nan"), 1.0)])
    assert np.array_equal(gaps(table), [0.5, 0.5, 0.25, np.nan, np.nan, np.nan], equal_nan=True)


def test_facts_name_the_largest_gap_and_its_trial(tmp_path):
    rows = write_analytic_store(tmp_path, n_trials=24)
    facts = summary(read_results(tmp_path))
    expected = [row["scalarized"] / row["optimum"] - 1 for row in rows]
    assert facts["n_optimum"] == 24
    assert facts["n_exact"] == sum(gap <= 1e-3 for gap in expected)
    assert facts["largest_gap"] == pytest.approx(0.03)
    assert facts["largest_gap_trial"] == rows[-1]["trial_id"]
    assert facts["largest_gap_k"] == rows[-1]["k"]
    assert facts["best_dense"] is None
    sentence = facts["sentence"]
    assert sentence.startswith(f"{facts['n_exact']} of 24 finished trials reach the exact optimum")
    assert f"the largest gap is 0.03 (trial {rows[-1]['trial_id']}, k = ({rows[-1]['k'][1]:.4g}, " in sentence


@pytest.mark.full
def test_without_an_optimum_nothing_is_said(tmp_path):
    write_store(tmp_path, n_trials=8)
    table = read_results(tmp_path)
    facts = summary(table)
    assert (facts["n_optimum"], facts["n_exact"], facts["largest_gap"], facts["largest_gap_trial"]) == (0, None, None, None)
    assert "exact" not in facts["sentence"]
    assert not {"Exact front", "Exactness"} & {term for term, _ in about(table, facts)}
    assert not [finding for finding in health(table) if "optimum" in finding.title]
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "of 0 exact" not in page
    assert '"gap"' not in page.split('id="report-data">')[1].split("</script>")[0]


def test_failed_trials_do_not_count(tmp_path):
    write_gaps(tmp_path, [(1.0, 1.0), (1.0, 1.0)])
    write_row(tmp_path, trial_row(7, [0.01, 0.5, 0.49], TWO_TASKS, state="error", scalarized=9.0, optimum=1.0), TWO_TASKS)
    facts = summary(read_results(tmp_path))
    assert (facts["n_optimum"], facts["n_exact"], facts["largest_gap"]) == (2, 2, 0.0)


def test_health_tells_far_trials_and_impossible_ones(tmp_path):
    table = write_gaps(tmp_path, [(1.0, 1.0), (1.01, 1.0), (1.5, 1.0), (0.9, 1.0), (1.0 - 1e-6, 1.0)])
    findings = {finding.title: finding for finding in health(table) if "optimum" in finding.title}
    far, impossible = (findings[title] for title in sorted(findings, reverse=True))
    assert [message for _, message in far.lines] == ["gap 0.5", "gap 0.01"]
    assert not far.serious
    assert [message for _, message in impossible.lines] == ["gap -0.1"]
    assert impossible.serious
    facts = summary(table)
    assert facts["n_exact"] == 2
    assert facts["largest_gap"] == 0.5


def test_rounding_is_shown_as_zero(tmp_path):
    facts = summary(write_gaps(tmp_path, [(1.0 - 2e-16, 1.0)]))
    assert facts["largest_gap"] < 0
    assert "the largest gap is 0 (trial " in facts["sentence"]
