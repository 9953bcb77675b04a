"""Progress on standard error: a table that is redrawn on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Protocol

from analysis.formatting import preference_text
from sweep.terminal import echo, fitted


def pack_label(pack_id: str, trial_ids: Sequence[str], preferences: Sequence[Sequence[float] | None], method: str) -> str:
    """For example `pack-0a1b2c3d-2 4f5e6d7c8b9a0f1e k=(0.02, 0.49, 0.49) and 1 more`; a method without preferences stands by its name."""
    k = preferences[0]
    more = f" and {len(trial_ids) - 1} more" if len(trial_ids) > 1 else ""
    return f"{pack_id} {trial_ids[0]} {method if k is None else f'k={preference_text(k)}'}{more}"


_PLAIN_EVERY_S = 10.0
_MAX_PACKS = 12
_COLUMNS = ("pack", "trials", "k", "phase", "epoch", "best", "SR", "age", "host")
_NUMBERS = ("trials", "epoch", "best", "SR", "age")


@dataclass(frozen=True)
class Snapshot:
    """Where a sweep stands."""

    n_trials: int
    states: Mapping[str, int]
    """state -> number of complete trials."""
    n_before: int
    """Trials that were complete before this run began."""
    live: tuple[Mapping[str, Any], ...]
    """What the running packs reported last."""
    elapsed_s: float
    dashboard: str | None = None
    is_paused: bool = False

    @property
    def n_complete(self) -> int:
        """Trials with a row, whatever its state."""
        return sum(self.states.values())

    @property
    def n_failed(self) -> int:
        """Complete trials that are not ok."""
        return self.n_complete - self.states.get("ok", 0)

    @property
    def n_running(self) -> int:
        """Trials in running packs."""
        return sum(len(pack["trial_ids"]) for pack in self.live)

    @property
    def trained(self) -> float:
        """Trials trained in this run; running ones count by the share of their epochs."""
        running = sum(len(pack["trial_ids"]) * pack.get("epoch", 0) / pack["n_epochs"] for pack in self.live if pack.get("n_epochs"))
        return float(self.n_complete - self.n_before + running)

    @property
    def remaining_s(self) -> float | None:
        """Seconds left at the mean speed so far; None before there is one, and while the sweep is paused."""
        if self.trained <= 0 or self.is_paused:
            return None
        left = self.n_trials - self.n_before - self.trained
        return max(0.0, self.elapsed_s / self.trained * left)

    @property
    def best_metric(self) -> float | None:
        """The best mean validation metric among the running models."""
        return max((pack["best_metric"] for pack in self.live if pack.get("best_metric") is not None), default=None)


class Progress(Protocol):
    """Shows what the supervisor reports."""

    def message(self, text: str) -> None:
        """Show something that happened once."""

    def update(self, snapshot: Snapshot) -> None:
        """Show where the sweep stands; called about twice a second."""

    def close(self) -> None:
        """End the display; no more calls follow."""


class Quiet:
    """Shows nothing."""

    def message(self, text: str) -> None:
        """Shows nothing."""

    def update(self, snapshot: Snapshot) -> None:
        """Shows nothing."""

    def close(self) -> None:
        """Shows nothing."""


class PlainLines:
    """One line every ten seconds, and whenever the number of complete trials changed by a tenth; for logs."""

    def __init__(self) -> None:
        self._shown_at = -_PLAIN_EVERY_S

    def message(self, text: str) -> None:
        """Print the text."""
        echo(text, err=True)

    def update(self, snapshot: Snapshot) -> None:
        """Print a line, if it is time."""
        if time.monotonic() - self._shown_at >= _PLAIN_EVERY_S:
            self._shown_at = time.monotonic()
            self.message(summary_line(snapshot))

    def close(self) -> None:
        """Shows nothing more."""


class LiveTable:
    """A table that redraws itself, with one line a running pack."""

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
    """The display for this process: a live table on a terminal or in a notebook, lines elsewhere, nothing if `is_quiet`."""
    if is_quiet:
        return Quiet()
    return LiveTable() if sys.stderr.isatty() or "ipykernel" in sys.modules else PlainLines()


def summary_line(snapshot: Snapshot) -> str:
    """One line: done, running, failed, best accuracy, rate, time left."""
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
    """The same as `summary_line` with a bar, and a line for each running pack.

    Args:
        snapshot: where the sweep stands.
        stream: where it is shown; letters that it cannot encode are replaced. None: it takes every letter.
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
        packs.add_row(*(Text(fitted(text, stream)) for text in pack_columns(pack).values()))  # nobody else's text is markup
    bar = ProgressBar(total=max(1, snapshot.n_trials), completed=min(snapshot.n_trials, snapshot.n_before + snapshot.trained), width=60)
    lines: list[Any] = [Padding(bar, 0), Text(summary_line(snapshot))]  # a bar alone ends no line
    if len(snapshot.live) > _MAX_PACKS:
        lines.append(Text(f"{len(snapshot.live) - _MAX_PACKS} more packs are running", style="dim"))
    return Group(*lines, packs)


def pack_columns(pack: Mapping[str, Any]) -> dict[str, str]:
    """The last report of a running pack as text: column -> value, empty where it is not known."""
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
    """Seconds as people write them: 42 s, 3 min 12 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
