"""`sweep export`: write a trial's network to a smaller file with a model card, after verifying it on the test set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.formatting import preference_text
from sweep.artifacts.latency import keep_latency, processor_name
from sweep.artifacts.networks import TrainedNetwork, TrainedTrials
from sweep.errors import SweepError
from sweep.store.files import write_whole
from sweep.store.store import StoreError

if TYPE_CHECKING:
    from torch import Tensor, nn


_CARD_SIZES = {
    "parameters": "parameters",
    "macs": "multiply-adds a sample",
    "weight_bytes": "bytes of the weights",
    "bytes": "bytes of the file",
}


def card_text(card: Mapping[str, Any]) -> str:
    """Return the card of an exported network (`Exported.card`) as Markdown."""
    lines = [
        f"# {card['model']} for {card['problem']}, trial {card['trial_id']}",
        "",
        f"Made by {card['product']} from the sweep {card['sweep']}: method {card['method']}, study {card['study']}, seed {card['seed']}, "
        f"k = {preference_text(card['k'])}.",
        "",
        f"Input: a batch of shape ({', '.join(str(n) for n in card['inputs'])}). Outputs: {', '.join(card['tasks'])}, in this order.",
        "",
        "| | before | after | |",
        "|---|---|---|---|",
        *(_sizes(title, card[name]) for name, title in _CARD_SIZES.items() if name in card),
        *(_times(f"ms, {batch}", pair) for batch, pair in card["latency_ms"].items()),
        "",
        f"Times: medians on {card['latency_of']}.",
        "",
        f"SR {_share(card['sparsity_rate'])}, CR {_ratio(card['compression_rate'])}, PS {_ratio(card['parameter_sharing'])}.",
        "",
        "| measured | |",
        "|---|---|",
        *(f"| {name} | {value:.4g} |" for name, value in card["measured"].items()),
        *(f"| objective {name} | {value:.6g} |" for name, value in card["objectives"].items() if value is not None),
        "",
        f"On all {card['verified']['test_samples']:,} test samples its outputs are those of the trained network within "
        f"{card['verified']['largest_difference']:.1g} (limit {card['verified']['tolerance']:g}).",
        *(["", "Not removed:", "", *(f"- {note}" for note in card["not_removed"])] if card["not_removed"] else []),
        "",
        f"Weights before: SHA-256 {card['weights_sha256']}. Problem: {card['problem_fingerprint']}. "
        f"Trained with {', '.join(f'{name} {number}' for name, number in card['versions'].items())}.",
        "",
    ]
    return "\n".join(lines)


def _sizes(title: str, pair: Mapping[str, int]) -> str:
    share = f"{100 * pair['after'] / pair['before']:.1f} %" if pair["before"] else ""
    return f"| {title} | {pair['before']:,} | {pair['after']:,} | {share} |"


def _times(title: str, pair: Mapping[str, float]) -> str:
    return f"| {title} | {pair['before']:.3g} | {pair['after']:.3g} | {pair['before'] / pair['after']:.2f} times as fast |"


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.1f} %"


def _ratio(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


FORMATS = ("safetensors", "onnx", "pt2")
_EVALUATED = 256
_SIZES = ("sparsity_rate", "compression_rate", "parameter_sharing")


@dataclass(frozen=True)
class Exported:
    """An exported file and its model card."""

    path: Path
    card: Mapping[str, Any]
    """The model card as JSON values. The file's metadata holds the same card, and `<path>.md` holds it as text."""
    not_kept: str | None
    """Why the latencies were not stored in the results folder; None if they were, or if they do not compare with `sweep measure`."""


class Exporter:
    """Exports trials of one sweep.

    Args:
        trials: the trained trials of the results folder. The test set of their problem is needed, because each network is verified on it.
    """

    def __init__(self, trials: TrainedTrials) -> None:
        self._trials = trials

    def export(self, trial_id: str, path: Path, *, replaces: bool = False) -> Exported:
        """Write one trial's network to a file, and store its latencies in the results folder if that is writable.

        Args:
            trial_id: id of the trial, or a unique prefix of it.
            path: the file, whose suffix determines the format. The model card is written to `<path>.md`.
            replaces: whether existing files may be replaced.

        Raises:
            StoreError: the trial or its weights do not exist, or the weights are damaged.
            DataError: the problem's data is missing.
            StoreWriteError: a file could not be written; existing files are unchanged.
            SweepError: the path cannot be written to (`check_target`), the network cannot be compressed, or its compressed form
                computes something else.
        """
        form = format_of(path)
        check_target(path, replaces=replaces)
        network = self._trials.network(self._trials.row(trial_id))
        export = _Export(self._trials.manifest, network, form)
        card, data = export.file()
        check_target(path, replaces=replaces)  # again, because compression and verification take a while
        page = card_page(path)
        # The card is written before the temporary file of the network is renamed, so that a full disk leaves both files unchanged.
        write_whole(path, data, check=lambda _: write_whole(page, card_text(card).encode()))
        return Exported(path, card, self._kept(network.row, export.latency) if export.ties else None)

    def _kept(self, row: Mapping[str, Any], latency: Mapping[int, tuple[float, float]]) -> str | None:
        """Store the latencies, and return why that failed; None if it succeeded."""
        try:
            keep_latency(self._trials.store, row, latency)
        except StoreError as error:
            return error.problem
        return None


