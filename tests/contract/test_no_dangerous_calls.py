"""Nothing that is read is executed: no room unpickles, evaluates or runs text, but for the places named here."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import sweep

REPOSITORY = Path(sweep.__file__).parents[1]
ROOMS = ("sweep", "trainer", "analysis")
# What can run code that somebody wrote into data. `re.compile` and `model.eval()` are other names.
DANGEROUS = {
    *("eval", "exec", "compile", "__import__", "breakpoint", "import_module", "run_path", "run_module"),
    *(
        "torch.load",
        "torch.jit.load",
        "torch.hub.load",
        "numpy.load",
        "np.load",
        "numpy.fromfile",
        "joblib.load",
        "yaml.load",
        "yaml.unsafe_load",
    ),
    *(
        "pickle.load",
        "pickle.loads",
        "pickle.Unpickler",
        "cloudpickle.load",
        "cloudpickle.loads",
        "dill.load",
        "dill.loads",
        "marshal.load",
    ),
    *("marshal.loads", "shelve.open", "pandas.read_pickle", "pd.read_pickle", "pandas.eval", "pd.eval", "os.system", "os.popen"),
    *("subprocess.run", "subprocess.Popen", "subprocess.call", "subprocess.check_call", "subprocess.check_output", "ctypes.CDLL"),
    *("shutil.unpack_archive", "tarfile.open", "zipfile.ZipFile", "ast.literal_eval"),
}
ALLOWED = {
    # constants of ours, never text of a file
    "sweep/__init__.py": {"import_module"},
    "analysis/__init__.py": {"import_module"},
    "analysis/figures/export.py": {"import_module"},
    "trainer/catalog.py": {"import_module"},
    "trainer/methods/evolution.py": {"import_module"},
    "trainer/problems/images/downloads.py": {"importlib.import_module"},
    # the user's module, from a grid file that the user names
    "trainer/problems/custom/source.py": {"importlib.import_module"},
    # the text of an annotation in that module
    "trainer/problems/custom/options.py": {"eval"},
    # arrays and plain values only: it refuses every other name before it is called
    "trainer/problems/images/plain_pickle.py": {"pickle.Unpickler"},
    # members are read by their known names into memory, none is unpacked
    "trainer/problems/images/cifar10.py": {"tarfile.open"},
    # what torch has just written into memory: members are copied by their names, none is unpacked
    "trainer/compression/file.py": {"zipfile.ZipFile"},
    # a trial's exception, which this process itself has written into its own scratch folder
    "sweep/cluster/driver.py": {"cloudpickle.loads"},
    # a question to a cloud's store, a constant text of ours, whose client may end the process
    "analysis/results/cloud.py": {"subprocess.run"},
    # our own driver, git, a C compiler and what it built into the user's cache
    "sweep/execution/driver_process.py": {"subprocess.Popen"},
    "sweep/execution/attempt.py": {"subprocess.run"},
    "trainer/pack/kernels/library.py": {"subprocess.run", "ctypes.CDLL"},
    "trainer/objectives/tying.py": {"ctypes.CDLL"},
}


def dangerous(text: str) -> set[str]:
    """Names of dangerous functions and classes that a module mentions in its code."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        name = _dotted(node)
        if name in DANGEROUS or name.rpartition(".")[2] in ("import_module", "Unpickler", "__import__"):
            found.add(name)
        if isinstance(node, ast.Call):
            found |= {f"{keyword.arg}=" for keyword in node.keywords if _is_risky(keyword)}
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} & DANGEROUS
    return found


def _is_risky(keyword: ast.keyword) -> bool:
    """`allow_pickle=True`, `shell=True`, `weights_only=False`."""
    risky = {"allow_pickle": True, "shell": True, "weights_only": False}
    return keyword.arg in risky and isinstance(keyword.value, ast.Constant) and keyword.value.value == risky[keyword.arg]


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value)):
        return f"{before}.{node.attr}"
    return ""


def modules() -> Iterator[Path]:
    for room in ROOMS:
        yield from sorted((REPOSITORY / room).rglob("*.py"))


def test_no_module_can_run_what_it_reads() -> None:
    found = {path.relative_to(REPOSITORY).as_posix(): dangerous(path.read_text(encoding="utf-8")) for path in modules()}
    assert {name: calls for name, calls in found.items() if calls - ALLOWED.get(name, set())} == {}
    assert {name: ALLOWED[name] - found.get(name, set()) for name in ALLOWED if ALLOWED[name] - found.get(name, set())} == {}, (
        "no longer needed"
    )


@pytest.mark.parametrize(
    "text",
    [
        "eval('1')",
        "import pickle\npickle.loads(b'')",
        "from pickle import loads\nloads(b'')",
        "import torch\ntorch.load('x')",
        "import numpy as np\nnp.load('x')",
        "f(x, allow_pickle=True)",
        "g('ls', shell=True)",
        "class A(pickle.Unpickler): pass",
        "importlib.import_module(name)",
        "x = exec",
    ],
)
def test_it_would_be_seen(text: str) -> None:
    assert dangerous(text)


def test_ordinary_names_are_no_danger() -> None:
    assert not dangerous("import re\nre.compile('x')\nmodel.eval()\nf(weights_only=True)\njson.load(file)")


def test_yaml_is_read_without_constructors() -> None:
    """ruamel's events and nodes are used; no constructor, which could build objects, is ever made to load."""
    used = {path.name: path.read_text(encoding="utf-8") for path in modules() if "ruamel.yaml" in path.read_text(encoding="utf-8")}
    assert set(used) == {"yaml.py", "load.py", "append.py"}
    for name, text in used.items():
        calls = {
            _dotted(node.func).rpartition(".")[2] or _last(node.func) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)
        }
        assert not {"load", "load_all", "get_data", "construct"} & calls, name


def _last(function: ast.expr) -> str:
    """`load` of `YAML(...).load`."""
    return function.attr if isinstance(function, ast.Attribute) else ""
