"""The best model of a phase, for each member of a pack."""

import torch
from torch import Tensor


class Kept:
    """The tensors of each model's best epoch so far.

    An epoch that reached the minimum sparsity is better than any epoch that did not; otherwise the higher score wins, and in a tie the
    earlier epoch.

    Attributes:
        tensors: name -> shape (n_models, ...).
        epoch: shape (n_models,), int64; 0 where no epoch has been kept yet.
        reached: shape (n_models,), bool; whether the kept epoch reached the minimum sparsity.
        score: shape (n_models,), float64, of the kept epoch.
    """

    def __init__(self, template: dict[str, Tensor]) -> None:
        n_models = len(next(iter(template.values())))
        self.tensors = {name: value.detach().clone() for name, value in template.items()}
        self.epoch = torch.zeros(n_models, dtype=torch.int64)
        self.reached = torch.zeros(n_models, dtype=torch.bool)
        self.score = torch.full((n_models,), -torch.inf, dtype=torch.float64)

    def offer(self, epoch: int, score: Tensor, reached: Tensor, tensors: dict[str, Tensor]) -> None:
        """Keep each model that is better than the one kept so far.

        Args:
            epoch: 1, 2, ...
            score: shape (n_models,), float64, higher is better; NaN is never kept.
            reached: shape (n_models,), bool; whether the minimum sparsity was reached.
            tensors: the current values, with the template's names and shapes.
        """
        score, reached = score.cpu(), reached.cpu()
        better = torch.where(reached == self.reached, score > self.score, reached & score.isfinite())
        models = torch.nonzero(better).flatten()
        models_on = {device: models.to(device) for device in {value.device for value in tensors.values()}}
        for name, value in tensors.items():
            index = models_on[value.device]
            self.tensors[name][index] = value.detach()[index]
        self.epoch[models] = epoch
        self.score, self.reached = torch.where(better, score, self.score), torch.where(better, reached, self.reached)

    def group(self, group: str) -> dict[str, Tensor]:
        """Return the kept tensors called `<group>/<name>` as a mapping from name."""
        prefix = f"{group}/"
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}

    def state(self) -> dict[str, Tensor]:
        """Return the whole state as stacked tensors."""
        return self.tensors | {"#epoch": self.epoch, "#reached": self.reached, "#score": self.score}

    def load(self, state: dict[str, Tensor]) -> None:
        """Restore what `state` returned."""
        self.epoch, self.reached, self.score = state["#epoch"], state["#reached"], state["#score"]
        for name, value in self.tensors.items():
            value.copy_(state[name])
