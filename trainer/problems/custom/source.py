"""The source of a user's own problem: the files it consists of, their digests, and how its module is imported.

What a problem's results depend on is read from the files, not from what happens to be loaded: imports are followed in
the text. Imports no torch, and nothing of the user's but in `load`.
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
    """A problem of the user's own that cannot be used; the message says what is wrong and where.

    Args:
        message: all of `str(error)`.
        hint: how to put it right, for a person who plans a sweep; whoever shows the error adds it.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.args = (message, hint)

    def __str__(self) -> str:
        return str(self.args[0])


class BatchError(ProblemError):
    """A batch of a size that will occur, and that a network cannot take."""

    def __init__(self, message: str, hint: str, is_of_training: bool) -> None:
        super().__init__(message, hint)
        self.is_of_training = is_of_training
        """Whether another `training.batch_size` helps; the sizes of evaluation are fixed."""


class SourceError(ProblemError):
    """Its module is not there, cannot be imported, or is not what it was; on another machine it may be."""

    kind = "node"


@dataclass(frozen=True)
class Source:
    """A module and what it imports of the modules beside it."""

    module: str
    folders: tuple[str, ...]
    """Where its imports are looked for first."""
    files: Mapping[str, Path]
    """Module -> its file."""
    digests: Mapping[str, str]
    """Module -> SHA-256 of its text; line ends do not matter."""
    is_installed: bool
    """Found on Python's own path, not in `folders`: then only modules of its own package count as beside it."""

    @property
    def digest(self) -> str:
        """SHA-256 over all of it; where the files lie does not matter."""
        return hashlib.sha256(json.dumps(self.digests, sort_keys=True).encode()).hexdigest()


def find_source(module: str, folders: Sequence[str]) -> Source:
    """Find a module, and by the import statements in its text the modules beside it. Imports none of them.

    Args:
        module: `my_module` or `my_package.my_module`.
        folders: absolute; where it and the modules beside it are looked for, in this order, before Python's own path.

    Raises:
        SourceError: no such module, or a file cannot be read.
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
        found = name.partition(".")[0]
        path = None if name in files or found in _OURS or (is_installed and found != top) else _file_of(name, roots)
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
    """Import the module anew, from the text as it is now.

    Raises:
        SourceError: whatever the import raises.
    """
    if not source.is_installed:  # an installed package may hold compiled parts that cannot be loaded twice
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
    """While it lasts, the source's folders are the first on Python's path. Wraps each call into the user's code.

    Modules of the same name that came from elsewhere are forgotten, and no bytecode is written: it is told from its
    source by a time in seconds, which is too coarse for a file that is being edited.

    Raises:
        ProblemError: a file of the user's was imported under the name of one of this program's packages.
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
        for folder in source.folders:  # what the user's code did to the path stays
            if folder in sys.path:
                sys.path.remove(folder)


def described(error: BaseException, source: Source) -> str:
    """Class and message on one line, and the last line of the user's code that it came through."""
    files = {str(path): path for path in source.files.values()}
    place = ""
    trace = error.__traceback__
    while trace is not None:
        path = files.get(trace.tb_frame.f_code.co_filename)
        place = f" ({path.name}:{trace.tb_lineno})" if path else place
        trace = trace.tb_next
    return " ".join(f"{type(error).__name__}: {error}".split()) + place


def changed_modules(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Modules whose digest is another one, or that came or went."""
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))


def _file_of(module: str, roots: Iterable[Path]) -> Path | None:
    for root in roots:
        base = root.joinpath(*module.split("."))
        for path in (base / "__init__.py", base.parent / f"{base.name}.py"):
            if path.is_file():
                return path
    return None


def _installed_roots(top: str) -> tuple[Path, ...]:
    """The folders that hold an installed top-level module or package; none where it has no source of its own."""
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
    """Which module of these folders may be meant."""
    if module.endswith(".py") or module == "__main__":
        return "write the module without `.py`" if module.endswith(".py") else "put the factory into a file, so that workers can import it"
    there = [path.stem for folder in folders for path in sorted(Path(folder).glob("*.py"))]
    near = difflib.get_close_matches(module, there, n=1)
    return f"did you mean `{near[0]}`?" if near else "the module is looked for beside the grid file and in the working directory"


def _parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _imports(text: bytes, module: str, is_package: bool) -> Iterator[str]:
    """Names that import statements anywhere in the text may stand for; empty when it does not compile (the import will say so)."""
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
