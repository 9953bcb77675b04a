"""The base of methods that weight the tasks by their gradients, for one model of the pack after the other."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.methods.one_phase import OnePhase


@dataclass(frozen=True)
class TaskGradients:
    """The losses and gradients of the tasks on one minibatch, for one network."""

    losses: Tensor
    """Shape (n_tasks,), detached."""
    gradients: Sequence[Sequence[Tensor | None]]
    """gradients[t][p]: the gradient of task t in parameter p; None where the task does not depend on it."""
    parameters: Sequence[nn.Parameter]

    def shared(self) -> list[int]:
        """Return the indices of the parameters that more than one task depends on."""
        return [p for p, of_tasks in enumerate(zip(*self.gradients, strict=True)) if sum(part is not None for part in of_tasks) > 1]

    def gram(self, which: Sequence[int]) -> Tensor:
        """Compute the inner products of the tasks' gradients over some parameters, shape (n_tasks, n_tasks), float64."""
        n_tasks = len(self.gradients)
        gram = torch.zeros(n_tasks, n_tasks, dtype=torch.float64)
        for p in which:
            parts = [of_task[p] for of_task in self.gradients]
            flat = torch.stack([torch.zeros_like(self.parameters[p]) if part is None else part for part in parts]).flatten(1).double()
            gram += (flat @ flat.T).cpu()
        return gram

    def add(self, p: int, weights: Sequence[float]) -> None:
        """Add the weighted sum of the tasks' gradients in a parameter to its gradient."""
        for weight, of_task in zip(weights, self.gradients, strict=True):
            part = of_task[p]
            if part is not None:
                self.parameters[p].grad.add_(part, alpha=weight)  # type: ignore[union-attr]


class GradientMethod(OnePhase):
    """A method that combines the gradients of the tasks, which are computed for each network."""

    def _backward(self, inputs: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        losses = torch.zeros(self._n_networks, len(self._problem.tasks), device=self._device, dtype=self._dtype)
        for n, network in self.pack.living():
            gradients = self._gradients(network, inputs, targets)
            losses[n] = gradients.losses
            if gradients.losses.isfinite().all():  # otherwise the network is marked as diverged at the end of the epoch
                self._combine(n, gradients)
        return losses

    @abstractmethod
    def _combine(self, network: int, gradients: TaskGradients) -> None:
        """Add a combination of the tasks' gradients to the network's gradient.

        Args:
            network: index of the network in the pack.
            gradients: the losses and gradients of its tasks.
        """

    def _gradients(self, network: nn.Module, inputs: Tensor, targets: Tensor) -> TaskGradients:
        parameters = list(network.parameters())
        outputs = network(inputs)
        losses = [task.loss(output, targets[:, t]) for t, (task, output) in enumerate(zip(self._problem.tasks, outputs, strict=True))]
        gradients = [
            torch.autograd.grad(loss, parameters, retain_graph=t + 1 < len(losses), allow_unused=True) for t, loss in enumerate(losses)
        ]
        return TaskGradients(torch.stack(losses).detach(), gradients, parameters)
