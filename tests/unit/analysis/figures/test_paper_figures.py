"""The figures of the paper by name, each from a made-up store."""

import numpy as np
import pytest
from network_stores import write_network_store
from synthetic_store import TWO_TASKS, write_manifest, write_store

from analysis import ResultsError, cluster_table, draw_figure, label_points, read_results
from analysis.figures.catalog import FIGURES, figure_list
from analysis.figures.samples import Samples, samples_figure
from analysis.measures.labels import DENSE, SPARSE

OF_ANY_STORE = [name for name, entry in FIGURES.items() if entry.takes is None and name not in ("second-study", "attainment")]


def samples(n=7):
    pictures = np.zeros((n, 4, 6, 3), dtype=np.uint8)
    pictures[:, 0, 0] = (255, 0, 0)
    return Samples(pictures, {"left": [str(i) for i in range(n)], "a <b>": ["<cat>"] * n})


def test_every_figure_has_a_line_in_the_list():
    lines = figure_list().splitlines()
    assert [line.split()[0] for line in lines] == list(FIGURES)
    assert all(entry.about in line for entry, line in zip(FIGURES.values(), lines, strict=True))


@pytest.mark.parametrize("name", OF_ANY_STORE)
def test_every_figure_is_drawn_and_says_what_is_missing(store, tmp_path, name):
    figure = draw_figure(read_results(store(n_trials=40)), name)
    assert len(figure.data)
    write_manifest(tmp_path / "empty", TWO_TASKS)
    with pytest.raises(ResultsError, match="no trial has a usable result yet"):
        draw_figure(read_results(tmp_path / "empty"), name)


def test_attainment_needs_two_seeds(tmp_path):
    write_store(tmp_path / "one", 12)
    with pytest.raises(ResultsError, match="at least two seeds"):
        draw_figure(read_results(tmp_path / "one"), "attainment")


def test_a_figure_that_does_not_fit_the_sweep_is_refused_with_the_reason(tmp_path):
    write_store(tmp_path / "one", 12, tasks=("only",))
    table = read_results(tmp_path / "one")
    for name, reason in (
        ("front-3d", "three objectives"),
        ("front", "three objectives"),
        ("conflict", "two tasks"),
        ("second-study", "found none"),
    ):
        with pytest.raises(ResultsError, match=rf"figure {name} cannot be drawn: .*{reason}.*\n  hint: `sweep figure --list`"):
            draw_figure(table, name)
    assert len(draw_figure(table, "front-2d").data)


def test_a_trial_is_refused_where_the_figure_is_of_the_sweep(store):
    with pytest.raises(ResultsError, match="figure front-2d shows the whole sweep, found trial = 0001"):
        draw_figure(read_results(store(n_trials=12)), "front-2d", "0001")


def test_figure_2_has_the_same_points_in_space_and_above_and_its_table(store):
    table = read_results(store(n_trials=40))
    labels = label_points(table)
    figure = draw_figure(table, "front")
    kinds = [trace.type for trace in figure.data]
    assert kinds.count("table") == 1
    space = sorted(row for trace in figure.data if trace.type == "scatter3d" for row in trace.customdata)
    above = sorted(row for trace in figure.data if trace.type == "scatter" for row in trace.customdata)
    kept = np.flatnonzero(labels["kept"])
    assert above == kept.tolist()
    assert space == [row for row in kept if labels["group"][row] == SPARSE]
    legend = [trace.name for trace in figure.data if trace.type != "table" and trace.showlegend is not False]
    assert len(legend) == len(set(legend))
    lines = figure.data[-1].cells.values
    assert list(lines[2]) == [str(n) for n in cluster_table(table, labels)["n_points"]]


def test_the_table_of_clusters_is_that_of_the_front(store):
    table = read_results(store(n_trials=40))
    (trace,) = draw_figure(table, "clusters").data
    expected = cluster_table(table, label_points(table))
    columns = dict(zip([title.strip("</b>") for title in trace.header.values], trace.cells.values, strict=True))
    assert list(columns["Trial"]) == expected["trial_id"].tolist()
    assert columns["Cluster"][0] == "k0 = 0"
    assert list(columns["Test accuracy"]) == [f"{100 * value:.2f} %" for value in expected["accuracy"]]


def test_figure_3_has_two_colours(store):
    table = read_results(store(n_trials=40))
    labels = label_points(table)
    sparse, dense = draw_figure(table, "sparse-dense").data
    for trace, group in ((sparse, SPARSE), (dense, DENSE)):
        rows = np.flatnonzero(labels["kept"] & (labels["group"] == group)).tolist()
        assert list(trace.customdata) == rows
        assert list(trace.x) == table.ok.frame["loss.validation.left"][rows].tolist()
        assert list(trace.y) == table.ok.frame["loss.validation.right"][rows].tolist()
    assert dense.marker.color == "#000000"
    assert sparse.marker.color != dense.marker.color
    assert sparse.name == f"k0 > 0, {len(sparse.x)} points"


def test_samples_have_their_labels_below_and_no_name_is_markup(store):
    figure = samples_figure(read_results(store(n_trials=12)), samples(7))
    assert len(figure.layout.images) == len(figure.layout.annotations) == 7
    assert all(image.source.startswith("data:image/png;base64,") for image in figure.layout.images)
    assert figure.layout.annotations[3].text == "left: <b>3</b><br>a &lt;b&gt;: <b>&lt;cat&gt;</b>"
    tops = [image.y for image in figure.layout.images]
    assert tops[0] == tops[4] > tops[5] == tops[6]


def test_a_sample_is_drawn_pixel_by_pixel(store):
    import base64
    import io

    from PIL import Image

    image = samples_figure(read_results(store(n_trials=12)), samples(1)).layout.images[0]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(image.source.partition(",")[2]))))
    assert pixels.shape == (200, 300, 3)
    assert (pixels[:50, :50] == (255, 0, 0)).all()
    assert not pixels[50:].any()


@pytest.mark.parametrize(
    "wrong", [None, Samples(np.zeros((0, 2, 2, 3), np.uint8), {}), Samples(np.zeros((2, 2, 2, 3), np.uint8), {"a": ["1"]})]
)
def test_samples_that_are_none_are_refused(store, wrong):
    with pytest.raises(ResultsError, match="expects"):
        draw_figure(read_results(store(n_trials=12)), "samples", samples=wrong)


def test_the_similarity_of_a_trial_is_drawn_by_name(tmp_path):
    rows = write_network_store(tmp_path)
    assert len(draw_figure(read_results(tmp_path), "similarity", rows[1]["trial_id"]).data) == 3
