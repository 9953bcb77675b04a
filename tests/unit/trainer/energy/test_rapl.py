"""A processor's energy: its packages' counters, split by processor time."""

import os
import threading
import time
from pathlib import Path

import pytest
from energy_counters import MAX_RANGE, write_zone

from trainer.energy.cpu_time import PROC_STAT, busy_cpu_s, own_cpu_s
from trainer.energy.meter import Energy
from trainer.energy.rapl import POWERCAP, PackageCounter, RaplMeter, rapl_meter


class Clock:
    """Processor seconds that a test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def joules(energy: Energy | None) -> float:
    assert energy is not None
    assert energy.is_estimate
    return energy.joules


def add(counter: Path, microjoules: int) -> None:
    counter.write_text(str(int(counter.read_text()) + microjoules))


def meter_over(*counters: Path) -> tuple[RaplMeter, Clock, Clock]:
    own, busy = Clock(), Clock()
    return RaplMeter([PackageCounter(path, MAX_RANGE) for path in counters], own, busy), own, busy


@pytest.mark.parametrize(
    ("own_s", "busy_s", "share"), [(1.0, 1.0, 1.0), (1.0, 4.0, 0.25), (0.0, 4.0, 0.0), (0.5, 0.49, 1.0), (0.0, 0.0, 0.0)]
)
def test_a_process_has_its_share_of_the_processor_time(tmp_path: Path, own_s: float, busy_s: float, share: float) -> None:
    """A stretch shorter than the steps of the machine's time gives no more than everything."""
    packages = [write_zone(tmp_path, f"intel-rapl:{i}", f"package-{i}", 7) for i in range(2)]
    meter, own, busy = meter_over(*packages)
    own.seconds, busy.seconds = 10.0, 20.0
    end = meter.begin()
    own.seconds, busy.seconds = 10.0 + own_s, 20.0 + busy_s
    add(packages[0], 6_000_000)
    add(packages[1], 2_000_000)
    assert joules(end()) == pytest.approx(8 * share)


def test_the_shares_of_all_processes_add_up_to_what_was_counted(tmp_path: Path) -> None:
    package = write_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    busy = Clock()
    owns = [Clock(), Clock(), Clock()]
    meters = [RaplMeter([PackageCounter(package, MAX_RANGE)], own, busy) for own in owns]
    ends = [meter.begin() for meter in meters]
    for own, seconds in zip(owns, (1.0, 2.0, 5.0), strict=True):
        own.seconds, busy.seconds = seconds, busy.seconds + seconds
    add(package, 16_000_000)
    assert [joules(end()) for end in ends] == pytest.approx([2, 4, 10])


def test_a_counter_that_wraps_goes_on(tmp_path: Path) -> None:
    package = write_zone(tmp_path, "intel-rapl:0", "package-0", MAX_RANGE - 1_000_000)
    meter, own, busy = meter_over(package)
    end = meter.begin()
    own.seconds = busy.seconds = 1.0
    package.write_text("2000000")
    assert joules(end()) == pytest.approx(3.0)


def test_a_counter_that_cannot_be_is_no_measurement(tmp_path: Path) -> None:
    """A reading above the range, then one below it by more than the range: another machine's counter, or none."""
    package = write_zone(tmp_path, "intel-rapl:0", "package-0", 3 * MAX_RANGE)
    meter, own, busy = meter_over(package)
    end = meter.begin()
    own.seconds = busy.seconds = 1.0
    package.write_text("5")
    assert end() is None


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("how", ["gone", "no number"])
def test_a_counter_that_cannot_be_read_is_no_measurement(tmp_path: Path, when: str, how: str) -> None:
    package = write_zone(tmp_path, "intel-rapl:0", "package-0", 5)

    def spoil() -> None:
        if how == "gone":
            package.unlink()
        else:
            package.write_text("")

    meter, own, busy = meter_over(package)
    if when == "before":
        spoil()
    end = meter.begin()
    own.seconds = busy.seconds = 1.0
    if when == "after":
        spoil()
    else:
        package.write_text("6")
    assert end() is None


