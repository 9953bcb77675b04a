"""The cosine between the gradients of each pair of tasks, which shows whether the tasks pull the shared weights in the same direction."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from trainer.pack.loop import evaluating
from trainer.problems.data import Part
from trainer.problems.problem import Task

N_SAMPLES = 512
"""Number of validation samples: enough for two digits of one model's cosine, in less than a hundredth of a trial's time."""
_SEED = 0

Cosines = tuple[float | None, ...]
"""One cosine for each pair of tasks, in the order (1, 2), (1, 3), .., (2, 3), ..; None where nothing is shared or a gradient is zero."""


def fixed_samples(part: Part, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield minibatches (inputs, targets) of a fixed random choice of at most `N_SAMPLES` samples of a part.

    Args:
        part: a part of the data.
        batch_size: the largest number of samples in a minibatch.
    """
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(_SEED))[:N_SAMPLES]
    return part.shuffled(order, batch_size)


def gradient_cosines(
    network: nn.Module,
    parameters: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    tasks: Sequence[Task],
    batches: Iterable[tuple[Tensor, Tensor]],
    free: Callable[[str, Tensor], Tensor],
) -> Cosines | None:
    """Compute the cosine between the gradients of each pair of tasks over the parameters that both of them depend on.

    The gradients are measured in evaluation mode on data that the network was not fitted to: once training has converged, the gradients on
    the training data oppose each other for any tasks, since their weighted sum is zero. Parameters that a network names in
    `mixing_parameters` are not weights and are left out. The network, its gradients and the random state do not change.

    Args:
        network: computes one output for each task; its own parameters and buffers are not read.
        parameters: name -> value, in the shapes of the network's parameters.
        buffers: name -> value, in the shapes of the network's buffers.
        tasks: the tasks, with their losses.
        batches: inputs of shape (n, ...) and targets of shape (n, n_tasks); the gradients are those of the mean loss over all samples.
        free: (name, gradient) -> the gradient over the free entries of this parameter (neither suppressed nor tied).

    Returns:
        Shape (n_pairs,), each in [-1, 1]: below 0, a gradient step that lowers one loss raises the other. None if no pair shares a
        parameter.
    """
    pairs = list(combinations(range(len(tasks)), 2))
    left_out = set(getattr(network, "mixing_parameters", ()))
    if not pairs:
        return None
    # Copies, because the last bits of a matrix product depend on the memory layout, and would thus depend on the pack.
    leaves = {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}
    fixed = {name: value.detach().clone() for name, value in buffers.items()}
    weights = [name for name in leaves if name not in left_out]
    total: list[dict[str, Tensor]] = [{} for _ in tasks]
    with evaluating([network]), torch.enable_grad():
        for inputs, targets in batches:
            outputs = functional_call(network, {**leaves, **fixed}, (inputs,))
            for t, (task, output) in enumerate(zip(tasks, outputs, strict=True)):
                loss = task.loss(output, targets[:, t]) * len(inputs)
                of_batch = torch.autograd.grad(loss, [leaves[name] for name in weights], retain_graph=t + 1 < len(tasks), allow_unused=True)
                for name, part in zip(weights, of_batch, strict=True):
                    if part is not None:
                        total[t][name] = total[t][name] + part if name in total[t] else part
    gradients = [{name: free(name, part).double() for name, part in of_task.items()} for of_task in total]
    shared = [[name for name in gradients[a] if name in gradients[b]] for a, b in pairs]
    if not any(shared):
        return None
    return tuple(_cosine(gradients[a], gradients[b], names) for (a, b), names in zip(pairs, shared, strict=True))


def _cosine(a: Mapping[str, Tensor], b: Mapping[str, Tensor], names: Sequence[str]) -> float | None:
    products = torch.zeros(3, dtype=torch.float64)
    for name in names:
        x, y = a[name].flatten(), b[name].flatten()
        products += torch.stack([x @ y, x @ x, y @ y]).cpu()
    inner, of_a, of_b = (float(value) for value in products)
    length = math.sqrt(of_a) * math.sqrt(of_b)
    if not (math.isfinite(length) and math.isfinite(inner)) or length == 0:
        return None
    return min(max(inner / length, -1.0), 1.0)
