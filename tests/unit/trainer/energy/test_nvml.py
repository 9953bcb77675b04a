"""A GPU's energy: the driver's counter, marked where others use the device."""

import sys

import pytest
from energy_counters import FakeNvml

from trainer.energy.meter import Energy
from trainer.energy.nvml import NvmlMeter, nvml_meter


def meter_of(nvml: FakeNvml) -> NvmlMeter:
    meter = nvml_meter("one", nvml)
    assert meter is not None
    return meter


def test_the_whole_device_counts() -> None:
    nvml = FakeNvml(millijoules=5_000_000_000_000)
    end = meter_of(nvml).begin()
    nvml.millijoules += 2500
    assert end() == Energy(2.5, is_estimate=False)


@pytest.mark.parametrize(
    ("before", "after", "is_estimate"), [(1, 1, False), (2, 1, True), (1, 2, True), (0, 0, False), (None, None, False)]
)
def test_it_is_an_estimate_where_others_have_the_device_open(before: int | None, after: int | None, is_estimate: bool) -> None:
    """Where the driver does not say, as in some containers, nobody is known of."""
    nvml = FakeNvml(n_processes=before)
    end = meter_of(nvml).begin()
    nvml.millijoules, nvml.n_processes = 4000, after
    assert end() == Energy(3.0, is_estimate)


@pytest.mark.parametrize("after", [None, 999])
def test_a_counter_that_is_refused_or_set_back_is_no_measurement(after: int | None) -> None:
    nvml = FakeNvml(millijoules=1000)
    end = meter_of(nvml).begin()
    nvml.millijoules = after
    assert end() is None


def test_a_counter_that_was_refused_at_first_is_no_measurement() -> None:
    nvml = FakeNvml()
    meter = meter_of(nvml)
    nvml.millijoules = None
    end = meter.begin()
    nvml.millijoules = 1000
    assert end() is None


def test_without_driver_device_or_counter_there_is_no_meter() -> None:
    without_driver = FakeNvml()
    without_driver.has_driver = False
    assert nvml_meter("one", without_driver) is None
    assert nvml_meter("another", FakeNvml()) is None
    assert nvml_meter("one", FakeNvml(millijoules=None)) is None


def test_without_the_library_there_is_no_meter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvml_meter("one") is None


def test_the_library_has_what_is_used_of_it() -> None:
    """On a machine without a driver it says so by its own error, and there is no meter."""
    pynvml = pytest.importorskip("pynvml", reason="not run: needs nvidia-ml-py (the extra `energy`)")
    for name in vars(FakeNvml):
        if name.startswith("nvml"):
            assert callable(getattr(pynvml, name))
    assert issubclass(pynvml.NVMLError, Exception)
    assert nvml_meter("00000000-0000-0000-0000-000000000000") is None
