"""One attempt: a process that joins or starts Ray, runs one `Tuner.fit` over packs, and ends.

The supervisor starts this process (`python -m sweep.cluster.driver`), writes the attempt as one line of JSON to its standard
input, and keeps that pipe open. A closed pipe means that the supervisor has died, and this process then ends as well. It reports
events as lines of JSON on standard output. Whether the sweep is complete is read from the store and never from these events,
because an interrupted fit looks successful to Ray.
"""

import contextlib
import json
import os
import queue
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
from sweep.cluster.machine import n_mig_instances
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
# Each worker uses one thread, because a second one costs more CPU time than it saves. The MALLOC variables keep glibc from mapping
# and unmapping memory for every large tensor.
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
    """The description of one attempt, in plain values so that it can be sent as JSON."""

    roots: list[str]
    """The results folders of the attempt's sweeps, as paths or addresses."""
    log: str
    """The file that the driver's standard error is written to."""
    name: str
    """The attempt's name in Ray."""
    packs: list[dict[str, Any]] = field(repr=False)
    """PackJob.to_json() of each pack, in the order in which they should start. If empty, the attempt only inspects the cluster."""
    kinds: list[dict[str, Any]]
    """WorkerKind.to_json() of each kind of worker, in order of preference."""
    address: str | None
    """The address of the cluster to join, `auto` or `host:port`; None starts a local Ray."""
    n_local_cpus: int
    """The number of processors that a local Ray may use."""
    has_dashboard: bool
    scratch: str
    """The folder for Tune's own files, which is removed after the attempt."""
    avoided: list[str] = field(default_factory=list)
    """Ray's ids of nodes that were faulty in earlier attempts."""
    metadata: dict[str, str] = field(default_factory=dict)
    """What the dashboard's Jobs page shows about the attempt."""
    local_memory: int | None = None
    """The memory in bytes that the workers of a local Ray may use; None lets Ray decide."""
    visible_gpus: str | None = None
    """CUDA_VISIBLE_DEVICES for a local Ray, which would count entries that CUDA ignores as devices; None if the variable is not set."""
    may_grow: bool = False
    """Whether the supervisor may hand over further packs while these are trained, as lines `{"packs": [...]}`; an empty list is last."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain dictionaries, lists, strings and numbers."""
        return asdict(self)


def main() -> int:
    """Run the attempt that the supervisor wrote to standard input, and return the exit code."""
    events = _take_standard_output()
    job = AttemptJob(**json.loads(sys.stdin.readline()))
    more: queue.SimpleQueue[list[dict[str, Any]]] = queue.SimpleQueue()
    threading.Thread(target=_end_with_the_supervisor, args=(job, more), daemon=True).start()
    try:
        _run_attempt(job, events, more)
    except UserError as error:
        events.send("user_error", message=str(error))
        return 2
    except Exception as error:
        events.send("attempt_failed", message=_ending(error))
        raise
    return 0


class _Events:
    """Sends events to the supervisor as lines of JSON."""

    def __init__(self, descriptor: int) -> None:
        self._stream = os.fdopen(descriptor, "w", buffering=1, encoding="utf-8")
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune pickles its callbacks with its own state; an unpickled copy has no supervisor to send to.
        return _silent, ()

    def send(self, event: str, **facts: Any) -> None:
        with self._lock:
            self._stream.write(json.dumps({"event": event, **facts}) + "\n")


def _silent() -> _Events:
    return _Events(os.open(os.devnull, os.O_WRONLY))


