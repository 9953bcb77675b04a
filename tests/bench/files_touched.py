"""How many files of the product stand between a command and what it prints?

    python -m tests.bench.files_touched
    python -m tests.bench.files_touched report --list

The script runs each command on the published results (results/) in a separate process and counts the modules of `sweep`,
`trainer` and `analysis` that it has imported. `__init__.py` files that contain only a docstring are not counted.
"""

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("sweep", "trainer", "analysis")
_HPS, _MDMTN, _TABLE = (
    str(REPOSITORY / "results" / name) for name in ("multifashion-hps", "multifashion-mdmtn", "table1-multifashion-short")
)
COMMANDS = {
    "report": ("report", _HPS, "--out", "report.html"),
    "table": ("table", _TABLE),
    "compare": ("compare", _HPS, _MDMTN),
    "pick": ("pick", _HPS, "--minimise", "loss.validation.left"),
    "front": ("front", _HPS),
    "figure front": ("figure", _HPS, "front"),
    "status": ("status", _HPS),
}
_RUN = """
import json, sys
from sweep.cli.commands import main
sys.argv = ["sweep", *sys.argv[1:]]
code = 0
try:
    main()
except SystemExit as end:
    code = end.code
files = [[name, module.__file__] for name, module in sys.modules.items() if name.split(".")[0] in {packages!r} and module.__file__]
with open("files.json", "w") as file:
    json.dump([code, files], file)
"""


def files_of(command: tuple[str, ...]) -> list[str]:
    """Return the files that a command imports, as paths relative to the repository.

    Raises:
        RuntimeError: the command failed; the message holds its output.
    """
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    call = [sys.executable, "-c", _RUN.replace("{packages!r}", repr(PACKAGES)), *command]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False, env=environment)
        written = Path(folder) / "files.json"
        exit_code, files = json.loads(written.read_text(encoding="utf-8")) if written.exists() else (1, [])
    if exit_code:
        raise RuntimeError(f"sweep {' '.join(command)}: {done.stderr}")
    paths = {Path(path) for _, path in files}
    return sorted(path.relative_to(REPOSITORY).as_posix() for path in paths if _has_code(path))


def main() -> int:
    """See the module's documentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help=f"default: all of {', '.join(COMMANDS)}")
    parser.add_argument("--list", action="store_true", help="name the files")
    options = parser.parse_args()
    unknown = [name for name in options.commands if name not in COMMANDS]
    if unknown:
        parser.error(f"no such command: {', '.join(unknown)}")
    print(f"{'command':14}{'files':>6}" + "".join(f"{package:>10}" for package in PACKAGES))
    for name in options.commands or COMMANDS:
        files = files_of(COMMANDS[name])
        counts = [sum(file.startswith(f"{package}/") for file in files) for package in PACKAGES]
        print(f"{name:14}{len(files):6}" + "".join(f"{count:10}" for count in counts))
        if options.list:
            print("\n".join(f"  {file}" for file in files))
    return 0


def _has_code(path: Path) -> bool:
    if path.name != "__init__.py":
        return True
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)


if __name__ == "__main__":
    sys.exit(main())
