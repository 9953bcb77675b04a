"""A bad grid file is answered with file, line, column, path, rule, value and a hint; never with a traceback."""

from pathlib import Path
from typing import NamedTuple

import pytest

from sweep.api import plan
from sweep.grid.load import ConfigError, load_config, load_configs, parse_config
from trainer.problems.images.sources import DataError


class Case(NamedTuple):
    """A grid file (`problem: multidigits` goes before it, as line 1) and the message's parts."""

    text: str
    start: str
    """line:column: path: rule"""
    got: str | None
    hint: str


CASES = {
    "unknown key": Case("modle: hps", "2:1: modle: unknown key", "hps", "did you mean `model`?"),
    "unknown nested key": Case("training:\n  growl: {bta1: 1}", "3:11: training.growl.bta1: unknown key", "1", "did you mean `beta1`?"),
    "key in the wrong place": Case("learning_rate: 1", "2:1: learning_rate: unknown key", "1", "`learning_rate` belongs in `training`"),
    "text for a number": Case(
        'training: {batch_size: "3"}', "2:24: training.batch_size: a whole number expected", '"3"', "write 3 without quotes"
    ),
    "number with a unit": Case(
        "training: {batch_size: 3k}", "2:24: training.batch_size: a whole number expected", "3k", "Samples in each step"
    ),
    "true for a number": Case("training: {batch_size: true}", "2:24: training.batch_size: a whole number expected", "true", "Default: 256"),
    "fraction for a whole number": Case("seeds: [0, 1.5]", "2:12: seeds[1]: a whole number expected", "1.5", "Random seeds"),
    "fraction in an exponent": Case(
        "training: {batch_size: 3e-1}", "2:24: training.batch_size: a whole number expected", "3e-1", "Samples"
    ),
    "a whole number beyond what a float holds": Case(
        "seeds: [1e300]", "2:9: seeds[0]: a whole number expected", "1e300", "write so large a number without a point or an exponent"
    ),
    "a whole number in an exponent, too large": Case(
        "seeds: [3e9]", "2:9: seeds[0]: a whole number <= 2147483647 expected", "3e9", "Random seeds"
    ),
    "a seed twice, written in two ways": Case("seeds: [1, 1e0]", "2:12: seeds[1]: each seed once expected", "1", "remove one"),
    "half a network in a pack": Case("resources: {pack: 1.5}", "2:19: resources.pack: auto or a whole number >= 1 expected", "1.5", ""),
    "number for text": Case("model: 3", "2:8: model: text expected", "3", "Architecture; default: the problem's first"),
    "number for true or false": Case(
        "preferences: {simplex: {divisions: 3, interior: 1}}",
        "2:49: preferences.simplex.interior: true or false expected",
        "1",
        "every task's preference",
    ),
    "scalar for a mapping": Case("training: fast", "2:11: training: a mapping (`key: value`) expected", "fast", "Training settings"),
    "list for a mapping": Case("resources: [1]", "2:12: resources: a mapping (`key: value`) expected", "[1]", "one worker"),
    "scalar for a list": Case("seeds: 3", "2:8: seeds: a list expected", "3", "For example `[0, 1, 2]`"),
    "out of range": Case("training: {growl: {beta1: -1}}", "2:27: training.growl.beta1: a number >= 0 expected", "-1", "Default: 0.8"),
    "at an open end": Case(
        "training: {learning_rate: 0}", "2:27: training.learning_rate: a number > 0 expected", "0", "optimizer's learning rate"
    ),
    "not a number": Case(
        "training: {learning_rate: .nan}", "2:27: training.learning_rate: a finite number expected", ".nan", "Default: 0.0025"
    ),
    "key of another kind of worker": Case(
        "resources: {also: [{gpu: 1}]}", "2:21: resources.also[0].gpu: unknown key", "1", "did you mean `gpus`?"
    ),
    "infinite": Case("resources: {cpus: .inf}", "2:19: resources.cpus: a finite number expected", ".inf", "CPU cores"),
    "too large to be finite": Case(
        "reference_point: [0, 1e999, 0]", "2:22: reference_point[1]: a finite number expected", "1e999", "objective"
    ),
    "huge whole number": Case(f"seeds: [{'9' * 5000}]", "2:9: seeds[0]: a number that fits into 64 bits expected", "999", "smaller number"),
    "seed beyond 31 bits": Case(
        "seeds: [2147483648]", "2:9: seeds[0]: a whole number <= 2147483647 expected", "2147483648", "Random seeds"
    ),
    "no seeds": Case("seeds: []", "2:8: seeds: at least 1 item expected", "[]", "Random seeds"),
    "repeated seed": Case("seeds: [4, 5, 4]", "2:15: seeds[2]: each seed once expected (it is seeds[0] already)", "4", "remove one"),
    "wrong choice": Case("scaling: anchor", "2:10: scaling: one of none, anchors expected", "anchor", "did you mean `anchors`?"),
    "null for a choice": Case("scaling:", "2:1: scaling: one of none, anchors expected", "null", "Default: none"),
    "an unknown method": Case("method: later", "2:9: method: one of wcal_growl, ", "later", ""),
    "a method with a model of its own": Case(
        "method: stl\nmodel: hps", "3:8: model: the model stl expected for the method stl", "hps", "write `model: stl`"
    ),
    "a model with a method of its own": Case(
        "model: kdmtl", "1:1: method: the method kdmtl expected for the model kdmtl", "wcal_growl", "write `method: kdmtl`"
    ),
    "a method that does not prune": Case(
        "method: epo", "1:1: preferences: k0 = 0 expected, since the method epo does not prune", "[0.1, 0.05, 0.85]", "k0: [0]"
    ),
    "a method that takes over, without a giver": Case(
        "method: fixed_architecture\npreferences: {simplex: {divisions: 4, k0: [0]}}",
        "2:9: method: one study of the method wcal_growl expected, whose sparse network the method fixed_architecture inherits",
        "none",
        "name it in `after`",
    ),
    "a giver of another model": Case(
        "studies: [{name: a, model: hps}, {name: b, method: fixed_architecture, after: a, "
        "preferences: {simplex: {divisions: 4, k0: [0]}}}]",
        "2:79: studies[1].after: a study of the same model expected (mdmtn)",
        "a with hps",
        "both studies need the same model",
    ),
    "a search of one": Case(
        "studies: [{name: a, candidates: [{learning_rate: 1e-3}]}]",
        "2:33: studies[0].candidates: at least 2 items expected",
        '[{"learning_rate": 0.001}]',
        "",
    ),
    "two searches": Case(
        "studies: [{name: a, candidates: [{batch_size: 1}, {batch_size: 2}]}, {name: b, candidates: [{batch_size: 1}, {batch_size: 2}]}, "
        "{name: c, after: [a, b]}]",
        "2:146: studies[2].after: at most one search expected (`candidates`)",
        "a, b",
        "combine them into one search",
    ),
    "a name that a candidate has": Case(
        "studies: [{name: a, candidates: [{batch_size: 1}, {batch_size: 2}]}, {name: a.1}]",
        "2:77: studies[1].name: another name expected (`a.1` is a candidate of the search a)",
        "a.1",
        "rename it",
    ),
    "a candidate's key": Case(
        "studies: [{name: a, candidates: [{batch_sise: 1}, {batch_size: 2}]}]",
        "2:35: studies[0].candidates[0].batch_sise: unknown key",
        "1",
        "did you mean `batch_size`?",
    ),
    "after a number": Case(
        "studies: [{name: a, after: 3}]", "2:28: studies[0].after: the name of a study, or a list of names expected", "3", ""
    ),
    "misspelt method": Case("method: wcal_grow", "2:9: method: one of wcal_growl, ", "wcal_grow", "did you mean `wcal_growl`?"),
    "a later version's model": Case(
        "model: later", "2:8: model: not available in this version (available: mdmtn, hps", "later", "use one of them"
    ),
    "misspelt model": Case("model: mdtmn", "2:8: model: not available in this version", "mdtmn", "did you mean `mdmtn`?"),
    "address of another kind": Case(
        "output: ftp://host/x", "2:9: output: unknown kind of address (ftp://)", "ftp://host/x", "use s3://bucket/prefix"
    ),
    "credentials in an address": Case(
        "output: s3://me:secret@bucket/x", "2:9: output: credentials do not belong in an address", "s3://...@bucket/x", "AWS_ACCESS_KEY_ID"
    ),
    "credentials behind an address": Case(
        'output: "s3://bucket/x?secret_key=abc"',
        "2:9: output: credentials do not belong in an address",
        "s3://bucket/x?secret_key=...",
        "leave them out",
    ),
    "unknown parameter of an address": Case(
        'output: "s3://bucket/x?regoin=eu-central-1"', "2:9: output: unknown parameter `regoin`", "s3://bucket/x?regoin=...", "region"
    ),
    "no bucket": Case("output: s3:///x", "2:9: output: not the address of a bucket and a prefix", "s3:///x", "s3://bucket/prefix"),
    "empty output": Case('output: ""', "2:9: output: text that is not empty expected", '""', "results/<name>"),
    "unsafe name": Case("name: a/b", "2:7: name: a name of at most 100 letters, digits", "a/b", "Name of the sweep"),
    "hidden name": Case("name: .a", "2:7: name: a name of at most 100 letters, digits", ".a", "For example"),
    "memory": Case("resources: {memory: 2 apples}", "2:21: resources.memory: a size such as 1.5GB", "2 apples", "`1.5GB` or `512MiB`"),
    "no memory": Case("resources: {memory: 0}", "2:21: resources.memory: a size between 1B and", "0", "1.5GB"),
    "pack": Case("resources: {pack: big}", "2:19: resources.pack: auto or a whole number >= 1 expected", "big", "lockstep"),
    "empty pack": Case("resources: {pack: 0}", "2:19: resources.pack: a whole number >= 1 expected", "0", "lockstep"),
    "price": Case("costs: {usd_per_kwh: -1}", "2:22: costs.usd_per_kwh: a number >= 0 expected", "-1", "Price of electricity"),
    "unknown price": Case("costs: {eur_per_kwh: 1}", "2:9: costs.eur_per_kwh: unknown key", "1", "usd_per_kwh"),
    "device": Case(
        "resources: {device: gpu}",
        "2:21: resources.device: one of auto, cpu, cuda expected",
        "gpu",
        "`auto` is a GPU for a worker that asks for one",
    ),
    "reference point": Case(
        "reference_point: [0]",
        "2:18: reference_point: one number per objective expected (3 = sparsity, left, right)",
        "[0.0]",
        "this list has 1",
    ),
    "reference point of a wrong type": Case(
        "reference_point: 3", "2:18: reference_point: auto or a list of numbers expected", "3", "`auto`"
    ),
    "reference point by a wrong name": Case(
        "reference_point: none", "2:18: reference_point: auto or a list of numbers expected", "none", "anchor runs"
    ),
    "text in a reference point": Case(
        "reference_point: [0, auto, 0]", "2:22: reference_point[1]: a number expected", "auto", "For example `[0, 0.1, 0.1]` or `auto`"
    ),
    "the anchor runs' name": Case(
        "studies: [{name: anchor-runs}]", "2:18: studies[0].name: another name expected", "anchor-runs", "rename it"
    ),
    "after the anchor runs": Case(
        "reference_point: auto\nstudies: [{name: a, after: anchor-runs}]",
        "3:28: studies[0].after: the name of another study expected",
        "anchor-runs",
        "the studies are a",
    ),
    "hypervolume": Case(
        "hypervolume_reference: [1, 2]", "2:24: hypervolume_reference: one number per objective expected", "[1.0, 2.0]", "this list has 2"
    ),
    "ideal of the hypervolume": Case(
        "hypervolume_ideal: [1, 2]", "2:20: hypervolume_ideal: one number per objective expected", "[1.0, 2.0]", "this list has 2"
    ),
    "box without a range": Case(
        "hypervolume_reference: [1, 0, 2]",
        "2:24: hypervolume_reference: left: a nadir worse than the ideal expected, found ideal = 0, nadir = 0",
        "[1.0, 0.0, 2.0]",
        "give `hypervolume_ideal`, too, if losses can be below 0",
    ),
    "preferences by a wrong name": Case("preferences: papr", "2:14: preferences: paper expected", "papr", "did you mean `paper`?"),
    "preferences of a wrong type": Case(
        "preferences: 3", "2:14: preferences: `paper`, or a mapping with one of simplex, list, file, front", "3", "{front: {n: 90}}"
    ),
    "preferences without a key": Case(
        "preferences: [[0.1, 0.4, 0.5]]", "2:15: preferences[0]: `paper`, or a mapping with one", "[0.1, 0.4, 0.5]", "{list: "
    ),
    "preferences misspelt": Case(
        "preferences:\n  simplex: {divisons: 10}",
        "3:13: preferences.simplex.divisons: unknown key",
        "10",
        "did you mean `divisions`? `sweep schema` lists",
    ),
    "preferences of two kinds": Case(
        "preferences: {simplex: {divisions: 4}, file: k.csv}", "2:14: preferences: exactly one of simplex", "simplex", "For"
    ),
    "preferences of no kind": Case(
        "preferences: {}", "2:14: preferences: exactly one of simplex, list, file, front expected", "{}", "For example `paper`"
    ),
    "fewer vectors than ends": Case(
        "preferences: {front: {n: 3}}",
        "2:26: preferences.front.n: a whole number >= 4 expected, the number of ends",
        "3",
        "dense, tasks even",
    ),
    "front without n": Case("preferences: {front: {}}", "2:22: preferences.front.n: required key missing", None, "How many vectors"),
    "front until nothing": Case(
        "preferences: {front: {n: 9, until: {}}}", "2:36: preferences.front.until.gain: required key missing", None, "Stop when"
    ),
    "front until no gain": Case(
        "preferences: {front: {n: 9, until: {gain: 0}}}", "2:43: preferences.front.until.gain: a number > 0 expected", "0", "Stop when"
    ),
    "front until all": Case(
        "preferences: {front: {n: 9, until: {gain: 1}}}", "2:43: preferences.front.until.gain: a number < 1 expected", "1", "Stop when"
    ),
    "front until no number": Case(
        "preferences: {front: {n: 9, until: {gain: .nan}}}", "2:43: preferences.front.until.gain: a finite number expected", ".nan", "Stop"
    ),
    "front until misspelt": Case(
        "preferences: {front: {n: 9, until: {gian: 0.1}}}", "2:37: preferences.front.until.gian: unknown key", "0.1", "`gain`"
    ),
    "front in a union": Case(
        "preferences: [paper, {front: {n: 9}}]", "2:30: preferences[1].front: the only entry of `preferences` expected", "n", "own"
    ),
    "front of a method without preferences": Case(
        "method: mgda\npreferences: {front: {n: 9}}", "3:22: preferences.front: a method with preferences expected (mgda has", "n", "remove"
    ),
    "front of a method that shares a network": Case(
        "method: cosmos\npreferences: {front: {n: 9}}", "3:22: preferences.front: a method whose trials are independent", "n", "simplex"
    ),
    "front with candidates": Case(
        "preferences: {front: {n: 9}}\nstudies: [{name: a, candidates: [{learning_rate: 0.1}, {learning_rate: 0.2}]}]",
        "2:22: preferences.front: no `candidates` expected",
        "n",
        "a study after it",
    ),
    "no vectors": Case("preferences: {list: []}", "2:21: preferences.list: at least 1 item expected", "[]", "each sums to 1"),
    "negative preference": Case(
        "preferences:\n  list:\n    - [0.1, 0.4, 0.5]\n    - [-0.1, 0.6, 0.5]",
        "5:7: preferences.list[1]: numbers >= 0 expected",
        "[-0.1,",
        "sparsity, left",
    ),
    "preference sum": Case(
        "preferences: {list: [[0.1, 0.4, 0.4]]}",
        "2:22: preferences.list[0]: numbers that sum to 1 expected (the sum is 0.9)",
        "[0.1",
        "1e-6",
    ),
    "infinite preference": Case(
        "preferences: {list: [[0.1, .inf, 0]]}", "2:28: preferences.list[0][1]: a finite number expected", ".inf", "each sums to 1"
    ),
    "short preference": Case(
        "preferences: {list: [[0.5, 0.5]]}", "2:22: preferences.list[0]: one number per objective expected (3 = sparsity, ", "[0.5", "2"
    ),
    "repeated preference": Case(
        "preferences: {list: [[0, 1, 0], [0, 1, 0]]}", "2:33: preferences.list[1]: list[1] repeats list[0]", "[0.0, 1", "remove"
    ),
    "k0 of one": Case(
        "preferences: {simplex: {divisions: 4, k0: [1]}}", "2:44: preferences.simplex.k0[0]: a number < 1 expected", "1", "preferences"
    ),
    "missing divisions": Case(
        "preferences: {simplex: {}}", "2:24: preferences.simplex.divisions: required key missing", None, "Steps from 0 to 1"
    ),
    "in a union": Case(
        "preferences: [paper, {file: nope.csv}]", "2:29: preferences[1].file: no such file", "nope.csv", "the folder searched is"
    ),
    "no studies": Case("studies: []", "2:10: studies: at least 1 item expected", "[]", "Several studies"),
    "study without a name": Case("studies: [{model: hps}]", "2:11: studies[0].name: required key missing", None, "unique in the file"),
    "repeated study": Case("studies: [{name: a}, {name: a}]", "2:29: studies[1].name: a unique name expected", "a", "rename"),
    "after an unknown study": Case(
        "studies: [{name: abcd}, {name: b, after: abc}]", "2:42: studies[1].after: the name of another study", "abc", "`abcd`"
    ),
    "after itself": Case(
        "studies: [{name: a, after: a}]", "2:28: studies[0].after: an order without circles expected (a after a)", "a", "remove one"
    ),
    "circle": Case(
        "studies: [{name: a, after: b}, {name: b, after: a}]",
        "2:28: studies[0].after: an order without circles expected",
        "b",
        "remove one `after`",
    ),
    "study's training": Case(
        "studies:\n  - name: a\n    training: {growl: {beta1: x}}",
        "4:31: studies[0].training.growl.beta1: a number expected",
        "x",
        "Weight of the ordered",
    ),
    "repeated key": Case("seeds: [0]\nmodel: hps\nseeds: [1]", "4:1: seeds: repeated key", "[1]", "its first occurrence is in line 2"),
    "tag": Case("name: !!python/object:os.system x", "2:7: name: tags are not allowed", "python/object:os.system", "plain value"),
    "unknown alias": Case("seeds: *none", "2:8: seeds: an alias needs an anchor before it", "*none", "write `&none`"),
    "alias inside itself": Case("seeds: &a [*a]", "2:12: seeds[0]: an alias inside its own anchor", "*a", "cannot contain itself"),
    "second document": Case("---\nmodel: hps", "2:1: one YAML document expected", None, "remove the line `---`"),
    "list as key": Case("? [a]\n: b", "2:3: a key is text", None, "quote it"),
    "deep nesting": Case("seeds: " + "[" * 2000, "2:31: seeds", None, "fewer than ten"),
    "unclosed bracket": Case("seeds: [0\nmodel: hps", "3:6: seeds[1]: broken YAML syntax: ", None, "check indentation"),
    "bad indentation": Case("training:\n  growl: {}\n lsuv: {}", "4:2: broken YAML syntax: ", None, "check indentation"),
    "tab": Case("training:\n\tgrowl: {}", "3:1: training: broken YAML syntax: found character '\\t'", None, "check indentation"),
    "control character": Case("name: a\x07", "2:8: a printable character expected", "\\u0007", "remove it"),
    "escaped control character": Case('output: "a\\0"', "2:9: output: text without control characters expected", "\\u0000", "line breaks"),
}


