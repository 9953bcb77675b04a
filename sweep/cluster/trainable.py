"""A pack as a Ray Tune trial."""

import os
import platform
import time
import traceback
import uuid
from typing import Any, ClassVar

import ray
from ray.tune import PlacementGroupFactory, Trainable
from ray.util.placement_group import PlacementGroup, placement_group

from sweep.cluster.gauges import PackGauges
from sweep.cluster.temporary import restore_users_folder
from sweep.monitor.progress import pack_label
from sweep.planning.pack_job import PackJob
from sweep.store.store import Store
from sweep.worker.environment import refuse_other_node
from sweep.worker.faults import Kind, WorkerError, kind_of, message_of
from sweep.worker.pack_run import PackRun, next_retry

_NODE_ID = "ray.io/node-id"
_LOOK_S = 0.2
_FIRST_PAUSE_S = 1.0


class PackTrainable(Trainable):
    """One epoch of a pack a `step`. The store holds its checkpoints and rows; Tune's own are not used."""

    def setup(self, config: dict[str, Any]) -> None:
        """Resume the pack from its last checkpoint. What fails here is raised by the first `step`, as Tune would lose its kind."""
        restore_users_folder(os.environ)
        job = PackJob.from_json(config["pack"]["job"])
        self._label = label_of(config["pack"]["job"])
        self._gauges = PackGauges(job.sweep, job.study, job.pack_id)
        self._fault: Exception | None = None
        try:
            self._run = self._begin(job, config["pack"].get("expected"))
        except Exception as error:  # noqa: BLE001 - the worker's edge
            self._fault = error

    def step(self) -> dict[str, Any]:
        """Small flat figures for Tune and the dashboard.

        Raises:
            WorkerError: the error that ends this worker, sorted for the driver.
        """
        try:
            if self._fault is not None:
                raise self._fault
            is_done = self._run.stop_requested() or self._run.step()
            progress = self._run.progress()
        except Exception as error:
            traceback.print_exc()  # Ray's log of the worker has the whole traceback
            kind = kind_of(error)
            node = ray.get_runtime_context().get_node_id()
            raise WorkerError(Kind.TRANSIENT if kind is Kind.TRIAL else kind, message_of(error), node, platform.node()) from error
        self._gauges.show(progress)
        return {"pack_id": self._run.job.pack_id, "done": is_done, "pid": os.getpid(), **progress, **vars(self._run.spent)}

    def _begin(self, job: PackJob, expected: dict[str, Any] | None) -> PackRun:
        """Wait before a retry, as transient faults need time and Tune gives none; then begin the pack."""
        store = Store(job.root)
        until = time.monotonic() + pause_before(next_retry(store, job))
        while time.monotonic() < until and not store.control.stop_requested():
            time.sleep(_LOOK_S)
        import torch

        started = time.perf_counter()
        torch.set_num_threads(1)
        if expected is not None:
            refuse_other_node(expected)
        run = PackRun(job)
        run.spent.setup_s = time.perf_counter() - started
        return run

    def cleanup(self) -> None:
        """Keep the last finished epoch; Tune calls this when it ends the trial early."""
        if hasattr(self, "_run") and not self._run.is_done:
            self._run.leave()

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Does nothing, as the store has the checkpoints."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Does nothing, as `setup` read the store's checkpoint."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
        """One bundle, named after the pack, its trials and k, so that the dashboard shows what runs."""
        pack = config["pack"]
        bundle = {name: amount for name, amount in pack["resources"].items() if amount}
        return PackPlacement([bundle], name=f"sweep/{label_of(pack['job'])}")

    def __repr__(self) -> str:
        return getattr(self, "_label", type(self).__name__)


class PackPlacement(PlacementGroupFactory):
    """A placement group whose name is new each time, on a node that is not avoided.

    Ray refuses a name that a group still has, and Tune asks for a group again while the last one is being removed; the
    refusal would end the whole fit.
    """

    avoided: ClassVar[set[str]] = set()
    """Ray's ids of nodes that get no more packs from this process, which is the driver."""

    def to_placement_group(self) -> PlacementGroup:
        """Create the group."""
        selectors = [{_NODE_ID: f"!in({','.join(sorted(self.avoided))})"}] * len(self.bundles) if self.avoided else None
        name = f"{self._kwargs['name']}/{uuid.uuid4().hex[:8]}"
        group: PlacementGroup = placement_group(self.bundles, self.strategy, name=name, bundle_label_selector=selectors)
        return group


def pause_before(retry: int) -> float:
    """Seconds before a pack's first, second, third ... retry: 1, 4, 16. Nothing before its first try."""
    return 0.0 if retry == 0 else _FIRST_PAUSE_S * 4.0 ** (retry - 1)


def label_of(job: dict[str, Any]) -> str:
    """The pack, its first trial and k."""
    trials = job["trials"]
    return pack_label(job["pack_id"], [trial["trial_id"] for trial in trials], [trial["k"] for trial in trials], job["method"])
