"""One attempt: a process that joins or starts Ray, runs one `Tuner.fit` over packs, and ends.

The supervisor starts it (`python -m sweep.cluster.driver`), writes the attempt as one line of JSON to its standard input and
keeps that pipe open; when the pipe closes, the supervisor is gone and so is this process. Events go back as lines of
JSON on standard output. Whether the sweep is complete is read from the store, never from what this process says:
an interrupted fit looks successful to Ray.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from sweep.cluster.avoid import Avoidance
from sweep.cluster.local import LocalRayWatch, keep_to_loopback, kill_session, private_token, stop_local_ray_now
from sweep.cluster.ray_start import start_fault
from sweep.cluster.slots import WorkerKind, nodes_to_count, slots_of
from sweep.cluster.temporary import RaySession, temporary_folder, use_scratch
from sweep.errors import UserError
from sweep.store.store import Store
from sweep.worker.environment import expectations
from sweep.worker.faults import Kind, WorkerError

CONNECT_TIMEOUT_S = 10.0
_MAX_RETRIES = 3
_SHUTDOWN_S = 30.0
_OBJECT_STORE_BYTES = 200_000_000  # only descriptions of packs and small figures go through it
# One thread a worker (two cost more CPU than they give), and no mapping and unmapping of every large tensor by glibc.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "67108864",
}
_STARTED = time.time()
_supervisor_is_gone = threading.Event()


@dataclass(frozen=True)
class AttemptJob:
    """What one attempt does, as plain values, so that it can be sent as JSON."""

    roots: list[str]
    """The results folders of its sweeps, paths or addresses."""
    log: str
    """The file that its standard error goes to."""
    name: str
    """Its name in Ray."""
    packs: list[dict[str, Any]] = field(repr=False)
    """PackJob.to_json() of each pack, in the order in which they should start. Without any the attempt only looks at the cluster."""
    kinds: list[dict[str, Any]]
    """WorkerKind.to_json() of the workers, in the order of preference."""
    address: str | None
    """None starts a local Ray; otherwise `auto` or `host:port`."""
    n_local_cpus: int
    """Processors that a local Ray may use."""
    has_dashboard: bool
    scratch: str
    """Folder for Tune's own files, which is removed after the attempt."""
    avoided: list[str] = field(default_factory=list)
    """Ray's ids of nodes that were faulty in earlier attempts."""
    metadata: dict[str, str] = field(default_factory=dict)
    """What the dashboard's Jobs page shows about it."""
    local_memory: int | None = None
    """Bytes that the workers of a local Ray may use; None leaves it to Ray."""
    visible_gpus: str | None = None
    """CUDA_VISIBLE_DEVICES of a local Ray, which takes entries for devices that CUDA ignores; None where it is not set."""

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists, strings and numbers."""
        return asdict(self)


def main() -> int:
    """Run the attempt that the supervisor wrote to standard input."""
    events = _take_standard_output()
    job = AttemptJob(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_the_supervisor, args=(job,), daemon=True).start()
    try:
        _run_attempt(job, events)
    except UserError as error:
        events.send("user_error", message=str(error))
        return 2
    except Exception as error:
        events.send("attempt_failed", message=_ending(error))
        raise
    return 0


class _Events:
    """Lines of JSON to the supervisor."""

    def __init__(self, descriptor: int) -> None:
        self._stream = os.fdopen(descriptor, "w", buffering=1, encoding="utf-8")
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune pickles its callbacks into its own state; a copy has nobody to send to.
        return _silent, ()

    def send(self, event: str, **facts: Any) -> None:
        with self._lock:
            self._stream.write(json.dumps({"event": event, **facts}) + "\n")


def _silent() -> _Events:
    return _Events(os.open(os.devnull, os.O_WRONLY))


def _log(text: object) -> None:
    """Write to standard error, which is the log. The log lies in the results folder, whose disk may be full."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def _take_standard_output() -> _Events:
    """Keep standard output for events; everything that Ray prints goes to standard error, which the supervisor logs."""
    descriptor = os.dup(1)
    os.dup2(2, 1)
    return _Events(descriptor)


def _ray_session() -> RaySession:
    return RaySession(os.getpid(), temporary_folder(), _STARTED)


def _end_with_the_supervisor(job: AttemptJob) -> None:
    sys.stdin.read()
    _supervisor_is_gone.set()
    _end_now(job)


def _end_now(job: AttemptJob) -> None:
    """End this process and those it started, and remove the folder, which nobody else may be left to remove."""
    stop_local_ray_now()
    if os.getsid(0) == os.getpid():  # the supervisor gave this process a session of its own
        kill_session(os.getpid())
    if _supervisor_is_gone.is_set() and job.address is None:
        _ray_session().remove()
    shutil.rmtree(job.scratch, ignore_errors=True)
    os._exit(1)


