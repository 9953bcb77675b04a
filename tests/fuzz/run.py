"""Feed mutated grid files and results folders to the commands that read them.

    python -m tests.fuzz.run --grids 10000 --stores 2000
    python -m tests.fuzz.run --only stores:123      repeat one case and show everything that is wrong with it

Each case has to work or to end in one clear error, within a time and a memory limit, without touching a file outside. The
exit code is 1 if a case does not. A case is determined by the seed, the kind and its number.
"""

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.cases import CASE_S

REPOSITORY = Path(__file__).resolve().parents[2]
_START_S = 900
_SHOWN = 60
_TOLD_EVERY = 500


@dataclass
class Outcome:
    """The outcome of all cases of one kind."""

    n_cases: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    found: dict[str, list[int]] = field(default_factory=dict)
    """Maps what is wrong to the numbers of the cases."""
    peak_mb: int = 0
    seconds: float = 0.0

    def note(self, number: int, complaints: list[str]) -> None:
        for complaint in complaints:
            if complaint not in self.found:
                print(f"case {number}: {complaint}", file=sys.stderr, flush=True)
            self.found.setdefault(complaint, []).append(number)
        if self.n_cases % _TOLD_EVERY == 0:
            print(f"{self.n_cases} cases", file=sys.stderr, flush=True)


def fuzz(kind: str, start: int, stop: int, seed: int, scratch: Path) -> Outcome:
    """Run cases `start` to `stop` in separate processes; if one dies or hangs, this is recorded, and the next process continues.

    Args:
        kind: `grids` or `stores`.
        start: the first case.
        stop: one more than the last.
        seed: seed of all cases.
        scratch: a folder that the processes may fill.
    """
    outcome = Outcome()
    began = time.monotonic()
    while start < stop:
        number = start
        for event in _events(kind, start, stop, seed, scratch):
            if "begins" in event:
                number = event["begins"]
            elif "case" in event:
                outcome.n_cases += 1
                outcome.peak_mb = max(outcome.peak_mb, event["peak_mb"])
                outcome.codes.update(event["codes"])
                outcome.note(number, event["found"])
                number += 1
            elif "died" in event:
                outcome.n_cases += 1
                outcome.note(number, [event["died"]])
                number += 1
        start = max(number, start + 1)
    outcome.seconds = time.monotonic() - began
    return outcome


def _events(kind: str, start: int, stop: int, seed: int, scratch: Path) -> Iterator[dict[str, Any]]:
    """Yield what one process reports and, if it died before its last case, how it died."""
    place = scratch / kind
    home = scratch / "home"
    home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz.cases", kind, str(start), str(stop), "--seed", str(seed), "--scratch", str(place)]
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, cwd=REPOSITORY, env=environment
        )
        try:
            assert process.stdout is not None
            is_ended, patience, rest = False, _START_S, b""
            while not is_ended:
                if not select.select([process.stdout], [], [], patience)[0]:
                    yield {"died": f"hang: nothing for {patience} s, not even an alarm"}
                    return
                read = os.read(process.stdout.fileno(), 1 << 16)
                if not read:
                    break
                *lines, rest = (rest + read).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    is_ended = is_ended or "ends" in event
                    patience = 3 * CASE_S
                    yield event
            if not is_ended:
                process.wait()
                errors.seek(0)
                last = errors.read().decode(errors="replace").strip().splitlines()[-1:] or [""]
                yield {"died": f"the process died with {process.returncode}: {last[0][:200]}"}
        finally:
            process.kill()
            process.wait()


def report(kind: str, outcome: Outcome, seed: int) -> str:
    """Return the outcome as text."""
    lines = [f"{kind}: {outcome.n_cases} cases in {outcome.seconds:.0f} s, seed {seed}, at most {outcome.peak_mb} MB"]
    lines += [f"  {name}: {n}" for name, n in sorted(outcome.codes.items())]
    for complaint, numbers in sorted(outcome.found.items(), key=lambda item: -len(item[1]))[:_SHOWN]:
        lines.append(f"  WRONG {len(numbers)}x {complaint} (cases {', '.join(map(str, numbers[:5]))})")
    if not outcome.found:
        lines.append("  nothing wrong")
    return "\n".join(lines)


def main() -> int:
    """Run the cases that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--grids", type=int, default=0, help="mutated grid files")
    parser.add_argument("--stores", type=int, default=0, help="mutated results folders")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", metavar="KIND:NUMBER", help="one case")
    asked = parser.parse_args()
    ranges = [(kind, asked.first, asked.first + n) for kind, n in (("grids", asked.grids), ("stores", asked.stores)) if n]
    if asked.only:
        kind, _, number = asked.only.partition(":")
        ranges = [(kind, int(number), int(number) + 1)]
    is_clean = True
    for kind, start, stop in ranges:
        with tempfile.TemporaryDirectory(prefix="sweep-fuzz-", ignore_cleanup_errors=True) as scratch:
            outcome = fuzz(kind, start, stop, asked.seed, Path(scratch))
        print(report(kind, outcome, asked.seed), flush=True)
        is_clean = is_clean and not outcome.found
    return 0 if is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
