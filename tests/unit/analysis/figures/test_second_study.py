"""The second study's figure: sparse networks retrained from scratch against their originals."""

import numpy as np
import pytest
from method_stores import ALL_STUDIES, study, study_rows, table_rows, write_table_store
from synthetic_store import TWO_TASKS

from analysis import nondominated, read_results, second_study_caption, second_study_figure
from analysis.figures.second_study import has_second_study, second_study_pairs

LOSSES = ["loss.validation.left", "loss.validation.right"]


def panels_of(figure):
    """Axes -> traces."""
    found = {}
    for trace in figure.data:
        found.setdefault((trace.xaxis or "x", trace.yaxis or "y"), []).append(trace)
    return found


def titles_of(figure):
    return [annotation.text for annotation in figure.layout.annotations]


def test_one_panel_a_model_and_one_with_all_fronts(tmp_path):
    write_table_store(tmp_path)
    table = read_results(tmp_path)
    figure = second_study_figure(table)
    assert titles_of(figure) == ["HPS", "MDMTN", "All fronts"]
    panels = [traces for _, traces in sorted(panels_of(figure).items())]
    assert len(panels) == 3
    for panel, model in zip(panels, ("hps", "mdmtn"), strict=False):
        for kind, name in (("sparse", f"{model}-fixed"), ("dense", model)):
            rows = table.ok.frame[(table.ok.frame["study"] == name) & (table.ok.frame["k_0"] == 0)]
            traces = [trace for trace in panel if trace.meta["group"] == kind]
            assert sorted(one for trace in traces for one in trace.customdata) == sorted(rows["trial_id"])
            front = rows[nondominated(rows[LOSSES])].sort_values(LOSSES)
            (stairs,) = [trace for trace in traces if trace.line.shape == "hv"]
            assert list(stairs.x) == front[LOSSES[0]].tolist()
            assert list(stairs.y) == front[LOSSES[1]].tolist()
            assert all(trace.opacity < 0.5 for trace in traces if trace is not stairs)
    assert len(panels[2]) == 4
    assert all(trace.line.shape == "hv" for trace in panels[2])
    axis = figure.layout.xaxis.title.text
    assert axis == "left: validation loss (nats)"


def test_looks_differ_by_symbol_and_dash_not_by_colour_alone(tmp_path):
    write_table_store(tmp_path)
    figure = second_study_figure(read_results(tmp_path))
    lines = [trace for trace in figure.data if trace.showlegend]
    assert len(lines) == 4
    assert len({trace.marker.symbol for trace in lines}) == 4
    assert len({(trace.marker.symbol, trace.line.dash) for trace in lines}) == 4
    assert {trace.line.dash for trace in lines} == {"solid", "dash"}


def test_two_problems_have_the_papers_six_panels(tmp_path):
    write_table_store(tmp_path / "a")
    tasks = ("CIFAR", "MNIST")
    write_table_store(tmp_path / "b", table_rows(tasks=tasks), tasks=tasks, problem={"name": "cifar10mnist"})
    tables = [read_results(tmp_path / name) for name in "ab"]
    figure = second_study_figure(tables)
    assert titles_of(figure) == [
        f"{what} on {where}" for where in ("multimnist", "cifar10mnist") for what in ("HPS", "MDMTN", "All fronts")
    ]
    assert len(panels_of(figure)) == 6
    assert len([trace for trace in figure.data if trace.showlegend]) == 4
    assert figure.layout.xaxis4.title.text == "CIFAR: validation loss (nats)"


def test_problems_with_different_numbers_of_models(tmp_path):
    write_table_store(tmp_path / "a")
    some = [entry for entry in ALL_STUDIES if entry["model"] == "mdmtn"]
    write_table_store(tmp_path / "b", table_rows(some), some, problem={"name": "other"})
    figure = second_study_figure([read_results(tmp_path / name) for name in "ab"])
    assert titles_of(figure)[3:] == ["MDMTN on other", "All fronts on other"]
    assert len(panels_of(figure)) == 5