def test_only_packages_count_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cores and memory are parts of a package, `psys` holds the packages, and the second driver shows them again."""
    counted = [write_zone(tmp_path, f"intel-rapl:{i}", f"package-{i}", 0) for i in (0, 10)]
    others = [
        write_zone(tmp_path, "intel-rapl:0:0", "core", 0),
        write_zone(tmp_path, "intel-rapl:0:1", "dram", 0),
        write_zone(tmp_path, "intel-rapl:1", "psys", 0),
        write_zone(tmp_path, "intel-rapl-mmio:0", "package-0", 0),
    ]
    (tmp_path / "intel-rapl").mkdir()
    monkeypatch.setattr("trainer.energy.rapl.RaplMeter", Kept)
    monkeypatch.setenv(POWERCAP, str(tmp_path))
    kept = rapl_meter()
    assert isinstance(kept, Kept)
    assert [counter.path for counter in kept.counters] == counted
    assert not {counter.path for counter in kept.counters} & set(others)


class Kept(RaplMeter):
    """Remembers what it counts."""

    def __init__(self, counters: list[PackageCounter]) -> None:
        super().__init__(counters)
        self.counters = counters


@pytest.mark.parametrize("how", ["no folder", "no package", "no range", "a folder for a counter"])
def test_without_counters_there_is_no_meter(tmp_path: Path, how: str) -> None:
    root = tmp_path / "powercap"
    if how == "no package":
        write_zone(root, "intel-rapl:0", "psys", 0)
    elif how == "no range":
        write_zone(root, "intel-rapl:0", "package-0", 0)
        (root / "intel-rapl:0" / "max_energy_range_uj").unlink()
    elif how == "a folder for a counter":
        counter = write_zone(root, "intel-rapl:0", "package-0", 0)
        counter.unlink()
        counter.mkdir()
    assert rapl_meter(root) is None


def test_one_package_that_cannot_be_read_leaves_no_meter(tmp_path: Path) -> None:
    """The sum would lack it."""
    write_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    write_zone(tmp_path, "intel-rapl:1", "package-1", 0).write_text("not a number")
    assert rapl_meter(tmp_path) is None


def test_counters_that_only_root_may_read_leave_no_meter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As kernels have it since 2020. Root reads them whatever their mode, so a test as root has the refusal made."""
    counter = write_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    counter.chmod(0)
    if os.geteuid() == 0:
        read = Path.read_text

        def refusing(self: Path, *arguments: str | None, **named: str | None) -> str:
            if self == counter:
                raise PermissionError(13, "Permission denied", str(self))
            return read(self, *arguments, **named)

        monkeypatch.setattr(Path, "read_text", refusing)
    assert rapl_meter(tmp_path) is None


def test_the_machine_s_processor_time_has_no_idle_and_no_guest(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 20 30 99999 88888 4 5 6 70 80\ncpu0 1 2 3 4\n")
    assert busy_cpu_s(stat) == pytest.approx((100 + 20 + 30 + 4 + 5 + 6) / os.sysconf("SC_CLK_TCK"))
    stat.write_text("cpu0 100 20 30 99999\n")
    with pytest.raises(ValueError, match="a first line `cpu`"):
        busy_cpu_s(stat)


@pytest.mark.skipif(not PROC_STAT.exists(), reason="not run: needs Linux")
def test_work_in_any_thread_is_this_process_s_and_the_machine_s() -> None:
    own, busy = own_cpu_s(), busy_cpu_s()

    def work() -> None:
        while own_cpu_s() - own < 0.3:
            sum(range(1000))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    time.sleep(0.05)  # the machine's time comes in steps
    assert own_cpu_s() - own >= 0.3
    assert busy_cpu_s() - busy >= 0.2
