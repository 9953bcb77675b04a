"""The multipliers and the penalty of one phase, their update, and a measure of convergence."""

import torch
from torch import Tensor

from trainer.objectives.scalarization import STEP_WEIGHTS, equality_weights, project_simplex
from trainer.settings import LagrangianSettings


class Lagrangian:
    """The augmented Lagrangian of a pack: min t subject to g_i <= t, with t eliminated.

    Eliminating t keeps the multipliers on the simplex. Within an outer iteration, the weights of each step are computed from a running mean
    of g; the multipliers are updated once, at the end of the iteration, with the mean of g over the whole iteration.

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
        self._step_weights = STEP_WEIGHTS.get(scalarization)
        self._moves = scalarization == "chebyshev_al"
        self.penalty = settings.start_penalty(scalarization)
        # A recorded step reads the penalty from the device; on a CPU it is a number.
        self._penalty_on_device = torch.tensor(self.penalty, device=device, dtype=dtype) if device.type == "cuda" else None
        self.multipliers = torch.full((n_models, n_objectives), 1 / n_objectives, device=device, dtype=dtype)
        self._mean = torch.zeros_like(self.multipliers)
        self._has_mean = torch.zeros(n_models, 1, dtype=torch.bool, device=device)
        self._total = torch.zeros_like(self.multipliers)
        self._n_steps = 0

    @torch.no_grad()
    def weigh(self, members: slice, values: Tensor) -> Tensor:
        """Compute the weights of this step for some members of the pack, and update their running means.

        Args:
            members: the models, as a slice of the pack.
            values: g of this minibatch, shape (n_members, n_objectives).

        Returns:
            p, shape (n_members, n_objectives), detached.
        """
        decay = self._settings.mean_decay
        mean = torch.where(self._has_mean[members], decay * self._mean[members] + (1 - decay) * values, values)
        self._mean[members] = mean
        self._has_mean[members] = True
        self._total[members] += values
        return self._weights(members, values, mean)

    def _weights(self, members: slice, values: Tensor, mean: Tensor) -> Tensor:
        assert self._step_weights is not None
        return self._step_weights(self.multipliers[members], self._step_penalty, mean)

    @property
    def running_mean(self) -> Tensor:
        """The running mean of g over the last minibatches, shape (n_models, n_objectives); zeros before the first one."""
        return self._mean

    @property
    def _step_penalty(self) -> float | Tensor:
        return self.penalty if self._penalty_on_device is None else self._penalty_on_device

    def _set_penalty(self, penalty: float) -> None:
        self.penalty = penalty
        if self._penalty_on_device is not None:
            self._penalty_on_device.fill_(penalty)

    def end_step(self, learning_rate: float | Tensor) -> None:
        """Update the state after every member has taken one more step with this learning rate."""

    def count_step(self) -> None:
        """Count one more step of every member. This is separate from `end_step`, because a recorded step cannot count."""
        self._n_steps += 1

    def update(self) -> None:
        """End an outer iteration: multipliers <- Proj(multipliers + penalty * mean g), then the penalty grows."""
        if self._moves:
            self.multipliers.copy_(project_simplex(self.multipliers + self.penalty * self._total / self._n_steps)[0])
            self._set_penalty(min(self.penalty * self._settings.penalty_growth, self._settings.penalty_max))
        self._total.zero_()
        self._n_steps = 0

    def tensors(self) -> dict[str, Tensor]:
        """Return the part of the state that is tensors; their first dimension runs over the models."""
        return {"multipliers": self.multipliers, "mean": self._mean, "has_mean": self._has_mean, "total": self._total}

    def scalars(self) -> dict[str, float]:
        """Return the rest of the state."""
        return {"penalty": self.penalty, "n_steps": self._n_steps}

    def load(self, tensors: dict[str, Tensor], scalars: dict[str, float]) -> None:
        """Restore a stored state."""
        self.multipliers, self._mean = tensors["multipliers"], tensors["mean"]
        self._has_mean, self._total = tensors["has_mean"], tensors["total"]
        self._set_penalty(scalars["penalty"])
        self._n_steps = int(scalars["n_steps"])


class EqualityLagrangian(Lagrangian):
    """The paper's Lagrangian, for comparison: min t subject to g_i = t, with t learned together with the weights.

    L = t + multipliers . (g - t) + penalty / 2 ||g - t||^2. t takes gradient steps with the learning rate of the weights; the
    multipliers may become negative. The weights of a step are computed from its minibatch alone.

    Source: Hotegni, Berkemeier and Peitz, IJCNN 2024, equation (1). The multipliers start equal, t at the largest g of the first step.
    """

    def __init__(
        self, settings: LagrangianSettings, n_models: int, n_objectives: int, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__(settings, "paper", n_models, n_objectives, device, dtype)
        self._t = torch.full((n_models, 1), torch.nan, device=device, dtype=dtype)
        self._slope = torch.zeros_like(self._t)

    def _weights(self, members: slice, values: Tensor, mean: Tensor) -> Tensor:
        self._t[members] = torch.where(self._t[members].isnan(), values.amax(dim=1, keepdim=True), self._t[members])
        weights = equality_weights(self.multipliers[members], self._step_penalty, values - self._t[members])
        self._slope[members] = 1 - weights.sum(dim=1, keepdim=True)
        return weights

    def end_step(self, learning_rate: float | Tensor) -> None:
        """Take a gradient step of t."""
        self._t -= learning_rate * self._slope

    def update(self) -> None:
        """End an outer iteration: multipliers <- multipliers + penalty (mean g - t), then the penalty grows."""
        self.multipliers.copy_(equality_weights(self.multipliers, self.penalty, self._total / self._n_steps - self._t))
        self._set_penalty(min(self.penalty * self._settings.penalty_growth, self._settings.penalty_max))
        super().update()

    def tensors(self) -> dict[str, Tensor]:
        """Return the part of the state that is tensors; their first dimension runs over the models."""
        return super().tensors() | {"t": self._t}

    def load(self, tensors: dict[str, Tensor], scalars: dict[str, float]) -> None:
        """Restore a stored state."""
        super().load(tensors, scalars)
        self._t = tensors["t"]


def lagrangian_of(
    settings: LagrangianSettings,
    scalarization: str,
    n_models: int,
    n_objectives: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Lagrangian:
    """Create the Lagrangian of a scalarization, given by its name in the settings.

    Args:
        settings: penalty, its growth and the decay of the running mean.
        scalarization: a name as in `TrainingSettings`.
        n_models: number of models in the pack.
        n_objectives: number of active objectives.
        device: device of the pack.
        dtype: type of the multipliers.
    """
    if scalarization == "paper":
        return EqualityLagrangian(settings, n_models, n_objectives, device, dtype)
    return Lagrangian(settings, scalarization, n_models, n_objectives, device, dtype)


def convergence(values: Tensor, multipliers: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Measure how far a point is from a solution of min_t {t : g_i <= t}.

    Args:
        values: g, shape (n_models, n_objectives).
        multipliers: shape (n_models, n_objectives), on the simplex.
        penalty: mu > 0.

    Returns:
        residual: V = ||max(g - t, -multipliers / penalty)||_inf, shape (n_models,), in units of g. It vanishes exactly
            where every g_i <= t and only objectives with g_i = t have a positive multiplier.
        spread: largest minus smallest g_i among those with a positive weight, shape (n_models,), in units of g.

    Source: Birgin and Martinez 2014, Practical Augmented Lagrangian Methods, section 4.1.
    """
    weights, threshold = project_simplex(multipliers + penalty * values)
    t = threshold / penalty
    residual = torch.maximum(values - t, -multipliers / penalty).abs().amax(dim=-1)
    active = weights > 0
    largest = values.masked_fill(~active, -torch.inf).amax(dim=-1)
    least = values.masked_fill(~active, torch.inf).amin(dim=-1)
    return residual, largest - least
