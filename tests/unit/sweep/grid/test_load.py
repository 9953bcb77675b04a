"""A grid file becomes a frozen config with every default; dump and reload is equal; no input is an unhandled exception."""

import json
import re
import subprocess
import sys
from contextlib import suppress
from copy import deepcopy
from importlib.resources import files
from pathlib import Path
from random import Random

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from sweep.grid.load import ConfigError, ProblemConfig, StudyConfig, dump_config, json_schema, load_config, load_configs, parse_config
from sweep.grid.models import GridConfig
from sweep.grid.preferences import paper_grid
from sweep.grid.resolve import resolve
from sweep.planning.trials import trials_of
from trainer.catalog import METHODS, MODELS, PROBLEMS
from trainer.problems.images.multidigits import MultiDigitsOptions
from trainer.settings import GrowlSettings, TrainingSettings

STARTER = Path(str(files("sweep.grid.templates").joinpath("starter.yaml")))

FULL = """\
name: full
problem: {name: multidigits, n_train: 300}
preferences:
  - paper
  - simplex: {divisions: 12, k0: [0, 1e-3]}
  - list: [[0.1, 0.4, 0.5]]
  - file: k.csv
seeds: [0, 1]
training: {learning_rate: 1e-3, growl: {beta1: 0.5, beta2: 1}}
resources: {device: cpu, cpus: 0.5, gpus: 1, memory: 512MiB, pack: 8}
output: ~/out
scaling: anchors
reference_point: [0, 0, 0]
hypervolume_reference: [100, 2.5, 2.5]
studies:
  - {name: last, after: first, preferences: {list: [[0.2, 0.3, 0.5]]}, training: {growl: {beta1: 0.25}}}
  - {name: first, model: hps, seeds: [5]}
"""


