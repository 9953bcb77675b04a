"""What does compression gain in size and time, and what do whole channels cost in accuracy?

    python -m tests.bench.export [--model mdmtn] [--shape multimnist] [--seeds 3] [--sizes-only]

1. Sizes and latency: networks of the given shape with made-up masks at sparsity rates (SR) of 30, 50, 70 and 80 %, by single units and
   by whole channels (`growl.groups`), without tied rows. The script prints parameters, multiply-adds, bytes, and median times on one
   core at batch 1 and 256, for which the whole and the compressed network take turns.
2. Accuracy: MultiDigits with the quickstart's schedule, both settings of `growl.groups`, and several k0 and seeds. The script prints
   the test accuracy, SR, and the shares of parameters and multiply-adds that are left.
"""

import argparse
import os
import statistics
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from trainer.api import TrainingSettings, TrialResult, TrialSpec, train
from trainer.catalog import PROBLEMS
from trainer.compression.channels import positions_of_channels
from trainer.compression.compress import compress, largest_difference, macs_of
from trainer.compression.latency import latencies
from trainer.models.published import CIFAR10MNIST, MULTIMNIST
from trainer.settings import GrowlSettings, RetrainSettings, SparsifySettings

SHAPES = {"multimnist": (MULTIMNIST, (1, 28, 28)), "cifar10mnist": (CIFAR10MNIST, (3, 32, 32))}
RATES = (0.3, 0.5, 0.7, 0.8)
SETTINGS = TrainingSettings(learning_rate=5e-3, sparsify=SparsifySettings(3, 2), retrain=RetrainSettings(4, 2))
PREFERENCES = tuple((k0, (1 - k0) / 2, (1 - k0) / 2) for k0 in (0.008, 0.015, 0.03))


def mask_rows(network: nn.Module, rate: float, groups: Mapping[str, int]) -> None:
    """Set the same share of rows of each regularised layer to zero, until the network has the given sparsity rate."""
    weights: dict[str, Tensor] = {f"{name}.weight": network.get_submodule(name).weight.data for name in network.growl_layers}  # type: ignore[union-attr, misc]
    n_rows = sum(layer.weight.shape[1] for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    share = rate * n_rows / sum(weight.shape[1] for weight in weights.values())
    for name, weight in weights.items():
        size = groups.get(name, 1)
        n_groups = weight.shape[1] // size
        gone = torch.randperm(n_groups)[: round(share * n_groups)]
        weight[:, (gone[:, None] * size + torch.arange(size)).flatten()] = 0


def sizes(shape: str, model: str) -> None:
    """Print the table of sizes and latencies."""
    layers, input_shape = SHAPES[shape]
    torch.manual_seed(0)
    inputs = torch.randn(256, *input_shape)
    print(f"\n{shape} {model}, one core, load {os.getloadavg()[0]:.1f}: whole network / compressed one")
    print("  SR   groups    parameters          multiply-adds          bytes   batch 1, ms            batch 256, ms")
    for groups in ("unit", "channel"):
        for rate in RATES:
            network = layers.networks([10, 10])[model]().eval()
            if hasattr(network, "alpha"):
                network.alpha.data.fill_(0.5)  # at first the monitors count for nothing, and all of them could go
            mask_rows(network, rate, positions_of_channels(network, inputs[:2]) if groups == "channel" else {})
            small = compress(network, inputs[:2])
            difference = largest_difference(network, small.network, [inputs])
            if difference > 1e-5:
                raise SystemExit(f"the compressed network differs by {difference}")
            n_params, macs = sum(p.numel() for p in network.parameters()), macs_of(network, input_shape)
            times = [latencies({"whole": network, "small": small.network}, inputs[:n], 1.0) for n in (1, 256)]
            shown = "   ".join(f"{1e3 * t['whole']:7.3f} / {1e3 * t['small']:7.3f} {t['whole'] / t['small']:5.2f}x" for t in times)
            print(
                f"  {100 * rate:.0f} %  {groups:8s} {n_params / small.n_params:5.2f}x {small.n_params:8,d}   "
                f"{macs / small.macs:5.2f}x {small.macs:10,d}   {len(small.to_bytes({})):9,d}   {shown}"
            )


def accuracy(seeds: int, model: str, n_train: int) -> None:
    """Print the table of accuracies."""
    entry = PROBLEMS["multidigits"]
    problem = entry.build(entry.options(n_train=n_train))
    print(f"\nmultidigits, {n_train} training samples, {model}, {seeds} seeds: mean +- deviation of test accuracy; SR; what is left")
    for groups in ("unit", "channel"):
        settings = replace(SETTINGS, growl=GrowlSettings(groups=groups))  # type: ignore[arg-type]
        results: dict[float, list[TrialResult]] = {}
        for seed in range(seeds):
            specs = [TrialSpec(str(i), model, "wcal_growl", k, seed, settings) for i, k in enumerate(PREFERENCES)]
            for k, result in zip(PREFERENCES, train(specs, problem), strict=True):
                results.setdefault(k[0], []).append(result)
        for k0, found in results.items():
            accuracies = [100 * (result.mean_accuracy("test") or 0) for result in found]
            spread = statistics.stdev(accuracies) if len(accuracies) > 1 else float("nan")
            measured = [result.measurements for result in found]
            rate = statistics.mean(100 * one.rows.sparsity_rate for one in measured if one.rows)
            params = statistics.mean(1 - one.sizes.removable_params / one.n_params for one in measured if one.sizes and one.n_params)
            macs = statistics.mean(1 - one.sizes.removable_macs / one.sizes.n_macs for one in measured if one.sizes)
            print(
                f"  {groups:8s} k0 {k0:<6g} {statistics.mean(accuracies):6.2f} +- {spread:.2f} %   SR {rate:5.1f} %   "
                f"parameters {100 * params:5.1f} %   multiply-adds {100 * macs:5.1f} %"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="mdmtn")
    parser.add_argument("--shape", choices=SHAPES, default="multimnist")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n-train", type=int, default=3000)
    parser.add_argument("--sizes-only", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    sizes(asked.shape, asked.model)
    if not asked.sizes_only:
        accuracy(asked.seeds, asked.model, asked.n_train)


if __name__ == "__main__":
    main()
