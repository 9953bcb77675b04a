"""Vectors added to a grid file: it loads, the old ones come first, every other line stays."""

from pathlib import Path

import pytest

from sweep.grid.append import append_preferences
from sweep.grid.load import load_config, load_configs
from sweep.grid.source.mistakes import ConfigError
from sweep.planning.trials import trials_of

NEW = [(0.25, 0.5, 0.25), (0.0123456789, 0.5, 0.4876543211)]
HEAD = "# a grid\nname: x\nproblem: {name: multidigits, n_train: 512}   # small\n"
TAIL = "seeds: [0]   # one\noutput: results\n"
LAYOUTS = {
    "a name": "preferences: paper   # 90 vectors\n",
    "flow mapping": "preferences: {simplex: {divisions: 3, k0: [0, 0.1]}}   # a lattice\n",
    "flow list": "preferences: {list: [[0.1, 0.4, 0.5], [0.2, 0.4, 0.4]]}   # written out\n",
    "flow list over lines": "preferences: {list: [[0.1, 0.4, 0.5],  # first\n                     [0.2, 0.4, 0.4]  # second\n  ]}\n",
    "block mapping": "preferences:\n  # the lattice\n  simplex:\n    divisions: 3   # steps\n    k0:\n      - 0\n      - 0.1   # last\n\n",
    "block list": "preferences:\n  list:\n    - [0.1, 0.4, 0.5]   # first\n    - [0.2, 0.4, 0.4]   # second\n# then\n",
    "block list of block vectors": "preferences:\n  list:\n  - - 0.1\n    - 0.4\n    - 0.5   # end\n",
    "union in flow": "preferences: [paper, {simplex: {divisions: 7}}]\n",
    "union in blocks": "preferences:\n  - paper\n  - simplex: {divisions: 7}   # more\n",
    "union with a list": "preferences:\n  - list: [[0.1, 0.4, 0.5]]   # own\n  - paper\n",
    "nothing": "",
}


def write(path: Path, preferences: str) -> Path:
    path.write_text(HEAD + preferences + TAIL, encoding="utf-8")
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_result_loads_and_old_trials_keep_their_ids(tmp_path, layout):
    path = write(tmp_path / "grid.yaml", LAYOUTS[layout])
    before = load_config(path)
    assert append_preferences(path, NEW) == 2
    after = load_config(path)
    old = [trial.trial_id for trial in trials_of(before)]
    assert {trial.trial_id for trial in trials_of(after)} > set(old)
    vectors = after.resolved_studies[0].preferences
    assert set(vectors) == {*before.resolved_studies[0].preferences, *NEW}
    assert append_preferences(path, NEW) == 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_comments_and_other_lines_stay(tmp_path, layout):
    path = write(tmp_path / "grid.yaml", LAYOUTS[layout])
    comments = [line.partition("#")[2] for line in path.read_text(encoding="utf-8").splitlines() if "#" in line]
    append_preferences(path, NEW)
    text = path.read_text(encoding="utf-8")
    assert [line.partition("#")[2] for line in text.splitlines() if "#" in line] == comments
    assert text.startswith(HEAD)
    assert text.endswith(TAIL) or layout == "nothing"
    assert [entry.name for entry in tmp_path.iterdir()] == ["grid.yaml"]


def test_a_second_call_goes_on_in_the_same_list(tmp_path):
    path = write(tmp_path / "grid.yaml", LAYOUTS["a name"])
    for vector in NEW:
        append_preferences(path, [vector])
    assert path.read_text(encoding="utf-8").count("list:") == 1


def test_a_study_with_its_own_preferences_is_the_one_that_grows(tmp_path):
    studies = "studies:\n  - {name: a, preferences: {list: [[0.1, 0.4, 0.5]]}}\n  - {name: b, model: hps}\n"
    path = tmp_path / "grid.yaml"
    path.write_text(HEAD + "preferences: {list: [[0, 0.5, 0.5]]}\n" + studies, encoding="utf-8")
    append_preferences(path, NEW, "a")
    sizes = {study.name: len(study.preferences) for study in load_config(path).resolved_studies}
    assert sizes == {"a": 3, "b": 1}
    append_preferences(path, NEW[:1], "b")
    assert {study.name: len(study.preferences) for study in load_config(path).resolved_studies} == {"a": 3, "b": 2}
    with pytest.raises(ConfigError, match="a study with preferences expected"):
        append_preferences(path, NEW, "c")


def test_every_sweep_of_a_list_of_problems_grows(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text("problem: [analytic/zdt1, analytic/zdt2]\npreferences: {simplex: {divisions: 4}}\n", encoding="utf-8")
    append_preferences(path, [(0.1, 0.9)])
    assert [len(config.resolved_studies[0].preferences) for config in load_configs(path)] == [4, 4]


@pytest.mark.parametrize("vectors", [[(0.5, 0.5)], [(0.5, 0.5, 0.5)], [(1.5, -0.25, -0.25)]])
def test_vectors_that_do_not_fit_change_nothing(tmp_path, vectors):
    path = write(tmp_path / "grid.yaml", LAYOUTS["flow list"])
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="cannot be added here"):
        append_preferences(path, vectors)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["grid.yaml"]


def test_an_alias_that_another_study_shares_is_left_alone(tmp_path):
    """The list stands elsewhere in the file; what cannot be added safely is handed back to add by hand."""
    path = tmp_path / "grid.yaml"
    text = HEAD + "studies:\n  - {name: a, preferences: &k {list: [[0.1, 0.4, 0.5]]}}\n  - {name: b, model: hps, preferences: *k}\n"
    path.write_text(text, encoding="utf-8")
    append_preferences(path, NEW, "b")
    sizes = {study.name: len(study.preferences) for study in load_config(path).resolved_studies}
    assert sizes == {"a": 3, "b": 3}


def test_windows_line_ends_stay(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_bytes((HEAD + LAYOUTS["block list"] + TAIL).replace("\n", "\r\n").encode())
    append_preferences(path, NEW)
    raw = path.read_bytes()
    assert raw.count(b"\n") == raw.count(b"\r\n")
    assert len(load_config(path).resolved_studies[0].preferences) == 4


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        append_preferences(tmp_path / "none.yaml", NEW)
