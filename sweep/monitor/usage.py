"""The device time and energy that complete trials of a results folder used, and an estimate for the remaining ones."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from analysis.formatting import energy_text, significant
from sweep.grid.load import SweepConfig
from sweep.grid.models import Costs
from sweep.planning.packs import Plan
from sweep.store.remote.path import StorePath
from sweep.store.store import Store

_MOST = 1e12  # upper bound for the seconds or Wh of one trial


@dataclass(frozen=True)
class Used:
    """Sums over complete trials, where each trial counts with its share of its pack."""

    n_trials: int = 0
    n_timed: int = 0
    """Number of trials whose device time is known; a trial that failed before it began has none."""
    device_s: float = 0.0
    n_counted: int = 0
    """Number of trials whose energy was measured."""
    energy_wh: float = 0.0

    def __add__(self, other: "Used") -> "Used":
        return Used(
            self.n_trials + other.n_trials,
            self.n_timed + other.n_timed,
            self.device_s + other.device_s,
            self.n_counted + other.n_counted,
            self.energy_wh + other.energy_wh,
        )


@dataclass(frozen=True)
class Expected:
    """The estimated device time and energy of the remaining trials."""

    device_s: float
    energy_wh: float | None
    """None if no complete trial has a measured energy."""
    n_todo: int
    n_known: int
    """Number of complete trials on which the estimate is based."""


def used_in(folder: str | StorePath) -> Used:
    """Return the device time and energy of all complete trials of a folder, which need not exist.

    Raises:
        StoreError: the folder cannot be read.
    """
    store = Store(folder)
    if store.manifest() is None:
        return Used()
    rows = store.read_rows(columns=["device_s", "energy_wh"])
    seconds, energies = (_known(rows[name].to_pylist()) for name in ("device_s", "energy_wh"))
    return Used(rows.num_rows, len(seconds), sum(seconds), len(energies), sum(energies))


def expected(config: SweepConfig, plan: Plan) -> Expected | None:
    """Estimate the device time and energy of the remaining trials from the mean of the complete ones.

    Args:
        config: the sweep.
        plan: its plan, which gives the number of remaining trials.

    Returns:
        The estimate; None while no trial is complete.

    Raises:
        StoreError: the results folder cannot be read.
    """
    used = used_in(config.output)
    if not used.n_timed:
        return None
    energy = used.energy_wh / used.n_counted * plan.n_todo if used.n_counted else None
    return Expected(used.device_s / used.n_timed * plan.n_todo, energy, plan.n_todo, used.n_timed)


def used_line(used: Used) -> str:
    """Return a line of text on the device time and energy used."""
    parts = [f"{significant(used.device_s / 3600)} device hours"]
    if used.n_counted:
        of = f" (of {used.n_counted} trials; the others' was not counted)" if used.n_counted < used.n_trials else ""
        parts.append(f"{energy_text(used.energy_wh / 1000)}{of}")
    return f"complete trials used {', '.join(parts)}"


def expected_line(sweeps: Sequence[Expected], costs: Costs) -> str:
    """Return a line of text on the expected device time and energy of several sweeps, with their price if it is known."""
    device_s, energies = sum(each.device_s for each in sweeps), [each.energy_wh for each in sweeps]
    known = [energy for energy in energies if energy is not None]
    energy_wh = sum(known) if len(known) == len(energies) else None
    n_todo, n_known = sum(each.n_todo for each in sweeps), sum(each.n_known for each in sweeps)
    mean = "the complete one" if n_known == 1 else f"the mean of {n_known} complete ones"
    return (
        f"expected for {n_todo} {'trial' if n_todo == 1 else 'trials'}, from {mean}: about {', '.join(_priced(device_s, energy_wh, costs))}"
    )


def _priced(device_s: float, energy_wh: float | None, costs: Costs) -> Iterator[str]:
    hours = device_s / 3600
    price = "" if costs.usd_per_device_hour is None else f" ({significant(hours * costs.usd_per_device_hour)} USD)"
    yield f"{significant(hours)} device hours{price}"
    if energy_wh is not None:
        price = "" if costs.usd_per_kwh is None else f" ({significant(energy_wh / 1000 * costs.usd_per_kwh)} USD)"
        yield f"{energy_text(energy_wh / 1000)}{price}"
        if costs.g_co2_per_kwh is not None:
            yield f"{significant(energy_wh / 1000 * costs.g_co2_per_kwh)} g CO2"
    elif costs.usd_per_kwh is not None or costs.g_co2_per_kwh is not None:
        yield "energy unknown (no complete trial's was counted)"


def _known(values: Iterable[float | None]) -> list[float]:
    """Return the valid values only, because a damaged row may hold anything and the sums must stay finite."""
    return [value for value in values if value is not None and 0 <= value < _MOST]