def _log(text: object) -> None:
    """Write to standard error, which is the log. Errors are ignored because the disk with the results folder may be full."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def _take_standard_output() -> _Events:
    """Reserve standard output for events, and redirect everything that Ray prints to standard error, which the supervisor logs."""
    descriptor = os.dup(1)
    os.dup2(2, 1)
    return _Events(descriptor)


def _ray_session() -> RaySession:
    return RaySession(os.getpid(), temporary_folder(), _STARTED)


def _end_with_the_supervisor(job: AttemptJob, more: "queue.SimpleQueue[list[dict[str, Any]]]") -> None:
    """Pass on the packs that the supervisor hands over until its end of the pipe closes."""
    for line in sys.stdin:
        with contextlib.suppress(ValueError):  # the supervisor died while it was writing
            more.put(json.loads(line)["packs"])
    _supervisor_is_gone.set()
    _end_now(job)


def _end_now(job: AttemptJob) -> None:
    """End this process and those it started, and remove the scratch folder, because the supervisor may no longer exist to do so."""
    stop_local_ray_now()
    if os.getsid(0) == os.getpid():  # the supervisor gave this process a session of its own
        kill_session(os.getpid())
    if _supervisor_is_gone.is_set() and job.address is None:
        _ray_session().remove()
    shutil.rmtree(job.scratch, ignore_errors=True)
    os._exit(1)


def _run_attempt(job: AttemptJob, events: _Events, more: "queue.SimpleQueue[list[dict[str, Any]]]") -> None:
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
        # Ray starts clusters with token authentication, but a driver that joins one sends its token only in this mode.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    started = time.perf_counter()
    import ray

    watch = None if job.address else LocalRayWatch(partial(_end_without_ray, job, events))
    context = _connect(ray, job)
    # Stopping a submitted job sends SIGTERM to this process too. It is ignored here because the supervisor decides what to do.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    events.send("ray_started", seconds=time.perf_counter() - started, dashboard=_dashboard_url(context))
    try:
        expected = _check_nodes(ray, job)
        events.send("cluster_seen", slots=sum(slots_of([WorkerKind(**kind) for kind in job.kinds], nodes_to_count(ray))))
        if job.packs and not _stop_requested(job):  # a stop may have been requested while Ray was starting
            from sweep.cluster.gauges import sweeps_shown

            with sweeps_shown(job.roots):
                _fit(job, expected, events, more)
    finally:
        if watch is not None:
            watch.end()
        started = time.perf_counter()
        # Ray waits forever for a raylet that hangs. By now everything worth keeping is in the store.
        patience = threading.Timer(_SHUTDOWN_S, _end_now, (job,))
        patience.daemon = True
        patience.start()
        ray.shutdown()
        patience.cancel()
        events.send("ray_stopped", seconds=time.perf_counter() - started)


def _end_without_ray(job: AttemptJob, events: _Events, what: str) -> None:
    """End the attempt after its local Ray has died, so that the next attempt can begin at once."""
    events.send("attempt_failed", message=what)
    _log(what)
    _end_now(job)


def _stop_requested(job: AttemptJob) -> bool:
    """Return whether a stop was requested for every sweep of the attempt. The packs of a single stopped sweep end by themselves."""
    return all(_store(root).control.stop_requested() for root in job.roots)


@cache
def _store(root: str) -> Store:
    """Return the same `Store` for every request, because it caches an object store's answers for a while."""
    return Store(root)


def _has_token() -> bool:
    return "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ or (Path.home() / ".ray" / "auth_token").exists()


