"""Messages about failures during a run. Of each kind only the first, tenth, hundredth and so on are reported."""

import re
from collections import Counter
from collections.abc import Mapping

from sweep.store.remote.path import StorePath
from sweep.store.store import Store

_NUMBER = re.compile(r"[-+]?\b\d[\w.+-]*")


class Failures:
    """Counts failures by kind.

    Args:
        what: what fails, as a singular noun, for example `trial`.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._counts: Counter[str] = Counter()

    def add(self, reason: str, note: str) -> str | None:
        """Count one more failure.

        Args:
            reason: why it failed. Reasons that differ only in numbers are of the same kind.
            note: text that follows the reason in parentheses.

        Returns:
            A message for the first, tenth, hundredth (and so on) failure of a kind; otherwise None.
        """
        first_line = reason.strip().partition("\n")[0]
        kind = _NUMBER.sub("#", first_line)
        self._counts[kind] += 1
        n = self._counts[kind]
        if str(n).strip("0") != "1":
            return None
        return f"{n} {self._what}{'s' if n > 1 else ''} failed: {first_line} ({note})"


class FailedTrials:
    """The trials of one sweep that fail from now on.

    Args:
        store: store of the sweep.
        known: maps the id of each trial that is already complete to its state.
    """

    def __init__(self, store: Store, known: Mapping[str, str]) -> None:
        self._store = store
        self._known = _failed(known)
        self._failures = Failures("trial")

    def news(self, complete: Mapping[str, str], log: StorePath) -> list[str]:
        """Return messages about the trials that have failed since the last call.

        Args:
            complete: maps the id of each trial that is now complete to its state.
            log: the log of the attempt.
        """
        new = _failed(complete) - self._known
        if not new:
            return []
        self._known |= new
        rows = self._store.read_rows(new, columns=("error",)).to_pylist()
        reasons = [(row["trial_id"], f"{row['state']}, {row['error'] or 'without a reason'}") for row in rows]
        messages = [self._failures.add(reason, f"trial {trial_id}; log: {log}") for trial_id, reason in reasons]
        return [message for message in messages if message is not None]


def _failed(states: Mapping[str, str]) -> set[str]:
    return {trial_id for trial_id, state in states.items() if state != "ok"}
