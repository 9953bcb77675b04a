"""At what sparsity the tasks begin to conflict: what is measured, the rule, and the words."""

import numpy as np
import pytest
from synthetic_store import TWO_TASKS, preference_grid, trial_row, write_manifest, write_parquet, write_plan

from analysis import read_results, task_conflict, write_report
from analysis.figures.conflict import conflict_figure
from analysis.measures import conflict as conflict_text
from analysis.measures.conflict import N_DEVIATIONS
from analysis.measures.noise import training_noise
from analysis.pareto.indicators import Box
from analysis.report.conflict import conflict_as_html
from sweep.store.schema import row_schema

LEVELS = (0.0, 1e-4, 1e-3, 1e-2)


def write(folder, rows, tasks=TWO_TASKS, **changes):
    write_manifest(folder, tasks, **changes)
    write_plan(folder, rows)
    if rows:
        write_parquet(folder / "trials.parquet", rows, row_schema(tasks))
    return read_results(folder)


def made_rows(trade_off, cosine, n=10, seeds=(0,), noise=0.01, tasks=TWO_TASKS, **changes):
    """For each k0 `n` trials whose losses are noise and, per level of k0, a trade-off between the first two tasks."""
    rng = np.random.default_rng(7)
    rows = []
    for level, k0 in enumerate(LEVELS):
        for share in np.linspace(0.1, 0.9, n):
            for seed in seeds:
                k = [k0, *(np.array([share, *[(1 - share) / (len(tasks) - 1)] * (len(tasks) - 1)]) * (1 - k0))]
                row = trial_row(len(rows), k, tasks, seed=seed, **changes)
                sides = [1 - share, share, *[0.5] * (len(tasks) - 2)]
                row |= {
                    f"loss.validation.{t}": 0.3 + trade_off[level] * s + noise * rng.normal() for t, s in zip(tasks, sides, strict=True)
                }
                n_pairs = len(tasks) * (len(tasks) - 1) // 2
                row["gradient_cosine"] = None if cosine is None else [cosine[level] + 0.05 * rng.normal() for _ in range(n_pairs)]
                rows.append(row)
    return rows


def answer(table):
    conflict = task_conflict(table)
    return conflict, conflict_text.conflict_sentences(conflict)


def test_it_is_seen_where_the_front_is_wide_and_the_gradients_are_opposed(tmp_path):
    """Wide from the second level on, opposed from the third: the third it is."""
    table = write(tmp_path, made_rows((0, 0.4, 0.4, 0.4), (0.3, 0.2, -0.3, -0.5)))
    conflict, (sentence,) = answer(table)
    (study,) = conflict.studies
    assert [cluster.is_wide for cluster in study.clusters] == [False, True, True, True]
    assert [cluster.is_opposed for cluster in study.clusters] == [False, False, True, True]
    assert [cluster.conflicts for cluster in study.clusters] == [False, False, True, True]
    low = table.frame["sparsity_rate"][table.frame["k_0"] == 1e-3].min()
    assert sentence.startswith(f"The tasks begin to conflict at a sparsity rate of {100 * low:.1f} %: from there on ")
    means = [f"{cluster.cosine.mean:.2f}".replace("-", "−") for cluster in study.clusters[2:]]
    assert f"(mean cosine {means[0]} to {means[1]})" in sentence


@pytest.mark.parametrize(
    ("trade_off", "cosine", "beginning"),
    [
        ((0, 0, 0, 0), (-0.5,) * 4, "No conflict of the tasks was seen up to a sparsity rate of 7"),
        ((0.4,) * 4, (0.5,) * 4, "No conflict of the tasks was seen up to a sparsity rate of 7"),
        ((0.4,) * 4, (0.0,) * 4, "No conflict of the tasks was seen up to a sparsity rate of 7"),
        ((0.4,) * 4, (-0.5,) * 4, "The tasks conflict at every sparsity rate that can be judged, 0.0 % to 7"),
        ((0, 0.4, 0, 0), (-0.5,) * 4, "The tasks conflict at a sparsity rate of 12.1 to 12.5 %, but not at every higher one: there "),
        ((0, 0, 0.4, 0.4), None, "The tasks begin to conflict at a sparsity rate of 55"),
    ],
)
def test_the_other_answers(tmp_path, trade_off, cosine, beginning):
    _, (sentence,) = answer(write(tmp_path, made_rows(trade_off, cosine)))
    assert sentence.startswith(beginning)
    assert ("rests on the fronts alone" in sentence) == (cosine is None)


