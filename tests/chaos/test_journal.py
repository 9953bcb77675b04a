"""Tests of how repeated work is counted."""

from typing import Any

from tests.chaos.journal import Repeated, repeated


def lines(*facts: tuple[str, float, int, int]) -> list[dict[str, Any]]:
    """Make lines from tuples (event, time, epoch, process)."""
    return [{"what": what, "at": at, "epoch": epoch, "pid": pid, "trials": ["t"]} for what, at, epoch, pid in facts]


BEFORE = [("begin", 1.0, 1, 7), ("end", 2.0, 1, 7), ("begin", 2.0, 2, 7), ("end", 3.5, 2, 7), ("begin", 3.5, 3, 7)]


def test_an_epoch_that_was_cut_off_is_one_repeated() -> None:
    assert repeated(lines(*BEFORE, ("begin", 9.0, 3, 8), ("end", 10.0, 3, 8)), [4.25]) == [Repeated(1, 0.75)]


def test_finished_epochs_that_are_trained_again_count_whole() -> None:
    again = [("begin", 9.0, 2, 8), ("end", 10.0, 2, 8), ("begin", 10.0, 3, 8), ("end", 11.0, 3, 8)]
    assert repeated(lines(*BEFORE, *again), [4.25]) == [Repeated(2, 2.25)]


def test_what_went_on_is_not_repeated() -> None:
    assert repeated(lines(*BEFORE, ("end", 5.0, 3, 7), ("begin", 5.0, 4, 7)), [4.25]) == [Repeated(0, 0)]


def test_work_counts_for_the_last_fault_before_it_was_done_again() -> None:
    assert repeated(lines(*BEFORE, ("begin", 9.0, 3, 8)), [4.25, 6.0]) == [Repeated(0, 0), Repeated(1, 0.75)]