def _run_attempt(job: AttemptJob, events: _Events) -> None:
    os.environ.update(
        TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
        TUNE_PRINT_ALL_TRIAL_ERRORS="0",
        TUNE_GLOBAL_CHECKPOINT_S="3600",
        TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S="0",
        RAY_CHDIR_TO_TRIAL_DIR="0",
        RAY_AIR_NEW_OUTPUT="0",
        **WORKER_ENVIRONMENT,
    )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    use_scratch(job.scratch, os.environ)
    if job.address is None:
        keep_to_loopback(os.environ)
        if job.visible_gpus is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = job.visible_gpus
    private_token(Path.home(), is_needed=job.address is None and not _has_token())
    # A submitted job may set the same variables; without this Ray refuses to join.
    os.environ.setdefault("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")
    if job.address is not None and _has_token():
        # Ray starts clusters with token authentication, but a driver that joins one sends its token only when told so.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    started = time.perf_counter()
    import ray

    watch = None if job.address else LocalRayWatch(partial(_end_without_ray, job, events))
    context = _connect(ray, job)
    # Whoever stops a submitted job sends SIGTERM to this process too. What follows from it is the supervisor's to decide.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    events.send("ray_started", seconds=time.perf_counter() - started, dashboard=_dashboard_url(context))
    try:
        expected = _check_nodes(ray, job)
        events.send("cluster_seen", slots=sum(slots_of([WorkerKind(**kind) for kind in job.kinds], nodes_to_count(ray))))
        if job.packs and not _stop_requested(job):  # asked while Ray was starting
            from sweep.cluster.gauges import sweeps_shown

            with sweeps_shown(job.roots):
                _fit(job, expected, events)
    finally:
        if watch is not None:
            watch.end()
        started = time.perf_counter()
        # Ray waits for ever for a raylet that stands still; whatever is worth keeping is in the store by now.
        patience = threading.Timer(_SHUTDOWN_S, _end_now, (job,))
        patience.daemon = True
        patience.start()
        ray.shutdown()
        patience.cancel()
        events.send("ray_stopped", seconds=time.perf_counter() - started)


def _end_without_ray(job: AttemptJob, events: _Events, what: str) -> None:
    """End the attempt, as nothing can be trained any more; the next one begins at once."""
    events.send("attempt_failed", message=what)
    _log(what)
    _end_now(job)


def _stop_requested(job: AttemptJob) -> bool:
    """Whether every sweep of the attempt was asked to stop. If only one was, its packs stop by themselves."""
    return all(_store(root).control.stop_requested() for root in job.roots)


@cache
def _store(root: str) -> Store:
    """One store for all requests, as it remembers an object store's answers for a while."""
    return Store(root)


def _has_token() -> bool:
    return "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ or (Path.home() / ".ray" / "auth_token").exists()


def _connect(ray: Any, job: AttemptJob) -> Any:
    about = ray.job_config.JobConfig(metadata=job.metadata)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "job_config": about}
    if job.address is None:
        try:
            return ray.init(
                address="local",  # without it Ray joins any cluster of this machine, or RAY_ADDRESS
                num_cpus=job.n_local_cpus,
                _memory=job.local_memory,  # Ray itself looks neither at nested control groups nor at those around its own
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=job.has_dashboard,
                dashboard_host="127.0.0.1",
                **options,
            )
        except Exception as error:
            kind, message = start_fault(error, _ray_session().fatal_line())
            raise (UserError if kind is Kind.USER else RuntimeError)(message) from error
    _check_reachable(job.address)
    try:
        return ray.init(address=job.address, runtime_env={"env_vars": WORKER_ENVIRONMENT}, **options)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"--address {job.address}: no Ray cluster could be joined ({reason})\n"
            "  hint: `ray status` shows whether a cluster runs; this machine needs the cluster's token in ~/.ray/auth_token (log: "
            f"{job.log}); without --address a local Ray is started"
        ) from error


