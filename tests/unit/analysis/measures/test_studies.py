"""One front holds trials of one scaling; everything else is refused with the reason and the remedy."""

import pytest
from synthetic_store import TWO_TASKS, trial_row, write_manifest, write_row

from analysis import ResultsError, label_points, read_results, summary, write_report
from analysis.decide.front import front_text

ONES = [1.0, 1.0, 1.0]


def write_scalings(folder, *scalings):
    """One trial a dict of changes."""
    write_manifest(folder, TWO_TASKS)
    for number, changes in enumerate(scalings):
        write_row(folder, trial_row(number, [0.01, 0.5, 0.49], TWO_TASKS, **changes), TWO_TASKS)
    return read_results(folder)


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        ({"anchors": ONES}, {"anchors": [1.0, 2.3, 2.3]}, r"anchors \(1, 2.3, 2.3\): 1 trial \(0001c0ffee0001\)"),
        ({"anchors": ONES}, {"anchors": [1.0, 1.0, 1.002]}, r"anchors \(1, 1, 1.002\)"),
        ({"anchors": ONES}, {"anchors": [1.0, 1.0]}, r"anchors \(1, 1\)"),
        ({"anchors": ONES}, {"anchors": ONES, "reference_point": [0.0, 0.1, 0.0]}, r"reference point \(0, 0.1, 0\): 1 trial"),
        (
            {"anchors": ONES, "reference_point": [0.0, 0.1, 0.0]},
            {"anchors": ONES, "reference_point": [0.0, 0.2, 0.0]},
            r"reference point \(0, 0.2, 0\): 1 trial",
        ),
    ],
)
def test_rows_of_different_scalings_have_no_common_front(tmp_path, left, right, message):
    table = write_scalings(tmp_path, left, right)
    with pytest.raises(ResultsError, match=message) as caught:
        label_points(table)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path}: study 'main' mixes trials of 2 scalings")
    assert "hint: keep one scaling a folder" in text
    assert ("anchors" in text) == ("anchors" in message)


def test_report_front_and_summary_refuse_alike_and_leave_no_file(tmp_path):
    table = write_scalings(tmp_path, {"anchors": ONES}, {"anchors": [9.0, 1.0, 1.0]})
    for refused in (lambda: write_report(tmp_path), lambda: front_text(tmp_path, 0.0, "table"), lambda: summary(table)):
        with pytest.raises(ResultsError, match="mixes trials of 2 scalings"):
            refused()
    assert not (tmp_path / "report.html").exists()
    assert len(table.frame) == 2  # reading such a folder works, so that it can be looked at


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"anchors": ONES}, {"anchors": [1.0, 1.0005, 1.0]}),
        ({"anchors": ONES}, {"anchors": ONES, "reference_point": [0.0, 0.0, 0.0]}),
        ({"anchors": ONES}, {"anchors": None}),
        ({"anchors": ONES, "study": "a"}, {"anchors": [9.0, 1.0, 1.0], "study": "b"}),
        ({"anchors": ONES}, {"anchors": [9.0, 1.0, 1.0], "state": "diverged"}),
        ({"anchors": None, "reference_point": [0.0, 1.0, 0.0]}, {"anchors": None}),
    ],
)
def test_rows_that_are_alike_or_not_compared(tmp_path, left, right):
    assert label_points(write_scalings(tmp_path, left, right))["kept"].any()


def test_many_scalings_are_counted_and_the_largest_named_first(tmp_path):
    scalings = [{"anchors": [float(i), 1.0, 1.0]} for i in (1, 1, 1, 1, 1, 2, 2, 3, 4, 5, 6, 7)]
    with pytest.raises(ResultsError, match="mixes trials of 7 scalings") as caught:
        label_points(write_scalings(tmp_path, *scalings))
    lines = str(caught.value).splitlines()
    assert lines[1].startswith("  anchors (1, 1, 1): 5 trials (0000c0ffee0000, 0001c0ffee0001, 0002c0ffee0002, ...)")
    assert "  and 2 more" in lines
