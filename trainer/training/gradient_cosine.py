"""Do the tasks pull a finished network's shared weights the same way? The cosine between their gradients, pair by pair."""

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
"""Of the validation data: enough for two digits of the cosine of one model, and less than a hundredth of a trial's time."""
_SEED = 0

Cosines = tuple[float | None, ...]
"""One a pair of tasks, in the order (1, 2), (1, 3), .., (2, 3), ..; None where a pair shares nothing or a gradient is zero."""


def fixed_samples(part: Part, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets of the same `N_SAMPLES` (or all) samples of a part, in minibatches, whoever asks and however often."""
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
    """The cosine between the gradients of each pair of tasks over the parameters that both of them depend on.

    Measured in evaluation mode, on data that the network was not fitted to: where training has converged, the gradients of
    its own data are opposite whatever the tasks are, since their weighted sum is zero. Parameters that a network names in
    `mixing_parameters` are no weights and left out. Nothing of the network, its gradients or the random state changes.

    Args:
        network: computes one output a task; its own parameters and buffers are not read.
        parameters: name -> the model's values, of the shapes of the network's.
        buffers: the same for its buffers.
        tasks: their losses.
        batches: inputs of shape (n, ...) and targets of shape (n, n_tasks); a gradient is that of the mean loss over all.
        free: (name, gradient) -> the gradient over what is free to move in this parameter.

    Returns:
        Shape (n_pairs,), each in [-1, 1]: below 0 a small step that helps one task harms the other. None where no pair
        shares a parameter.
    """
    pairs = list(combinations(range(len(tasks)), 2))
    left_out = set(getattr(network, "mixing_parameters", ()))
    if not pairs:
        return None
    # Copies: a matrix product's last bits depend on where a tensor lies, and so would depend on the pack.
    leaves = {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}
    fixed = {name: value.detach().clone() for name, value in buffers.items()}
    weights = [name for name in leaves if name not in left_out]
    total: list[dict[str, Tensor]] = [{} for _ in tasks]
    with evaluating([network]), torch.enable_grad():
        for inputs, targets in batches:
            outputs = functional_call(network, {**leaves, **fixed}, (inputs,))
            for t, (task, output) in enumerate(zip(tasks, outputs, strict=True)):
                loss = task.loss(output, targets[:, t]) * len(inputs)
                found = torch.autograd.grad(loss, [leaves[name] for name in weights], retain_graph=t + 1 < len(tasks), allow_unused=True)
                for name, part in zip(weights, found, strict=True):
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
