"""`sweep run` with a real local Ray: it completes, goes on after every kind of end, and gives the same rows bit for bit."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from commands import is_refused
from sweep_process import (
    Ended,
    EpochWatch,
    SweepProcess,
    epochs_in_checkpoints,
    in_the_middle,
    live_of,
    plans_of,
    rows_of,
    sweep_command,
    sweep_process,
    trained,
    write_grid,
)

from sweep.cluster.machine import n_local_cpus
from sweep.grid.load import load_config
from sweep.planning.trials import trials_of
from sweep.store.store import Store

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="not run: needs /proc"),
    # The tests wait for moments when two packs are at work.
    pytest.mark.skipif(n_local_cpus() < 2, reason="not run: needs two processors"),
]

DENSE = [[0, 0.5, 0.5], [0, 0.3, 0.7]]
SPARSE = [[0.02, 0.49, 0.49], [0.02, 0.38, 0.6], [0.05, 0.475, 0.475], [0.1, 0.45, 0.45]]
MORE = [[0.03, 0.4, 0.57], [0.03, 0.57, 0.4]]
N_EPOCHS = 36
GRID: dict[str, Any] = {
    "name": "tiny",
    "problem": {"name": "multidigits", "n_train": 512, "n_validation": 128, "n_test": 128},
    "preferences": {"list": [*DENSE, *SPARSE]},
    "training": {
        "batch_size": 128,
        "learning_rate": 5e-3,
        "learning_rate_decay": 0.9,
        "sparsify": {"outer_iterations": 2, "epochs": 8},
        "retrain": {"outer_iterations": 2, "epochs": 10},
        "growl": {"sparsity_min": 0},
        "lsuv": {"n_samples": 256},
    },
    "resources": {"checkpoint_s": 0, "pack": 2},
    "output": "out",
}
SHORT: dict[str, Any] = GRID["training"] | {
    "sparsify": {"outer_iterations": 1, "epochs": 1},
    "retrain": {"outer_iterations": 1, "epochs": 1},
}
RUN = ("run", "grid.yaml", "--no-dashboard")
TOKEN = "0123456789abcdef" * 4


def workplace(folder: Path, **changes: Any) -> Path:
    """A folder with a grid file whose results go to `out` beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_grid(folder / "grid.yaml", **(GRID | changes))
    return folder


def trial_ids(folder: Path) -> list[str]:
    return [trial.trial_id for trial in trials_of(load_config(folder / "grid.yaml"))]


