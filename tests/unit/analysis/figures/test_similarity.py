"""The similarity maps: which rows, how alike, under which title, from the stored weights alone."""

import subprocess
import sys

import numpy as np
import pytest
from network_stores import made_tensors, write_network_store

from analysis import ResultsError, draw_figure, read_results
from analysis.figures.similarity import MAX_ROWS, similarity, similarity_figure
from analysis.results.weights import find_trial, read_pruned_layers


def test_equal_rows_are_1_opposite_rows_are_minus_1_and_length_counts():
    rows = np.array([[3.0, 4.0], [3.0, 4.0], [-3.0, -4.0], [6.0, 8.0], [4.0, -3.0], [0.0, 0.0]])
    found = similarity(rows)
    assert found[0, :5].tolist() == [1.0, 1.0, -1.0, 0.5, 0.0]
    assert np.array_equal(found, found.T, equal_nan=True)
    assert np.isnan(found[5]).all()


def test_it_is_what_tying_clusters_by():
    import torch

    from trainer.objectives.tying import similarity as of_trainer

    rows = np.random.default_rng(0).normal(size=(9, 5))
    assert similarity(rows) == pytest.approx(of_trainer(torch.from_numpy(rows)), abs=1e-12)


def test_the_layers_are_named_as_the_paper_names_them(tmp_path):
    rows = write_network_store(tmp_path)
    layers = read_pruned_layers(read_results(tmp_path), rows[1]["trial_id"])
    named = [(layer.component, layer.kind, layer.position, len(layer.rows), layer.sparsity) for layer in layers]
    assert named == [
        ("Shared network", "Convolutional", 2, 4, 0.0),
        ("Shared network", "Linear", 3, 5, 0.2),
        ("Monitor (right)", "Linear", 2, 700, 0.0),
    ]
    assert layers[0].rows[1].tolist() == made_tensors()["trunk.3.weight"][:, 1].ravel().astype(float).tolist()
    assert layers[1].rows[3].tolist() == (-layers[1].rows[0]).tolist()


def test_other_networks_have_names_too(tmp_path):
    rng = np.random.default_rng(0)
    names = ("network.trunk.3.weight", "trunks.0.3.weight", "attentions.1.last.0.weight", "my <net>.5.weight")
    tensors = {name: rng.normal(size=(3, 4)).astype(np.float32) for name in names}
    rows = write_network_store(tmp_path, tensors, growl_layers=list(names))
    layers = read_pruned_layers(read_results(tmp_path), rows[1]["trial_id"])
    assert [layer.component for layer in layers] == ["Shared network", "Network (left)", "Attention (right)", "my &lt;net&gt;"]


def test_the_maps_have_one_range_and_say_what_they_leave_out(tmp_path):
    rows = write_network_store(tmp_path)
    figure = similarity_figure(read_results(tmp_path), rows[1]["trial_id"])
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (-1, 1)
    titles = [annotation.text for annotation in figure.layout.annotations]
    assert titles == [
        "Shared network | Convolutional | 2 | 0.0 %<br><sup>4 of 4 rows survive</sup>",
        "Shared network | Linear | 3 | 20.0 %<br><sup>4 of 5 rows survive</sup>",
        "Monitor (right) | Linear | 2 | 0.0 %<br><sup>700 of 700 rows survive, one of 3 is shown</sup>",
    ]
    conv, linear, monitor = figure.data
    assert len(conv.z) == 4  # no band where nothing is suppressed
    assert len(linear.z) == 5
    assert list(linear.z[0][:3]) == [1.0, 1.0, -1.0]  # rows 0, 1 and 3
    assert set(linear.z[4]) == {row[4] for row in linear.z} == {None}
    assert tuple(figure.layout.xaxis2.ticktext) == ("1", "2", "4", "zero")
    assert len(monitor.z) == -(-700 // 3) <= MAX_ROWS
    caption = figure.layout.meta["caption"]
    assert rows[1]["trial_id"] in caption
    assert "down-sampled" in caption


def test_a_layer_without_a_surviving_row_is_all_band(tmp_path):
    tensors = made_tensors(7)
    tensors["trunk.3.weight"][:] = 0
    rows = write_network_store(tmp_path, tensors)
    conv = similarity_figure(read_results(tmp_path), rows[1]["trial_id"]).data[0]
    assert [list(line) for line in conv.z] == [[None]]


def test_without_a_name_the_sparsest_good_model_is_shown(tmp_path):
    write_network_store(tmp_path)
    with pytest.raises(ResultsError, match=r"the weights of trial .* are not in this folder"):
        similarity_figure(read_results(tmp_path))  # its weights are not among these


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("unknown", r"no trial is called ffff\n  hint: `sweep front .*` lists trials, for example 0000c0ffee0000"),
        ("several", "12 trials begin with 000"),
        ("nameless", r"its row names no weights\n  hint: choose another trial"),
        ("missing", "are not in this folder"),
        ("damaged", "damaged, its content is not what its name says"),
        ("foreign", "not a network that this program stored"),
        ("unpruned", "its network has no layer that GrOWL may prune"),
    ],
)
def test_what_is_not_there_is_said_clearly(tmp_path, case, message):
    rows = write_network_store(tmp_path, growl_layers=[] if case == "unpruned" else ["trunk.3.weight"])
    path = tmp_path / "blobs" / rows[1]["weights_sha256"]
    if case == "damaged":
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    if case == "foreign":
        import hashlib

        from synthetic_store import TWO_TASKS, write_parquet

        from sweep.store.schema import row_schema

        rows[1]["weights_sha256"] = hashlib.sha256(b"other").hexdigest()
        path.with_name(rows[1]["weights_sha256"]).write_bytes(b"other")
        write_parquet(tmp_path / "trials.parquet", rows, row_schema(TWO_TASKS))
    trial = {"unknown": "ffff", "several": "000", "nameless": rows[2]["trial_id"], "missing": rows[3]["trial_id"]}.get(
        case, rows[1]["trial_id"]
    )
    with pytest.raises(ResultsError, match=message):
        draw_figure(read_results(tmp_path), "similarity", trial)


def test_a_trial_may_be_named_by_its_beginning(tmp_path):
    rows = write_network_store(tmp_path)
    assert find_trial(read_results(tmp_path), rows[1]["trial_id"][:5]) == rows[1]["trial_id"]


@pytest.mark.full
def test_neither_torch_nor_the_trainer_is_needed(tmp_path):
    rows = write_network_store(tmp_path)
    code = f"""
import sys
from analysis import draw_figure, read_results
draw_figure(read_results({str(tmp_path)!r}), "similarity", {rows[1]["trial_id"]!r})
print(sorted({{'torch', 'ray', 'sweep', 'trainer'}} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
