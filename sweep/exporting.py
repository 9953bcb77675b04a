"""`sweep export`: a trial's network as a file that is really smaller, shown to compute the same on the whole test set."""

import difflib
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.config import SweepConfig
from sweep.model_card import card_text
from sweep.outcome import SweepError
from sweep.planning import fingerprint_of
from sweep.storage.files import write_whole
from sweep.store import Store, StoreError
from trainer.own_problem import OwnProblem

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainer.api import Problem

FORMATS = ("safetensors", "onnx", "pt2")
TOLERANCE = 1e-5
_BATCHES = (1, 256)
_EVALUATED = 256
_SIZES = ("sparsity_rate", "compression_rate", "parameter_sharing")


@dataclass(frozen=True)
class Exported:
    """A written file."""

    path: Path
    card: Mapping[str, Any]
    """What is in it, as JSON has it; the same is in the file's metadata, and for people in `<path>.md`."""


class Exporter:
    """Exports trials of one sweep; data and problem are made once.

    Args:
        store: its results folder.
        config: what was trained there, from `stored_config` or a grid file that the user names.

    Raises:
        SweepError: the config is of another problem than the results.
        DataError: the problem's data is not here; the network is verified on its test part.
    """

    def __init__(self, store: Store, config: SweepConfig) -> None:
        self._store = store
        self._config = config
        self._manifest = store.manifest() or {}
        stored = self._manifest.get("problem", {})
        if stored.get("name") != config.problem.name or stored.get("fingerprint") != fingerprint_of(config):
            raise SweepError(
                f"{store.root}: its results are of another problem, other data or another source than the grid file asks for\n"
                "  hint: name the grid file that they come from, `--grid FILE`, and undo changes of its problem"
            )
        self._problems: dict[str, Problem] = {}

    def export(self, trial_id: str, path: Path) -> Exported:
        """Write one trial's network; the format is the file's suffix.

        Raises:
            StoreError: no such trial or weights, or they are damaged.
            StoreWriteError: the disk did not take the file; none is left.
            SweepError: the network cannot be compressed, or the compressed one computes something else.
        """
        form = format_of(path)
        row = self._row(trial_id)
        blob = self._store.get_blob(row["weights_sha256"])
        problem = self._problem(row["model"])
        card, data = _Export(self._manifest, self._config, problem, row, blob).file(form)
        write_whole(path, data)
        write_whole(path.with_name(f"{path.name}.md"), card_text(card).encode())
        return Exported(path, card)

    def _row(self, trial_id: str) -> dict[str, Any]:
        rows: dict[str, dict[str, Any]] = {row["trial_id"]: row for row in self._store.read_rows().to_pylist()}
        matching = [known for known in rows if known.startswith(trial_id)] if trial_id else []
        if trial_id not in rows and len(matching) != 1:
            close = matching or difflib.get_close_matches(trial_id, rows, n=3)
            hint = f"did you mean {', '.join(close[:3])}?" if close else "`sweep front` lists trials with their ids"
            problem = f"no trial {trial_id!r} here" if len(matching) < 2 else f"several trials begin with {trial_id!r}"
            raise StoreError(problem, self._store.root, hint)
        row = rows[trial_id if trial_id in rows else matching[0]]
        if row["weights_sha256"] is None:
            raise StoreError(f"trial {row['trial_id']} has no weights: it ended {row['state']!r}", self._store.root, "choose another trial")
        return row

    def _problem(self, model: str) -> "Problem":
        if model not in self._problems:
            entry, options = self._config.problem.entry, self._config.problem.options
            self._problems[model] = entry.prepare(options, model)[0] if isinstance(entry, OwnProblem) else entry.build(options)
        return self._problems[model]


def format_of(path: Path) -> str:
    """The format that a file's suffix names.

    Raises:
        SweepError: it names none.
    """
    form = path.suffix.removeprefix(".")
    if form not in FORMATS:
        raise SweepError(f"{path}: a name that ends in {', '.join(f'.{known}' for known in FORMATS)} expected")
    return form