def format_of(path: Path) -> str:
    """Return the export format that a file's suffix names, in upper or lower case.

    Raises:
        SweepError: the suffix names no format.
    """
    form = path.suffix.removeprefix(".").lower()
    if form not in FORMATS:
        known = [f".{known}" for known in FORMATS]
        raise SweepError(
            f"{path}: a file name that ends in {', '.join(known[:-1])} or {known[-1]} expected\n"
            "  hint: the ending says in which format the network is written (docs/compress.md)"
        )
    return form


def card_page(path: Path) -> Path:
    """Return the path of the model card that belongs to an exported file."""
    return path.with_name(f"{path.name}.md")


def check_target(path: Path, *, replaces: bool = False) -> None:
    """Refuse a path that cannot be written to, or that would replace another file.

    Args:
        path: the file to be written; its model card is checked too.
        replaces: whether existing files may be replaced.

    Raises:
        SweepError: the folder is missing, or a file or folder of this name exists.
    """
    folder = path.parent
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise SweepError(f"{path}: the folder {folder} {problem}\n  hint: create it first, or name a file in another folder")
    for taken in (path, card_page(path)):
        if taken.is_dir():
            raise SweepError(f"{taken}: a folder has this name\n  hint: choose another file name")
        if not replaces and (taken.exists() or taken.is_symlink()):
            raise SweepError(f"{taken}: the file exists already, and was not changed\n  hint: choose another name, or add `--force`")


class _Export:
    """The export of one trial."""

    def __init__(self, manifest: Mapping[str, Any], network: TrainedNetwork, form: str) -> None:
        self._manifest, self._network, self._row = manifest, network, network.row
        self._form = form
        self.ties = form != "onnx"
        """Whether tied rows are stored once, as in the network that `sweep measure` times."""
        self.latency: dict[int, tuple[float, float]] = {}

    def file(self) -> tuple[dict[str, Any], bytes]:
        """Return the model card and the bytes of the file."""
        from trainer.compression.compress import load_compressed, macs_of
        from trainer.compression.file import MissingPackageError, OnnxNetwork, from_pt2, to_onnx, to_pt2

        whole, sample = self._network.whole, self._network.sample
        small = self._network.compressed(ties=self.ties)
        network = small.network.eval()
        kept = [tensor for tensor in small.program.tensors.values() if tensor.is_floating_point()]
        sizes = {
            "weight_bytes": (sum(p.nbytes for p in whole.parameters()), sum(tensor.nbytes for tensor in kept)),
            "parameters": (sum(p.numel() for p in whole.parameters()), small.n_params),
            "macs": (macs_of(whole, tuple(sample.shape[1:])), small.macs),
        }
        difference = self._verified(network)
        self.latency = self._network.latencies(network)
        card = self._card(sizes, difference, small.notes)
        names = tuple(task.name for task in self._network.problem.tasks)
        read_back: Callable[[bytes], nn.Module]
        try:
            if self._form == "onnx":
                data, read_back = to_onnx(network, sample, names, card), OnnxNetwork
            elif self._form == "pt2":
                data, read_back = to_pt2(network, sample, card), from_pt2
            else:
                data, read_back = small.to_bytes(card), lambda data: load_compressed(data)[0]
            self._verified(read_back(data))
        except MissingPackageError as error:
            raise SweepError(f"{error}\n  hint: pip install 'pareto-sweep[export]'; a .safetensors or .pt2 file needs neither") from error
        return card | {"bytes": {"before": len(self._network.blob), "after": len(data)}}, data

    def _verified(self, network: "nn.Module") -> float:
        """Return the largest difference between the outputs of this network and the trained one on the whole test set.

        Raises:
            SweepError: the difference is too large.
        """
        return self._network.difference(network, self._test_batches(), "the test set")

    def _test_batches(self) -> "list[Tensor]":
        return [inputs for inputs, _ in self._network.problem.test.in_order(_EVALUATED)]

    def _card(self, sizes: Mapping[str, tuple[int, int]], difference: float, notes: tuple[str, ...]) -> dict[str, Any]:
        from trainer.compression.compress import TOLERANCE

        row, manifest = self._row, self._manifest
        columns = [name for name in row if name.startswith(("accuracy.", "metric.", "loss."))]
        return {
            "product": f"pareto-sweep {version('pareto-sweep')}",
            "sweep": manifest["name"],
            **{name: row[name] for name in ("trial_id", "problem", "model", "method", "study", "seed", "k")},
            "tasks": manifest["tasks"],
            "inputs": ["n", *self._network.sample.shape[1:]],
            "objectives": {o["name"]: row.get(o["column"]) for o in manifest["objectives"]},
            "measured": {name: row[name] for name in columns if row[name] is not None},
            **{name: row[name] for name in _SIZES},
            **{name: {"before": before, "after": after} for name, (before, after) in sizes.items()},
            "latency_ms": {f"batch {n}": {"before": before, "after": after} for n, (before, after) in self.latency.items()},
            "latency_of": f"one core of {processor_name()}, PyTorch",
            "verified": {"test_samples": len(self._network.problem.test), "largest_difference": difference, "tolerance": TOLERANCE},
            "not_removed": list(notes),
            "weights_sha256": row["weights_sha256"],
            "problem_fingerprint": manifest["problem"].get("fingerprint"),
            "versions": dict(row["versions"] or ()),
        }
