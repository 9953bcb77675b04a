"""A pack as a Ray Tune trial. Of this room only `driver`, `held_packs`, `gauges` and this module import Ray."""

import os
import time
import uuid
from typing import Any

from ray.tune import PlacementGroupFactory, Trainable
from ray.util.placement_group import PlacementGroup, placement_group

from sweep.gauges import PackGauges
from sweep.pack_label import pack_label
from sweep.pack_run import PackJob, PackRun


class PackTrainable(Trainable):
    """One epoch of a pack a `step`. The store holds its checkpoints and rows; Tune's own are not used."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take the pack up where its last checkpoint left it."""
        import torch

        started = time.perf_counter()
        torch.set_num_threads(1)
        job = PackJob(**config["pack"]["job"])
        self._label = label_of(config["pack"]["job"])
        self._run = PackRun(job)
        self._gauges = PackGauges(job.sweep, job.study, job.pack_id)
        self._run.spent.setup_s = time.perf_counter() - started

    def step(self) -> dict[str, Any]:
        """Small flat figures for Tune and the dashboard."""
        is_stopping = self._run.stop_requested()
        is_done = is_stopping or self._run.step()
        progress = self._run.progress()
        self._gauges.show(progress)
        return {"pack_id": self._run.job.pack_id, "done": is_done, "pid": os.getpid(), **progress, **vars(self._run.spent)}

    def cleanup(self) -> None:
        """Called when Tune ends the trial early: keep the last finished epoch."""
        if hasattr(self, "_run") and not self._run.is_done:
            self._run.leave()

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Nothing: the store has the checkpoints."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing: `setup` took the store's checkpoint."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
        """One bundle, named after the pack, its trials and k, so that the dashboard shows what runs."""
        pack = config["pack"]
        bundle = {name: amount for name, amount in pack["resources"].items() if amount}
        return PackPlacement([bundle], name=f"sweep/{label_of(pack['job'])}")

    def __repr__(self) -> str:
        return getattr(self, "_label", type(self).__name__)


class PackPlacement(PlacementGroupFactory):
    """A placement group whose name is new each time.

    Ray refuses a name that a group still has, and Tune asks for a group again while the last one is being removed; the
    refusal would end the whole fit.
    """

    def to_placement_group(self) -> PlacementGroup:
        """Create the group."""
        group: PlacementGroup = placement_group(self.bundles, self.strategy, name=f"{self._kwargs['name']}/{uuid.uuid4().hex[:8]}")
        return group


def label_of(job: dict[str, Any]) -> str:
    """The pack, its first trial and k."""
    return pack_label(job["pack_id"], job["trial_ids"], job["preferences"], job["method"])
