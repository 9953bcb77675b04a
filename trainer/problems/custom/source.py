"""The source of a user's own problem: its files, their digests, and the import of its module.

The modules that a problem depends on are determined from the text of its files, by following the import statements, and not from the
modules that happen to be loaded. Imports no torch; the user's code is imported by `load` alone.
"""

import ast
import difflib
import hashlib
import importlib
import importlib.util
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from trainer.errors import TrainerError

_OURS = ("sweep", "trainer", "analysis")
_HERE = Path(__file__).resolve().parents[3]


class ProblemError(TrainerError, ValueError):
    """A user's own problem that cannot be used; the message says what is wrong and where.

    Args:
        message: the text of `str(error)`.
        hint: how to fix the problem, for the user who plans a sweep; the code that shows the error adds it.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.args = (message, hint)

    def __str__(self) -> str:
        return str(self.args[0])


class BatchError(ProblemError):
    """A batch of a size that will occur, and that a network cannot process."""

    def __init__(self, message: str, hint: str, is_of_training: bool) -> None:
        super().__init__(message, hint)
        self.is_of_training = is_of_training
        """Whether another `training.batch_size` helps; the batch sizes of evaluation are fixed."""


class SourceError(ProblemError):
    """The module is missing, cannot be imported, or has changed; this may be different on another machine."""

    kind = "node"


@dataclass(frozen=True)
class Source:
    """A module and the neighbouring modules that it imports."""

    module: str
    folders: tuple[str, ...]
    """The folders that are searched first for its imports."""
    files: Mapping[str, Path]
    """Module -> its file."""
    digests: Mapping[str, str]
    """Module -> SHA-256 of its text, independent of line ends."""
    is_installed: bool
    """Whether it is on Python's own path and not in `folders`; then only modules of its own package belong to the source."""

    @property
    def digest(self) -> str:
        """The SHA-256 of the whole source, independent of the location of its files."""
        return hashlib.sha256(json.dumps(self.digests, sort_keys=True).encode()).hexdigest()


def find_source(module: str, folders: Sequence[str]) -> Source:
    """Find a module and the neighbouring modules in its import statements, without importing them.

    Args:
        module: `my_module` or `my_package.my_module`.
        folders: absolute folders that are searched for the modules, in this order, before Python's own path.

    Raises:
        SourceError: there is no such module, or a file cannot be read.
    """
    top = module.partition(".")[0]
    if top in _OURS:
        raise SourceError(f"`{top}` is a package of this program, a module of your own expected", "rename it, or give it another package")
    roots = tuple(map(Path, folders))
    is_installed = _file_of(module, roots) is None
    if is_installed:
        roots = _installed_roots(top)
        if _file_of(module, roots) is None:
            places = " or ".join(folders) or "no folder"
            raise SourceError(f"no module `{module}` in {places}, and none is installed", _near(module, folders))
    files: dict[str, Path] = {}
    digests: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        package = name.partition(".")[0]
        path = None if name in files or package in _OURS or (is_installed and package != top) else _file_of(name, roots)
        if path is None:
            continue
        try:
            text = path.read_bytes().replace(b"\r\n", b"\n")
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror}") from None
        files[name], digests[name] = path, hashlib.sha256(text).hexdigest()
        waiting += [*_parents(name), *_imports(text, name, is_package=path.name == "__init__.py")]
    return Source(module, tuple(folders), files, digests, is_installed)


def load(source: Source) -> ModuleType:
    """Import the module again from its current text.

    Raises:
        SourceError: the import fails with any error.
    """
    if not source.is_installed:  # an installed package may contain compiled parts that cannot be loaded twice
        for name in source.files:
            sys.modules.pop(name, None)
    with importing(source):
        try:
            return importlib.import_module(source.module)
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            raise SourceError(
                f"`{source.module}` cannot be imported: {described(error, source)}",
                f"it is {source.files[source.module]}; try `python {source.files[source.module]}`",
            ) from error


@contextmanager
def importing(source: Source) -> Iterator[None]:
    """Put the source's folders first on Python's path within the context, which encloses each call of the user's code.

    Modules of the same name from other places are unloaded, and no bytecode is written: Python compares the times of bytecode and
    source in seconds, which is too coarse for a file that is being edited.

    Raises:
        ProblemError: a user's file was imported under the name of one of this program's packages.
    """
    if not source.is_installed:
        for name, path in source.files.items():
            if name in sys.modules and not _is_file_of(sys.modules[name], path):
                del sys.modules[name]
    has_bytecode = sys.dont_write_bytecode
    sys.path[:0] = source.folders
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
        _refuse_other_packages()
    finally:
        sys.dont_write_bytecode = has_bytecode
        for folder in source.folders:  # changes of the path by the user's code stay
            if folder in sys.path:
                sys.path.remove(folder)


def described(error: BaseException, source: Source) -> str:
    """Return the class and the message of an error in one line, and the last line of the user's code in its traceback."""
    files = {str(path): path for path in source.files.values()}
    place = ""
    trace = error.__traceback__
    while trace is not None:
        path = files.get(trace.tb_frame.f_code.co_filename)
        place = f" ({path.name}:{trace.tb_lineno})" if path else place
        trace = trace.tb_next
    return " ".join(f"{type(error).__name__}: {error}".split()) + place


def changed_modules(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the modules that were added, removed or changed."""
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))


def _file_of(module: str, roots: Iterable[Path]) -> Path | None:
    for root in roots:
        base = root.joinpath(*module.split("."))
        for path in (base / "__init__.py", base.parent / f"{base.name}.py"):
            if path.is_file():
                return path
    return None


def _installed_roots(top: str) -> tuple[Path, ...]:
    """Return the folders of an installed top-level module or package; empty if it has no source."""
    if top in sys.stdlib_module_names or top == "__main__":
        return ()
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return ()
    if spec is None:
        return ()
    places = spec.submodule_search_locations or [spec.origin or ""]
    return tuple(Path(place).parent for place in places)


def _near(module: str, folders: Sequence[str]) -> str:
    """Return a hint on a module of these folders with a similar name."""
    if module.endswith(".py") or module == "__main__":
        return "write the module without `.py`" if module.endswith(".py") else "put the factory into a file, so that workers can import it"
    there = [path.stem for folder in folders for path in sorted(Path(folder).glob("*.py"))]
    near = difflib.get_close_matches(module, there, n=1)
    return f"did you mean `{near[0]}`?" if near else "the module is looked for beside the grid file and in the working directory"


def _parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _imports(text: bytes, module: str, is_package: bool) -> Iterator[str]:
    """Yield the names in all import statements of a text; none if it does not compile, which the import will report."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from (alias.name, *_parents(alias.name))
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".") if package else []
            above = above[: len(above) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            if base:
                yield from (base, *_parents(base))
            yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names)


def _is_file_of(module: ModuleType, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve() == path.resolve()


def _refuse_other_packages() -> None:
    for name in _OURS:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None and Path(file).resolve().parent != _HERE / name:
            del sys.modules[name]
            raise ProblemError(f"{file} is imported as `{name}`, which is the name of a package of this program", "rename it")
