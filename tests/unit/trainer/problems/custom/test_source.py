"""The source of an own problem: what belongs to it, and that what is imported is what is in the files now."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.problems.custom.source import ProblemError, SourceError, changed_modules, find_source, importing, load


@pytest.fixture(autouse=True)
def _modules() -> Iterator[None]:
    before = dict(sys.modules)
    yield
    for name in set(sys.modules) - set(before):
        if name.partition(".")[0] in ("problem", "near", "far", "lazy", "package", "installed", "neighbour"):
            del sys.modules[name]


def write(folder: Path, **files: str) -> Path:
    """Module -> its text; `a__b` is a/b.py, `a__` is a/__init__.py."""
    for name, text in files.items():
        *above, last = name.split("__")
        path = folder.joinpath(*above, f"{last or '__init__'}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def modules_of(module: str, *folders: Path) -> list[str]:
    return sorted(find_source(module, [str(folder) for folder in folders]).files)


def test_what_the_text_imports_beside_it_belongs_to_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        problem="import json, torch, near\nfrom trainer.api import Problem\ndef f():\n    from lazy import g\n",
        near="import far as x\nimport problem\n",
        far="",
        lazy="try:\n    import nowhere\nexcept ImportError:\n    pass\n",
        unrelated="",
        json_="",
    )
    assert modules_of("problem", tmp_path) == ["far", "lazy", "near", "problem"]


def test_packages_bring_their_own_files_and_relative_imports_are_followed(tmp_path: Path) -> None:
    write(
        tmp_path,
        package__="from . import setting\n",
        package__setting="",
        package__unused="",
        package__deep__="",
        package__deep__task="from .. import data\nfrom ..model import Net\nfrom . import part\nfrom package.late import *\n",
        package__deep__part="",
        package__data="",
        package__model="Net = 1\n",
        package__late="",
    )
    assert modules_of("package.deep.task", tmp_path) == [
        *("package", "package.data", "package.deep", "package.deep.part", "package.deep.task"),
        *("package.late", "package.model", "package.setting"),
    ]


def test_a_folder_without_init_is_a_package_too(tmp_path: Path) -> None:
    write(tmp_path, package__task="from package import data\nVALUE = data.VALUE\n", package__data="VALUE = 3\n")
    source = find_source("package.task", [str(tmp_path)])
    assert sorted(source.files) == ["package.data", "package.task"]
    assert load(source).VALUE == 3


def test_the_first_folder_wins_and_both_count(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", problem="import near, far\n"), write(tmp_path / "b", near="", far="", problem="")
    write(first, near="")
    source = find_source("problem", [str(first), str(second)])
    assert {name: path.parent.name for name, path in source.files.items()} == {"problem": "a", "near": "a", "far": "b"}


def test_the_digest_is_of_texts_and_names(tmp_path: Path) -> None:
    def digest(folder: str, **changes: str) -> str:
        files = {"problem": "import near\n", "near": "A = 1\n", "unrelated": ""} | changes
        return find_source("problem", [str(write(tmp_path / folder, **files))]).digest

    base = digest("base")
    assert digest("elsewhere") == base
    assert digest("unrelated", unrelated="B = 2\n") == base
    assert digest("near", near="A = 2\n") != base
    assert digest("comment", problem="import near  # really\n") != base
    (tmp_path / "base" / "near.py").write_bytes(b"A = 1\r\n")
    assert find_source("problem", [str(tmp_path / "base")]).digest == base, "line ends do not matter"


def test_changed_modules_are_named() -> None:
    assert changed_modules({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "4", "d": "5"}) == ["b", "c", "d"]
    assert changed_modules({"a": "1"}, {"a": "1"}) == []


def test_of_an_installed_module_only_its_package_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = write(tmp_path / "site", installed__="", installed__task="import neighbour\nfrom installed.data import X\n", neighbour="")
    write(site, installed__data="X = 1\n")
    monkeypatch.syspath_prepend(str(site))
    source = find_source("installed.task", [str(tmp_path)])
    assert source.is_installed
    assert sorted(source.files) == ["installed", "installed.data", "installed.task"]
    first = load(source)
    assert load(source) is first, "compiled parts cannot be loaded twice"


@pytest.mark.parametrize("module", ["nowhere", "nowhere.deep", "json", "__main__", "sys", "package.nothing"])
def test_what_is_not_there_is_said_with_the_folders(tmp_path: Path, module: str) -> None:
    write(tmp_path, package__="")
    with pytest.raises(SourceError, match=f"no module `{module}` in {tmp_path}, and none is installed") as caught:
        find_source(module, [str(tmp_path)])
    assert caught.value.hint


def test_a_near_name_is_suggested(tmp_path: Path) -> None:
    write(tmp_path, problem="")
    for module, hint in (("problm", "did you mean `problem`?"), ("problem.py", "without `.py`"), ("__main__", "into a file")):
        with pytest.raises(SourceError) as caught:
            find_source(module, [str(tmp_path)])
        assert hint in str(caught.value.hint)


@pytest.mark.parametrize("name", ["trainer", "sweep.grid.load", "analysis"])
def test_the_programs_own_packages_are_no_problem(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match="is a package of this program"):
        find_source(name, [str(tmp_path)])


def test_an_edit_is_seen_at_once_and_leaves_no_bytecode(tmp_path: Path) -> None:
    """The same size in the same second: bytecode would be taken for that of the new text."""
    for value in (1, 2):
        write(tmp_path, problem="import near\nVALUE = near.VALUE\n", near=f"VALUE = {value}\n")
        module = load(find_source("problem", [str(tmp_path)]))
        assert vars(module)["VALUE"] == value
    assert sorted(path.name for path in tmp_path.iterdir()) == ["near.py", "problem.py"]


def test_python_goes_on_as_before(tmp_path: Path) -> None:
    path, flag = list(sys.path), sys.dont_write_bytecode
    write(tmp_path, problem="import sys\nsys.path.append('/added/by/the/user')\n")
    load(find_source("problem", [str(tmp_path)]))
    assert sys.path == [*path, "/added/by/the/user"]
    sys.path.remove("/added/by/the/user")
    write(tmp_path, problem="raise KeyError('x')\n")
    with pytest.raises(SourceError, match=r"`problem` cannot be imported: KeyError: 'x' \(problem.py:1\)"):
        load(find_source("problem", [str(tmp_path)]))
    assert (sys.path, sys.dont_write_bytecode) == (path, flag)


def test_two_modules_of_one_name_do_not_mix(tmp_path: Path) -> None:
    """Also in what they import late."""
    sources = []
    for folder in ("a", "b"):
        write(tmp_path / folder, problem="def late():\n    import near\n    return near.VALUE\n", near=f"VALUE = '{folder}'\n")
        sources.append(find_source("problem", [str(tmp_path / folder)]))
    loaded = [load(source) for source in sources]
    for _ in range(2):
        for source, module, folder in zip(sources, loaded, ("a", "b"), strict=True):
            with importing(source):
                assert module.late() == folder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:\n", "SyntaxError: .*problem.py, line 1"),
        ("import nowhere_at_all\n", "ModuleNotFoundError: No module named 'nowhere_at_all' \\(problem.py:1\\)"),
        ("import near\n", "ZeroDivisionError: division by zero \\(near.py:3\\)"),
        ("raise SystemExit('bye')\n", "SystemExit: bye \\(problem.py:1\\)"),
        ("\0", "null bytes"),
    ],
)
def test_an_import_that_fails_is_one_line_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, problem=text, near="x = 0\n\n1 / x\n")
    with pytest.raises(SourceError, match=f"`problem` cannot be imported: .*{message}") as caught:
        load(find_source("problem", [str(tmp_path)]))
    assert "\n" not in str(caught.value)
    assert "problem" not in sys.modules


def test_a_file_with_the_name_of_one_of_our_packages_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "analysis", raising=False)
    write(tmp_path, problem="import analysis\n", analysis="")
    with pytest.raises(ProblemError, match=f"{tmp_path}/analysis.py is imported as `analysis`"):
        load(find_source("problem", [str(tmp_path)]))
    assert "analysis" not in sys.modules


def test_what_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, problem="")

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(SourceError, match=r"problem.py cannot be read: Permission denied"):
        find_source("problem", [str(tmp_path)])
