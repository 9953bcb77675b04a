"""Seconds and energy of a pack become each trial's own share, whatever pack it was in and however often it was cut off."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from trial_specs import SPARSE_K, spec

from trainer.api import Problem, State, TrainingSettings, TrialResult, from_bytes, start, to_bytes
from trainer.energy.device import energy_meter
from trainer.energy.meter import Energy
from trainer.settings import OnePhaseSettings
from trainer.training.usage import UsageMeter


class Steady:
    """Every stretch uses the same; None: it cannot be read. Counts the stretches."""

    def __init__(self, joules: float | None = 8.0, is_estimate: bool = False) -> None:
        self.joules, self.is_estimate = joules, is_estimate
        self.n_begun = self.n_ended = 0

    def begin(self) -> Callable[[], Energy | None]:
        self.n_begun += 1
        assert self.n_begun == self.n_ended + 1, "one stretch begins when the last one has ended"
        return self._end

    def _end(self) -> Energy | None:
        self.n_ended += 1
        return None if self.joules is None else Energy(self.joules, self.is_estimate)


def finish(specs: Sequence[object], problem: Problem, meter: Steady | None, state: State | None = None) -> list[TrialResult]:
    training = start(specs, problem, meter=meter, state=state)  # type: ignore[arg-type]
    while not training.done:
        training.step()
    return training.results()


def watt_hours(result: TrialResult) -> float | None:
    value = result.measurements.usage.energy_wh
    return None if value is None else float(value) * 3600


# -- a sum of stretches -------------------------------------------------------------------------------------------------


def test_the_trials_of_a_pack_share_equally() -> None:
    spending = UsageMeter(4, Steady(joules=7200))
    for phase in ("sparsify", "tying", "retrain", "results"):
        with spending.on(phase):
            time.sleep(0.01)
    usage = spending.usage()
    assert usage.energy_wh == pytest.approx(4 * 7200 / 3600 / 4)
    assert usage.energy_estimated is False
    assert usage.device_s == pytest.approx(usage.wall_s / 4)
    assert usage.wall_s >= usage.wall_s_sparsify + usage.wall_s_tying + usage.wall_s_retrain > 0


def test_nothing_counts_where_the_device_rests() -> None:
    """Clustering beside a GPU: another pack trains on the device meanwhile, and has its energy."""
    meter = Steady()
    spending = UsageMeter(1, meter)
    with spending.on("sparsify"):
        pass
    with spending.on("tying", uses_device=False):
        pass
    assert meter.n_ended == 1
    assert spending.usage().energy_wh == pytest.approx(8 / 3600)


@pytest.mark.parametrize("meters", [(None, 8.0), (8.0, None), (None, None)])
def test_a_part_that_was_not_measured_leaves_the_whole_unknown(meters: tuple[float | None, float | None]) -> None:
    meter = Steady()
    spending = UsageMeter(1, meter)
    for meter.joules in meters:
        with spending.on("dense"):
            pass
    assert spending.usage().energy_wh is None
    assert spending.usage().energy_estimated is None


def test_one_estimate_makes_the_sum_one() -> None:
    meter = Steady()
    spending = UsageMeter(1, meter)
    for meter.is_estimate in (False, True, False):
        with spending.on("dense"):
            pass
    assert spending.usage().energy_estimated is True


def test_before_anything_is_done_nothing_is_known() -> None:
    assert UsageMeter(1, Steady()).usage().energy_wh is None


def test_what_fails_has_been_spent_too() -> None:
    spending = UsageMeter(2, Steady())

    def fail() -> None:
        with spending.on("dense"):
            time.sleep(0.01)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert spending.usage().device_s >= 0.005
    assert spending.usage().energy_wh == pytest.approx(4 / 3600)


# -- of a training ------------------------------------------------------------------------------------------------------


@pytest.mark.full
def test_every_epoch_the_clustering_and_the_results_count(problem: Problem, short: TrainingSettings) -> None:
    meter = Steady()
    results = finish([spec(k, short, f"t{i}") for i, k in enumerate(SPARSE_K[:2])], problem, meter)
    n_epochs = results[0].measurements.n_epochs
    assert meter.n_ended == n_epochs + 2
    assert [watt_hours(result) for result in results] == pytest.approx([8 * (n_epochs + 2) / 2] * 2)
    assert {result.measurements.usage.energy_estimated for result in results} == {False}


@pytest.mark.full
def test_without_a_meter_energy_is_not_measured(problem: Problem, short: TrainingSettings) -> None:
    (result,) = finish([spec(SPARSE_K[0], short)], problem, None)
    assert result.measurements.usage.energy_wh is None
    assert result.measurements.usage.energy_estimated is None
    assert result.measurements.usage.device_s > 0


@pytest.mark.full
def test_a_meter_changes_nothing_that_is_trained(problem: Problem, short: TrainingSettings) -> None:
    with_one, without = (finish([spec(SPARSE_K[0], short)], problem, meter)[0] for meter in (Steady(), None))
    assert with_one.weights == without.weights
    assert with_one.epochs == without.epochs


@pytest.mark.full
@pytest.mark.parametrize("method", ["wcal_growl", "mgda"])
def test_a_trial_that_leaves_a_larger_pack_keeps_its_own_share(problem: Problem, short: TrainingSettings, method: str) -> None:
    """Two epochs in a pack of four, the rest alone: its own seconds are not four times those of the first part."""
    settings = replace(short, one_phase=OnePhaseSettings(epochs=4))
    vectors = [None] * 4 if method == "mgda" else SPARSE_K
    specs = [replace(spec((0.0, 0.5, 0.5), settings, f"t{i}"), method=method, preference=k) for i, k in enumerate(vectors)]
    first = Steady(joules=8.0)
    pack = start(specs, problem, meter=first)
    pack.step()
    pack.step()
    state = from_bytes(to_bytes(pack.state_dict()))
    before = pack.usage()
    assert before.device_s == pytest.approx(before.wall_s / 4)
    second = Steady(joules=1.0)
    (result,) = finish(specs[1:2], problem, second, state)
    assert watt_hours(result) == pytest.approx(8.0 * first.n_ended / 4 + second.n_ended)
    own, wall = result.measurements.usage.device_s, result.measurements.usage.wall_s
    assert own == pytest.approx(before.device_s + wall - before.wall_s)


@pytest.mark.full
def test_a_training_that_was_cut_off_has_spent_as_much_energy(problem: Problem, short: TrainingSettings) -> None:
    whole = finish([spec(SPARSE_K[0], short)], problem, Steady())[0]
    training = start([spec(SPARSE_K[0], short)], problem, meter=Steady())
    training.step()
    state = from_bytes(to_bytes(training.state_dict()))
    again = finish([spec(SPARSE_K[0], short)], problem, Steady(), state)[0]
    assert watt_hours(again) == pytest.approx(watt_hours(whole))


@pytest.mark.full
@pytest.mark.parametrize("who", ["first", "second"])
def test_a_training_of_which_one_part_was_not_measured_is_not_measured(problem: Problem, short: TrainingSettings, who: str) -> None:
    """It went on, on a machine that counts nothing, or on one that does."""
    training = start([spec(SPARSE_K[0], short)], problem, meter=Steady() if who == "first" else None)
    training.step()
    state = from_bytes(to_bytes(training.state_dict()))
    (result,) = finish([spec(SPARSE_K[0], short)], problem, Steady() if who == "second" else None, state)
    assert result.measurements.usage.energy_wh is None


def test_a_checkpoint_of_an_earlier_version_has_its_seconds(problem: Problem, short: TrainingSettings) -> None:
    specs = [spec(k, short, f"t{i}") for i, k in enumerate(SPARSE_K[:2])]
    training = start(specs, problem, meter=Steady())
    training.step()
    state = training.state_dict()
    wall = {"sparsify": 100.0, "tying": 0.0, "retrain": 0.0, "dense": 0.0}
    old = State(
        state.trial_ids, state.epoch, state.tensors, {name: v for name, v in state.scalars.items() if name != "own"} | {"wall": wall}
    )
    going_on = start(specs[:1], problem, meter=Steady(), state=old)
    assert going_on.usage().device_s == 50
    assert going_on.usage().wall_s == 100
    assert going_on.usage().energy_wh is None


def test_this_machine_has_a_meter_or_none() -> None:
    """Whichever it is, a stretch ends without an error."""
    meter = energy_meter(torch.device("cpu"))
    energy = None if meter is None else meter.begin()()
    assert energy is None or energy.joules >= 0
    assert energy_meter(torch.device("meta")) is None
