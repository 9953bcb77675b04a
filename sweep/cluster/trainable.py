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
from sweep.cluster.slots import hide_gpus
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
    """A pack that Tune trains one epoch per `step`. Checkpoints and rows are in the store; Tune's own checkpoints are not used."""

    def setup(self, config: dict[str, Any]) -> None:
        """Resume the pack from its last checkpoint. An error is kept for the first `step` to raise, since Tune would lose its kind here."""
        restore_users_folder(os.environ)
        job = PackJob.from_json(config["pack"]["job"])
        hide_gpus(job.device, os.environ)
        self._label = label_of(config["pack"]["job"])
        self._gauges = PackGauges(job.sweep, job.study, job.pack_id)
        self._fault: Exception | None = None
        try:
            self._run = self._begin(job, config["pack"].get("expected"))
        except Exception as error:  # noqa: BLE001 - the worker's edge
            self._fault = error

    def step(self) -> dict[str, Any]:
        """Train one epoch, and return a few flat figures for Tune and the dashboard.

        Raises:
            WorkerError: the error that ends this worker, classified for the driver.
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
        """Begin the pack, after a pause if this is a retry. Transient faults need time to clear, and Tune retries at once."""
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
        """Save the last finished epoch. Tune calls this when it ends the trial early."""
        if hasattr(self, "_run") and not self._run.is_done:
            self._run.leave()

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Do nothing, because the store has the checkpoints."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Do nothing, because `setup` has read the store's checkpoint."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
        """Return a request for one bundle, named after the pack, its trials and k so that the dashboard shows what is running."""
        pack = config["pack"]
        bundle = {name: amount for name, amount in pack["resources"].items() if amount}
        return PackPlacement([bundle], name=f"sweep/{label_of(pack['job'])}")

    def __repr__(self) -> str:
        return getattr(self, "_label", type(self).__name__)


class PackPlacement(PlacementGroupFactory):
    """A placement group with a unique name, on a node that is not avoided.

    Ray refuses a name that is still in use, and Tune requests a group again while the previous one is being removed. Such a
    refusal would end the whole fit.
    """

    avoided: ClassVar[set[str]] = set()
    """Ray's ids of the nodes to which this driver process assigns no more packs."""

    def to_placement_group(self) -> PlacementGroup:
        """Create the placement group."""
        selectors = [{_NODE_ID: f"!in({','.join(sorted(self.avoided))})"}] * len(self.bundles) if self.avoided else None
        name = f"{self._kwargs['name']}/{uuid.uuid4().hex[:8]}"
        group: PlacementGroup = placement_group(self.bundles, self.strategy, name=name, bundle_label_selector=selectors)
        return group


def pause_before(retry: int) -> float:
    """Return the pause before a try of a pack, in seconds.

    Args:
        retry: 0 for the first try, 1 for the first retry, and so on.

    Returns:
        0 before the first try, then 1, 4, 16 and so on before each retry.
    """
    return 0.0 if retry == 0 else _FIRST_PAUSE_S * 4.0 ** (retry - 1)


def label_of(job: dict[str, Any]) -> str:
    """Return a label with the pack's id, its first trial and that trial's preference k."""
    trials = job["trials"]
    return pack_label(job["pack_id"], [trial["trial_id"] for trial in trials], [trial["k"] for trial in trials], job["method"])
