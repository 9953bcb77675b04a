"""Is everything but training fast enough for 100,000 trials?

    python -m tests.bench.scale                   all four, each in a separate process
    python -m tests.bench.scale planning          all of `sweep plan`: seconds, and peak memory of its process
    python -m tests.bench.scale store             reading rows and curves
    python -m tests.bench.scale front             the eps-filter beside the exact filters of moocore and pymoo
    python -m tests.bench.scale report            time to build the report, its size, and with --browser the time until a browser shows it

Every figure is printed with its limit (kept or MISSED) and, if there is a yardstick, with the ratio to it, which was measured in the
same process. The results folders are generated (`made_sweep.py`) in a temporary folder. The first line gives the load of the machine.
"""

import argparse
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from tests.bench.scale.figures import N_TRIALS, machine

BENCHES = ("planning", "store", "front", "report")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bench", nargs="*", metavar="BENCH", help=f"some of {', '.join(BENCHES)}; default: all")
    parser.add_argument("--trials", type=int, default=N_TRIALS, help="trials of the sweep; the front's sets grow and shrink with it")
    parser.add_argument("--browser", action="store_true", help="open the report in headless chromium too")
    asked = parser.parse_args()
    if unknown := set(asked.bench).difference(BENCHES):
        parser.error(f"one of {', '.join(BENCHES)} expected, found {', '.join(sorted(unknown))}")
    if len(asked.bench) != 1:
        options = ["--trials", str(asked.trials), *(["--browser"] if asked.browser else [])]
        for name in asked.bench or BENCHES:
            subprocess.run([sys.executable, "-m", "tests.bench.scale", name, *options], check=True)
        return
    print(f"{asked.bench[0]}, {asked.trials:,} trials ({machine()})", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        import_module(f"tests.bench.scale.{asked.bench[0]}").measure(Path(folder), asked)


if __name__ == "__main__":
    main()
