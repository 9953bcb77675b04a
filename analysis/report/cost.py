"""The report's section "What it cost": what the sweep used, what that cost, and what its sparse networks save."""

from collections.abc import Iterator
from dataclasses import dataclass

from analysis.formatting import energy_text, significant
from analysis.measures.costs import NEAR_ACCURACY, Costs, Saving, Spent, costs_of, savings, spent
from analysis.measures.selection import CLOSE_LOSS
from analysis.report.section import Section, rendered
from analysis.results.table import ResultTable

_ESTIMATED = "others used the device too"


@dataclass(frozen=True)
class CostTexts:
    """What a sweep cost, as texts for the reader."""

    sentence: str
    """What the sweep used, and its largest saving."""
    facts: tuple[tuple[str, str], ...]
    """(term, text) pairs with the amounts and prices."""
    hints: tuple[str, ...]
    """What the numbers include and leave out."""


def cost_section(table: ResultTable, given: Costs | None = None) -> Section | None:
    """Show what the sweep cost and saved; arguments as for `cost_texts`."""
    texts = cost_texts(table, given)
    if texts is None:
        return None
    html = rendered("facts.html", sentence=texts.sentence, facts=texts.facts, hints=texts.hints)
    return Section("cost", "What it cost", html)


def cost_texts(table: ResultTable, given: Costs | None = None) -> CostTexts | None:
    """Say what a sweep used, what that cost, and what its sparse networks save; None if no row has a device time.

    Args:
        table: what `read_results` gave.
        given: prices and emission factors; each one given replaces the grid file's.
    """
    used, costs = spent(table), costs_of(table.plan, given)
    if not used.n_timed:
        return None
    saved = savings(table)
    pairs = [("Device hours", _device_hours(used)), ("Energy", _energy(used)), ("CO2", _co2(used, costs)), ("Money", _money(used, costs))]
    pairs += [(f"Saved, {saving.study or 'study without a name'}", _saved(table, saving)) for saving in saved]
    facts = tuple((term, text) for term, text in pairs if text is not None)
    return CostTexts(_sentence(table, used, saved), facts, tuple(_hints(used, saved)))


def _sentence(table: ResultTable, used: Spent, saved: tuple[Saving, ...]) -> str:
    energy = "" if used.kwh is None else f" ({energy_text(used.kwh)} {_how(used)})"
    text = f"The sweep took {significant(used.device_h)} device hours{energy}"
    most = max(saved, key=lambda saving: saving.params, default=None)
    if most is None or most.params == 0:
        return f"{text}."
    where = f" of {most.study}" if len(saved) > 1 else ""
    return f"{text}; the sparsest trial{where} within {_near(table)} has {_fewer(most)}."


def _near(table: ResultTable) -> str:
    if table.selection.by == "accuracy":
        return f"{100 * NEAR_ACCURACY:.0f} point of the best mean accuracy"
    return f"{100 * CLOSE_LOSS:.0f} % of the best mean loss"


def _fewer(saving: Saving) -> str:
    macs = "" if saving.macs is None else f" and {_percent(saving.macs)} fewer multiply-adds at inference"
    return f"{_percent(saving.params)} fewer parameters{macs}"


def _saved(table: ResultTable, saving: Saving) -> str:
    reached = ""
    if saving.accuracy_test is not None and saving.best_accuracy_test is not None:
        reached = f"; mean test accuracy {_percent(saving.accuracy_test, 1)}, best trial {_percent(saving.best_accuracy_test, 1)}"
    if saving.params == 0:
        return f"nothing: no trial with zero rows is within {_near(table)}"
    than = "the dense network" if saving.has_dense else "the whole network, which no trial of this study is"
    return f"{_fewer(saving)} than {than}, in the sparsest trial within {_near(table)} ({saving.trial_id}){reached}"


def _device_hours(used: Spent) -> str:
    return f"{significant(used.device_h)}, of {_of(used.n_timed, used.n_trials)}"


def _energy(used: Spent) -> str:
    parts = []
    if used.n_measured:
        parts.append(f"{energy_text(used.measured_kwh)} measured in {_trials(used.n_measured)}")
    if used.n_estimated:
        parts.append(f"{energy_text(used.estimated_kwh)} estimated in {_trials(used.n_estimated)} ({_ESTIMATED})")
    if used.n_uncounted:
        parts.append(f"not measured in {_trials(used.n_uncounted)}")
    return "\n".join(parts)


def _how(used: Spent) -> str:
    how = " and ".join(word for word, n in (("measured", used.n_measured), ("estimated", used.n_estimated)) if n)
    return f"{how} in {used.n_trials - used.n_uncounted} of {used.n_trials} trials" if used.n_uncounted else how


def _co2(used: Spent, costs: Costs) -> str | None:
    if costs.g_co2_per_kwh is None:
        return None
    if used.kwh is None:
        return "not known, as no energy was measured"
    return f"{significant(used.kwh * costs.g_co2_per_kwh)} g, at {significant(costs.g_co2_per_kwh)} g a kWh{_part_of(used)}"


def _money(used: Spent, costs: Costs) -> str | None:
    parts = []
    if costs.usd_per_device_hour is not None:
        total, price = significant(used.device_h * costs.usd_per_device_hour), significant(costs.usd_per_device_hour)
        parts.append(f"{total} USD for devices, at {price} USD an hour")
    if costs.usd_per_kwh is not None and used.kwh is not None:
        total, price = significant(used.kwh * costs.usd_per_kwh), significant(costs.usd_per_kwh)
        parts.append(f"{total} USD for electricity, at {price} USD a kWh{_part_of(used)}")
    elif costs.usd_per_kwh is not None:
        parts.append("electricity not known, as no energy was measured")
    return "\n".join(parts) or None


def _hints(used: Spent, saved: tuple[Saving, ...]) -> Iterator[str]:
    yield (
        "Device time is each trial's share of the seconds of its pack; a device is what one worker trains on, a GPU or its CPU cores. "
        "It excludes starting workers, reading data, epochs lost to a fault, and trials that were removed."
    )
    if used.kwh is not None:
        yield "Energy covers the GPU or the processors alone, without memory, disks, network, power supply and cooling."
    if saved:
        yield "Savings are what compression removes from the network or, where a row does not say that, the weights in zero rows."


def _part_of(used: Spent) -> str:
    return f", of the {_trials(used.n_trials - used.n_uncounted)} whose energy is known" if used.n_uncounted else ""


def _of(n: int, n_all: int) -> str:
    return _trials(n) if n == n_all else f"{n:,} of {_trials(n_all)}"


def _trials(n: int) -> str:
    return "1 trial" if n == 1 else f"{n:,} trials"


def _percent(fraction: float, n_decimals: int = 0) -> str:
    return f"{100 * fraction:.{n_decimals}f} %"