def test_the_numbers_of_a_cluster_are_those_of_its_task_front(tmp_path):
    """Four points, (1, 4), (2, 2), (4, 1) are the front: extents of 3, hypervolume in a box of 5 by 5 by hand."""
    losses = [(1, 4), (2, 2), (4, 1), (4, 4)]
    rows = [trial_row(i, k, TWO_TASKS, sparsity_rate=0.5) for i, k in enumerate([[0.1, s, 0.9 - s] for s in (0.1, 0.3, 0.5, 0.7)])]
    for row, (left, right), cosine in zip(rows, losses, (-1.0, -0.5, 0.0, 0.5), strict=True):
        row |= {"loss.validation.left": left, "loss.validation.right": right, "gradient_cosine": [cosine]}
        row |= {"compression_rate": 1.0, "parameter_sharing": 0.5}
    conflict = task_conflict(write(tmp_path, rows, hypervolume_reference=[100.0, 5.0, 5.0]))
    ((cluster,),) = (study.clusters for study in conflict.studies)
    assert (cluster.n_trials, cluster.n_front, cluster.extents) == (4, 3, (3.0, 3.0))
    assert conflict.box == Box((0.0, 0.0), (5.0, 5.0))
    assert cluster.hypervolume == pytest.approx((4 * 1 + 3 * 2 + 1 * 1) / 25)
    assert cluster.cosine.mean == -0.25
    assert cluster.is_opposed is False  # the interval of four such cosines reaches above 0