class Seen(NamedTuple):
    """The run that the others are compared with."""

    folder: Path
    ended: Ended
    dashboard: str
    actors: str
    """What the dashboard said about its actors while packs were running."""
    running: list[dict[str, Any]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """One run from start to end, with the dashboard."""
    folder = workplace(tmp_path_factory.mktemp("u"))
    with sweep_process("run", "grid.yaml", folder=folder, RAY_AUTH_TOKEN=TOKEN) as process:
        running = process.until(lambda: live_of(folder / "out"), "running packs")
        (line,) = [line for line in process.printed().splitlines() if line.startswith("Ray dashboard: ")]
        url = line.removeprefix("Ray dashboard: ")
        actors = process.until(lambda: dashboard_actors(url, running[0]["pack_id"]), "actors on the dashboard", timeout=60)
        ended = process.wait()
        process.until_all_are_gone()
    return Seen(folder, ended, url, actors, running)


def dashboard_actors(url: str, wanted: str) -> str | None:
    """The actors page's data once it names a pack; Ray has moved it between versions."""
    for path in ("/logical/actors", "/api/v0/actors?detail=true"):
        with contextlib.suppress(urllib.error.URLError, TimeoutError):
            text = get(url + path)
            if wanted in text:
                return text
    return None


def get(url: str) -> str:
    """With the token where the cluster asks for one."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):
            raise
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"}), timeout=10) as answer:
        return str(answer.read().decode())


@pytest.fixture
def copy(undisturbed: Seen, tmp_path: Path) -> Path:
    """The undisturbed run's folder, to go on with."""
    return Path(shutil.copytree(undisturbed.folder, tmp_path / "w"))


def check_complete(folder: Path, undisturbed: Seen) -> None:
    """Everything that a complete run of the grid leaves, whatever came between."""
    store = Store(folder / "out")
    assert store.complete() == dict.fromkeys(trial_ids(folder), "ok")
    assert trained(store.root) == trained(undisturbed.folder / "out")
    assert store.checkpoints() == []
    assert store.live() == []
    assert store.lock_holder() is None
    assert not store.control.stop_requested()
    assert store.verify() == []
    assert (store.root / "report.html").stat().st_size > 100_000


# -- a run, once more, and a larger grid ------------------------------------------------------------------------------------


def test_a_run_trains_everything_and_leaves_nothing_running(undisturbed: Seen) -> None:
    folder, ended = undisturbed.folder, undisturbed.ended
    assert ended.code == 0, ended.stderr
    check_complete(folder, undisturbed)
    rows = rows_of(folder / "out")
    assert len(rows) == len(GRID["preferences"]["list"])
    assert {row["n_epochs"] for row in rows.values()} == {N_EPOCHS}
    assert {(row["attempt"], row["retry"]) for row in rows.values()} == {(1, 0)}
    assert len({row["weights_sha256"] for row in rows.values()}) == len(rows)
    assert plans_of(folder / "out") == [1]
    assert "6 trials: 6 ok\n" in ended.stdout
    assert "training" in ended.stdout
    assert ended.stdout.rstrip().endswith(f"report: {folder / 'out' / 'report.html'}")
    assert "Traceback" not in ended.stderr
    box = Store(folder / "out").manifest()["hypervolume_box"]  # type: ignore[index]
    assert (box["axes"][0], box["ideal"], box["origin"]) == ("1 - sparsity_rate", [0.0, 0.0, 0.0], "rule")
    assert box["nadir"] == pytest.approx([1.0, 2.302585, 2.302585], abs=1e-6)


def test_the_dashboard_names_packs_and_trials(undisturbed: Seen) -> None:
    assert undisturbed.dashboard.startswith("http://127.0.0.1:")
    ids = trial_ids(undisturbed.folder)
    assert any(trial_id in undisturbed.actors for trial_id in ids)
    assert any(f"{pack['pack_id']} {pack['trial_ids'][0]} k=(" in undisturbed.actors for pack in undisturbed.running)


def test_once_more_does_nothing_and_needs_neither_ray_nor_torch(copy: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (copy / "out").rglob("*") if path.is_file()}
    ended = sweep_command(*RUN, folder=copy, PYTHONPROFILEIMPORTTIME="1", timeout=60)
    assert ended.code == 0, ended.stderr
    assert "nothing to do: every trial is complete" in ended.stdout
    modules = {line.rpartition("|")[2].strip().partition(".")[0] for line in ended.stderr.splitlines() if line.startswith("import time:")}
    assert "sweep" in modules
    assert modules.isdisjoint({"ray", "torch", "plotly"})
    assert {path: path.stat().st_mtime_ns for path in (copy / "out").rglob("*") if path.is_file()} == before
    print(f"a run with nothing to do: {ended.seconds:.2f} s")


FROM_PYTHON = """
import json
from sweep import load_config, plan, run
config = load_config("grid.yaml")
n_todo = plan(config).n_todo
table = run(config, quiet=True, dashboard=False)
rows = table.frame[["trial_id", "state", "attempt", "k_0"]].to_dict(orient="records")
print(json.dumps({"n_todo": n_todo, "rows": rows, "left": plan(config).n_todo}))
"""


def test_a_larger_grid_trains_only_what_is_new_also_from_python(copy: Path, undisturbed: Seen) -> None:
    old = trial_ids(copy)
    workplace(copy, preferences={"list": [*DENSE, *MORE, *SPARSE]})
    (stale,) = trial_ids(copy)[:1]
    store = Store(copy / "out")
    store.save_checkpoint("pack-of-a-former-run", 1, 0, checkpoint_file([stale], epoch=3))
    process = SweepProcess(("-c", FROM_PYTHON), copy)
    try:
        ended = process.wait()
        process.until_all_are_gone()
    finally:
        process.end()
    assert ended.code == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    assert (found["n_todo"], found["left"]) == (2, 0)
    assert [row["trial_id"] for row in found["rows"]] == trial_ids(copy)
    assert {row["state"] for row in found["rows"]} == {"ok"}
    assert {row["trial_id"]: row["attempt"] for row in found["rows"]} == {i: 1 if i in old else 2 for i in trial_ids(copy)}
    reference = trained(undisturbed.folder / "out")
    assert {i: row for i, row in trained(store.root).items() if i in reference} == reference
    assert store.checkpoints() == [], "a checkpoint of trials that are complete is removed"
    assert plans_of(store.root) == [1, 2]


def checkpoint_file(ids: list[str], epoch: int) -> bytes:
    """A safetensors file as the store asks for it."""
    notes = {"trial_ids": json.dumps(ids), "epoch": json.dumps(epoch)}
    header = json.dumps({"__metadata__": notes, "x": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}).encode()
    return len(header).to_bytes(8, "little") + header + b"\1" * 8


# -- kills ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_driver_is_replaced_and_nothing_is_trained_twice(tmp_path: Path, undisturbed: Seen) -> None:
    folder = workplace(tmp_path / "w")
    out = folder / "out"
    with sweep_process(*RUN, folder=folder) as process:
        process.until(lambda: in_the_middle(out, n_complete=2), "a moment with complete and running trials")
        driver = process.driver()
        assert driver is not None
        os.kill(driver, signal.SIGKILL)
        before, kept = rows_of(out), epochs_in_checkpoints(out)
        watch = EpochWatch(out, attempt=2)
        second = sweep_command(*RUN, folder=folder, timeout=60)
        ended = watch.until_ended(process)
        process.until_all_are_gone()
    assert second.code == 2, "one run at a time"
    assert f"another run works here: pid {process.process.pid} on host " in second.stderr
    assert second.stderr.startswith("Error: ")
    assert "Traceback" not in second.stderr
    assert ended.code == 0, ended.stderr
    assert plans_of(out) == [1, 2]
    check_complete(folder, undisturbed)
    after = rows_of(out)
    assert before.items() <= after.items()
    assert {row["attempt"] for trial_id, row in after.items() if trial_id not in before} <= {1, 2}
    resumed = kept.keys() & watch.least.keys()
    assert resumed
    assert all(watch.least[trial_id] > kept[trial_id] for trial_id in resumed), "it went on after the checkpoint"


@pytest.mark.slow
def test_a_killed_worker_is_replaced_within_the_attempt(tmp_path: Path, undisturbed: Seen) -> None:
    folder = workplace(tmp_path / "w")
    out = folder / "out"
    with sweep_process(*RUN, folder=folder) as process:
        process.until(lambda: in_the_middle(out, n_running=2), "two running packs")
        worker = next(pid for pid, command in process.living().items() if command.startswith("ray::PackTrainable"))
        os.kill(worker, signal.SIGKILL)
        ended = process.wait()
        process.until_all_are_gone()
    assert ended.code == 0, ended.stderr
    assert plans_of(out) == [1], "Ray retries a lost worker by itself"
    check_complete(folder, undisturbed)
    assert {row["retry"] for row in rows_of(out).values()} == {0, 1}


@pytest.mark.slow
def test_a_killed_supervisor_takes_everything_with_it_and_can_be_followed(tmp_path: Path, undisturbed: Seen) -> None:
    folder = workplace(tmp_path / "w")
    out = folder / "out"
    with sweep_process(*RUN, folder=folder) as process:
        process.until(lambda: in_the_middle(out, n_running=2), "two running packs")
        process.process.send_signal(signal.SIGKILL)
        started = time.monotonic()
        process.until_all_are_gone()
        print(f"all of its processes were gone after {time.monotonic() - started:.1f} s")
    holder = Store(out).lock_holder()
    assert holder is not None, "a killed process releases nothing"
    assert holder["pid"] == process.process.pid
    kept = epochs_in_checkpoints(out)
    assert len(kept) == 4
    planned = sweep_command("plan", "grid.yaml", folder=folder)
    assert "2 from a checkpoint" in planned.stdout
    with sweep_process(*RUN, folder=folder) as process:
        watch = EpochWatch(out, attempt=2)
        ended = watch.until_ended(process)
        process.until_all_are_gone()
    assert ended.code == 0, ended.stderr
    assert kept.keys() <= watch.least.keys()
    assert all(watch.least[trial_id] > epoch for trial_id, epoch in kept.items()), "it went on after the checkpoint"
    check_complete(folder, undisturbed)


# -- Ctrl-C ---------------------------------------------------------------------------------------------------------------


def test_ctrl_c_keeps_running_epochs_and_twice_stops_at_once(tmp_path: Path, undisturbed: Seen) -> None:
    folder = workplace(tmp_path / "w")
    out = folder / "out"
    with sweep_process(*RUN, folder=folder) as process:
        process.until(lambda: in_the_middle(out, n_running=2), "two running packs")
        process.process.send_signal(signal.SIGINT)
        process.until(lambda: "stopping: running epochs end and are kept" in process.printed(), "answer to the first Ctrl-C")
        process.process.send_signal(signal.SIGINT)
        started = time.monotonic()
        ended = process.wait(timeout=60)
        print(f"ended {time.monotonic() - started:.1f} s after the second Ctrl-C")
        process.until_all_are_gone()
    assert ended.code == 130, ended.stderr
    assert "Traceback" not in ended.stderr
    check_interrupted(out)
    kept = epochs_in_checkpoints(out)

    with sweep_process(*RUN, folder=folder) as process:
        watch = EpochWatch(out, attempt=2)

        def is_running() -> bool:
            watch.look()
            return bool(watch.least) and in_the_middle(out, n_running=2, margin=5)

        process.until(is_running, "two running packs")
        process.process.send_signal(signal.SIGINT)
        started = time.monotonic()
        ended = watch.until_ended(process, timeout=60)
        print(f"ended {time.monotonic() - started:.1f} s after the first Ctrl-C")
        process.until_all_are_gone()
    assert ended.code == 130, ended.stderr
    assert "stopping: running epochs end and are kept" in ended.stderr
    assert "left" in ended.stdout
    assert "Traceback" not in ended.stderr
    check_interrupted(out)
    assert all(watch.least[trial_id] > kept[trial_id] for trial_id in kept.keys() & watch.least.keys())
    assert all(epoch >= watch.least[trial_id] for trial_id, epoch in epochs_in_checkpoints(out).items() if trial_id in watch.least)

    ended = sweep_command(*RUN, folder=folder)
    assert ended.code == 0, ended.stderr
    assert plans_of(out) == [1, 2, 3]
    check_complete(folder, undisturbed)


def check_interrupted(out: Path) -> None:
    store = Store(out)
    assert store.checkpoints()
    assert store.lock_holder() is None
    assert store.live() == []
    assert (out / "report.html").exists()
    assert len(store.complete()) < len(GRID["preferences"]["list"])


# -- what the user has to mend --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "rule", "hint"),
    [
        ("127.0.0.1:1", "--address 127.0.0.1:1: nobody answers there", "ray start --head"),
        ("ray://127.0.0.1:10001", "expected `auto` or `host:port`", "10.0.0.1:6379"),
        ("127.0.0.1", "expected `auto` or `host:port`", "10.0.0.1:6379"),
        ("127.0.0.1:port", "expected `auto` or `host:port`", "10.0.0.1:6379"),
        ("no.such.host.invalid:6379", "nobody answers there", "hint: "),
        ("127.0.0.1:99999", "--address 127.0.0.1:99999", ""),
    ],
)
def test_a_cluster_that_is_not_there_is_said_quickly(tmp_path: Path, address: str, rule: str, hint: str) -> None:
    ended = sweep_command(*RUN, "--address", address, folder=workplace(tmp_path / "w"), timeout=60)
    is_refused(ended, rule, hint)
    print(f"{address}: {ended.seconds:.1f} s")