def write(folder: Path, text: str, name: str = "grid.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def full(tmp_path):
    write(tmp_path, "0.3,0.3,0.4\n", "k.csv")
    return write(tmp_path, FULL)


def test_a_grid_file_with_one_line_has_every_default(tmp_path):
    config = load_config(write(tmp_path, "problem: multidigits\n", "my grid.yaml"))
    assert config.name == "my-grid"
    assert config.output == "results/my-grid"
    assert config.problem.options == MultiDigitsOptions()
    assert (config.model, config.method, config.seeds, config.scaling) == ("mdmtn", "wcal_growl", (0,), "none")
    assert config.training == TrainingSettings()
    assert config.resources.memory == 1_500_000_000
    assert config.resources.pack == "auto"
    (study,) = config.resolved_studies
    assert (study.name, study.model, study.method, study.after) == ("main", "mdmtn", "wcal_growl", ())
    assert study.preferences == paper_grid()


def test_every_key_is_read(full, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = load_config(full)
    assert config.problem.options == MultiDigitsOptions(n_train=300)
    assert config.training.learning_rate == 1e-3
    assert config.resources.memory == 512 * 2**20
    assert config.resources.pack == 8
    assert config.output == f"{tmp_path}/out"
    assert config.reference_point == (0.0, 0.0, 0.0)
    first, last = config.resolved_studies
    assert (first.name, first.model, first.seeds, len(first.preferences)) == ("first", "hps", (5,), 90 + (22 - 3) + 0 + 1)
    assert (last.name, last.model, last.after, last.preferences) == ("last", "mdmtn", ("first",), ((0.2, 0.3, 0.5),))
    assert first.training == TrainingSettings(learning_rate=1e-3, growl=GrowlSettings(beta1=0.5, beta2=1))
    assert last.training == TrainingSettings(learning_rate=1e-3, growl=GrowlSettings(beta1=0.25, beta2=1))


def test_a_whole_number_may_be_written_with_an_exponent(tmp_path):
    text = "problem: {name: multidigits, n_train: %s}\ntraining: {batch_size: %s}\nseeds: [%s]\nresources: {memory: %s, pack: %s}\n"
    plain = load_config(write(tmp_path, text % (3000, 100, 1, 1_500_000_000, 10)))
    other = load_config(write(tmp_path, text % ("3e3", "100.0", "1e0", "1.5e9", "1e1")))
    assert other == plain
    assert type(other.problem.options.n_train) is int
    assert [trial.trial_id for trial in trials_of(other)] == [trial.trial_id for trial in trials_of(plain)]
    assert dump_config(other) == dump_config(plain)


def with_floats(value):
    """The same values with a float in place of each whole number."""
    if isinstance(value, dict):
        return {key: with_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_floats(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_integer_key_takes_a_float_that_is_whole(name):
    """Of each problem, of the training of the file, of a study and of a candidate, of resources, lattices and seeds."""
    training = TypeAdapter(TrainingSettings).dump_python(TrainingSettings(), mode="json")
    studies = [
        {"name": "search", "training": training, "candidates": [training, training | {"batch_size": 7}], "seeds": [3]},
        {"name": "other", "preferences": [{"simplex": {"divisions": 6}}], "training": training},
    ]
    mapping = {
        "problem": {"name": name, **TypeAdapter(PROBLEMS[name].options).dump_python(PROBLEMS[name].options(), mode="json")},
        "preferences": {"simplex": {"divisions": 21}},
        "training": training,
        "seeds": [0, 5],
        "resources": {"pack": 4, "memory": 10**9, "also": [{"memory": 10**9}]},
        "studies": studies,
    }
    plain, other = parse_config(mapping), parse_config(with_floats(mapping))
    assert other == plain
    assert json.dumps(other.to_json()) == json.dumps(plain.to_json()), "whole numbers, not equal floats"


def test_dump_and_reload_is_equal(full, tmp_path):
    config = load_config(full)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    again = load_config(write(elsewhere, dump_config(config), "other.yaml"))
    assert again == config
    assert again.resolved_studies == config.resolved_studies
    assert parse_config(json.loads(json.dumps(config.to_json()))) == config


texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"), min_size=1, max_size=20)


@pytest.mark.full
@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    output=texts.filter(lambda text: "://" not in text and not text.startswith("~"))
    | st.sampled_from(["1e-3", ".5e3", "true", "~", " ", "0o7", "- a"]),
    rate=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    seeds=st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=4, unique=True),
    parts=st.tuples(st.integers(0, 100), st.integers(0, 100), st.integers(1, 100)),
)
def test_dump_and_reload_is_equal_for_any_values(tmp_path_factory, output, rate, seeds, parts):
    preference = [part / sum(parts) for part in parts]
    mapping = {"name": "1e3", "problem": "multidigits", "output": output, "seeds": seeds, "training": {"learning_rate": rate}}
    config = parse_config(mapping | {"preferences": {"list": [preference]}})
    assert config.output == ("" if output == "~" else output) or output.startswith("~")
    path = tmp_path_factory.mktemp("dump") / "grid.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config


def test_an_override_replaces_key_by_key_and_lists_as_a_whole(full, tmp_path):
    text = "problem: {n_test: 50}\ntraining: {growl: {beta2: 0.75}}\nseeds: [7]\npreferences: {simplex: {divisions: 6}}\n"
    config = load_config(full, override=write(tmp_path, text, "quick.yaml"), out=tmp_path / "there")
    assert config.problem.options == MultiDigitsOptions(n_train=300, n_test=50)
    assert config.training.growl == GrowlSettings(beta1=0.5, beta2=0.75)
    assert config.resolved_studies[1].training.growl == GrowlSettings(beta1=0.25, beta2=0.75)
    assert config.seeds == (7,)
    assert len(config.resolved_studies[0].preferences) == 15
    assert config.output == str(tmp_path / "there")
    assert config.name == "full"


def test_a_file_of_preferences_is_found_beside_the_file_that_names_it(full, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    write(folder, "0.6,0.2,0.2\n", "k.csv")
    override = write(folder, "studies: null\npreferences: {file: k.csv}\n")
    assert load_config(full, override=override).resolved_studies[0].preferences == ((0.6, 0.2, 0.2),)


def test_a_file_of_preferences_is_read_once(full, tmp_path):
    config = load_config(full)
    (tmp_path / "k.csv").unlink()
    assert len(config.resolved_studies) == 2


def test_a_notebook_gives_python_values():
    config = parse_config({"problem": "multidigits", "training": TrainingSettings(batch_size=8), "preferences": ("paper",)}, name="mine")
    assert config.training.batch_size == 8
    assert config.output == "results/mine"


def test_a_config_is_frozen():
    config = parse_config({"problem": "multidigits"})
    with pytest.raises(ValidationError):
        config.model = "hps"  # type: ignore[misc]


def test_rules_between_sections_hold_for_a_grid_made_by_hand_too():
    sweep, mistakes = resolve(GridConfig(problem=ProblemConfig(name="multidigits"), model="mdmtn", seeds=(1, 1)))
    assert sweep is None
    assert [mistake.rule for mistake in mistakes] == ["each seed once expected (it is seeds[0] already)"]
    assert StudyConfig(name="x").seeds is None


def test_a_loaded_sweep_is_resolved_once_and_for_all(tmp_path):
    vectors = tmp_path / "k.csv"
    vectors.write_text("0.2,0.4,0.4\n")
    config = load_config(write(tmp_path, "problem: multidigits\npreferences: {file: k.csv}\n"))
    vectors.unlink()
    assert config.resolved_studies[0].preferences == ((0.2, 0.4, 0.4),)
    assert "resolved_studies" not in config.to_json()
    assert "resolved_studies" not in repr(config)


def test_sections_without_lines_are_empty_and_anchors_work(tmp_path):
    text = (
        "problem: multidigits\ntraining:\n  growl:\n  tying: &t {damping: 0.9}\nresources:\nstudies: [{name: a, training: {tying: *t}}]\n"
    )
    config = load_config(write(tmp_path, text))
    assert config.training.growl == GrowlSettings()
    text = "problem: multidigits\nstudies:\n  - &a {name: a, model: hps}\n  - {<<: *a, name: b}\n"
    assert [study.model for study in load_config(write(tmp_path, text)).resolved_studies] == ["hps", "hps"]


@pytest.mark.parametrize(
    ("memory", "n_bytes"),
    [
        ("1B", 1),
        ("2KB", 2000),
        ("1.5GB", 1_500_000_000),
        ("1 GiB", 2**30),
        ("3mb", 3_000_000),
        ("2KiB", 2048),
        (7, 7),
        ("1.5TiB", 3 * 2**39),
    ],
)
def test_memory_is_in_bytes(memory, n_bytes):
    assert parse_config({"problem": "multidigits", "resources": {"memory": memory}}).resources.memory == n_bytes


def test_studies_come_after_what_they_wait_for():
    studies = [{"name": "c", "after": "b"}, {"name": "a"}, {"name": "b", "after": "a"}, {"name": "d"}]
    config = parse_config({"problem": "multidigits", "studies": studies})
    assert [study.name for study in config.resolved_studies] == ["a", "b", "c", "d"]


def test_a_circle_of_studies_is_named_from_the_first_in_the_file():
    studies = [{"name": "x"}, {"name": "a", "after": ["x", "c"]}, {"name": "b", "after": "a"}, {"name": "c", "after": "b"}]
    with pytest.raises(ConfigError, match=re.escape("studies[1].after: an order without circles expected (a after c after b after a)")):
        parse_config({"problem": "multidigits", "studies": studies})


def test_the_starter_grid_file_loads_and_fits_the_schema():
    from ruamel.yaml import YAML

    config = load_config(STARTER)
    assert len(config.resolved_studies[0].preferences) == 15
    assert config.training == TrainingSettings()
    jsonschema.validate(YAML(typ="safe").load(STARTER.read_text()), json_schema())
    commented = STARTER.read_text().split("# studies:")[1].splitlines()[1:]
    with_studies = "studies:\n" + "\n".join(line.removeprefix("# ") for line in commented)
    assert "name: hps" in with_studies


@pytest.mark.full
def test_the_schema_describes_every_key_for_an_editor(full):
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"].startswith("https://json-schema.org/")
    jsonschema.validate(load_config(full).to_json(), schema)
    assert schema["properties"]["model"]["anyOf"][0]["examples"] == list(MODELS)
    assert schema["properties"]["method"]["enum"] == list(METHODS)
    assert schema["$defs"]["Problem"]["anyOf"][0]["enum"] == list(PROBLEMS)
    growl = schema["$defs"]["GrowlSettings"]
    assert growl["properties"]["beta1"]["minimum"] == 0
    assert growl["additionalProperties"] is False
    undescribed = [
        f"{name}.{key}"
        for name, definition in {**schema["$defs"], "": schema}.items()
        for key, value in definition.get("properties", {}).items()
        if "description" not in value and "description" not in schema["$defs"].get(value.get("$ref", "").rsplit("/", 1)[-1], {})
    ]
    assert undescribed == []
    mapping = {"name": "multidigits", "n_train": 300}
    for good in ({"problem": [mapping]}, {"problem": ["multidigits", mapping] * 500}, {"problem": mapping, "reference_point": "auto"}):
        jsonschema.validate(good, schema)
    for bad in (
        {"problem": "multidigits", "modle": "hps"},
        {"problem": {"name": "multidigits", "n_trian": 3}},
        {"problem": []},
        {"problem": ["multidigits"] * 1001},
        {"problem": ["multidigits", {"name": "multidigits", "n_trian": 3}]},
        {"problem": "multidigits", "reference_point": "none"},
        {},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)


def test_changing_a_returned_schema_changes_nothing():
    json_schema()["properties"].clear()
    assert json_schema()["properties"]


def test_importing_is_light():
    heavy = {"torch", "ray", "numpy", "pandas", "pyarrow"}
    code = f"import sys; import sweep.grid.load; found = {heavy} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)


def config_or_error(path: Path) -> str:
    """What a reading ends with; any other exception fails the test."""
    try:
        configs = load_configs(path)
    except ConfigError as error:
        return "error" if error.mistakes and str(error).startswith("Error: ") else "empty error"
    for config in configs:
        assert load_config(write(path.parent, dump_config(config), "again.yaml")) == config
    return "config"


SPICE = [b"\x00", b"\xff", b"\t", b"\n", b": ", b"- ", b"[", b"]", b"{", b"}", b"&a ", b"*a", b"!!python/object:os.system ", b"|", b">"]
SPICE += [
    b'"',
    b"'",
    b"%",
    b"#",
    b"? ",
    b"<<: ",
    b"---\n",
    b"...\n",
    b"1e999",
    b".nan",
    b"~",
    b"\\ud800",
    b"\xc2\x85",
    b"\xef\xbb\xbf",
    b"9" * 5000,
]


SEVERAL = FULL.replace("{name: multidigits, n_train: 300}", "[{name: multidigits, n_train: 300}, multidigits]").replace("[0, 0, 0]", "auto")


@pytest.mark.full
@pytest.mark.parametrize("text", [FULL, STARTER.read_text(), SEVERAL])
def test_no_bytes_are_an_unhandled_exception(full, text):
    random = Random(0)
    source = text.encode()
    outcomes = set()
    for _ in range(120):
        raw = bytearray(source)
        for _ in range(random.randint(1, 3)):
            at = random.randrange(len(raw))
            match random.randrange(4):
                case 0:
                    raw[at] = random.randrange(256)
                case 1:
                    raw[at:at] = random.choice(SPICE)
                case 2:
                    del raw[at : at + random.randint(1, 20)]
                case 3:
                    raw[at:at] = raw[random.randrange(len(raw)) :][: random.randint(1, 40)]
        full.write_bytes(raw)
        outcomes.add(config_or_error(full))
    assert outcomes <= {"config", "error"}
    assert "error" in outcomes


VALUES = [
    None,
    True,
    0,
    -1,
    2**70,
    1.5,
    float("nan"),
    float("inf"),
    1e308,
    "",
    "x",
    "1",
    [],
    [[]],
    {},
    {"a": 1},
    [None],
    {"name": None},
    "s3://b",
]


def places(value, path=()):
    """Every path in a nested value."""
    yield path
    for key, below in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(below, (*path, key))


@pytest.mark.full
@pytest.mark.parametrize("text", [FULL, SEVERAL])
def test_no_structure_is_an_unhandled_exception(full, text):
    from ruamel.yaml import YAML

    random = Random(1)
    source = YAML(typ="safe").load(text)
    outcomes = set()
    for _ in range(80):
        data = deepcopy(source)
        for _ in range(random.randint(1, 3)):
            path = random.choice(list(places(data))[1:] or [()])
            if not path:
                continue
            holder = data
            for part in path[:-1]:
                holder = holder[part]
            match random.randrange(3):
                case 0:
                    holder[path[-1]] = random.choice(VALUES)
                case 1:
                    del holder[path[-1]]
                case 2 if isinstance(holder, dict):
                    holder[random.choice(["name", "file", "list", "training", "after", "zzz"])] = holder.pop(path[-1])
        with full.open("w") as stream:
            YAML(typ="safe", pure=True).dump(data, stream)
        outcomes.add(config_or_error(full))
        with suppress(ConfigError):
            parse_config(data)
    assert outcomes == {"config", "error"}
