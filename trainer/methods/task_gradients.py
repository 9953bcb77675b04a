"""Methods that weigh the tasks by their gradients, one model of the pack after the other."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.methods.one_phase import OnePhase


@dataclass(frozen=True)
class TaskGradients:
    """What one minibatch gives for one network."""

    losses: Tensor
    """Shape (n_tasks,), detached."""
    gradients: Sequence[Sequence[Tensor | None]]
    """gradients[t][p] of task t and parameter p; None where the task does not depend on it."""
    parameters: Sequence[nn.Parameter]

    def shared(self) -> list[int]:
        """The parameters that more than one task depends on."""
        return [p for p, of_tasks in enumerate(zip(*self.gradients, strict=True)) if sum(part is not None for part in of_tasks) > 1]

    def gram(self, which: Sequence[int]) -> Tensor:
        """Inner products of the tasks' gradients over some parameters, shape (n_tasks, n_tasks), float64."""
        n_tasks = len(self.gradients)
        gram = torch.zeros(n_tasks, n_tasks, dtype=torch.float64)
        for p in which:
            parts = [of_task[p] for of_task in self.gradients]
            flat = torch.stack([torch.zeros_like(self.parameters[p]) if part is None else part for part in parts]).flatten(1).double()
            gram += (flat @ flat.T).cpu()
        return gram

    def add(self, p: int, weights: Sequence[float]) -> None:
        """Add the weighted sum of the tasks' gradients to the parameter's."""
        for weight, of_task in zip(weights, self.gradients, strict=True):
            part = of_task[p]
            if part is not None:
                self.parameters[p].grad.add_(part, alpha=weight)  # type: ignore[union-attr]


class GradientMethod(OnePhase):
    """Computes each task's gradient of each network, and leaves it to the method what becomes of them."""

    def _backward(self, inputs: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        losses = torch.zeros(self._n_networks, len(self._problem.tasks), device=self._device, dtype=self._dtype)
        for n, network in self.pack.living():
            found = self._gradients(network, inputs, targets)
            losses[n] = found.losses
            if found.losses.isfinite().all():  # otherwise the epoch's end sets the network aside
                self._combine(n, found)
        return losses

    @abstractmethod
    def _combine(self, network: int, found: TaskGradients) -> None:
        """Add to the network's gradients."""

    def _gradients(self, network: nn.Module, inputs: Tensor, targets: Tensor) -> TaskGradients:
        parameters = list(network.parameters())
        outputs = network(inputs)
        losses = [task.loss(output, targets[:, t]) for t, (task, output) in enumerate(zip(self._problem.tasks, outputs, strict=True))]
        gradients = [
            torch.autograd.grad(loss, parameters, retain_graph=t + 1 < len(losses), allow_unused=True) for t, loss in enumerate(losses)
        ]
        return TaskGradients(torch.stack(losses).detach(), gradients, parameters)
