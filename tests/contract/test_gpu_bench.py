"""`python -m tests.bench.gpu` runs where there is no GPU, and its limits, its file and its arithmetic are right before there is one."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.bench.gpu.goals import Progress, copy_share, extrapolated, goals, table
from tests.bench.gpu.plan import STAGES, main, run_stage, seconds_of
from tests.bench.gpu.record import OUT_OF_TIME, DeviceLostError, Record, SkippedError, merge, read_json, read_results, write_json

HERE = Path(__file__).parents[2]
_ABSENT = ("ray", "plotly", "pandas", "pyarrow", "pydantic")
"""Packages that a machine with a GPU may lack."""


# A whole call in its tiny form


@pytest.mark.slow
def test_the_tiny_form_runs_every_stage_without_ray_or_plotly(tmp_path: Path) -> None:
    blocked = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in _ABSENT)
    (tmp_path / "sitecustomize.py").write_text(blocked)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/__init__.py").write_text("raise ImportError('another package called tests')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1", "TRITON_INTERPRET": "0"}
    out = tmp_path / "gpu.json"
    # `python -m` takes the other package from PYTHONPATH; the folder is the way around it.
    command = [sys.executable, "tests/bench/gpu", "--device", "cpu", "--tiny", "--limit", "1500", "--out", str(out)]
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=1600, check=False)
    assert done.returncode == 0, (done.stdout[-4000:], done.stderr[-2000:])
    found = read_results(out)["stages"]
    assert list(found) == list(STAGES)
    assert {entry["status"] for entry in found.values()} == {"complete"}
    assert found["smoke"]["figures"]["trains with packed"] == {"epochs": 4}
    assert found["smoke"]["figures"]["device"]["allow_tf32_matmul"] is False
    assert found["correctness"]["figures"]["schedule of packed, hps"]["tied_rows"] > 100
    assert found["correctness"]["figures"]["resumes in phase 2 with ties"]["largest_gap"] == 0
    assert found["ceilings"]["figures"]["copy"]["gb_s"] > 0
    assert found["layers"]["figures"]["max-pooling, float32"]["both_passes_us_a_model"] > 0
    step = found["steps"]["figures"]["pack of 2, packed"]
    assert min(step[name] for name in ("us_a_model_step", "kernels_a_step", "mib_a_model_step")) > 0
    assert found["baselines"]["figures"]["four processes"]["us_a_model_step"] > 0
    swept = found["sweep"]["figures"]["sweep"]
    assert (swept["models"], swept["model_steps"], swept["is_extrapolated"], swept["backend"]) == (3, 48, False, "packed")
    assert all("Triton" in reason for name, reason in found["steps"]["skipped"].items() if "packed+kernel" in name)
    assert done.stdout.count("unmeasured") == 4


@pytest.mark.full
def test_a_missing_device_is_one_failure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    out = tmp_path / "gpu.json"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "tests.bench.gpu", "--device", "cuda", "--stages", "ceilings", "--limit", "300", "--out", str(out)]
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 1
    assert "FAILED device is there: DeviceMissingError: device cuda:0 is not available here" in done.stdout
    assert len(read_results(out)["stages"]["ceilings"]["failures"]) == 1


def test_wrong_arguments_are_refused_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--stages", "smoke,sweeps"])
    assert ended.value.code == 2
    assert "stages of smoke, correctness, ceilings, layers, steps, baselines, sweep expected, found smoke,sweeps" in capsys.readouterr().err
    damaged = tmp_path / "gpu.json"
    damaged.write_text("{")
    assert main(["--stages", "smoke", "--out", str(damaged)]) == 2
    assert f"Error: {damaged} is not a result of this command" in capsys.readouterr().err
    assert damaged.read_text() == "{"


# Limits


def test_a_limit_is_divided_by_what_the_stages_need() -> None:
    first = seconds_of("smoke", ["ceilings", "layers"], 198)
    expected = [STAGES[name].expected_s for name in ("smoke", "ceilings", "layers")]
    assert first == 198 * expected[0] / sum(expected)
    assert seconds_of("layers", [], 40) == 40
    # What a stage did not need is shared by the later ones.
    assert seconds_of("ceilings", ["layers"], 150) > seconds_of("ceilings", ["layers"], 198 - first)


@pytest.mark.parametrize(
    ("names", "limit"), [("smoke,correctness,ceilings,layers", 200), ("smoke,ceilings,layers", 200), ("steps,baselines,sweep", 440)]
)
def test_the_two_calls_give_each_stage_what_it_needs(names: str, limit: int) -> None:
    stages = names.split(",")
    left = limit - 2.0
    for place, name in enumerate(stages):
        given = seconds_of(name, stages[place + 1 :], left)
        assert given >= STAGES[name].expected_s
        left -= given
    assert left == pytest.approx(0)


_CHILD = """
import json, os, subprocess, sys, time
part, record = sys.argv[1], {"figures": {}, "failures": {}, "skipped": {}, "item_s": {}}
if os.path.exists(part):
    record = json.load(open(part))
