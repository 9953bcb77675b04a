"""The stages `baselines` and `sweep`: the speed of plain PyTorch, and the time of 90 models with the full schedule in two workers."""

import contextlib
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from tests.bench.gpu.goals import BATCH, MODEL, N_DENSE, N_MODELS, N_TRAIN, Progress, extrapolated, fastest
from tests.bench.gpu.measuring import Job, noise_problem, timings, trials, wait
from tests.bench.gpu.record import read_results
from trainer.api import TrainingSettings, start, to_bytes

_N_PROCESSES = 4
_CHECKPOINT_S, _CHECKPOINT_SHARE = 5.0, 0.05
"""Minimum number of seconds between two checkpoints, and the share of the time that they may take."""


class Workers:
    """Processes that begin at the same time and print one JSON object per line. They end with this process.

    Args:
        job: the device and the sizes.
        names: the workers' names; `work` decides by them what each does.
        backend: the backend of the sweep.
    """

    def __init__(self, job: Job, names: Sequence[str], backend: str = "auto") -> None:
        folder = str(Path(__file__).parent)
        shared = ["--device", job.device_name, "--backend", backend, *(["--tiny"] if job.tiny else [])]
        self.lines: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        self._job, self._readers = job, []
        self._processes = {
            name: subprocess.Popen(
                [sys.executable, folder, "--worker", name, *shared], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for name in names
        }
        for name, process in self._processes.items():
            reader = threading.Thread(target=self._read, args=(name, process), daemon=True)
            reader.start()
            self._readers.append(reader)

    def _read(self, name: str, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with contextlib.suppress(ValueError):
                self.lines[name].append(json.loads(line))

    def begin(self) -> None:
        """Wait until all are ready, and let them begin.

        Raises:
            RuntimeError: a worker failed.
            TimeoutError: the time of the stage is over.
        """
        self._until("ready")
        for process in self._processes.values():
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()

    def finish(self) -> bool:
        """Wait until all are done; return False if the stage's time was over before.

        Raises:
            RuntimeError: a worker failed.
        """
        with contextlib.suppress(TimeoutError):
            self._until("done")
            return True
        return False

    def end(self) -> None:
        """Kill what is still running."""
        for process in self._processes.values():
            process.kill()
            process.wait()
        for reader in self._readers:
            reader.join(5)

    def of(self, name: str, event: str) -> list[dict[str, Any]]:
        """Return the lines of one kind that a worker has printed."""
        return [line for line in self.lines[name] if line["event"] == event]

    def _until(self, event: str) -> None:
        """Wait until every worker has printed a line of one kind.

        Raises:
            TimeoutError: the stage's time is over.
            RuntimeError: a worker ended before, or printed an error.
        """
        while not all(self.of(name, event) for name in self._processes):
            for name, process in self._processes.items():
                wrong = self.of(name, "error")
                if wrong or (process.poll() not in (None, 0) and not self.of(name, event)):
                    raise RuntimeError(f"{name}: {wrong[0]['message'] if wrong else f'ended with exit code {process.returncode}'}")
            if self._job.record.seconds_left <= 0:
                raise TimeoutError(f"the stage's time was over before all workers were {event}")
            time.sleep(0.05)


def _say(event: str, **figures: Any) -> None:
    print(json.dumps({"event": event, **figures}, default=str), flush=True)


def work(name: str, device: str, tiny: bool, backend: str) -> None:
    """Do one worker's part: get ready, wait for the line on stdin, work, and print figures."""
    try:
        if name.startswith("eager"):
            _work_eagerly(torch.device(device), tiny, is_channels_last=name.endswith("channels-last"))
        else:
            _train_pack(name, device, tiny, backend)
    except Exception as error:  # the stage's process reports it
        _say("error", message=f"{type(error).__name__}: {error}")
        raise


def _eager_steps(device: torch.device, tiny: bool, is_channels_last: bool) -> Iterator[None]:
    """Train one model without end as PyTorch's tutorials do, with fused Adam and resident data; yield after each step."""
    batch = 8 if tiny else BATCH
    problem = noise_problem("multimnist", batch * 20)
    data = problem.train.on(device)
    inputs, targets = (part for part in next(iter(data.in_order(len(data)))))
    torch.manual_seed(0)
    network = problem.networks[MODEL]().to(device)
    if is_channels_last:
        network = network.to(memory_format=torch.channels_last)
    else:
        inputs = inputs.contiguous()
    optimiser = torch.optim.Adam(network.parameters(), lr=2.5e-3, fused=True)
    while True:
        for index in torch.randperm(len(inputs), device=device).split(batch):
            images = inputs[index].contiguous(memory_format=torch.channels_last if is_channels_last else torch.contiguous_format)
            optimiser.zero_grad()
            losses = [F.cross_entropy(output, targets[index, t]) for t, output in enumerate(network(images))]
            (0.5 * losses[0] + 0.5 * losses[1]).backward()
            optimiser.step()
            yield


def _work_eagerly(device: torch.device, tiny: bool, is_channels_last: bool) -> None:
    """Train one model for some seconds, perhaps beside other processes, and print the number of steps."""
    steps = _eager_steps(device, tiny, is_channels_last)
    for _ in range(2 if tiny else 20):
        next(steps)
    wait(device)
    _say("ready")
    sys.stdin.readline()
    n, began, least_s = 0, time.perf_counter(), 0.2 if tiny else 5.0
    while time.perf_counter() - began < least_s:
        for _ in range(1 if tiny else 20):
            next(steps)
            n += 1
        wait(device)
    _say("done", steps=n, seconds=time.perf_counter() - began)


def baselines(job: Job) -> None:
    """Run the stage `baselines`: what PyTorch does without this package, for the same network and batches."""

    def alone(is_channels_last: bool) -> dict[str, Any]:
        steps = _eager_steps(job.device, job.tiny, is_channels_last)
        for _ in range(2 if job.tiny else 20):
            next(steps)
        n = 1 if job.tiny else 50
        found = timings(lambda: [next(steps) for _ in range(n)], job.device, *((0.0, 2, 2) if job.tiny else (2.0, 4, 100)))
        each = [1e6 * seconds / n for seconds in found]
        return {"us_a_model_step": statistics.median(each), "least_us": min(each), "most_us": max(each), "rounds": len(each)}

    item = job.record.item
    orders = {"NCHW": False, "channels-last": True}
    found = {order: item(f"one model, {order}", lambda is_last=is_last: alone(is_last)) for order, is_last in orders.items()}
    measured = {order: figures for order, figures in found.items() if figures}
    best = min(measured, key=lambda order: float(measured[order]["us_a_model_step"]), default=None)
    if best is not None:
        item("one model after the other", lambda: measured[best] | {"order": best})
        item("four processes", lambda: _four_processes(job, best))


def _four_processes(job: Job, order: str) -> dict[str, Any]:
    names = [f"eager {i} {order}" for i in range(2 if job.tiny else _N_PROCESSES)]
    workers = Workers(job, names)
    try:
        workers.begin()
        if not workers.finish():
            raise TimeoutError("the stage's time was over before all workers were done")
        found = [workers.of(name, "done")[0] for name in names]
    finally:
        workers.end()
    rate = sum(one["steps"] / one["seconds"] for one in found)
    return {"us_a_model_step": 1e6 / rate, "order": order, "processes": len(names), "steps": [one["steps"] for one in found]}


def _schedule(tiny: bool) -> tuple[TrainingSettings, int, dict[str, int]]:
    """Return the settings, the number of training samples, and the number of models of each pack."""
    settings = TrainingSettings(batch_size=BATCH)
    if not tiny:
        return settings, N_TRAIN, {"sparse": N_MODELS - N_DENSE, "dense": N_DENSE}
    short = replace(settings.sparsify, outer_iterations=1, epochs=2), replace(settings.retrain, outer_iterations=1, epochs=2)
    small = replace(settings, batch_size=16, sparsify=short[0], retrain=short[1], lsuv=replace(settings.lsuv, n_samples=32))
    return small, 64, {"sparse": 2, "dense": 1}


def _planned(settings: TrainingSettings, kind: str) -> dict[str, int]:
    """Return the epochs of each phase."""
    first = settings.sparsify.outer_iterations * settings.sparsify.epochs
    second = settings.retrain.outer_iterations * settings.retrain.epochs
    return {"dense": first + second} if kind == "dense" else {"sparsify": first, "retrain": second}


def _train_pack(kind: str, device: str, tiny: bool, backend: str) -> None:
    """Train one pack as a worker does, with checkpoints, and print each epoch, from which the time of a cut run is extrapolated."""
    settings, n_train, n_models = _schedule(tiny)
    problem = noise_problem("multimnist", n_train)
    specs = trials("hps" if tiny else MODEL, n_models[kind], settings, 0.0 if kind == "dense" else 1e-3)
    training = start(specs, problem, device=device, backend=backend, n_threads=max(1, (os.cpu_count() or 2) // 2))
    _say("ready")
    sys.stdin.readline()
    began = kept = time.perf_counter()
    checkpoints, pause_s = [], _CHECKPOINT_S
    while not training.done:
        before = training.usage()
        phase = str(training.progress()["phase"])
        training.step()
        after = training.usage()
        # Clustering is counted apart, and waiting for the other pack not at all.
        own = after.wall_s - before.wall_s - (after.wall_s_tying - before.wall_s_tying)
        _say("epoch", phase=phase, seconds=own, since_s=time.perf_counter() - began, tying_s=after.wall_s_tying)
        if time.perf_counter() - kept > pause_s and not training.done:
            saved = time.perf_counter()
            size = len(to_bytes(training.state_dict()))
            kept = time.perf_counter()
            pause_s = max(_CHECKPOINT_S, (kept - saved) / _CHECKPOINT_SHARE)
            checkpoints.append({"seconds": kept - saved, "mib": size / 2**20})
    measured = time.perf_counter()
    results = training.results()
    _say(
        "done",
        wall_s=time.perf_counter() - began,
        results_s=time.perf_counter() - measured,
        checkpoints=checkpoints,
        not_ok=[f"{result.trial_id} {result.state}: {result.error}" for result in results if result.state != "ok"],
        backend=results[0].measurements.backend,
        notes=results[0].measurements.notes,
        tying_s=training.usage().wall_s_tying,
    )


def sweep(job: Job) -> None:
    """Run the stage `sweep`."""
    if importlib.util.find_spec("sklearn") is None:
        job.record.item("scikit-learn", _refuse_without_scikit_learn)
        return
    backend = _fastest_backend(job) if job.backend == "auto" else job.backend
    job.record.item("sweep", lambda: _sweep(job, backend))


def _refuse_without_scikit_learn() -> None:
    raise ModuleNotFoundError(
        "scikit-learn is not installed: the sweep was not measured, because phase 1 ends with its affinity propagation "
        "(trainer/objectives/tying.py); install it with joblib and threadpoolctl, and run --stages sweep again"
    )


def _fastest_backend(job: Job) -> str:
    """Return the backend that the stage `steps` found fastest on the same device; `auto` if it has not run there."""
    entry = read_results(job.out)["stages"].get("steps", {})
    if entry.get("device") != job.device_name or entry.get("tiny") != job.tiny:
        return "auto"
    best = fastest(entry["figures"])
    return "auto" if best is None else str(best["backend"])


def _sweep(job: Job, backend: str) -> dict[str, Any]:
    """Train both packs in two processes that take turns on the device, and extrapolate if the time is over before they end."""
    settings, n_train, n_models = _schedule(job.tiny)
    n_batches = math.ceil(n_train / settings.batch_size)
    planned = {kind: _planned(settings, kind) for kind in n_models}
    found: dict[str, Any] = {
        "models": sum(n_models.values()),
        "model_steps": sum(n * n_batches * sum(planned[kind].values()) for kind, n in n_models.items()),
        "backend": backend,
    }
    started = time.perf_counter()
    workers = Workers(job, list(n_models), backend)
    try:
        workers.begin()
        began = time.perf_counter()
        found["start_s"] = began - started
        is_whole = workers.finish()
        elapsed = time.perf_counter() - began
    finally:
        workers.end()
    epochs = {kind: [(line["phase"], line["seconds"]) for line in workers.of(kind, "epoch")] for kind in n_models}
    done = {kind: lines[0] for kind in n_models if (lines := workers.of(kind, "done"))}
    not_ok = [reason for line in done.values() for reason in line["not_ok"]]
    if not_ok:
        raise AssertionError(f"{len(not_ok)} trials failed: {'; '.join(not_ok[:3])}")
    progress = {kind: Progress(n, planned[kind], epochs[kind]) for kind, n in n_models.items()}
    total, notes = (elapsed, []) if is_whole else extrapolated(elapsed, progress)
    notes += [f"{kind}: its final measurements are not included" for kind in n_models if kind not in done]
    found |= {
        "is_extrapolated": not is_whole,
        "elapsed_s": elapsed,
        "wall_s": total,
        "total_s": None if total is None else total + found["start_s"],
        "notes": notes,
        "epochs": epochs,
        "done": done,
        "last_line": {kind: lines[-1] for kind, lines in workers.lines.items() if lines and kind not in done},
    }
    if total is None:
        job.record.put("sweep", found)
        raise TimeoutError(f"no epoch had finished when the time was over, {elapsed:.0f} s after the start")
    return found
