"""A list of problems in one grid file is one config a problem: its own name and output, everything else shared."""

from pathlib import Path
from typing import Any

import pytest

from sweep.grid.load import ConfigError, dump_config, load_config, load_configs, parse_config, parse_configs
from trainer.catalog import PROBLEMS

SMALL = {"name": "multidigits", "n_train": 64}
LATTICE = {"simplex": {"divisions": 4}}


def write(folder: Path, text: str, name: str = "grid.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def facts_of(configs: Any) -> list[tuple[str, str, str]]:
    return [(config.name, config.output, config.problem.name) for config in configs]


def test_each_problem_has_a_name_and_a_folder(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        f"name: theory\nproblem: [multidigits, analytic/zdt1, {{name: multidigits, n_train: 64}}]\nseeds: [3]\npreferences: {LATTICE}\n",
    )
    configs = load_configs(path)
    assert facts_of(configs) == [
        ("theory-multidigits", "results/theory/multidigits", "multidigits"),
        ("theory-zdt1", "results/theory/zdt1", "analytic/zdt1"),
        ("theory-multidigits-2", "results/theory/multidigits-2", "multidigits"),
    ]
    assert [config.seeds for config in configs] == [(3,)] * 3
    assert [getattr(config.problem.options, "n_train", None) for config in configs] == [3000, None, 64]
    assert [config.output for config in load_configs(path, out=tmp_path / "there")] == [
        str(tmp_path / "there" / name) for name in ("multidigits", "zdt1", "multidigits-2")
    ]


def test_each_config_is_the_grid_file_of_a_single_sweep(tmp_path: Path) -> None:
    configs = load_configs(write(tmp_path, f"problem: [multidigits, analytic/zdt2]\npreferences: {LATTICE}\nreference_point: auto\n"))
    for config in configs:
        again = load_config(write(tmp_path, dump_config(config), "again.yaml"))
        assert again == config
        assert again.resolved_studies == config.resolved_studies
        assert parse_config(config.to_json()) == config


def test_a_name_that_is_taken_gets_a_number_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/digits", "b/digits", "digits-2", "c/Digits", "d/we ird?"):
        monkeypatch.setitem(PROBLEMS, name, PROBLEMS["multidigits"])
    configs = parse_configs({"problem": ["a/digits", "digits-2", "b/digits", "c/Digits", "d/we ird?"]}, name="x")
    assert [config.name for config in configs] == ["x-digits", "x-digits-2", "x-digits-3", "x-Digits-4", "x-we-ird-"]


def test_a_list_of_one_is_one_config_with_a_folder_below_the_output() -> None:
    (config,) = parse_configs({"problem": [SMALL], "output": "there"})
    assert (config.name, config.output) == ("sweep-multidigits", "there/multidigits")
    assert parse_config({"problem": [SMALL], "output": "there"}) == config
    (alone,) = parse_configs({"problem": SMALL, "output": "there"})
    assert (alone.name, alone.output) == ("sweep", "there")


def test_a_long_file_name_is_cut_and_a_long_name_is_refused(tmp_path: Path) -> None:
    (config,) = load_configs(write(tmp_path, "problem: [multidigits]\n", "x" * 120 + ".yaml"))
    assert config.name == "x" * 88 + "-multidigits"
    with pytest.raises(ConfigError, match="a name of at most 100"):
        parse_configs({"problem": ["multidigits"], "name": "x" * 90})


def test_an_override_replaces_the_list_as_a_whole(tmp_path: Path) -> None:
    path = write(tmp_path, "problem: [multidigits, multidigits]\nname: a\n")
    (config,) = load_configs(path, override=write(tmp_path, "problem: {name: multidigits, n_train: 64}\n", "one.yaml"))
    assert facts_of([config]) == [("a", "results/a", "multidigits")]
    single = write(tmp_path, "problem: multidigits\n", "single.yaml")
    assert len(load_configs(single, override=path)) == 2


def test_the_model_is_the_first_of_each_problem(tmp_path: Path) -> None:
    configs = load_configs(write(tmp_path, f"problem: [multidigits, analytic/zdt1]\npreferences: {LATTICE}\nstudies: [{{name: a}}]\n"))
    assert [config.model for config in configs] == [PROBLEMS[config.problem.name].models[0] for config in configs]
    assert [config.resolved_studies[0].model for config in configs] == [config.model for config in configs]
    assert parse_config({"problem": "multidigits", "model": None}).model == "mdmtn"
    assert parse_config({"problem": "multidigits", "model": "hps"}).model == "hps"