def test_more_than_the_machine_has_is_said_instead_of_waiting(tmp_path: Path) -> None:
    folder = workplace(tmp_path / "w", resources={"gpus": 4, "memory": "1GB"})
    ended = sweep_command(*RUN, folder=folder, timeout=90)
    is_refused(ended, "resources.gpus = 4", "this machine", "hint: lower `resources`")
    assert Store(folder / "out").lock_holder() is None
    print(f"refused after {ended.seconds:.1f} s")


@pytest.mark.slow
def test_a_learning_rate_far_too_large_is_exit_code_3(tmp_path: Path) -> None:
    preferences = {"list": [DENSE[0], SPARSE[0]]}
    folder = workplace(tmp_path / "w", preferences=preferences, training=SHORT | {"learning_rate": 1e30})
    ended = sweep_command(*RUN, folder=folder)
    assert ended.code == 3, ended.stderr
    assert "2 trials: 2 diverged\n" in ended.stdout
    assert "Traceback" not in ended.stderr
    store = Store(folder / "out")
    assert store.complete() == dict.fromkeys(trial_ids(folder), "diverged")
    assert all("learning_rate" in row["error"] for row in rows_of(store.root).values())
    assert (store.root / "report.html").exists()
    again = sweep_command(*RUN, folder=folder, timeout=60)
    assert again.code == 3, "failed trials stay failed"
    assert plans_of(store.root) == [1]


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("not run: needs root")
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"not run: cannot mount: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_said_and_mended(tmp_path: Path) -> None:
    folder = workplace(tmp_path / "w", preferences={"list": DENSE}, training=SHORT)
    with small_disk(folder / "out", "1500k") as out:
        ended = sweep_command(*RUN, folder=folder)
        is_refused(ended, "the disk is full", str(out), "hint: free some space")
        assert Store(out).lock_holder() is None
        assert plans_of(out) == [1], "trying again does not free a disk"
        subprocess.run(["mount", "-o", "remount,size=100m", str(out)], check=True)
        ended = sweep_command(*RUN, folder=folder)
        assert ended.code == 0, ended.stderr
        store = Store(out)
        assert store.complete() == dict.fromkeys(trial_ids(folder), "ok")
        assert store.verify() == []
        assert (out / "report.html").exists()
