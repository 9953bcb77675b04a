"""Multipliers and penalty of one phase, their update, and how far from converged they are."""

import torch
from torch import Tensor

from trainer.scalarization import STEP_WEIGHTS, project_simplex
from trainer.settings import LagrangianSettings


class Lagrangian:
    """The augmented Lagrangian of a pack: min t subject to g_i <= t, with t eliminated.

    The multipliers live on the simplex by themselves. Within an outer iteration a step's weights come from a running
    mean of g; the multipliers move once, at the iteration's end, by the mean of g over the whole iteration.

    Attributes:
        multipliers: shape (n_models, n_objectives), each row on the simplex.
        penalty: mu, the same for all models.
    """

    def __init__(
        self,
        settings: LagrangianSettings,
        scalarization: str,
        n_models: int,
        n_objectives: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._settings = settings
        self._step_weights = STEP_WEIGHTS[scalarization]
        self._moves = scalarization == "chebyshev_al"
        self.penalty = settings.penalty
        self.multipliers = torch.full((n_models, n_objectives), 1 / n_objectives, device=device, dtype=dtype)
        self._mean = torch.zeros_like(self.multipliers)
        self._has_mean = torch.zeros(n_models, 1, dtype=torch.bool, device=device)
        self._total = torch.zeros_like(self.multipliers)
        self._n_steps = 0

    @torch.no_grad()
    def weigh(self, members: slice, values: Tensor) -> Tensor:
        """The weights of this step for some members of the pack; also moves their running means.

        Args:
            members: which models, as a slice of the pack.
            values: g of this minibatch, shape (n_members, n_objectives).

        Returns:
            p, shape (n_members, n_objectives), detached.
        """
        decay = self._settings.mean_decay
        mean = torch.where(self._has_mean[members], decay * self._mean[members] + (1 - decay) * values, values)
        self._mean[members] = mean
        self._has_mean[members] = True
        self._total[members] += values
        return self._step_weights(self.multipliers[members], self.penalty, mean)

    def count_step(self) -> None:
        """Note that every member has made one more step."""
        self._n_steps += 1

    def update(self) -> None:
        """End an outer iteration: multipliers <- Proj(multipliers + penalty * mean g), then the penalty grows."""
        if self._moves:
            self.multipliers = project_simplex(self.multipliers + self.penalty * self._total / self._n_steps)[0]
            self.penalty = min(self.penalty * self._settings.penalty_growth, self._settings.penalty_max)
        self._total.zero_()
        self._n_steps = 0

    def tensors(self) -> dict[str, Tensor]:
        """The state as tensors whose first dimension is the model."""
        return {"multipliers": self.multipliers, "mean": self._mean, "has_mean": self._has_mean, "total": self._total}

    def scalars(self) -> dict[str, float]:
        """The rest of the state."""
        return {"penalty": self.penalty, "n_steps": self._n_steps}

    def load(self, tensors: dict[str, Tensor], scalars: dict[str, float]) -> None:
        """Take over a stored state."""
        self.multipliers, self._mean = tensors["multipliers"], tensors["mean"]
        self._has_mean, self._total = tensors["has_mean"], tensors["total"]
        self.penalty, self._n_steps = scalars["penalty"], int(scalars["n_steps"])


def convergence(values: Tensor, multipliers: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """How far a point is from solving min_t {t : g_i <= t}.

    Args:
        values: g, shape (n_models, n_objectives).
        multipliers: shape (n_models, n_objectives), on the simplex.
        penalty: mu > 0.

    Returns:
        residual: V = ||max(g - t, -multipliers / penalty)||_inf, shape (n_models,), in units of g. It vanishes exactly
            where every g_i <= t and only those with g_i = t have a multiplier.
        spread: largest minus least g_i among those that carry weight, shape (n_models,), in units of g.

    Source: Birgin and Martinez 2014, Practical Augmented Lagrangian Methods, section 4.1.
    """
    weights, threshold = project_simplex(multipliers + penalty * values)
    t = threshold / penalty
    residual = torch.maximum(values - t, -multipliers / penalty).abs().amax(dim=-1)
    active = weights > 0
    largest = values.masked_fill(~active, -torch.inf).amax(dim=-1)
    least = values.masked_fill(~active, torch.inf).amin(dim=-1)
    return residual, largest - least
