"""The goals, the arithmetic behind them, and the table that says which were met. This module does not import torch."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SWEEP_S = 180.0
"""Seconds in which 90 models of Multi-MNIST's shape should finish the full schedule."""
COPY_SHARE = 0.45
"""Share of the device's copy rate that the fastest backend's step should reach in its largest pack."""
AGAINST_SERIAL, AGAINST_FOUR = 10.0, 3.0
"""How many times faster the sweep should be than eager PyTorch that trains one model after the other, and in four processes at once."""
PLAIN_MIB = 268
"""MiB of all tensors of a plain step of one model in float32; each tensor counts once for each operation that reads or writes it."""
MODEL, BATCH, N_MODELS, N_DENSE, N_TRAIN = "mdmtn", 256, 90, 19, 50_000
"""The authors' sweep: 71 sparse and 19 dense models on 50,000 samples."""


@dataclass(frozen=True)
class Progress:
    """How far one pack has come."""

    n_models: int
    planned: Mapping[str, int]
    """Phase -> epochs of the whole schedule."""
    epochs: Sequence[tuple[str, float]]
    """Phase and seconds of each finished epoch; the seconds do not include waiting for the other pack."""

    def remaining(self) -> dict[str, int]:
        """Return the epochs that are left, by phase."""
        done = [phase for phase, _ in self.epochs]
        return {phase: n - done.count(phase) for phase, n in self.planned.items() if n > done.count(phase)}

    def epoch_s(self, phase: str) -> float | None:
        """Return the expected seconds of an epoch: the mean of this phase, otherwise of the pack; None if no epoch has finished.

        The pack's first epoch is left out if there are others, because it includes compiling and recording.
        """
        measured = list(self.epochs[1:] or self.epochs)
        of_phase = [seconds for name, seconds in measured if name == phase] or [seconds for _, seconds in measured]
        return statistics.mean(of_phase) if of_phase else None


def extrapolated(elapsed_s: float, packs: Mapping[str, Progress]) -> tuple[float | None, list[str]]:
    """Estimate how long a sweep would have taken that was ended after `elapsed_s`.

    The packs take turns on the device, so the times of their remaining epochs are added. A pack without a finished epoch is assumed to need
    the same time for each model as the other pack.

    Args:
        elapsed_s: seconds since the packs began.
        packs: name -> how far the pack has come.

    Returns:
        The seconds, or None if no epoch has finished; and notes on what the number assumes.
    """
    total, notes = elapsed_s, []
    a_model = [seconds / pack.n_models for pack in packs.values() for phase in pack.planned if (seconds := pack.epoch_s(phase)) is not None]
    if not a_model:
        return None, ["no epoch had finished"]
    for name, pack in packs.items():
        left = pack.remaining()
        n_planned = sum(pack.planned.values())
        if left:
            notes.append(f"{name}: {len(pack.epochs)} of {n_planned} epochs were measured")
        for phase, n in left.items():
            own = pack.epoch_s(phase)
            if all(phase != measured for measured, _ in pack.epochs):
                basis = "the other pack, by models" if own is None else "the epochs before it"
                notes.append(f"{name}: the phase {phase} was estimated from {basis}")
            total += n * (own if own is not None else statistics.mean(a_model) * pack.n_models)
        if "sparsify" in left:
            notes.append(f"{name}: the clustering of rows is not included")
    return total, notes


@dataclass(frozen=True)
class Goal:
    """A goal and what was measured for it."""

    name: str
    measured: str
    """The value with its unit; empty if it was not measured."""
    limit: str
    is_met: bool | None
    """None if it was not measured."""
    note: str
    """How it was measured, or why it was not."""

    @property
    def verdict(self) -> str:
        """`met`, `missed` or `unmeasured`."""
        return {True: "met", False: "missed", None: "unmeasured"}[self.is_met]


class _UnmeasuredError(Exception):
    """A figure is missing; the message says why."""


def _figures(results: Mapping[str, Any], stage: str) -> dict[str, Any]:
    entry = results["stages"].get(stage)
    if entry is None:
        raise _UnmeasuredError(f"the stage {stage} has not run")
    if entry.get("tiny") or not str(entry.get("device", "")).startswith("cuda"):
        raise _UnmeasuredError(f"the stage {stage} ran {'in the tiny form ' if entry.get('tiny') else ''}on {entry.get('device')}")
    figures: dict[str, Any] = entry["figures"]
    return figures


def _figure(results: Mapping[str, Any], stage: str, item: str, key: str) -> float:
    found = _figures(results, stage).get(item)
    value = found.get(key) if isinstance(found, dict) else None
    if value is None:
        raise _UnmeasuredError(f"the stage {stage} has no figure for {item}")
    return float(value)


def step_item(n: int, backend: str) -> str:
    """Return the name of the item of the stage `steps` that measures a pack of `n` models."""
    return f"pack of {n}, {backend}"


def steps_of(figures: Mapping[str, Any]) -> dict[tuple[int, str], dict[str, Any]]:
    """Return (number of models, backend) -> figures of the stage `steps`, for the packs whose step was timed."""
    found = [one for one in figures.values() if isinstance(one, dict) and one.get("us_a_model_step") is not None]
    return {(one["n_models"], one["backend"]): one for one in found}


