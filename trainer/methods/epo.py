"""Exact Pareto optimal search: to the point of the front where the weighted losses are equal."""

import torch
from torch import Tensor

from trainer.methods.epo_direction import epo_weights
from trainer.methods.task_gradients import GradientMethod, TaskGradients
from trainer.scalarization import chebyshev_values


class EPO(GradientMethod):
    """Each step weighs the tasks by a linear program: towards equal k_t L_t, or down along them once they are equal.

    Gradients are those of the whole network, and the weights sum to the number of tasks, as in the authors' experiments.

    Source: Mahapatra and Rajan, ICML 2020.
    """

    def _combine(self, network: int, found: TaskGradients) -> None:
        preference = self.specs[network].preference
        assert preference is not None
        gram = found.gram(range(len(found.parameters)))
        weights = epo_weights(found.losses.double().cpu().numpy(), torch.tensor(preference[1:]).double().numpy(), gram.numpy())
        weights = (weights * len(weights)).tolist()
        for p in range(len(found.parameters)):
            found.add(p, weights)

    def _scores(self, losses: Tensor, metrics: Tensor) -> list[Tensor]:
        if self._settings.selection == "accuracy":
            return super()._scores(losses, metrics)
        preference = torch.tensor([spec.preference for spec in self.specs], dtype=torch.float64)[:, 1:]
        values = chebyshev_values(losses, preference, torch.zeros(losses.shape[1], dtype=torch.float64), 0.0)
        return [-values.amax(dim=1)]
