"""The command line: runs the stages one after the other, or is one stage's process."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def _find_this_repository() -> None:
    """Make `tests` mean this repository's folder, which has no __init__.py, so that an installed package of that name would win."""
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
