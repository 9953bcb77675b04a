"""Trials of methods without a preference vector: k and every k_i are null, and nothing in this room minds."""

import csv
import io
import json

import pytest
from method_stores import ALL_STUDIES, table_rows, write_table_store

from analysis import (
    cluster_table,
    front_2d_projection,
    front_3d,
    label_points,
    parallel_objectives,
    read_results,
    scatter_matrix,
    summary,
    write_report,
)
from analysis.decide.front import front_text
from analysis.figures.base import clusters_of
from analysis.figures.style import hover_texts
from analysis.formatting import preference_text

WITHOUT = tuple(entry for entry in ALL_STUDIES if entry["method"] in ("stl", "mgda"))
MIXED = tuple(entry for entry in ALL_STUDIES if entry["name"] in ("hps", "stl", "hps-mgda"))


@pytest.fixture(params=[WITHOUT, MIXED], ids=["no trial has k", "some have k"])
def folder(request, tmp_path):
    write_table_store(tmp_path, table_rows(request.param), request.param)
    return tmp_path


def test_they_are_read_labelled_and_described(folder):
    table = read_results(folder)
    assert table.counts["ok"] == len(table.frame)
    labels = label_points(table)
    without = table.frame["k_0"].isna()
    assert without.sum() == 6
    assert (labels["group"][without] == "dense").all()
    assert summary(table)["n_front"] == labels["kept"].sum()
    assert cluster_table(table, labels)["n_points"].sum() == labels["kept"].sum()
    assert {preference_text(k) for k in table.frame["k"][without]} == {"none"}


def test_they_are_drawn_and_say_that_they_have_no_k(folder):
    table = read_results(folder)
    texts = hover_texts(table, table.ok.frame)
    assert sum("k = none" in text for text in texts) == 6
    for draw in (front_3d, front_2d_projection, parallel_objectives, scatter_matrix):
        drawn = {row for trace in draw(table, everything=True).data for row in trace.customdata if row is not None}
        assert drawn == set(range(len(table.ok.frame)))
    assert "k0 = 0 or no k" in [cluster.name for cluster in clusters_of(table, None, everything=True)]


def test_front_prints_them(folder):
    assert " none " in front_text(folder, 1e9, "table", "absolute")
    records = json.loads(front_text(folder, 1e9, "json", "absolute"))
    assert sum(record["k"] is None for record in records) == 6
    lines = list(csv.DictReader(io.StringIO(front_text(folder, 1e9, "csv", "absolute"))))
    assert sum(line["k"] == "" for line in lines) == 6


def test_the_report_embeds_them(folder):
    page = write_report(folder).read_text(encoding="utf-8")
    data = json.loads(page.split('id="report-data">')[1].split("</script>")[0])
    k = data["columns"].get("k", {"all": None})
    cells = k if isinstance(k, list) else [k["all"]] * data["n_rows"]
    assert sum(one is None for one in cells) == 6
    assert 'id="methods"' in page
