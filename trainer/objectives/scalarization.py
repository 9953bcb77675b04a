"""How a vector of objectives becomes the scalar that is minimised: modified Chebyshev values and their step weights.

Every scalarization here has the form sum_i p_i g_i, where g are the modified Chebyshev values; they differ only in the weights p. They
therefore share one code path, with one small function each (`STEP_WEIGHTS`).
"""

from collections.abc import Callable

import torch
from torch import Tensor


def chebyshev_values(objectives: Tensor, preference: Tensor, reference_point: Tensor, augmentation: float) -> Tensor:
    """Compute the modified weighted Chebyshev values g_i = k_i [(L_i - a_i) + e sum_j (L_j - a_j)].

    Args:
        objectives: L, shape (n_models, n_objectives), minimised; only the active objectives.
        preference: k, shape (n_models, n_objectives), >= 0.
        reference_point: a, shape (n_objectives,), in units of the objectives.
        augmentation: e >= 0. If e > 0, every minimiser of max_i g_i is Pareto optimal; if e = 0, only weakly.

    Returns:
        g, shape (n_models, n_objectives), differentiable in `objectives`.

    Source: Kaliszewski 1994; Hotegni, Berkemeier and Peitz, IJCNN 2024, problem (Modified WC(k, a)).
    """
    excess = objectives - reference_point
    return preference * (excess + augmentation * excess.sum(dim=-1, keepdim=True))


def project_simplex(values: Tensor) -> tuple[Tensor, Tensor]:
    """Project each row onto the simplex {p >= 0, sum p = 1} in the Euclidean norm.

    Args:
        values: shape (n_models, n). A row that contains NaN gives a row of NaN.

    Returns:
        The projection p, shape (n_models, n), and the threshold for which p = max(values - threshold, 0), shape (n_models, 1).

    Source: Held, Wolfe and Crowder 1974; Duchi et al., ICML 2008, figure 1.
    """
    descending = values.sort(dim=-1, descending=True).values
    candidates = (descending.cumsum(dim=-1) - 1) / torch.arange(1, values.shape[-1] + 1, device=values.device, dtype=values.dtype)
    last = ((descending > candidates).sum(dim=-1, keepdim=True) - 1).clamp(min=0)
    threshold = candidates.gather(-1, last)
    return (values - threshold).clamp(min=0), threshold


def chebyshev_al_weights(multipliers: Tensor, penalty: float | Tensor, mean_values: Tensor) -> Tensor:
    """Compute the weights of the augmented Lagrangian of min t subject to g_i <= t, with t eliminated: Proj(multipliers + penalty g).

    Args:
        multipliers: shape (n_models, n_objectives), on the simplex.
        penalty: mu > 0.
        mean_values: shape (n_models, n_objectives), a detached running mean of g (the maximum over one minibatch is biased).

    Returns:
        p, shape (n_models, n_objectives), on the simplex.

    Source: Rockafellar 1973 (inequality form); setting the derivative in t to zero makes the weights sum to 1.
    """
    return project_simplex(multipliers + penalty * mean_values)[0]


def weighted_sum_weights(multipliers: Tensor, penalty: float | Tensor, mean_values: Tensor) -> Tensor:
    """Return equal weights, for which sum_i p_i g_i is the weighted sum of the losses divided by their number.

    Args:
        multipliers: ignored.
        penalty: ignored.
        mean_values: shape (n_models, n_objectives); only its shape, type and device are used.

    Returns:
        Shape (n_models, n_objectives), on the simplex.
    """
    return torch.full_like(mean_values, 1 / mean_values.shape[-1])


def smooth_chebyshev_weights(multipliers: Tensor, penalty: float | Tensor, mean_values: Tensor) -> Tensor:
    """Compute softmax(penalty g), the gradient of the smooth Chebyshev value (1 / penalty) log sum exp(penalty g).

    Args:
        multipliers: ignored.
        penalty: 1 / smoothing parameter, > 0.
        mean_values: shape (n_models, n_objectives), a detached running mean of g.

    Returns:
        Shape (n_models, n_objectives), on the simplex.

    Source: Lin et al., ICML 2024 (smooth Tchebycheff scalarization), smoothing 1 / penalty.
    """
    return torch.softmax(penalty * mean_values, dim=-1)


def equality_weights(multipliers: Tensor, penalty: float | Tensor, excess: Tensor) -> Tensor:
    """Compute multipliers + penalty (g - t), the weights of the augmented Lagrangian for g_i = t (the paper's equation (1)).

    The weights may be negative and need not sum to 1: an objective below t is pushed *up*, towards equality. With the paper's penalty of
    2.5e-8 they remain equal to the multipliers, and the method is a weighted sum.

    Args:
        multipliers: shape (n_models, n_objectives).
        penalty: mu > 0.
        excess: g - t, shape (n_models, n_objectives).

    Returns:
        Shape (n_models, n_objectives).

    Source: Hotegni, Berkemeier and Peitz, IJCNN 2024, equation (1).
    """
    return multipliers + penalty * excess


STEP_WEIGHTS: dict[str, Callable[[Tensor, float | Tensor, Tensor], Tensor]] = {
    "chebyshev_al": chebyshev_al_weights,
    "weighted_sum": weighted_sum_weights,
    "smooth_chebyshev": smooth_chebyshev_weights,
}


def scalarized(scalarization: str, values: Tensor, penalty: float) -> Tensor:
    """Compute the scalar that a scalarization minimises and uses to select the best epoch: maximum, mean or smooth maximum of the g_i.

    Args:
        scalarization: a name as in `TrainingSettings`; the paper's Lagrangian minimises the maximum.
        values: g, shape (n_models, n_objectives).
        penalty: 1 / smoothing parameter of the smooth maximum.

    Returns:
        Shape (n_models,), in units of g.
    """
    if scalarization == "weighted_sum":
        return values.mean(dim=-1)
    if scalarization == "smooth_chebyshev":
        return torch.logsumexp(penalty * values, dim=-1) / penalty
    return values.amax(dim=-1)