def write():
    open(part + ".new", "w").write(json.dumps(record))
    os.replace(part + ".new", part)
def item(name, value=None):
    if name in record["figures"] or name in record["failures"]:
        return False
    record["running"] = {"item": name, "since": time.time()}
    write()
    return True
def done(name):
    record["figures"][name] = "ok"
    record.pop("running")
    write()
"""


def run_script(tmp_path: Path, script: str, seconds: float = 60, item_s: float = 50) -> dict[str, Any]:
    """Run a script as a stage's process; `item` and `done` write its record."""
    path = tmp_path / "stage.py"
    path.write_text(_CHILD + script)
    states: list[str] = []
    (tmp_path / "folder").mkdir()
    entry = run_stage(
        "smoke",
        tmp_path / "folder",
        seconds,
        item_s,
        lambda _name, part, _until: [sys.executable, str(path), str(part)],
        lambda entry: states.append(entry["status"]),
    )
    assert states[-1] == entry["status"]
    return entry


def test_a_stage_beyond_its_limit_is_killed_with_its_children(tmp_path: Path) -> None:
    script = """
item("first"); done("first")
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(part + ".pid", "w").write(str(child.pid))
item("second")
time.sleep(600)
"""
    entry = run_script(tmp_path, script, seconds=8)
    assert entry["status"] == "cut"
    assert entry["figures"] == {"first": "ok"}
    assert entry["skipped"] == {"second": "it was killed at the limit of its stage"}
    pid = int((tmp_path / "folder/smoke.json.pid").read_text())
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3]:
            return
        time.sleep(0.1)
    raise AssertionError(f"process {pid} still runs")


def test_a_stage_goes_on_behind_an_item_that_dies_hangs_or_loses_the_device(tmp_path: Path) -> None:
    script = """
if item("dies"): os.kill(os.getpid(), 11)
if item("loses the device"):
    record["failures"]["loses the device"] = {"error": "CUDA error: an illegal memory access"}
    record.pop("running"); write(); sys.exit(75)
if item("hangs"): time.sleep(600)
if item("last"): done("last")
record["finished"] = True; write()
"""
    entry = run_script(tmp_path, script, item_s=3)
    assert entry["status"] == "complete"
    assert entry["figures"] == {"last": "ok"}
    assert {name: failure["error"] for name, failure in entry["failures"].items()} == {
        "dies": "the process ended with signal 11",
        "loses the device": "CUDA error: an illegal memory access",
        "hangs": "it had not ended after 3 s, and its process was killed",
    }


def test_a_stage_that_cannot_begin_says_why(tmp_path: Path) -> None:
    entry = run_script(tmp_path, "raise ModuleNotFoundError('no torch here')")
    assert entry["status"] == "crashed"
    assert entry["failures"]["smoke"]["error"] == "the stage ended with exit code 1: ModuleNotFoundError: no torch here"


# The record of a stage and the file of all


def test_every_failure_is_recorded_and_the_next_item_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = Record(tmp_path / "part.json", 60)

    def skip() -> None:
        raise SkippedError("no GPU")

    assert record.item("one", lambda: 1 / 0) is None
    assert record.item("two", lambda: {"us": 2.0}) == {"us": 2.0}
    assert record.item("three", skip) is None
    assert record.item("four", lambda: None) is None
    stored = read_json(tmp_path / "part.json")
    assert stored is not None
    assert stored["failures"]["one"]["error"] == "ZeroDivisionError: division by zero"
    assert stored["figures"] == {"two": {"us": 2.0}, "four": "ok"}
    assert stored["skipped"] == {"three": "no GPU"}
    assert re.search(r"FAILED +one .*: ZeroDivisionError: division by zero", capsys.readouterr().out)
    # Another process goes on from there.
    again = Record(tmp_path / "part.json", 60)
    assert again.item("two", lambda: 1 / 0) == {"us": 2.0}
    assert Record(tmp_path / "other.json", -1).item("late", lambda: 1 / 0) is None
    assert (read_json(tmp_path / "other.json") or {})["skipped"] == {"late": OUT_OF_TIME}


