"""Progress on standard error: a table that is redrawn on a terminal, or occasional lines elsewhere."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Protocol

from analysis.formatting import preference_text
from sweep.terminal import echo, fitted


def pack_label(pack_id: str, trial_ids: Sequence[str], preferences: Sequence[Sequence[float] | None], method: str) -> str:
    """Return a label for a pack, for example `pack-0a1b2c3d-2 4f5e6d7c8b9a0f1e k=(0.02, 0.49, 0.49) and 1 more`.

    Args:
        pack_id: id of the pack.
        trial_ids: ids of its trials, at least one.
        preferences: preference of each trial, shape (n_objectives,); None for a method without preferences.
        method: name of the method, which is shown if there is no preference.
    """
    k = preferences[0]
    more = f" and {len(trial_ids) - 1} more" if len(trial_ids) > 1 else ""
    return f"{pack_id} {trial_ids[0]} {method if k is None else f'k={preference_text(k)}'}{more}"


_PLAIN_EVERY_S = 10.0
_MAX_PACKS = 12
_COLUMNS = ("pack", "trials", "k", "phase", "epoch", "best", "SR", "age", "host")
_NUMBERS = ("trials", "epoch", "best", "SR", "age")


@dataclass(frozen=True)
class Snapshot:
    """The state of a sweep at one moment."""

    n_trials: int
    states: Mapping[str, int]
    """Maps each final state to its number of trials."""
    n_before: int
    """Number of trials that were complete before this run began."""
    live: tuple[Mapping[str, Any], ...]
    """The latest report of each running pack."""
    elapsed_s: float
    dashboard: str | None = None
    is_paused: bool = False

    @property
    def n_complete(self) -> int:
        """The number of trials that have a row, in any state."""
        return sum(self.states.values())

    @property
    def n_failed(self) -> int:
        """The number of complete trials that are not ok."""
        return self.n_complete - self.states.get("ok", 0)

    @property
    def n_running(self) -> int:
        """The number of trials in running packs."""
        return sum(len(pack["trial_ids"]) for pack in self.live)

    @property
    def trained(self) -> float:
        """The number of trials trained in this run; a running trial counts as the fraction of its epochs that are finished."""
        running = sum(len(pack["trial_ids"]) * pack.get("epoch", 0) / pack["n_epochs"] for pack in self.live if pack.get("n_epochs"))
        return float(self.n_complete - self.n_before + running)

    @property
    def remaining_s(self) -> float | None:
        """The remaining time in seconds at the mean speed so far; None if there is no speed yet or the sweep is paused."""
        if self.trained <= 0 or self.is_paused:
            return None
        left = self.n_trials - self.n_before - self.trained
        return max(0.0, self.elapsed_s / self.trained * left)

    @property
    def best_metric(self) -> float | None:
        """The best mean validation metric among the running models; None if none has been reported."""
        return max((pack["best_metric"] for pack in self.live if pack.get("best_metric") is not None), default=None)


class Progress(Protocol):
    """A display for what the supervisor reports."""

    def message(self, text: str) -> None:
        """Show a message about something that happened once."""

    def update(self, snapshot: Snapshot) -> None:
        """Show the state of the sweep; called about twice a second."""

    def close(self) -> None:
        """End the display. No calls may follow."""


class Quiet:
    """A display that shows nothing."""

    def message(self, text: str) -> None:
        """Show nothing."""

    def update(self, snapshot: Snapshot) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Show nothing."""


class PlainLines:
    """A display for logs, which prints a line at most every ten seconds."""

    def __init__(self) -> None:
        self._shown_at = -_PLAIN_EVERY_S

    def message(self, text: str) -> None:
        """Print the text."""
        echo(text, err=True)

    def update(self, snapshot: Snapshot) -> None:
        """Print a line if the last one is at least ten seconds old."""
        if time.monotonic() - self._shown_at >= _PLAIN_EVERY_S:
            self._shown_at = time.monotonic()
            self.message(summary_line(snapshot))

    def close(self) -> None:
        """Do nothing; there is nothing to remove."""