def test_noise_comes_from_seeds_where_there_are_some_and_else_from_neighbours(tmp_path):
    """Made with a deviation of 0.02, and a trade-off that is ten times as large."""
    for seeds, source in (((0, 1, 2), "seeds"), ((0,), "neighbours")):
        rows = made_rows((0.2,) * 4, None, n=40 // len(seeds), seeds=seeds, noise=0.02)
        (study,) = task_conflict(write(tmp_path / source, rows)).studies
        assert study.noise.source == source
        assert study.noise.deviations == pytest.approx([0.02, 0.02], rel=0.25)
        assert study.tolerances == pytest.approx(N_DEVIATIONS * study.noise.deviations)


@pytest.mark.full
def test_noise_alone_is_rarely_called_a_wide_front(tmp_path):
    """40 sweeps of 4 clusters of 10 trials whose losses are noise: at most 1 in 20 clusters."""
    n_wide = n = 0
    rng = np.random.default_rng(0)
    table = write(tmp_path, made_rows((0,) * 4, None))
    for _ in range(40):
        for task in TWO_TASKS:
            table.frame[f"loss.validation.{task}"] = rng.normal(size=len(table.frame))
        table.__dict__.pop("ok", None)
        (study,) = task_conflict(table).studies
        n_wide += sum(cluster.is_wide is True for cluster in study.clusters)
        n += len(study.clusters)
    assert n == 160
    assert n_wide <= n / 20


def test_few_trials_may_show_a_wide_front_but_not_a_narrow_one(tmp_path):
    rows = made_rows((0.4, 0.4, 0, 0.4), (-0.5,) * 4)
    rows = [row for row in rows if row["k_0"] not in LEVELS[2:]] + [row for row in rows if row["k_0"] == LEVELS[2]][:3]
    rows += [row for row in made_rows((0.4, 0.4, 0, 0.4), (-0.5,) * 4) if row["k_0"] == LEVELS[3]][:4]
    (study,) = task_conflict(write(tmp_path, rows)).studies
    assert [cluster.is_wide for cluster in study.clusters] == [True, True, None, True]


def test_of_many_tasks_the_pair_that_is_most_opposed_counts(tmp_path):
    tasks = ("a", "b", "c")
    rows = made_rows((0.4,) * 4, (0.2,) * 4, tasks=tasks)
    for row in rows:
        row["gradient_cosine"][1] = -0.6  # a and c
    (study,) = task_conflict(write(tmp_path, rows, tasks)).studies
    assert {cluster.pair for cluster in study.clusters} == {("a", "c")}
    assert all(cluster.is_opposed for cluster in study.clusters)
    assert "(a, c)" in conflict_as_html(task_conflict(read_results(tmp_path)))


def test_each_study_is_judged_by_itself(tmp_path):
    rows = made_rows((0.4,) * 4, (-0.5,) * 4, study="open <b>", model="hps")
    others = made_rows((0,) * 4, (0.5,) * 4, study="still")
    rows += [row | {"trial_id": f"{i:04x}feed"} for i, row in enumerate(others)]
    conflict, sentences = answer(write(tmp_path, rows))
    assert [study.study for study in conflict.studies] == ["open <b>", "still"]
    assert sentences[0].startswith("open <b>: The tasks conflict at every")
    assert sentences[1].startswith("still: No conflict")
    page = conflict_as_html(conflict)
    assert "open &lt;b&gt;" in page
    assert "<b>" not in page
    names = {trace.name for trace in conflict_figure(read_results(tmp_path)).data}
    assert {"open &lt;b&gt;", "still"} <= names


@pytest.mark.parametrize("case", ["no sparsity", "one task", "dense", "empty"])
def test_sweeps_that_do_not_ask_it(tmp_path, case):
    tasks = ("only",) if case == "one task" else TWO_TASKS
    rows = [trial_row(i, k, tasks) for i, k in enumerate(preference_grid(len(tasks), 12))]
    changes = {}
    if case == "no sparsity":
        changes = {
            "objectives": [{"name": t, "column": f"loss.validation.{t}", "sense": "min"} for t in tasks],
            "hypervolume_reference": None,
        }
    if case == "dense":
        rows = [row for row in rows if row["k_0"] == 0]
    table = write(tmp_path, [] if case == "empty" else rows, tasks, **changes)
    assert task_conflict(table) is None
    with pytest.raises(ValueError, match="expects two tasks, a sparsity objective"):
        conflict_figure(table)
    assert 'id="conflict-title"' not in write_report(tmp_path).read_text(encoding="utf-8")


def test_files_of_earlier_versions_lack_the_column(tmp_path):
    rows = made_rows((0, 0, 0.4, 0.4), None)
    write_manifest(tmp_path, TWO_TASKS, hypervolume_reference=None)
    write_plan(tmp_path, rows)
    schema = row_schema(TWO_TASKS)
    write_parquet(tmp_path / "trials.parquet", rows, schema.remove(schema.get_field_index("gradient_cosine")))
    table = read_results(tmp_path)
    conflict = task_conflict(table)
    assert {cluster.is_opposed for cluster in conflict.studies[0].clusters} == {None}
    assert {cluster.hypervolume for cluster in conflict.studies[0].clusters} == {None}
    assert [annotation.text for annotation in conflict_figure(table).layout.annotations] == ["Extent / noise limit"]
    assert "Hypervolume" not in conflict_as_html(conflict)


@pytest.mark.full
def test_the_report_begins_with_the_answer(tmp_path):
    table = write(tmp_path, made_rows((0.4,) * 4, (-0.5,) * 4))
    page = write_report(tmp_path).read_text(encoding="utf-8")
    _, (sentence,) = answer(table)
    assert page.index('id="conflict-title"') < page.index('id="front-title"')
    assert sentence in page


def test_the_figure_draws_each_cluster_in_every_panel(tmp_path):
    figure = conflict_figure(write(tmp_path, made_rows((0, 0, 0.4, 0.4), (0.1, 0.0, -0.3, -0.4))))
    assert [annotation.text for annotation in figure.layout.annotations] == ["Extent / noise limit", "Hypervolume", "Cosine of gradients"]
    assert [trace.name for trace in figure.data] == ["left", "right", "main", "main"]
    for trace in figure.data:
        assert list(trace.x) == sorted(trace.x)
        assert len(trace.y) == 4
    assert max(figure.data[0].y[:2]) < 1 < min(figure.data[0].y[2:])
    assert "begin to conflict" in figure.layout.meta["caption"]


def test_a_cluster_without_preferences_has_no_noise(tmp_path):
    table = write(tmp_path, made_rows((0,) * 4, None, n=1))
    noise = training_noise(table.ok, np.arange(1), np.zeros(1, dtype=np.int64))
    assert noise.source == ""
    assert np.isnan(noise.deviations).all()
    _, (sentence,) = answer(table)
    assert sentence == "Whether the tasks conflict cannot be judged: there are too few finished trials."
