"""Mutation run: how many small changes of the mathematics in `analysis/pareto` and `trainer/objectives` the tests notice.

    python -m tests.bench.mutation                          every module, one after the other (an hour of one core)
    python -m tests.bench.mutation analysis.pareto.knee     only these modules
    python -m tests.bench.mutation --every 4                a quarter of the mutants
    python -m tests.bench.mutation --folder /tmp/mutation   keep the results: a second run tests only what has not been killed

It copies the tree into a folder of its own and runs mutmut there with the settings of pyproject's `[tool.mutmut]`. mutmut leaves
decorated functions out, so the copy has each `@torch.no_grad()` as a `with` statement; properties stay out. The score counts a
mutant as noticed when a test fails or does not end. The survivors are written to `survivors.diff` in the folder.
"""

import argparse
import ast
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import Phase, settings

settings.register_profile("mutation", max_examples=25, phases=(Phase.explicit, Phase.generate), database=None)
"""pytest loads this file as a plugin for it: a mutant needs one example that fails, not the smallest."""

_ROOMS = ("analysis/pareto", "trainer/objectives")
_COPIED = ("analysis", "trainer", "tests", "pyproject.toml")
_KILLED = ("killed", "segfault")
_NONE = "no_mutant_has_this_name"
_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("modules", nargs="*", help="dotted names; default: every module of the two rooms")
    parser.add_argument("--folder", type=Path, help="where the copy lies; default: a temporary folder")
    parser.add_argument("--every", type=int, default=1, help="test every so many-th mutant of a module")
    parser.add_argument("--children", type=int, default=2, help="mutants that are tested side by side")
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = asked.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        copy_tree(Path(__file__).parents[2], folder)
        modules = asked.modules or [
            f"{room}.{path.stem}".replace("/", ".") for room in _ROOMS for path in sorted((folder / room).glob("[!_]*.py"))
        ]
        mutmut = [sys.executable, "-m", "mutmut", "run", f"--max-children={asked.children}"]
        if not all(meta_of(folder, module).exists() for module in modules):
            subprocess.run([*mutmut, f"{modules[0]}.{_NONE}"], cwd=folder, env=os.environ | _THREADS, check=False)
        names = [name for module in modules for name, state in results_of(folder, module, asked.every).items() if state not in _KILLED]
        if names:
            subprocess.run([*mutmut, *names], cwd=folder, env=os.environ | _THREADS, check=True)
        write_survivors(folder, modules, asked.every)
        print(
            "| module | mutants | tested | killed | endless | survived | without a test | score |\n|---|---:|---:|---:|---:|---:|---:|---:|"
        )
        print("\n".join(row_of(folder, module, asked.every) for module in modules))


def copy_tree(source: Path, folder: Path) -> None:
    """Copy what changed, and take `@torch.no_grad()` off the functions of both rooms."""
    for name in _COPIED:
        files = [source / name] if (source / name).is_file() else sorted((source / name).rglob("*"))
        for path in files:
            if path.is_file() and "__pycache__" not in path.parts:
                text = path.read_bytes()
                if str(path.relative_to(source).parent) in _ROOMS and path.suffix == ".py":
                    text = without_decorators(text.decode()).encode()
                copy = folder / path.relative_to(source)
                if not copy.exists() or copy.read_bytes() != text:
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    copy.write_bytes(text)
    for name in _COPIED:  # mutmut copies what is missing or newer, but removes nothing
        for path in (folder / "mutants" / name).rglob("test_*.py"):
            if not (folder / path.relative_to(folder / "mutants")).exists():
                path.unlink()


def without_decorators(source: str) -> str:
    """The same program with `@torch.no_grad()` as a `with` statement around the body that follows the docstring."""
    lines = source.splitlines()
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    for function in sorted(functions, key=lambda node: -node.lineno):
        decorators = [node for node in function.decorator_list if ast.unparse(node) == "torch.no_grad()"]
        if len(decorators) == len(function.decorator_list) == 1:
            has_docstring = ast.get_docstring(function) is not None
            body = function.body[1 if has_docstring else 0 :]
            start, end = body[0].lineno - 1, function.end_lineno or 0
            indent = " " * body[0].col_offset
            lines[start:end] = [f"{indent}with torch.no_grad():", *(f"    {line}" if line else line for line in lines[start:end])]
            del lines[decorators[0].lineno - 1]
    return "\n".join(lines) + "\n"


def meta_of(folder: Path, module: str) -> Path:
    """Where mutmut notes what became of a module's mutants."""
    return folder / "mutants" / f"{module.replace('.', '/')}.py.meta"


def results_of(folder: Path, module: str, every: int) -> dict[str, str]:
    """Mutant -> what became of it, for every so many-th mutant."""
    from mutmut.stats import status_by_exit_code

    codes = json.loads(meta_of(folder, module).read_text())["exit_code_by_key"]
    return {name: status_by_exit_code[codes[name]] for name in list(codes)[::every]}


def row_of(folder: Path, module: str, every: int) -> str:
    """One line of the table."""
    states = Counter(results_of(folder, module, every).values())
    n = states.total() - states["not checked"]
    killed, endless, untested = sum(states[state] for state in _KILLED), states["timeout"], states["no tests"]
    n_all = len(results_of(folder, module, 1))
    score = f"{(killed + endless) / n:.1%}" if n else "-"
    return f"| `{module}` | {n_all} | {n} | {killed} | {endless} | {n - killed - endless - untested} | {untested} | {score} |"


def write_survivors(folder: Path, modules: list[str], every: int) -> None:
    """Write the differences of all mutants that no test noticed."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    states = {name: state for module in modules for name, state in results_of(folder, module, every).items()}
    with contextlib.chdir(folder), open("survivors.diff", "w", encoding="utf-8") as out:
        for name in (name for name, state in states.items() if state not in (*_KILLED, "not checked")):
            out.write(f"# {name}: {states[name]}\n{get_diff_for_mutant(name)}\n")


if __name__ == "__main__":
    main()
