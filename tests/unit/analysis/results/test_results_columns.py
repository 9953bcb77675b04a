"""The table of columns: the stored schema is made from it, and names are built and taken apart by it alone."""

import hashlib

import pytest

from analysis.results import columns
from sweep.store.schema import NESTED, epoch_schema, row_schema

TASKS = ("left", "a.b {task}")
STORED = {
    "row_schema": "887017b52cd023a128e94e5573ba9dfbcbe7da4f13969fc06e0a516b26e28819",
    "epoch_schema": "61dc7b659373dca13345415dbb7fd359e1629be84361169250478303e99d697d",
}
"""SHA-256 of `name: type`, a line each, of the schemas of version 3 for the tasks left and right."""


def test_the_stored_schema_of_version_3_stays_as_it_is():
    """Another digest means other files: raise SCHEMA_VERSION, or add the column to LATER_COLUMNS, and pin the new digest here."""
    for make in (row_schema, epoch_schema):
        schema = make(("left", "right"))
        text = "\n".join(f"{field.name}: {field.type}" for field in schema)
        assert hashlib.sha256(text.encode()).hexdigest() == STORED[make.__name__]
        assert schema.metadata == {b"schema_version": b"3", b"product": b"pareto-sweep"}


@pytest.mark.parametrize("listed", [columns.ROW_COLUMNS, columns.EPOCH_COLUMNS])
def test_every_column_is_listed_once_with_a_meaning(listed):
    names = [column.name for column in listed]
    assert len(set(names)) == len(names)
    assert all(column.meaning for column in listed)


def test_families_have_a_column_for_each_split_and_task():
    names = [column.name for column in columns.row_columns(TASKS)]
    assert len(set(names)) == len(names)
    assert set(columns.share_columns(2)) == {name for name in names if name.startswith("k_")}
    for split in columns.SPLITS:
        for task in TASKS:
            assert {columns.loss_column(split, task), columns.accuracy_column(split, task), columns.metric_column(split, task)} <= set(
                names
            )
        assert columns.accuracy_column(split) in names
    assert {columns.wall_column(phase) for phase in (None, *columns.PHASES)} <= set(names)
    in_epochs = [column.name for column in columns.epoch_columns(TASKS)]
    assert columns.accuracy_column("validation") not in in_epochs
    assert columns.loss_column("test", "left") not in in_epochs


def test_a_name_is_taken_apart_as_it_was_built():
    for task in TASKS:
        assert columns.task_of(columns.metric_column("test", task)) == task
    assert columns.is_of("loss", columns.loss_column("train", "left"))
    assert not columns.is_of("loss", columns.loss_column("train", "left"), "test")


def test_kinds_are_those_of_the_list():
    assert {column.name: columns.kind_of(column.name) for column in columns.row_columns(TASKS)} == {
        column.name: column.kind for column in columns.row_columns(TASKS)
    }
    assert (columns.kind_of("loss.other.task"), columns.kind_of("wall_s_other"), columns.kind_of("mine")) == ("real", "real", None)
    assert set(NESTED) == set(columns.columns_of("texts", "numbers", "number_mapping", "text_mapping"))