def _connect(ray: Any, job: AttemptJob) -> Any:
    about = ray.job_config.JobConfig(metadata=job.metadata)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "job_config": about}
    if job.address is None:
        try:
            return ray.init(
                address="local",  # otherwise Ray joins any cluster on this machine, or the one that RAY_ADDRESS names
                num_cpus=job.n_local_cpus,
                num_gpus=n_mig_instances(job.visible_gpus),
                _memory=job.local_memory,  # Ray itself checks neither nested nor enclosing control groups
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
    """Refuse an address where nothing listens, at once; Ray itself would keep trying for a minute."""
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
    """Refuse a cluster that has too few resources, or a node whose installation or results folder differs.

    Tune would wait forever for the missing resources.

    Returns:
        The expectations that nodes which join later have to meet; None on a local Ray.
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


def _fit(job: AttemptJob, expected: dict[str, Any] | None, events: _Events, more: "queue.SimpleQueue[list[dict[str, Any]]]") -> None:
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
        """Reports packs to the supervisor. It only writes a line, because an exception inside Tune's loop would end the run."""

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            result = trial.last_result or {}
            spent = {name: result.get(name, 0.0) for name in ("setup_s", "training_s", "store_s")}
            events.send("pack_ended", pack_id=result.get("pack_id"), **spent)

        def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            _report_fault("pack_retried", trial, avoidance, events)

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            _report_fault("pack_failed", trial, avoidance, events)

    def configured(packs: list[dict[str, Any]]) -> dict[str, Any]:
        return {"pack": grid_search([{"job": pack, "expected": expected, "resources": kinds[0].resources} for pack in packs])}

    def further(seconds: float) -> dict[str, Any] | None:
        """Wait for the packs that the supervisor hands over next; None if there are none yet. Empty at the end and after a stop."""
        try:
            packs = more.get(timeout=seconds) if seconds else more.get_nowait()
        except queue.Empty:
            return {} if _stop_requested(job) or avoidance.leaves_none() else None
        return configured(packs) if packs else {}

    slots = sum(slots_of(kinds, nodes_to_count(ray)))
    events.send("fit_started", slots=slots)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots + 2)
    tuner = Tuner(
        PackTrainable,
        param_space=configured(job.packs),
        tune_config=TuneConfig(
            search_alg=PackQueue(kinds, further if job.may_grow else None), scheduler=LetGoWhileHeld(job.roots), reuse_actors=False
        ),
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
    """Report to the supervisor what ended a worker. This runs inside Tune's loop, which an exception would end."""
    error = _error_of(trial)
    _log(error)
    cause = getattr(error, "cause", error)
    fault = cause if isinstance(cause, WorkerError) else WorkerError(Kind.TRANSIENT, _ending(error), "", "")
    root = _root_of(trial.config)
    if fault.kind is Kind.NODE and root is not None and not _store(root).takes_files():  # this machine cannot write there either
        fault = WorkerError(Kind.USER, fault.message, fault.node, fault.host)
    if fault.kind is Kind.NODE:
        if avoidance.avoid(fault.node, trial.config["pack"]["resources"]):
            events.send("node_avoided", message=fault.message, node=fault.node, host=fault.host)
        elif event == "pack_failed" and avoidance.is_last(fault.node):
            fault = WorkerError(Kind.USER, f"no node is left that can train; {fault.host}: {fault.message}", fault.node, fault.host)
    if fault.kind in (Kind.USER, Kind.BACKEND):
        events.send("user_error", message=fault.message)
    else:
        events.send(event, message=fault.message, root=root)


def _error_of(trial: Any) -> object:
    """Return a trial's last error, or its text, as Tune saved it in its local folder."""
    from ray import cloudpickle

    try:
        return cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())  # written by this process, in its own scratch folder
    except Exception:  # noqa: BLE001 - the error's class is not installed here, or the disk was full; Tune may still have the text
        return getattr(trial, "get_error", lambda: None)() or "its worker died"


def _root_of(config: dict[str, Any] | None) -> str | None:
    """Return the results folder of a pack from its configuration in Tune, or None if that lacks it."""
    root: str | None = (config or {}).get("pack", {}).get("job", {}).get("root")
    return root


def _ending(error: object) -> str:
    """Return the last unindented line of an error and what follows it, usually a hint. The traceback itself is in the log."""
    lines = [line.rstrip() for line in str(error).splitlines() if line.strip()]
    start = max((index for index, line in enumerate(lines) if not line[0].isspace()), default=0)
    return "\n".join(lines[start:]) or type(error).__name__


def _dashboard_url(context: Any) -> str | None:
    url = getattr(context, "dashboard_url", None)
    return f"http://{url}" if url else None


if __name__ == "__main__":
    sys.exit(main())