@pytest.mark.parametrize("n_models", [1, 5, 14])
def test_any_number_of_models(tmp_path, n_models):
    studies = [
        study(f"m{i}{kind}", f"model {i}", method)
        for i in range(n_models)
        for kind, method in (("", "wcal_growl"), ("f", "fixed_architecture"))
    ]
    write_table_store(tmp_path, table_rows(studies, seeds=(0,)), studies)
    figure = second_study_figure(read_results(tmp_path))
    assert len(panels_of(figure)) == n_models + 1
    if n_models < 12:
        looks = {(trace.marker.symbol, trace.marker.color) for trace in figure.data if trace.showlegend}
        assert len(looks) == 2 * n_models


def test_the_original_has_the_same_scalarization_and_nothing_but_k0_0_where_there_is_one(tmp_path):
    studies = [
        study("sum", "hps", "wcal_growl", scalarization="weighted_sum"),
        study("mixed", "hps", "wcal_growl", scalarization="chebyshev_al"),
        study("anchor-runs", "hps", "wcal_growl", scalarization="chebyshev_al"),
        study("dense", "hps", "wcal_growl", scalarization="chebyshev_al"),
        study("fixed", "hps", "fixed_architecture", scalarization="chebyshev_al"),
    ]
    rows = [row for row in table_rows(studies, (0,)) if row["study"] != "dense" or row["k"][0] == 0]
    write_table_store(tmp_path, rows, studies)
    (pair,) = second_study_pairs(read_results(tmp_path))
    assert set(pair.table.ok.frame.iloc[pair.dense]["study"]) == {"dense"}
    write_table_store(tmp_path / "less", [row for row in rows if row["study"] != "dense"], studies)
    (pair,) = second_study_pairs(read_results(tmp_path / "less"))
    assert set(pair.table.ok.frame.iloc[pair.dense]["study"]) == {"mixed"}
    assert (pair.table.ok.frame.iloc[pair.dense]["k_0"] == 0).all()


def test_a_sweep_without_both_sides_has_no_figure(tmp_path):
    write_table_store(tmp_path / "a", table_rows(ALL_STUDIES[:8]), ALL_STUDIES[:8])
    fixed = study("fixed", "hps", "fixed_architecture")
    write_table_store(tmp_path / "b", study_rows(fixed, (0,), 0), (fixed,))
    for name in "ab":
        table = read_results(tmp_path / name)
        assert not has_second_study([table])
        with pytest.raises(ValueError, match="found none"):
            second_study_figure(table)


def test_three_tasks_draw_the_first_two_and_say_so(tmp_path):
    tasks = ("left", "right", "larger")
    write_table_store(tmp_path, tasks=tasks)
    table = read_results(tmp_path)
    assert second_study_figure(table).layout.yaxis.title.text == "right: validation loss (nats)"
    assert "the first two of the sweep" in second_study_caption(table)


def test_the_caption_tells_the_sparsity_and_names_are_escaped(tmp_path):
    studies = [study("a", "<b>x</b>", "wcal_growl"), study("f", "<b>x</b>", "fixed_architecture")]
    write_table_store(tmp_path, table_rows(studies, (0,)), studies)
    table = read_results(tmp_path)
    assert "Zero rows of the sparse networks: <b>x</b> 50.0 %." in second_study_caption(table)
    figure = second_study_figure(table)
    assert titles_of(figure)[0] == "&lt;b&gt;x&lt;/b&gt;"
    assert all("<b>x" not in trace.name for trace in figure.data)


def test_pairs_leave_out_what_did_not_finish(tmp_path):
    rows = table_rows()
    failed = next(row for row in rows if row["study"] == "hps-fixed")
    failed |= {"state": "diverged", "loss.validation.left": np.nan}
    write_table_store(tmp_path, rows)
    table = read_results(tmp_path)
    pair = second_study_pairs(table)[0]
    assert failed["trial_id"] not in table.ok.frame.iloc[pair.sparse]["trial_id"].tolist()
    assert len(pair.sparse) == 8
    assert pair.columns == [f"loss.validation.{task}" for task in TWO_TASKS]
