"""A pytest plugin: what fails beside other tests is run once more alone before the whole run fails.

Tests with a browser, a cluster or a second process share the machine with everything else, and a loaded machine can be too
slow for any limit. So a run of the whole set ends with a second run of exactly the tests that failed, in one fresh process
with nothing beside it. What passes there is named at the end and does not fail the run; what fails again does.

pytest-rerunfailures is no substitute: it repeats a test at once, in the same process, while its neighbours still run.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

MAX_FAILURES = 10
"""With more failures than this the fault is not the machine's speed, and nothing is run again."""
PASSED_ALONE = "passed alone"
"""The category in pytest's last line."""


class RerunAlone:
    """The plugin of one run; it belongs to the process that reports, not to the workers of pytest-xdist."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._lost_workers: list[str] = []
        self._passed_alone: dict[str, list[pytest.TestReport]] = {}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A worker that was lost took tests with it whose results nobody knows."""
        if error:
            self._lost_workers.append(str(node))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Run what failed once more, and let the second result count."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None or not self._may_rerun(session, exitstatus):
            return
        failures = [report for kind in ("failed", "error") for report in reporter.stats.get(kind, [])]
        names = list(dict.fromkeys(report.nodeid for report in failures))
        if not 0 < len(names) <= MAX_FAILURES or not all(isinstance(report, pytest.TestReport) for report in failures):
            return
        reporter.ensure_newline()
        reporter.section(f"once more, alone: {_counted(len(names))}", "=")
        failed_again = self._run(names, reporter)
        for name in names:
            if name not in failed_again:
                self._passed_alone[name] = [report for report in failures if report.nodeid == name]
        for kind in ("failed", "error"):
            left = [report for report in reporter.stats.pop(kind, []) if report.nodeid in failed_again]
            if left:
                reporter.stats[kind] = left
        for reports in self._passed_alone.values():
            self._config.hook.pytest_runtest_logreport(report=_passed(reports[0]))
        if not failed_again:
            session.exitstatus = pytest.ExitCode.OK

    def pytest_report_teststatus(self, report: pytest.TestReport | pytest.CollectReport) -> tuple[str, str, str] | None:
        """Count them apart, without a letter among the dots."""
        return (PASSED_ALONE, "", "") if getattr(report, "passed_alone", False) else None

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Name them, with what the first failure said."""
        if not self._passed_alone:
            return
        n = len(self._passed_alone)
        terminalreporter.section(f"{_counted(n)} failed first and passed alone", "=", yellow=True)
        for name, reports in self._passed_alone.items():
            terminalreporter.write_sep("_", name)
            for report in reports:
                terminalreporter.write_line(f"failed first in its {report.when}:")
                terminalreporter.write_line(report.longreprtext)
        terminalreporter.write_line(f"{_counted(n)} failed first and passed alone: {', '.join(self._passed_alone)}")

    def _may_rerun(self, session: pytest.Session, exitstatus: int) -> bool:
        """Only a whole run that came to its end: who names a test wants its first result."""
        is_whole = self._config.args_source is pytest.Config.ArgsSource.TESTPATHS
        is_complete = exitstatus == pytest.ExitCode.TESTS_FAILED and not (session.shouldfail or session.shouldstop)
        return is_whole and is_complete and not self._lost_workers and not self._config.option.usepdb

    def _run(self, names: list[str], reporter: Any) -> set[str]:
        """Those that fail again; all of them where the second run does not come to its end."""
        with tempfile.TemporaryDirectory() as cache:
            command = [sys.executable, "-m", "pytest", *self._options(), "-o", f"cache_dir={cache}", *names]
            done = subprocess.run(command, cwd=self._config.rootpath, capture_output=True, text=True, errors="replace", check=False)
            reporter.write(done.stdout + done.stderr)
            if done.returncode == pytest.ExitCode.OK:
                return set()
            record = Path(cache, "v", "cache", "lastfailed")
            is_known = done.returncode == pytest.ExitCode.TESTS_FAILED and record.exists()
            return set(json.loads(record.read_text(encoding="utf-8"))) if is_known else set(names)

    def _options(self) -> Iterator[str]:
        """One process, the same settings file and the same marks."""
        if hasattr(self._config.option, "numprocesses"):  # pytest-xdist is there, and PYTEST_ADDOPTS may say `-n`
            yield from ("-n", "0")
        if self._config.inipath is not None:
            yield from ("-c", str(self._config.inipath))
        yield from ("-m", self._config.option.markexpr)


def _passed(first: pytest.TestReport) -> pytest.TestReport:
    return pytest.TestReport(first.nodeid, first.location, first.keywords, "passed", None, "call", passed_alone=True)


def _counted(n: int) -> str:
    return "1 test" if n == 1 else f"{n} tests"


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(RerunAlone(config), "rerun_alone of this run")
