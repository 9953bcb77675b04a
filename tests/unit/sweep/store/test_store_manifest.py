"""The manifest: which sweep a folder belongs to, and what may change in it."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from example_store import manifest_of_a_sweep, row_of

from sweep.store.manifest import box_by_rule
from sweep.store.store import Store, StoreError


def test_a_new_folder_has_no_manifest_and_nothing_complete(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    assert store.manifest() is None
    assert store.complete() == {}
    for nothing in (store.unreadable(), store.checkpoints(), store.live()):
        assert nothing == []
    assert store.latest_plan() is None
    assert store.next_attempt() == 1
    assert not store.root.exists()


def test_the_manifest_is_kept_as_given(store: Store) -> None:
    assert store.manifest() == manifest_of_a_sweep()
    assert {path.name for path in store.root.iterdir()} == {"manifest.json", "plans", "rows", "epochs", "blobs", "live", "checkpoints"}


def test_the_same_sweep_may_come_again_under_another_name(store: Store) -> None:
    store.create(manifest_of_a_sweep(name="other", created="2027-01-01T00:00:00+00:00", hypervolume_reference=[1.0, 1.0, 1.0]))
    assert store.manifest() == manifest_of_a_sweep()


def test_another_sweep_is_refused_with_every_difference_and_both_values(store: Store) -> None:
    other = manifest_of_a_sweep(
        problem={"name": "multidigits", "options": {"n_train": 4000, "seed": 1}, "fingerprint": "cd34"},
        studies=[{"name": "main", "model": "mdmtn", "method": "wcal_growl", "after": None, "training": {"epochs": 5}}],
    )
    with pytest.raises(StoreError) as refused:
        store.create(other)
    for line in (
        "problem.options.n_train: 3000 in the folder, 4000 asked for",
        "problem.options.seed: nothing in the folder, 1 asked for",
        "studies.main.training.epochs: 3 in the folder, 5 asked for",
        "hint: choose another `output`",
    ):
        assert line in str(refused.value)
    assert store.manifest() == manifest_of_a_sweep()


def test_the_same_data_may_lie_elsewhere(store: Store) -> None:
    """The fingerprint covers the data and every option that matters; where the files lie does not."""
    store.create(manifest_of_a_sweep(problem={"name": "multidigits", "options": {"n_train": 3000, "root": "/new"}, "fingerprint": "ab12"}))
    assert store.manifest() == manifest_of_a_sweep()


def test_studies_are_added_and_stay(store: Store) -> None:
    main = manifest_of_a_sweep()["studies"][0]
    dense: dict[str, Any] = {"name": "dense", "model": "hps", "method": "stl", "after": None, "training": {}}
    store.create(manifest_of_a_sweep(studies=[dense]))
    store.create(manifest_of_a_sweep(studies=[main]))
    assert store.manifest() == manifest_of_a_sweep(studies=[main, dense])


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"schema_version": 3}', "nul\0", '{"schema_version": 3, "tasks": ["a", "a"]}'])
def test_a_torn_manifest_is_an_error(store: Store, torn: str) -> None:
    (store.root / "manifest.json").write_text(torn)
    with pytest.raises(StoreError, match=r"manifest\.json"):
        store.manifest()
    assert [finding.path.name for finding in store.verify()] == ["manifest.json"]


def test_a_manifest_of_another_version_is_an_error(store: Store) -> None:
    (store.root / "manifest.json").write_text(json.dumps(manifest_of_a_sweep(schema_version=99)))
    with pytest.raises(StoreError, match="99"):
        store.manifest()
    with pytest.raises(StoreError, match="99"):
        store.create(manifest_of_a_sweep())


def test_results_without_a_manifest_are_an_error(store: Store) -> None:
    store.publish(row_of("a"))
    (store.root / "manifest.json").unlink()
    with pytest.raises(StoreError, match=r"no manifest\.json"):
        Store(store.root).complete()


def test_a_given_box_never_moves_and_that_of_a_placed_front_replaces_the_rule(store: Store) -> None:
    objectives = manifest_of_a_sweep()["objectives"]
    rule = box_by_rule(objectives, [2.5, 2.5])
    ends = replace(rule, ideal=(0.1, 0.2, 0.2), origin="ends")
    given = box_by_rule(objectives, [2.5, 2.5], nadir=[1, 1, 1])
    with pytest.raises(StoreError, match="an ideal better than the nadir"):
        store.settle_hypervolume_box(replace(rule, nadir=(0.0, 1.0, 1.0)))
    assert store.settle_hypervolume_box(rule)
    assert not store.settle_hypervolume_box(box_by_rule(objectives, [3.0, 3.0])), "results and other guesses never change it"
    assert store.settle_hypervolume_box(ends)
    assert not store.settle_hypervolume_box(rule)
    assert store.settle_hypervolume_box(given)
    assert not any(store.settle_hypervolume_box(box) for box in (rule, ends, given))
    assert store.manifest() == manifest_of_a_sweep(hypervolume_box=given.record())
    assert store.settle_hypervolume_box(box_by_rule(objectives, [2.5, 2.5], sparsity="parameters")), "the grid file counts otherwise now"


def test_the_reference_point_is_fixed_once_and_no_part_of_the_identity(tmp_path: Path) -> None:
    store = Store(tmp_path / "auto")
    asked = manifest_of_a_sweep(reference_point="auto", reference_point_values=None)
    store.create(asked)
    for wrong in ([1.0], [0.0, math.inf, 1.0]):
        with pytest.raises(StoreError, match="a reference point has 3 finite values"):
            store.fix_reference_point(wrong)
    store.fix_reference_point([0, 0.5, 0.25])
    store.fix_reference_point([1, 1, 1])
    store.create(asked)
    assert store.manifest() == asked | {"reference_point_values": [0.0, 0.5, 0.25]}


def test_the_first_workers_backend_holds_for_all_and_comes_into_the_manifest(store: Store) -> None:
    def never() -> dict[str, Any]:
        raise AssertionError("it is settled")

    assert store.settle_backend("mdmtn", lambda: {"backend": "packed", "seconds_a_step_and_model": {"packed": 1e-4}}) == "packed"
    assert store.settle_backend("mdmtn", never) == "packed"
    # Two that measure at once: the slower one takes what is there by then.
    assert store.settle_backend("hps", lambda: {"backend": store.settle_backend("hps", lambda: {"backend": "vmap"}) + "?"}) == "vmap"
    store.record_backends()
    assert store.manifest()["backends"]["mdmtn"]["backend"] == "packed"  # type: ignore[index]
    for path in (store.root / "plans").glob("backend-*.json"):
        path.unlink()
    assert store.settle_backend("hps", never) == "vmap"
    assert store.verify() == []
    again = {key: value for key, value in store.manifest().items() if key != "backends"}  # type: ignore[union-attr]
    store.create(again)
    assert set(store.manifest()["backends"]) == {"mdmtn", "hps"}  # type: ignore[index]
