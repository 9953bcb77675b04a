"""The trained networks of a results folder, as they were trained and in compressed form."""

import difflib
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sweep.errors import SweepError
from sweep.grid.load import SweepConfig
from sweep.planning.manifest import fingerprint_of
from sweep.store.store import Store, StoreError
from trainer.catalog import METHODS
from trainer.problems.custom.factory import OwnProblem

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainer.api import Problem
    from trainer.compression.compress import Compressed

BATCHES = (1, 256)
"""The batch sizes for which latencies are measured."""


class TrainedTrials:
    """The trained trials of one sweep. The problem and its data are loaded only once.

    Args:
        store: the results folder.
        config: the sweep that was trained there, from `stored_config` or from a grid file that the user names.

    Raises:
        StoreError: this is not a results folder.
        SweepError: the results belong to a different problem from the one in the config.
    """

    def __init__(self, store: Store, config: SweepConfig) -> None:
        self.store = store
        self.config = config
        manifest = store.manifest()
        if manifest is None:
            raise StoreError("not a results folder (no manifest.json)", store.root, "name the results folder of a run")
        self.manifest = manifest
        stored = self.manifest.get("problem", {})
        if stored.get("name") != config.problem.name or stored.get("fingerprint") != fingerprint_of(config):
            raise SweepError(
                f"{store.root}: its results are of another problem, other data or another source than the grid file asks for\n"
                "  hint: name the grid file that they come from, `--grid FILE`, with the run's `--override FILE` if it had one, and undo "
                "changes of its problem; without --grid the settings stored in the folder are used (with `--trust` for a problem of "
                "your own)"
            )
        self._rows: dict[str, dict[str, Any]] = {row["trial_id"]: row for row in store.read_rows().to_pylist()}
        self._problems: dict[str, Problem] = {}

    def row(self, trial_id: str) -> dict[str, Any]:
        """Return the row of a trial that has weights.

        Args:
            trial_id: id of the trial, or a unique prefix of it.

        Raises:
            StoreError: there is no such trial, or it has no weights.
        """
        matching = [known for known in self._rows if known.startswith(trial_id)] if trial_id else []
        if trial_id not in self._rows and len(matching) != 1:
            close = matching or difflib.get_close_matches(trial_id, self._rows, n=3)
            hint = f"did you mean {', '.join(close[:3])}?" if close else "`sweep front` lists trials with their ids"
            problem = f"no trial {trial_id!r} here" if len(matching) < 2 else f"several trials begin with {trial_id!r}"
            raise StoreError(problem, self.store.root, hint)
        row = self._rows[trial_id if trial_id in self._rows else matching[0]]
        if row["weights_sha256"] is None:
            raise StoreError(f"trial {row['trial_id']} has no weights: it ended {row['state']!r}", self.store.root, "choose another trial")
        return row

    def network(self, row: Mapping[str, Any]) -> "TrainedNetwork":
        """Load the network of a row.

        Raises:
            SweepError: networks of this kind cannot be compressed.
            StoreError: the weights are missing or damaged.
            DataError: the problem's data is missing.
        """
        if self.config.problem.name.startswith("analytic/"):
            raise SweepError(f"trial {row['trial_id']}: it is a point of an analytic problem, not a network that could be compressed")
        method = METHODS.get(row["method"])
        if method is not None and method.compression_obstacle is not None:
            raise SweepError(
                f"trial {row['trial_id']}: {method.compression_obstacle} (method {row['method']}), and is not compressed\n"
                "  hint: choose a trial of another method"
            )
        blob = self.store.get_blob(row["weights_sha256"])
        return TrainedNetwork(row, blob, self._problem(row["model"]))

    def _problem(self, model: str) -> "Problem":
        if model not in self._problems:
            entry, options = self.config.problem.entry, self.config.problem.options
            self._problems[model] = entry.prepare(options, model)[0] if isinstance(entry, OwnProblem) else entry.build(options)
        return self._problems[model]


class TrainedNetwork:
    """The trained network of one trial.

    Args:
        row: the trial's row.
        blob: the weights, as the bytes of a safetensors file.
        problem: the trial's problem, with its data.
    """

    def __init__(self, row: Mapping[str, Any], blob: bytes, problem: "Problem") -> None:
        self.row = row
        self.blob = blob
        self.problem = problem
        self.sample = problem.test.first(2)[0]

    @cached_property
    def whole(self) -> "nn.Module":
        """The network as it was trained.

        Raises:
            SweepError: the weights do not fit the network.
        """
        import torch

        from trainer.api import model_tensors

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.row["seed"])  # a network may draw random values that are neither parameters nor buffers
            network = self.problem.networks[self.row["model"]]()
        tensors = {name: value for name, value in model_tensors(self.blob).items() if not name.endswith(".labels")}
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise SweepError(
                f"trial {self.row['trial_id']}: its weights do not fit the network {self.row['model']}: {reason}\n"
                "  hint: has the network's source changed since it was trained?"
            ) from error
        return network.eval()

    def compressed(self, *, ties: bool = True) -> "Compressed":
        """Return the network without the rows that training made zero and, with `ties`, with equal rows stored once.

        Raises:
            SweepError: the network cannot be traced, or a weight is not finite.
        """
        from trainer.compression.compress import NotTraceableError, compress

        try:
            return compress(self.whole, self.sample, ties=ties)
        except (NotTraceableError, ValueError) as error:
            raise SweepError(f"trial {self.row['trial_id']}: its network, {self.row['model']}, cannot be compressed: {error}") from error

    def difference(self, small: "nn.Module", batches: "Iterable[Tensor]", where: str) -> float:
        """Return the largest difference between the outputs of a compressed network and the trained one.

        Args:
            small: the compressed network.
            batches: the inputs on which the networks are compared.
            where: a description of the inputs for error messages.

        Raises:
            SweepError: the difference exceeds `trainer.compression.compress.TOLERANCE`, or the compressed network fails on these inputs.
        """
        from trainer.compression.compress import TOLERANCE, largest_difference

        hint = "\n  hint: please report this, with the grid file"
        trial = f"trial {self.row['trial_id']}: the compressed network"
        try:
            found = largest_difference(self.whole, small, batches)
        except RuntimeError as error:
            raise SweepError(f"{trial} cannot compute {where}: {' '.join(str(error).split())}{hint}") from error
        if not found <= TOLERANCE:
            raise SweepError(
                f"{trial} differs from the trained one by {found:.2g} on {where}, more than {TOLERANCE:g}; nothing was written{hint}"
            )
        return found

    def latencies(self, small: "nn.Module") -> dict[int, tuple[float, float]]:
        """Measure the latencies of the trained network and a compressed one, on one core of this machine.

        The inputs come from the test set, and are repeated if there are fewer than a batch needs.

        Args:
            small: the compressed network.

        Returns:
            A mapping from batch size to the milliseconds of the trained and of the compressed network.
        """
        from trainer.compression.latency import latencies

        inputs = self._inputs(max(BATCHES))
        found = {}
        for n in BATCHES:
            taken = latencies({"before": self.whole, "after": small}, inputs[:n])
            found[n] = (1e3 * taken["before"], 1e3 * taken["after"])
        return found

    def _inputs(self, n: int) -> "Tensor":
        import torch

        inputs = self.problem.test.first(n)[0]
        return inputs[torch.arange(n) % len(inputs)]