def test_a_part_that_loses_the_device_ends_its_item_too(tmp_path: Path) -> None:
    record = Record(tmp_path / "part.json", 60, is_lost=lambda error: "CUDA" in str(error))

    def fail() -> None:
        raise RuntimeError("CUDA error: misaligned address")

    with pytest.raises(DeviceLostError):
        record.item("a step", lambda: record.part("its profile", fail))
    again = Record(tmp_path / "part.json", 60)
    assert list(again.data["failures"]) == ["its profile"]
    assert "running" not in again.data
    again.item("a step", lambda: pytest.fail("it ran again"))
    assert "a step" not in again.data["failures"]


def test_a_later_call_keeps_the_stages_that_it_does_not_run(tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    results = read_results(path)
    merge(results, "smoke", {"call": "a", "figures": {}})
    merge(results, "smoke", {"call": "a", "figures": {"x": 1}})
    merge(results, "steps", {"call": "a", "figures": {"y": 2}})
    write_json(path, results)
    later = read_results(path)
    merge(later, "smoke", {"call": "b", "figures": {"x": 3}})
    assert later["stages"] == {"smoke": {"call": "b", "figures": {"x": 3}}, "steps": {"call": "a", "figures": {"y": 2}}}
    assert later["earlier"] == [{"stage": "smoke", "call": "a", "figures": {"x": 1}}]
    assert sorted(path.parent.iterdir()) == [path]
    path.write_text('{"format": 2}')
    with pytest.raises(ValueError, match="expects format 1 with stages, found format 2"):
        read_results(path)


# Arithmetic


def test_a_sweep_that_was_cut_is_extrapolated_by_phase() -> None:
    sparse = Progress(71, {"sparsify": 3, "retrain": 4}, [("sparsify", 50.0), ("sparsify", 2.0), ("sparsify", 4.0), ("retrain", 1.0)])
    dense = Progress(19, {"dense": 7}, [("dense", 9.0), ("dense", 0.5)])
    total, notes = extrapolated(70.0, {"sparse": sparse, "dense": dense})
    assert total == 70 + 3 * 1.0 + 5 * 0.5  # the first epochs compile and record
    assert notes == ["sparse: 4 of 7 epochs were measured", "dense: 2 of 7 epochs were measured"]


def test_what_was_not_reached_is_estimated_and_named() -> None:
    sparse = Progress(60, {"sparsify": 2, "retrain": 3}, [("sparsify", 6.0)])
    dense = Progress(20, {"dense": 5}, [])
    total, notes = extrapolated(10.0, {"sparse": sparse, "dense": dense})
    assert total == pytest.approx(10 + 1 * 6 + 3 * 6 + 5 * 6 / 60 * 20)
    assert notes == [
        "sparse: 1 of 5 epochs were measured",
        "sparse: the phase retrain was estimated from the epochs before it",
        "sparse: the clustering of rows is not included",
        "dense: 0 of 5 epochs were measured",
        "dense: the phase dense was estimated from the other pack, by models",
    ]
    assert extrapolated(10.0, {"dense": dense}) == (None, ["no epoch had finished"])


def test_the_workers_of_a_sweep_that_was_cut_become_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.bench.gpu import sweep
    from tests.bench.gpu.measuring import Job

    class Cut:
        """Both packs have trained for some epochs when the time is over."""

        def __init__(self, job: Job, names: list[str], backend: str) -> None:
            self.lines = {
                name: [{"event": "epoch", "phase": phase, "seconds": seconds} for phase, seconds in epochs]
                for name, epochs in (("sparse", [("sparsify", 3.0), ("sparsify", 1.0)]), ("dense", [("dense", 4.0), ("dense", 0.5)]))
            }

        def begin(self) -> None: ...

        def finish(self) -> bool:
            return False

        def end(self) -> None: ...

        def of(self, name: str, event: str) -> list[dict[str, Any]]:
            return [line for line in self.lines[name] if line["event"] == event]

    monkeypatch.setattr(sweep, "Workers", Cut)
    job = Job("cpu", True, "packed", tmp_path / "gpu.json", Record(tmp_path / "part.json", 60))
    sweep.sweep(job)
    found = job.record.data["figures"]["sweep"]
    assert (found["is_extrapolated"], found["backend"], found["models"]) == (True, "packed", 3)
    assert found["wall_s"] == pytest.approx(2 * 1.0 + 2 * 0.5, abs=0.1)
    assert "sparse: its final measurements are not included" in found["notes"]


def test_without_scikit_learn_the_sweep_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.bench.gpu import sweep
    from tests.bench.gpu.measuring import Job

    monkeypatch.setattr(sweep.importlib.util, "find_spec", lambda _name: None)
    job = Job("cpu", True, "auto", tmp_path / "gpu.json", Record(tmp_path / "part.json", 60))
    sweep.sweep(job)
    assert "scikit-learn is not installed: the sweep was not measured" in job.record.data["failures"]["scikit-learn"]["error"]


def test_the_share_of_the_copy_rate_is_what_a_step_moves_in_its_time() -> None:
    assert copy_share(1000, 1048.576, 2000) == pytest.approx(0.5)  # 1000 MiB in 1048.576 us are 1 TB/s


def made_results(**changes: dict[str, Any]) -> dict[str, Any]:
    """Results of a GPU that meets all goals but one."""
    step = {"n_models": 90, "backend": "packed+kernel", "us_a_model_step": 100.0, "mib_a_model_step": 190.73486328125}
    figures: dict[str, dict[str, Any]] = {
        "ceilings": {"copy": {"gb_s": 4000.0}},
        "steps": {"a": step, "b": {"n_models": 90, "backend": "vmap", "us_a_model_step": 300.0}, "c": {"n_models": 1}},
        "baselines": {"one model after the other": {"us_a_model_step": 1500.0}, "four processes": {"us_a_model_step": 400.0}},
        "sweep": {"sweep": {"total_s": 100.0, "model_steps": 687_960}},
    }
    stages = {name: {"device": "cuda:0", "tiny": False, "status": "complete", "figures": found} for name, found in figures.items()}
    return {"format": 1, "stages": {name: entry | changes.get(name, {}) for name, entry in stages.items()}, "earlier": []}


def test_the_goals_are_judged() -> None:
    found = {goal.name: goal for goal in goals(made_results())}
    assert [(goal.measured, goal.limit, goal.verdict) for goal in found.values()] == [
        ("100 s", "<= 180 s", "met"),
        ("50%", ">= 45%", "met"),
        ("10.3 times", ">= 10.0 times", "met"),
        ("2.8 times", ">= 3.0 times", "missed"),
    ]
    assert found["share of the copy rate"].note.startswith("packed+kernel, 191 MiB and 100 us a model-step; 70% for the 268 MiB")


def test_what_was_not_measured_on_a_gpu_is_unmeasured() -> None:
    results = made_results(steps={"device": "cpu"}, sweep={"tiny": True})
    del results["stages"]["baselines"]
    notes = [(goal.verdict, goal.note) for goal in goals(results)]
    assert notes == [
        ("unmeasured", "the stage sweep ran in the tiny form on cuda:0"),
        ("unmeasured", "the stage steps ran on cpu"),
        ("unmeasured", "the stage baselines has not run"),
        ("unmeasured", "the stage baselines has not run"),
    ]


def test_an_extrapolated_sweep_says_so_in_the_table() -> None:
    figures = {
        "sweep": {"total_s": 200.0, "model_steps": 687_960, "is_extrapolated": True, "notes": ["dense: 2 of 7 epochs were measured"]}
    }
    lines = table(made_results(sweep={"figures": figures, "status": "cut"}), ["steps", "sweep"]).splitlines()
    assert any(re.fullmatch(r"sweep +cut +- +0 +0", line) for line in lines)
    (line,) = [line for line in lines if line.startswith("90 models, full schedule")]
    assert re.search(r"200 s +<= 180 s +missed +extrapolated: dense: 2 of 7 epochs were measured$", line)
    assert any(re.match(r"90 +packed\+kernel +100.0 .* 191 +50%$", line) for line in lines)


def test_results_are_plain_json(tmp_path: Path) -> None:
    record = Record(tmp_path / "part.json", 60)
    record.put("a path", {"of": tmp_path, "numbers": [1.5, None]})
    assert json.loads((tmp_path / "part.json").read_text())["figures"]["a path"] == {"of": str(tmp_path), "numbers": [1.5, None]}
