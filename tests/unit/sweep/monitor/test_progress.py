"""What a person sees while a sweep runs: the arithmetic of a snapshot, and each way of showing it."""

import io
from collections.abc import Mapping
from typing import Any

import pytest
from rich.console import Console

from sweep.monitor import progress
from sweep.monitor.progress import LiveTable, PlainLines, Quiet, Snapshot, choose_progress, duration, summary_line, table


def pack(number: int = 0, **changes: Any) -> Mapping[str, Any]:
    """A pack of two trials, half trained."""
    figures = {"phase": "retrain", "epoch": 10, "n_epochs": 20, "best_metric": 0.875, "sparsity_rate": 0.25}
    return {"pack_id": f"pack-{number}", "trial_ids": ["a", "b"], "host": "node-1", **figures, **changes}


def starting(number: int = 0) -> Mapping[str, Any]:
    return {"pack_id": f"pack-{number}", "trial_ids": ["a", "b"], "host": "node-1"}


def snapshot(**changes: Any) -> Snapshot:
    values: dict[str, Any] = {"n_trials": 20, "states": {"ok": 5, "diverged": 2, "error": 1}, "n_before": 4, "live": (), "elapsed_s": 60.0}
    return Snapshot(**(values | changes))


# -- arithmetic ---------------------------------------------------------------------------------------------------------


def test_counts() -> None:
    shown = snapshot(live=(pack(0), pack(1, trial_ids=["c"])))
    assert (shown.n_complete, shown.n_failed, shown.n_running) == (8, 3, 3)


def test_running_trials_count_by_the_share_of_their_epochs() -> None:
    assert snapshot().trained == 4
    assert snapshot(live=(pack(0), pack(1, epoch=5))).trained == 4 + 1 + 0.5
    assert snapshot(live=(starting(),)).trained == 4


def test_the_rest_takes_as_long_as_the_mean_so_far() -> None:
    assert snapshot().remaining_s == 60 / 4 * 12
    assert snapshot(live=(pack(),)).remaining_s == 60 / 5 * 11
    assert snapshot(states={"ok": 20}, n_before=19).remaining_s == 0


def test_what_was_complete_before_says_nothing_about_speed() -> None:
    shown = snapshot(states={"ok": 4}, n_before=4)
    assert shown.trained == 0
    assert shown.remaining_s is None
    assert snapshot(states={}, n_before=0, live=(starting(),)).remaining_s is None


def test_more_complete_than_planned_leaves_no_negative_time() -> None:
    assert snapshot(n_trials=4, states={"ok": 6}, n_before=0).remaining_s == 0


def test_the_best_metric_is_that_of_a_running_model() -> None:
    assert snapshot().best_metric is None
    assert snapshot(live=(starting(),)).best_metric is None
    assert snapshot(live=(pack(best_metric=None), pack(best_metric=0.5), pack(best_metric=0.75))).best_metric == 0.75


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (192, "3 min 12 s"),
        (3599.7, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (100 * 3600, "100 h 0 min"),
    ],
)
def test_durations_read_as_people_write_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# -- one line -----------------------------------------------------------------------------------------------------------


def test_the_summary_says_what_is_known() -> None:
    assert summary_line(snapshot(live=(pack(),))) == (
        "8/20 trials | 2 running | 3 failed | best running 87.5 % | 5.0 trials/min | 1 min 0 s elapsed | about 2 min 12 s left"
    )


def test_the_summary_claims_no_speed_before_there_is_one() -> None:
    line = summary_line(snapshot(states={}, n_before=0, elapsed_s=3.0, live=(starting(),)))
    assert line == "0/20 trials | 2 running | 0 failed | 3 s elapsed"


# -- ways of showing it -------------------------------------------------------------------------------------------------


def test_plain_lines_are_silent_within_their_interval(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    lines = PlainLines()
    for step in (0.0, 0.5, 9.0, 0.4, 0.2, 9.7, 0.3):
        now += step
        lines.update(snapshot(elapsed_s=now))
    lines.close()
    captured = capsys.readouterr()
    assert captured.out == "", "progress goes to standard error"
    assert len(captured.err.splitlines()) == 3


def test_plain_lines_show_every_message(capsys: pytest.CaptureFixture[str]) -> None:
    lines = PlainLines()
    lines.message("one")
    lines.message("two")
    assert capsys.readouterr().err == "one\ntwo\n"


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = Quiet()
    quiet.message("one")
    quiet.update(snapshot())
    quiet.close()
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def rendered(shown: Snapshot, width: int = 140) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(table(shown))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_has_a_line_for_each_pack() -> None:
    text = rendered(snapshot(live=(pack(0), starting(1))))
    (first,) = [line for line in text.splitlines() if "pack-0" in line]
    assert first.split() == ["pack-0", "2", "retrain", "10/20", "87.5", "%", "25.0", "%", "node-1"]
    (second,) = [line for line in text.splitlines() if "pack-1" in line]
    assert second.split() == ["pack-1", "2", "starting", "node-1"]
    assert summary_line(snapshot(live=(pack(0), starting(1)))) in text.splitlines()


def test_a_narrow_terminal_cuts_nothing_of_the_summary() -> None:
    text = rendered(snapshot(live=(pack(),)), width=60)
    assert summary_line(snapshot(live=(pack(),))).split() == " ".join(text.splitlines()[1:4]).partition("pack ")[0].split()


@pytest.mark.parametrize("n_packs", [0, 12, 13, 500])
def test_the_table_stays_short_however_many_packs_run(n_packs: int) -> None:
    text = rendered(snapshot(n_trials=2000, live=tuple(pack(i) for i in range(n_packs))))
    assert text.count("pack-") == min(n_packs, 12)
    assert (f"{n_packs - 12} more packs are running" in text) == (n_packs > 12)
    assert len(text.splitlines()) <= 12 + 4


def test_the_table_survives_values_that_are_missing_and_brackets_in_names() -> None:
    """JSON has no NaN, so what diverges arrives as null; rich reads brackets as markup."""
    text = rendered(snapshot(live=(pack(0, best_metric=None, sparsity_rate=None, host="[bold]x[/nope]"),)))
    assert "pack-0" in text


def test_the_live_table_draws_to_standard_error_and_goes(capsys: pytest.CaptureFixture[str]) -> None:
    live = LiveTable()
    live.message("Ray dashboard: http://[::1]:8265")
    live.update(snapshot(live=tuple(pack(i) for i in range(20))))
    live.close()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "http://[::1]:8265" in captured.err


@pytest.mark.parametrize(
    ("is_quiet", "is_terminal", "kind"), [(True, True, Quiet), (True, False, Quiet), (False, False, PlainLines), (False, True, LiveTable)]
)
def test_the_way_of_showing_fits_the_place(monkeypatch: pytest.MonkeyPatch, is_quiet: bool, is_terminal: bool, kind: type) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return is_terminal

    monkeypatch.setattr("sys.stderr", Stream())
    chosen = choose_progress(is_quiet)
    chosen.close()
    assert type(chosen) is kind