class LiveTable:
    """A table on a terminal that is redrawn in place, with one line per running pack."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(stderr=True), refresh_per_second=4, transient=True)
        self._live.start()

    def message(self, text: str) -> None:
        """Print the text above the table."""
        self._live.console.print(fitted(text, self._live.console.file), highlight=False, markup=False)

    def update(self, snapshot: Snapshot) -> None:
        """Redraw the table."""
        self._live.update(table(snapshot, self._live.console.file))

    def close(self) -> None:
        """Remove the table."""
        self._live.stop()


def choose_progress(is_quiet: bool) -> Progress:
    """Return the display for this process: a live table on a terminal or in a notebook, lines elsewhere, or none if `is_quiet`."""
    if is_quiet:
        return Quiet()
    return LiveTable() if sys.stderr.isatty() or "ipykernel" in sys.modules else PlainLines()


def summary_line(snapshot: Snapshot) -> str:
    """Return one line with the complete, running and failed trials, the best accuracy, the rate and the remaining time."""
    parts = [f"{snapshot.n_complete}/{snapshot.n_trials} trials", f"{snapshot.n_running} running", f"{snapshot.n_failed} failed"]
    if snapshot.is_paused:
        parts.append("paused")
    if snapshot.best_metric is not None:
        parts.append(f"best running {100 * snapshot.best_metric:.1f} %")
    if snapshot.elapsed_s > 0 and snapshot.trained > 0:
        parts.append(f"{60 * snapshot.trained / snapshot.elapsed_s:.1f} trials/min")
    parts.append(f"{duration(snapshot.elapsed_s)} elapsed")
    if snapshot.remaining_s is not None:
        parts.append(f"about {duration(snapshot.remaining_s)} left")
    return " | ".join(parts)


def table(snapshot: Snapshot, stream: IO[str] | None = None) -> Any:
    """Return a rich renderable with a progress bar, the `summary_line`, and a line for each running pack.

    Args:
        snapshot: the state of the sweep.
        stream: where the table is shown; characters that the stream cannot encode are replaced. None means that it can encode all.
    """
    from rich.console import Group
    from rich.padding import Padding
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    packs = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in _COLUMNS:
        packs.add_column(
            name, justify="right" if name in _NUMBERS else "left", overflow="ellipsis" if fitted("…", stream) == "…" else "crop"
        )
    for pack in snapshot.live[:_MAX_PACKS]:
        packs.add_row(
            *(Text(fitted(text, stream)) for text in pack_columns(pack).values())
        )  # Text, so that nothing in a report is interpreted as markup
    bar = ProgressBar(total=max(1, snapshot.n_trials), completed=min(snapshot.n_trials, snapshot.n_before + snapshot.trained), width=60)
    lines: list[Any] = [Padding(bar, 0), Text(summary_line(snapshot))]  # Padding, because a bar alone does not end its line
    if len(snapshot.live) > _MAX_PACKS:
        lines.append(Text(f"{len(snapshot.live) - _MAX_PACKS} more packs are running", style="dim"))
    return Group(*lines, packs)


def pack_columns(pack: Mapping[str, Any]) -> dict[str, str]:
    """Return the last report of a running pack as a mapping from column to text, which is empty if the value is unknown."""
    trial_ids, preferences = pack["trial_ids"], pack.get("k") or [None]
    more = f" +{len(trial_ids) - 1}" if len(trial_ids) > 1 else ""
    best, rate, updated = pack.get("best_metric"), pack.get("sparsity_rate"), pack.get("updated")
    values = (
        str(pack["pack_id"]),
        str(len(trial_ids)),
        f"{preference_text(preferences[0])}{more}" if preferences[0] is not None else "",
        str(pack.get("phase", "starting")),
        f"{pack['epoch']}/{pack['n_epochs']}" if "epoch" in pack else "",
        f"{100 * best:.1f} %" if best is not None else "",
        f"{100 * rate:.1f} %" if rate is not None else "",
        duration(max(0.0, time.time() - updated)) if updated is not None else "",
        str(pack.get("host", "")),
    )
    return dict(zip(_COLUMNS, values, strict=True))


def duration(seconds: float) -> str:
    """Format seconds as people write them, for example `42 s`, `3 min 12 s` or `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