class _Export:
    """One trial on its way into a file."""

    def __init__(self, manifest: Mapping[str, Any], config: SweepConfig, problem: "Problem", row: Mapping[str, Any], blob: bytes) -> None:
        self._manifest, self._config, self._problem, self._row, self._blob = manifest, config, problem, row, blob
        self._sample = problem.test.first(2)[0]
        self._dense = self._trained_network()

    def file(self, form: str) -> tuple[dict[str, Any], bytes]:
        """The card and the file's bytes."""
        from trainer.compact.formats import MissingPackageError, OnnxNetwork, from_pt2, to_onnx, to_pt2
        from trainer.compress import NotTraceableError, compress, load_compressed, macs_of

        try:
            small = compress(self._dense, self._sample, ties=form != "onnx")
        except (NotTraceableError, ValueError) as error:
            raise SweepError(f"trial {self._row['trial_id']}: its network, {self._row['model']}, cannot be compressed: {error}") from error
        network = small.network.eval()
        sizes = {
            "parameters": (sum(p.numel() for p in self._dense.parameters()), small.n_params),
            "macs": (macs_of(self._dense, tuple(self._sample.shape[1:])), small.macs),
        }
        card = self._card(sizes, self._verified(network), self._latencies(network), small.notes)
        names = tuple(task.name for task in self._problem.tasks)
        read_back: Callable[[bytes], nn.Module]
        try:
            if form == "onnx":
                data, read_back = to_onnx(network, self._sample, names, card), OnnxNetwork
            elif form == "pt2":
                data, read_back = to_pt2(network, self._sample, card), from_pt2
            else:
                data, read_back = small.to_bytes(card), lambda data: load_compressed(data)[0]
            self._verified(read_back(data))
        except MissingPackageError as error:
            raise SweepError(f"{error}\n  hint: pip install 'pareto-sweep[export]'; a .safetensors or .pt2 file needs neither") from error
        return card | {"bytes": {"before": len(self._blob), "after": len(data)}}, data

    def _trained_network(self) -> "nn.Module":
        from trainer.api import model_tensors

        network = self._problem.networks[self._row["model"]]()
        tensors = {name: value for name, value in model_tensors(self._blob).items() if not name.endswith(".labels")}
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise SweepError(
                f"trial {self._row['trial_id']}: its weights do not fit the network {self._row['model']}: {reason}\n"
                "  hint: has the network's source changed since it was trained?"
            ) from error
        return network.eval()

    def _verified(self, network: "nn.Module") -> float:
        """Largest difference to the trained network on the whole test set, relative where outputs are above 1.

        Raises:
            SweepError: it is larger than `TOLERANCE`.
        """
        from trainer.compress import largest_difference

        difference = largest_difference(self._dense, network, self._test_batches())
        if not difference <= TOLERANCE:
            raise SweepError(
                f"trial {self._row['trial_id']}: the exported network differs from the trained one by {difference:.2g} on the test set, "
                f"more than {TOLERANCE:g}; nothing was written\n  hint: please report this, with the grid file"
            )
        return difference

    def _test_batches(self) -> "list[Tensor]":
        return [inputs for inputs, _ in self._problem.test.in_order(_EVALUATED)]

    def _latencies(self, network: "nn.Module") -> dict[int, tuple[float, float]]:
        """Batch -> milliseconds of the trained network and of the small one, on one core."""
        from trainer.compact.latency import latencies

        found = {}
        for n in _BATCHES:
            inputs = self._problem.test.first(n)[0]
            taken = latencies({"before": self._dense, "after": network}, inputs)
            found[len(inputs)] = (1e3 * taken["before"], 1e3 * taken["after"])
        return found

    def _card(
        self,
        sizes: Mapping[str, tuple[int, int]],
        difference: float,
        latency: Mapping[int, tuple[float, float]],
        notes: tuple[str, ...],
    ) -> dict[str, Any]:
        row, manifest = self._row, self._manifest
        columns = [name for name in row if name.startswith(("accuracy.", "metric.", "loss."))]
        return {
            "product": f"pareto-sweep {version('pareto-sweep')}",
            "sweep": manifest["name"],
            **{name: row[name] for name in ("trial_id", "problem", "model", "method", "study", "seed", "k")},
            "tasks": manifest["tasks"],
            "inputs": ["n", *self._sample.shape[1:]],
            "objectives": {o["name"]: row.get(o["column"]) for o in manifest["objectives"]},
            "measured": {name: row[name] for name in columns if row[name] is not None},
            **{name: row[name] for name in _SIZES},
            **{name: {"before": before, "after": after} for name, (before, after) in sizes.items()},
            "latency_ms": {f"batch {n}": {"before": before, "after": after} for n, (before, after) in latency.items()},
            "latency_of": f"one core of {platform.processor() or platform.machine()}, PyTorch",
            "verified": {"test_samples": len(self._problem.test), "largest_difference": difference, "tolerance": TOLERANCE},
            "not_removed": list(notes),
            "weights_sha256": row["weights_sha256"],
            "problem_fingerprint": manifest["problem"].get("fingerprint"),
            "versions": dict(row["versions"] or ()),
        }
