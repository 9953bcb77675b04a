"""The entry point of the command line and of the processes of the stages."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def _find_this_repository() -> None:
    """Make `tests` mean this repository's folder. It has no __init__.py, so an installed package of that name would take precedence."""
    from types import ModuleType

    package = ModuleType("tests")
    package.__path__ = [str(ROOT / "tests")]
    sys.modules["tests"] = package
    sys.path[0] = str(ROOT)


if __name__ == "__main__":
    if not __package__:
        _find_this_repository()
    from tests.bench.gpu.plan import main

    sys.exit(main(sys.argv[1:]))