def fastest(figures: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the figures of the fastest backend in the largest pack of the stage `steps`, or None if there are none."""
    steps = steps_of(figures)
    largest = max((n for n, _ in steps), default=0)
    of_largest = [one for (n, _), one in steps.items() if n == largest]
    return min(of_largest, key=lambda one: float(one["us_a_model_step"]), default=None)


def copy_share(mib: float, us_a_model_step: float, copy_gb_s: float) -> float:
    """Return the rate at which a step moves its tensors, as a share of the rate of a copy.

    Args:
        mib: MiB that a step moves for each model.
        us_a_model_step: microseconds of a step for each model.
        copy_gb_s: GB/s of the copy.
    """
    return mib * 2**20 / (us_a_model_step * 1e-6) / (copy_gb_s * 1e9)


def goals(results: Mapping[str, Any]) -> list[Goal]:
    """Compare the results with the goals.

    Args:
        results: as `tests.bench.gpu.record.read_results` returns them.

    Returns:
        The four goals, in the order of the table.
    """

    def wall() -> tuple[float, str]:
        seconds, of_sweep = _figure(results, "sweep", "sweep", "total_s"), _figures(results, "sweep")["sweep"]
        is_cut = of_sweep.get("is_extrapolated")
        note = f"extrapolated: {'; '.join(of_sweep.get('notes', []))}" if is_cut else "with the start of the processes"
        return seconds, note

    def share() -> tuple[float, str]:
        best = fastest(_figures(results, "steps"))
        if best is None:
            raise _UnmeasuredError("the stage steps measured no step")
        if best["n_models"] != N_MODELS:
            raise _UnmeasuredError(f"the largest pack that was measured has {best['n_models']} models")
        if best.get("mib_a_model_step") is None:
            raise _UnmeasuredError("what the step moves was not counted")
        copy = _figure(results, "ceilings", "copy", "gb_s")
        own, us = best["mib_a_model_step"], best["us_a_model_step"]
        plain = f"{copy_share(PLAIN_MIB, us, copy):.0%} for the {PLAIN_MIB} MiB of a plain step"
        note = f"{best['backend']}, {own:.0f} MiB and {us:.0f} us a model-step; {plain}"
        return copy_share(own, us, copy), note

    def against(item: str) -> tuple[float, str]:
        us = _figure(results, "baselines", item, "us_a_model_step")
        n_steps = _figure(results, "sweep", "sweep", "model_steps")
        seconds = us * 1e-6 * n_steps
        note = f"{seconds:.0f} s for {n_steps:,.0f} model-steps, extrapolated from {us:.0f} us each, against {wall()[0]:.0f} s"
        return seconds / wall()[0], note

    def goal(name: str, form: str, sign: str, limit: float, measure: Any) -> Goal:
        said = f"{sign} {form.format(limit)}"
        try:
            value, note = measure()
        except _UnmeasuredError as reason:
            return Goal(name, "", said, None, str(reason))
        return Goal(name, form.format(value), said, value <= limit if sign == "<=" else value >= limit, note)

    return [
        goal(f"{N_MODELS} models, full schedule", "{:.0f} s", "<=", SWEEP_S, wall),
        goal("share of the copy rate", "{:.0%}", ">=", COPY_SHARE, share),
        goal("against one model after the other", "{:.1f} times", ">=", AGAINST_SERIAL, lambda: against("one model after the other")),
        goal("against four processes", "{:.1f} times", ">=", AGAINST_FOUR, lambda: against("four processes")),
    ]


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _number(value: Any, form: str = "{:.0f}") -> str:
    return "-" if value is None else form.format(value)


def step_table(results: Mapping[str, Any]) -> list[str]:
    """Return the lines of the table of step times; none if the stage has not run."""
    entry = results["stages"].get("steps")
    steps = steps_of(entry["figures"]) if entry else {}
    if not steps:
        return []
    copy = results["stages"].get("ceilings", {}).get("figures", {}).get("copy")
    rate = copy.get("gb_s") if isinstance(copy, dict) else None
    rows = [["models", "backend", "us a model-step", "one by one", "kernels a step", "busy", "MiB a model-step", "of the copy rate"]]
    for (n, backend), one in sorted(steps.items()):
        us, mib = one["us_a_model_step"], one.get("mib_a_model_step")
        share = None if mib is None or rate is None else copy_share(mib, us, rate)
        rows.append(
            [
                *(str(n), backend, f"{us:.1f}", _number(one.get("us_launched_one_by_one"), "{:.1f}")),
                *(_number(one.get("kernels_a_step")), _number(one.get("busy_share"), "{:.0%}")),
                *(_number(mib), _number(share, "{:.0%}")),
            ]
        )
    return _columns(rows)


def table(results: Mapping[str, Any], stages: Sequence[str]) -> str:
    """Return the table that is printed at the end: the stages that ran, step times, and the goals.

    Args:
        results: as `tests.bench.gpu.record.read_results` returns them.
        stages: the stages of this call.
    """
    rows = [["stage", "status", "seconds", "failed", "skipped"]]
    for name in stages:
        entry = results["stages"].get(name, {})
        counts = [str(len(entry.get(kind, {}))) for kind in ("failures", "skipped")]
        rows.append([name, str(entry.get("status", "not run")), _number(entry.get("seconds")), *counts])
    judged = [["goal", "measured", "limit", "verdict", "note"]]
    judged += [[goal.name, goal.measured or "-", goal.limit, goal.verdict, goal.note] for goal in goals(results)]
    parts = [_columns(rows), step_table(results), _columns(judged)]
    return "\n".join("\n" + "\n".join(part) for part in parts if part)
