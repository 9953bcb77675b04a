"""What fails beside other tests is run once more alone, and only what fails again fails the run (tests/rerun_alone.py)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[1]
FLAKY = """
import pathlib
import pytest

def fails_first(name):
    seen = pathlib.Path(f"{name}.seen")
    if not seen.exists():
        seen.touch()
        pytest.fail(f"{name} is too slow")

@pytest.fixture
def resource():
    fails_first("resource")
"""
PASSES = "def test_passes(): pass\n"
FAILS_FIRST = "def test_fails_first(): fails_first('first')\n"
ERROR_FIRST = "def test_error_first(resource): pass\n"
FAILS = "def test_fails(): assert 1 == 2\n"


def run(folder: Path, *tests: str, arguments: tuple[str, ...] = (), **more: str) -> tuple[int, str, str]:
    """Exit code, everything printed, and the last line without its time; `more` goes into the environment."""
    (folder / "tests").mkdir()
    (folder / "tests" / "test_it.py").write_text(FLAKY + "".join(tests))
    (folder / "pytest.ini").write_text("[pytest]\ntestpaths = tests\nmarkers = slow\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    environment |= {"PYTHONPATH": str(PLUGIN), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "xdist.plugin", **more}
    command = [sys.executable, "-m", "pytest", "-p", "rerun_alone", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout, done.stdout.rstrip().splitlines()[-1].strip("= ").partition(" in ")[0]


BESIDE_OTHERS = ("-n", "2")


@pytest.mark.full
@pytest.mark.parametrize("arguments", [BESIDE_OTHERS, ()])
def test_what_passes_alone_does_not_fail_the_run_and_is_named(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, printed, last = run(tmp_path, PASSES, FAILS_FIRST, ERROR_FIRST, arguments=arguments)
    assert (code, last) == (0, "1 passed, 2 passed alone")
    names = sorted(["tests/test_it.py::test_fails_first", "tests/test_it.py::test_error_first"])
    (line,) = [line for line in printed.splitlines() if line.startswith("2 tests failed first and passed alone: ")]
    assert sorted(line.partition("alone: ")[2].split(", ")) == names
    assert "first is too slow" in printed, "why it failed first"
    assert "resource is too slow" in printed


def test_what_fails_again_fails_the_run(tmp_path: Path) -> None:
    code, printed, last = run(tmp_path, PASSES, FAILS_FIRST, FAILS)
    assert (code, last) == (1, "1 failed, 1 passed, 1 passed alone")
    assert "1 test failed first and passed alone: tests/test_it.py::test_fails_first\n" in printed


@pytest.mark.full
def test_the_second_run_is_one_fresh_process_with_the_same_marks(tmp_path: Path) -> None:
    """The test is there only with `-m slow`, and fails beside others."""
    alone = "@pytest.mark.slow\ndef test_alone(): import os; assert 'PYTEST_XDIST_WORKER' not in os.environ\n"
    code, _, last = run(tmp_path, PASSES, alone, arguments=("-m", "slow"), PYTEST_ADDOPTS="-n 2")
    assert (code, last) == (0, "1 passed alone")


@pytest.mark.parametrize(
    ("tests", "arguments", "expected_code"),
    [
        pytest.param(["import nothing_of_this_name\n", FAILS_FIRST], (), 2, id="collection error"),
        pytest.param(["import nothing_of_this_name\n", FAILS_FIRST], BESIDE_OTHERS, 1, id="collection error in workers"),
        pytest.param([f"def test_{i}(): fails_first({i})\n" for i in range(11)], (), 1, id="eleven failures"),
        pytest.param([FAILS_FIRST, "def test_crash(): import os; os._exit(7)\n"], BESIDE_OTHERS, 1, id="lost worker"),
        pytest.param([FAILS_FIRST, PASSES], ("-x",), 1, id="stopped at the first failure"),
        pytest.param([FAILS_FIRST, PASSES], (*BESIDE_OTHERS, "-x"), 2, id="stopped at the first failure in workers"),
        pytest.param([FAILS_FIRST, PASSES], ("tests/test_it.py",), 1, id="tests that were named"),
    ],
)
def test_nothing_is_run_again_where_the_first_run_says_enough(
    tmp_path: Path, tests: list[str], arguments: tuple[str, ...], expected_code: int
) -> None:
    code, printed, _ = run(tmp_path, *tests, arguments=arguments)
    assert code == expected_code
    assert "once more, alone" not in printed


def test_ten_failures_are_run_again(tmp_path: Path) -> None:
    code, _, last = run(tmp_path, *[f"def test_{i}(): fails_first({i})\n" for i in range(10)])
    assert (code, last) == (0, "10 passed alone")