def _check_reachable(address: str) -> None:
    """Refuse at once an address where nobody listens; Ray itself would try for a minute."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise UserError(f"--address {address}: expected `auto` or `host:port` of a Ray cluster's head, for example 10.0.0.1:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise UserError(
            f"--address {address}: nobody answers there ({error})\n"
            "  hint: is the cluster's head running (`ray start --head`), and is this its GCS port (6379 unless changed)?"
        ) from error


def _check_nodes(ray: Any, job: AttemptJob) -> dict[str, Any] | None:
    """Refuse a cluster with too few resources, for which Tune would wait for ever, or with a node that would train something else.

    Returns:
        What nodes that join later have to find; None on a local Ray.
    """
    kinds = [WorkerKind(**kind) for kind in job.kinds]
    if not any(slots_of(kinds, nodes_to_count(ray))):
        raise UserError(_too_small(ray, job, kinds[0]))
    if job.address is None:
        return None
    from sweep.cluster.node_check import differing_nodes

    nodes = [node for node in ray.nodes() if node["Alive"] and any(slots_of(kinds, [node["Resources"]]))]
    expected = expectations(job.roots)
    differing = differing_nodes(nodes, expected)
    if differing:
        listed = "".join(f"\n  {line}" for line in differing)
        raise UserError(
            f"{len(differing)} of {len(nodes)} nodes cannot train for this run, so nothing was started:{listed}\n"
            "  hint: install the same pareto-sweep and torch everywhere, and mount the results folder at the same path on every node"
        )
    return expected


def _too_small(ray: Any, job: AttemptJob, kind: WorkerKind) -> str:
    nodes = nodes_to_count(ray)
    names = {"CPU": "resources.cpus", "GPU": "resources.gpus", "memory": "resources.memory"}

    def text(name: str, amount: float) -> str:
        return f"{amount / 1e9:.1f} GB" if name == "memory" else f"{amount:g}"

    asked = ", ".join(f"{names[name]} = {text(name, amount)}" for name, amount in kind.resources.items() if amount)
    most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in names}
    there = ", ".join(f"{name} {text(name, amount)}" for name, amount in most.items())
    where = "this machine" if job.address is None else f"the cluster at {job.address}"
    return (
        f"no node of {where} has what one worker asks for: {asked}; the most on one node: {there}\n"
        "  hint: lower `resources` in the grid file, or join a larger cluster with --address"
    )


def _fit(job: AttemptJob, expected: dict[str, Any] | None, events: _Events) -> None:
    import ray
    from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, Stopper, TuneConfig, Tuner, grid_search

    from sweep.cluster.scheduling import LetGoWhileHeld, PackQueue
    from sweep.cluster.trainable import PackPlacement, PackTrainable

    kinds = [WorkerKind(**kind) for kind in job.kinds]
    avoidance = Avoidance(ray.nodes, [kind.resources for kind in kinds], job.avoided, may_grow=job.address is not None)
    PackPlacement.avoided = avoidance.avoided

    class StopOnRequest(Stopper):
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return _stop_requested(job) or avoidance.leaves_none()

    class Report(Callback):
        """Reports packs to the supervisor. It runs inside Tune's loop, where an exception would end the run, so it only writes a line."""

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            result = trial.last_result or {}
            spent = {name: result.get(name, 0.0) for name in ("setup_s", "training_s", "store_s")}
            events.send("pack_ended", pack_id=result.get("pack_id"), **spent)

        def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            _report_fault("pack_retried", trial, avoidance, events)

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            _report_fault("pack_failed", trial, avoidance, events)

    slots = sum(slots_of(kinds, nodes_to_count(ray)))
    events.send("fit_started", slots=slots)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots + 2)
    tuner = Tuner(
        PackTrainable,
        param_space={"pack": grid_search([{"job": pack, "expected": expected, "resources": kinds[0].resources} for pack in job.packs])},
        tune_config=TuneConfig(search_alg=PackQueue(kinds), scheduler=LetGoWhileHeld(job.roots), reuse_actors=False),
        run_config=RunConfig(
            name=job.name,
            storage_path=job.scratch,
            stop=StopOnRequest(),
            callbacks=[Report()],
            checkpoint_config=CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            failure_config=FailureConfig(max_failures=_MAX_RETRIES),
            verbose=0,
        ),
    )
    tuner.fit()


def _report_fault(event: str, trial: Any, avoidance: Avoidance, events: _Events) -> None:
    """Tell the supervisor what ended a worker. Runs inside Tune's loop, which an exception would end."""
    error = _error_of(trial)
    _log(error)
    cause = getattr(error, "cause", error)
    fault = cause if isinstance(cause, WorkerError) else WorkerError(Kind.TRANSIENT, _ending(error), "", "")
    root = _root_of(trial.config)
    if fault.kind is Kind.NODE and root is not None and not _store(root).takes_files():  # nor does this machine
        fault = WorkerError(Kind.USER, fault.message, fault.node, fault.host)
    if fault.kind is Kind.NODE:
        if avoidance.avoid(fault.node, trial.config["pack"]["resources"]):
            events.send("node_avoided", message=fault.message, node=fault.node, host=fault.host)
        elif event == "pack_failed" and avoidance.is_last(fault.node):
            fault = WorkerError(Kind.USER, f"no node is left that can train; {fault.host}: {fault.message}", fault.node, fault.host)
    if fault.kind is Kind.USER:
        events.send("user_error", message=fault.message)
    else:
        events.send(event, message=fault.message, root=root)


def _error_of(trial: Any) -> object:
    """What Tune keeps of a trial's last failure in its local folder."""
    from ray import cloudpickle

    try:
        return cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())  # written by this process, in its own scratch folder
    except Exception:  # noqa: BLE001 - an error of a class that is not here, or a full disk: the text may be there
        return getattr(trial, "get_error", lambda: None)() or "its worker died"


def _root_of(config: dict[str, Any] | None) -> str | None:
    """The results folder of a pack, from what Tune knows of it."""
    root: str | None = (config or {}).get("pack", {}).get("job", {}).get("root")
    return root


def _ending(error: object) -> str:
    """What failed, without the traceback (which is in the log): its last line that is not indented, and its hint."""
    lines = [line.rstrip() for line in str(error).splitlines() if line.strip()]
    start = max((index for index, line in enumerate(lines) if not line[0].isspace()), default=0)
    return "\n".join(lines[start:]) or type(error).__name__


def _dashboard_url(context: Any) -> str | None:
    url = getattr(context, "dashboard_url", None)
    return f"http://{url}" if url else None


if __name__ == "__main__":
    sys.exit(main())
