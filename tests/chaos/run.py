"""Kill workers, drivers, supervisors, raylets and GCS servers of real sweeps at random moments, and measure the cost.

    python -m tests.chaos.run --kills 200 --seed 0 [--trials 24] [--minutes 50] [--json FILE] [--keep DIR]

The exit code is 0 if every sweep was completed with the rows of an undisturbed run and left nothing behind, and no fault cost more than
one epoch. Only processes that this program started are killed. On two processors, 200 kills take most of an hour.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.kills import Sweep, kill_sweeps, schedule
from tests.chaos.table import lines, to_json
from tests.chaos.workplace import undisturbed


def main() -> int:
    """Parse the command line, make the kills and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=24, help="of each sweep")
    parser.add_argument("--minutes", type=float, default=math.inf, help="no more kills after this time; the sweep that is on is completed")
    parser.add_argument("--json", type=Path, help="write every kill there")
    parser.add_argument("--keep", type=Path, help="keep the sweeps' folders in this new folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        sweeps = _disturbed(arguments.keep or Path(scratch), arguments)
    for line in lines(sweeps):
        print(line)
    is_well = all(sweep.is_well and all(kill.work.epochs <= 1 for kill in sweep.kills) for sweep in sweeps)
    print("well" if is_well else "NOT WELL")
    return 0 if is_well else 1


def _disturbed(folder: Path, arguments: argparse.Namespace) -> list[Sweep]:
    started = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s, load {os.getloadavg()[0]:.1f}: {text}", file=sys.stderr, flush=True)

    reference = undisturbed(folder / "undisturbed", arguments.trials)
    tell(f"undisturbed run of {len(reference)} trials")
    sweeps: list[Sweep] = []
    planned = schedule(arguments.kills, arguments.seed)
    left_s = 60 * arguments.minutes - (time.monotonic() - started)
    for sweep in kill_sweeps(folder, arguments.trials, planned, reference, arguments.seed, tell, left_s):
        sweeps.append(sweep)
        for problem in (*sweep.differences, *sweep.leftovers):
            tell(problem)
        if arguments.json:
            arguments.json.write_text(json.dumps(to_json(sweeps), indent=1), encoding="utf-8")
    return sweeps


if __name__ == "__main__":
    sys.exit(main())