def error_of(path: Path, override: Path | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_config(path, override=override)
    return caught.value


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_one_mistake_is_one_message(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text(f"problem: multidigits\n{case.text}\n", encoding="utf-8")
    error = error_of(Path("grid.yaml"))
    assert len(error.mistakes) == 1, str(error)
    first, hint = str(error).split("\n")
    assert first.startswith(f"Error: grid.yaml:{case.start}")
    assert case.got is None or case.got in first.split(" (got ", 1)[1]
    assert hint.startswith("  hint: ")
    assert case.hint in hint


@pytest.mark.parametrize(
    ("text", "start", "hint"),
    [
        ("", "1:1: the file is empty", "`sweep init`"),
        ("# nothing\n", "1:1: the file is empty", "`sweep init`"),
        ("- a\n", '1:1: a mapping (`key: value`) expected at the top level (got ["a"])', "start with `problem: "),
        ("text", "1:1: a mapping (`key: value`) expected at the top level (got text)", "start with `problem: "),
        ("model: hps", "1:1: problem: required key missing", "`multidigits`"),
        ("problm: multidigits", "1:1: problm: unknown key (got multidigits)", "did you mean `problem`?"),
        (
            "problem: multidigit",
            "1:10: problem: not available in this version (available: multidigits, ",
            "did you mean `multidigits`?",
        ),
        ("problem: 3", "1:10: problem: a mapping (`key: value`) expected (got 3)", "For example `multidigits`"),
        ("problem: {n_train: 3}", "1:10: problem.name: required key missing", "Tasks: left, right"),
        ("problem: {name: multidigits, n_trian: 3}", "1:30: problem.n_trian: unknown key (got 3)", "did you mean `n_train`?"),
        (
            "problem: {name: multidigits, n_train: 0}",
            "1:39: problem.n_train: a whole number >= 1 expected (got 0)",
            "Training pairs. Default: 3000.",
        ),
        ('problem: {name: multidigits, n_train: "3"}', '1:39: problem.n_train: a whole number expected (got "3")', "without quotes"),
    ],
)
def test_the_file_as_a_whole_and_its_problem(tmp_path, monkeypatch, text, start, hint):
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text(text)
    error = error_of(Path("grid.yaml"))
    assert len(error.mistakes) == 1, str(error)
    first, second = str(error).split("\n")
    assert first.startswith(f"Error: grid.yaml:{start}")
    assert hint in second


@pytest.mark.parametrize(
    ("text", "start", "got", "hint"),
    [
        ("problem: []", "1:10: problem: at least 1 item expected", "[]", "For example `multidigits`"),
        pytest.param(
            f"problem: [{'multidigits, ' * 1001}]",
            "1:10: problem: at most 1000 items expected",
            "1001",
            "For example",
            marks=pytest.mark.full,
        ),
        ("problem: [multidigits, 3]", "1:24: problem[1]: a mapping (`key: value`) expected", "3", "a list of these"),
        ("problem: [multidigits, [multidigits]]", "1:24: problem[1]: a mapping (`key: value`) expected", '["multidigits"]', "a list of"),
        ("problem: [multidigits, multidigit]", "1:24: problem[1]: not available in this version", "multidigit", "did you mean"),
        (
            "problem:\n  - {name: multidigits, n_train: 5}\n  - {name: multidigits, n_trian: 5}",
            "3:25: problem[1].n_trian: unknown key",
            "5",
            "did you mean `n_train`?",
        ),
        ("problem: [{n_train: 5}]", "1:11: problem[0].name: required key missing", None, "Tasks: "),
        (
            "problem: [{name: multidigits, n_train: 0}]",
            "1:40: problem[0].n_train: a whole number >= 1 expected",
            "0",
            "Training pairs. Default: 3000.",
        ),
        # What all problems share is said once ...
        ("problem: [multidigits, multidigits]\nseeds: [1, 1]", "2:12: seeds[1]: each seed once expected", "1", "remove one"),
        ("problem: [multidigits, multidigits]\nmodle: hps", "2:1: modle: unknown key", "hps", "did you mean `model`?"),
        ("problem: [multidigits, multidigits]\nname: a/b", "2:7: name: a name of at most 100 letters", "a/b-multidigits", "Name of the"),
        ("problem: [multidigits, multidigits]\noutput: ''", "2:9: output: text that is not empty expected", '""', "Results folder"),
        # ... and what only some have names the first of them.
        (
            "problem: [multidigits, analytic/zdt1]\npreferences: {simplex: {divisions: 4, k0: [0.1]}}",
            "2:43: preferences.simplex.k0: no `k0` expected, as this problem has no sparsity objective, for problem[1]",
            "[0.1]",
            "remove it: the lattice spans the tasks",
        ),
        (
            "problem: [analytic/zdt1, multidigits]\npreferences: {list: [[0.1, 0.4, 0.5]]}",
            "2:22: preferences.list[0]: one number per objective expected (2 = f1, f2), for problem[0]",
            "[0.1, 0.4, 0.5]",
            "this vector has 3",
        ),
    ],
)
def test_a_mistake_in_a_list_of_problems_names_the_problem(tmp_path, monkeypatch, text, start, got, hint):
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text(f"{text}\n")
    with pytest.raises(ConfigError) as caught:
        load_configs("grid.yaml")
    assert len(caught.value.mistakes) == 1, str(caught.value)
    first, second = str(caught.value).split("\n")
    assert first.startswith(f"Error: grid.yaml:{start}")
    assert got is None or first.endswith(f" (got {got})")
    assert second.startswith("  hint: ")
    assert hint in second


def test_all_mistakes_of_all_problems_come_at_once(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(
        """\
problem:
  - {name: multidigits, n_train: -1}
  - {name: multidigits, n_test: x}
preferences: {list: [[0.5, 0.5]]}
training: {batch_size: 0}
seeds: [3, 3]
"""
    )
    with pytest.raises(ConfigError) as caught:
        load_configs(path)
    assert [(mistake.position.line, mistake.path) for mistake in caught.value.mistakes if mistake.position] == [
        (2, ("problem", 0, "n_train")),
        (3, ("problem", 1, "n_test")),
        (4, ("preferences", "list", 0)),
        (5, ("training", "batch_size")),
        (6, ("seeds", 1)),
    ]
    assert ", for problem[" not in str(caught.value), "both have them"


def test_several_problems_where_one_is_expected(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text("problem: [multidigits, {name: multidigits, n_train: 5}]\n")
    error = error_of(path)
    assert str(error).startswith(f"Error: {path}:1:10: problem: one problem expected here, found 2 (got [")
    assert "hint: `load_configs` and `parse_configs` take several" in str(error)
    with pytest.raises(ConfigError, match="one problem expected here, found 2"):
        parse_config({"problem": ["multidigits", "multidigits"]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "preferences: paper",
            "2:14: preferences: the grid `paper` needs sparsity and exactly two tasks (the objectives are f1, f2) (got paper)",
        ),
        ("", "1:1: preferences: the grid `paper` needs sparsity and exactly two tasks (the objectives are f1, f2) (got paper)"),
        ("preferences: {list: [[0, 0.5, 0.5]]}", "2:22: preferences.list[0]: one number per objective expected (2 = f1, f2)"),
        (
            "preferences: {list: [[0.5, 0.5]]}\nreference_point: [0, 0, 0]",
            "3:18: reference_point: one number per objective expected (2 = f1, f2)",
        ),
        (
            "preferences: {list: [[0.5, 0.5]]}\nhypervolume_reference: [1]",
            "3:24: hypervolume_reference: one number per objective expected (2 = f1, f2)",
        ),
    ],
)
def test_a_problem_without_sparsity_has_one_number_a_task(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text(f"problem: analytic/zdt1\n{text}\n")
    error = error_of(Path("grid.yaml"))
    assert len(error.mistakes) == 1, str(error)
    assert str(error).startswith(f"Error: grid.yaml:{message}")
    if "paper" in message:
        assert "hint: use `preferences: {simplex: {divisions: 12}}` for this problem" in str(error)


def test_a_missing_file_names_its_neighbours(tmp_path):
    assert "hint: `sweep init` writes a starter" in str(error_of(tmp_path / "grid.yaml"))
    (tmp_path / "gird.yaml").write_text("")
    (tmp_path / "other.yml").write_text("")
    message = str(error_of(tmp_path / "grid.yaml"))
    assert message.startswith(f"Error: {tmp_path / 'grid.yaml'}: no such file\n")
    assert f"did you mean `{tmp_path / 'gird.yaml'}`?" in message
    assert "gird.yaml, other.yml" in str(error_of(tmp_path / "quite_different.yaml"))
    assert "sweep init" in str(error_of(tmp_path / "no" / "folder.yaml"))
    assert "no such file" in str(error_of(tmp_path / "gird.yaml" / "x.yaml"))


def test_a_folder_or_an_impossible_path_is_no_grid_file(tmp_path):
    (tmp_path / "a.yaml").write_text("")
    message = str(error_of(tmp_path))
    assert "a file expected, but this is a folder" in message
    assert "a.yaml" in message
    assert "cannot be read" in str(error_of(tmp_path / ("x" * 5000)))
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    assert "loop.yaml: a link that leads to no file" in str(error_of(tmp_path / "loop.yaml"))
    assert "nul\\x00: no such file" in str(error_of(tmp_path / "nul\0"))


def test_bytes_that_are_no_text_are_named_by_place(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_bytes("problem: multidigits\nname: é".encode("latin-1"))
    assert f"{path}:2:7: UTF-8 text expected (got byte 0xe9)\n  hint: save the file as UTF-8" in str(error_of(path))
    path.write_bytes("problem: multidigits".encode("utf-16"))
    assert "UTF-8 text expected" in str(error_of(path))


def test_a_file_that_grows_without_bound_is_refused(tmp_path):
    path = tmp_path / "grid.yaml"
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    path.write_text("\n".join(levels))
    assert "at most 100000 values expected (aliases count in full)" in str(error_of(path))
    path.write_text("\n".join(["a0: &a0 [x]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 100))]))
    assert "levels of nesting" in str(error_of(path))
    path.write_text("#" * 2_000_000)
    assert "at most 1000000 bytes expected (got 2000000 bytes)" in str(error_of(path))


def test_a_method_whose_package_is_missing_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("sweep.grid.resolve.find_spec", lambda name: None)
    path = tmp_path / "grid.yaml"
    study = "{name: b, method: moead, preferences: {list: [[0, 1, 0], [0, 0, 1]]}, after: a}"
    path.write_text(f"problem: multidigits\nstudies:\n  - {{name: a}}\n  - {study}\n")
    message = str(error_of(path))
    assert "grid.yaml:4:23: studies[1].method: a method whose packages are installed expected, moead needs pymoo" in message
    assert "pip install 'pareto-sweep[moead]'" in message


def test_all_mistakes_come_at_once_in_the_order_of_the_file(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(
        """\
problem: {name: multidigits, n_train: -1}
model: later
method: sooner
preferences: {list: [[0.5, 0.5], [0.1, 0.4, 0.4]]}
seeds: [1, 1]
training: {growl: {beta1: -1, pattern: spik}, batch_size: 0}
resources: {cpus: 0, memory: none}
output: ftp://bucket
zzz: 1
seeds: [2]
studies:
  - {name: a, after: c}
  - {name: b, training: {batch_size: 1}}
"""
    )
    error = error_of(path)
    assert [(mistake.position.line, mistake.path[-1]) for mistake in error.mistakes if mistake.position] == [
        *((1, "n_train"), (2, "model"), (3, "method"), (4, 0), (4, 1), (5, 1)),
        *(
            (6, "beta1"),
            (6, "pattern"),
            (6, "batch_size"),
            (7, "cpus"),
            (7, "memory"),
            (8, "output"),
            (9, "zzz"),
            (10, "seeds"),
            (12, "after"),
        ),
    ]
    assert str(error).count("\n  hint: ") == len(error.mistakes)


def test_a_mistake_names_the_file_it_came_from(tmp_path):
    grid, override, csv = tmp_path / "grid.yaml", tmp_path / "override.yaml", tmp_path / "k.csv"
    grid.write_text("problem: multidigits\ntraining:\n  batch_size: 0\n")
    override.write_text("training: {learning_rate: -1}\npreferences: {file: k.csv}\n")
    csv.write_text("0.1,0.4,0.4\n")
    message = str(error_of(grid, override))
    assert f"{grid}:3:15: training.batch_size: " in message
    assert f"{override}:1:27: training.learning_rate: " in message
    assert f"{csv}:1:1: preferences.file: numbers that sum to 1" in message


BAD = "bad\udcff"
"""A name that is not UTF-8, as Python has it: the byte 0xff."""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out": BAD}, 'Error: output: text that is valid UTF-8 expected (got "bad\\udcff")\n  hint: '),
        ({"out": ""}, "Error: output: text that is not empty expected"),
        ({"out": "ftp://host"}, "Error: output: unknown kind of address"),
        ({"name": BAD, "mapping": {"output": "x"}}, "Error: name: text that is valid UTF-8 expected"),
        ({"mapping": {BAD: 1}}, 'Error: "bad\\udcff": text that is valid UTF-8 expected'),
        ({"mapping": {"training": {BAD: 1}}}, 'Error: training."bad\\udcff": text that is valid UTF-8 expected'),
        ({"mapping": {"studies": [{BAD: 1}]}}, 'Error: studies[0]."bad\\udcff": text that is valid UTF-8 expected'),
        ({"override": {BAD: 1}}, 'Error: "bad\\udcff": text that is valid UTF-8 expected'),
    ],
)
def test_a_name_that_is_not_utf8_is_one_message(changes, message):
    """Also at the top level, where a mistake has no path to a value."""
    arguments = {"mapping": {}} | changes
    with pytest.raises(ConfigError) as caught:
        parse_config({"problem": "multidigits", **arguments.pop("mapping")}, **arguments)
    assert str(caught.value).startswith(message)
    assert len(caught.value.mistakes) == 1


def test_a_folder_whose_name_is_not_utf8(tmp_path, monkeypatch):
    """A built-in problem is planned there; a path that the store would have to keep is a message."""
    place = tmp_path / BAD
    place.mkdir()
    (place / "grid.yaml").write_text("problem: multidigits\n")
    monkeypatch.chdir(place)
    assert load_config("grid.yaml").name == "grid"
    (place / "k.csv").write_text("0.1,0.4,0.5\n")
    (place / "grid.yaml").write_text("problem: multidigits\npreferences: {file: k.csv}\n")
    assert str(error_of(Path("grid.yaml"))).startswith("Error: grid.yaml:2:21: preferences.file: text that is valid UTF-8 expected")
    (place / "grid.yaml").write_text("problem: 'own:make'\n")
    assert "problem.import_from[0]: text that is valid UTF-8 expected" in str(error_of(Path("grid.yaml")))
    monkeypatch.setenv("HOME", str(place))
    (place / "grid.yaml").write_text("problem: multidigits\noutput: ~/x\n")
    assert "grid.yaml:2:9: output: text that is valid UTF-8 expected" in str(error_of(Path("grid.yaml")))


def test_many_mistakes_are_counted_not_listed(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text("problem: multidigits\nseeds: [" + "-1, " * 80 + "]\n")
    error = error_of(path)
    assert len(error.mistakes) == 80
    assert str(error).endswith("... and 30 more")


def test_a_terminal_does_not_obey_a_grid_file(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text('problem: multidigits\n"\\e[31mred": 1\n"\\u202egnp": 1\n')
    assert "\x1b" not in str(error_of(path))
    assert "\u202e" not in str(error_of(path))


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"problem": "multidigits", "seeds": [0.5]}, "Error: seeds[0]: a whole number expected (got 0.5)\n  hint: "),
        ({"problem": object()}, "Error: problem: a value that can be written in a grid file expected (got object)"),
        ({1: 2}, "Error: a key is text (got 1)"),
        ({"problem": "multidigits", "seeds": [2**70]}, "Error: seeds[0]: a number that fits into 64 bits"),
        ({"problem": "a\0b"}, "Error: problem: text without control characters"),
        ([], "Error: a mapping (`key: value`) expected at the top level (got [])"),
    ],
)
def test_values_of_a_notebook_are_named_without_lines(mapping, message):
    with pytest.raises(ConfigError) as caught:
        parse_config(mapping)
    assert str(caught.value).startswith(message)


def test_a_value_that_contains_itself_is_refused():
    endless: dict[str, object] = {"problem": "multidigits"}
    endless["training"] = endless
    with pytest.raises(ConfigError, match="levels of nesting"):
        parse_config(endless)


@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device here")
def test_a_file_without_an_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    assert "at most 1000000 bytes expected" in str(error_of(Path("/dev/zero")))
    grid = tmp_path / "grid.yaml"
    grid.write_text("problem: multidigits\npreferences: {file: /dev/zero}\n")
    assert "preferences.file: at most 20000000 bytes expected" in str(error_of(grid))


@pytest.mark.parametrize(
    "grid", ["problem: multidigits\noutput: ~nobody-of-this-name/x\n", "problem: {name: multimnist, root: ~nobody-of-this-name/x}\n"]
)
def test_the_home_of_nobody_is_a_folder_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grid: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("trainer.problems.images.downloads.download", lambda name, root: "no network in this test")
    path = tmp_path / "grid.yaml"
    path.write_text(grid)
    config = load_config(path)
    if "root" in grid:
        with pytest.raises(DataError, match="nobody-of-this-name"):
            plan(config)
    else:
        assert plan(config).n_todo
    assert [entry.name for entry in tmp_path.iterdir()] == ["grid.yaml"]
