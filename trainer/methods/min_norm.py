"""The point of least norm in the convex hull of the task gradients; a step along its negative lowers every loss."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor

_MAX_ITERATIONS_PER_TASK = 100


@torch.no_grad()
def min_norm_weights(gram: Tensor) -> Tensor:
    """Compute the weights w of the min-norm point d = sum_t w_t g_t, which minimise ||d||^2 = w^T Gram w over the simplex.

    At the minimiser g_t . d >= ||d||^2 for every task t, with equality where w_t > 0. A small step along -d therefore
    lowers every loss, unless d = 0 (a Pareto-critical point).

    Args:
        gram: shape (n_models, n_tasks, n_tasks), G G^T of the gradients G of shape (n_tasks, n_parameters), symmetric and
            positive semidefinite up to rounding; unit: squared length of a gradient. Not modified. The result does not
            depend on a common factor, and the lengths of the gradients may differ strongly.

    Returns:
        w, shape (n_models, n_tasks), on the simplex, in the type and on the device of `gram`; computed in float64. If the minimiser is not
        unique, weights are equal between two tasks and among gradients of length 0. NaN for a model whose `gram` is not finite.

    Raises:
        ValueError: `gram` does not have this shape.
        RuntimeError: scipy's active-set method did not converge (this has not occurred in any test).

    Source: Desideri 2012 (multiple gradient descent); Sener and Koltun, NeurIPS 2018 (two tasks in closed
    form). For more tasks, Lawson and Hanson 1974, chapter 23, where a least-distance problem is reduced to non-negative least squares. This
    is exact, unlike the Frank-Wolfe iteration of Sener and Koltun.
    """
    if gram.dim() != 3 or gram.shape[1] != gram.shape[2] or gram.shape[1] == 0:
        raise ValueError(f"min_norm_weights expects gram (n_models, n_tasks, n_tasks), found shape {tuple(gram.shape)}")
    matrices = gram.double()
    is_known = matrices.isfinite().flatten(1).all(dim=1)
    matrices = torch.where(is_known[:, None, None], matrices, torch.eye(gram.shape[1], dtype=torch.float64, device=gram.device))
    if gram.shape[1] <= 2:
        weights = _between_two(matrices)
    else:
        solutions = [_among_many(one) for one in matrices.cpu().numpy()]
        weights = torch.from_numpy(np.array(solutions).reshape(-1, gram.shape[1]))
    return torch.where(is_known[:, None], weights.to(gram), torch.nan)


def _between_two(gram: Tensor) -> Tensor:
    """Return weights with w_1 : w_2 = (g_2 - g_1) . g_2 : (g_1 - g_2) . g_1, clipped at 0; shape (n_models, n_tasks), n_tasks 1 or 2."""
    if gram.shape[1] == 1:
        return torch.ones_like(gram[:, 0])
    gram = gram / gram.diagonal(dim1=1, dim2=2).amax(dim=1).clamp(min=torch.finfo(gram.dtype).tiny)[:, None, None]
    squares = gram.diagonal(dim1=1, dim2=2)
    # Each weight is computed from its own difference: 1 - w_1 would lose the small weight of a gradient that is 1e8 times as long.
    shares = (squares.flip(1) - (gram[:, :1, 1] + gram[:, 1:, 0]) / 2).clamp(min=0)
    total = shares.sum(dim=1, keepdim=True)
    return torch.where(total > 0, shares / total, 0.5)


def _among_many(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the min-norm weights of one Gram matrix, shape (n_tasks,).

    With Gram = L L^T, the minimiser u >= 0 of ||L^T u||^2 + (sum u - 1)^2 is w / (1 + ||d||^2) for the weights w of the min-norm point d.
    """
    lengths = np.sqrt(gram.diagonal().clip(min=0))
    if not lengths.all():
        return np.asarray((lengths == 0) / np.count_nonzero(lengths == 0))
    # An eigendecomposition is accurate relative to its largest eigenvalue. The gradients are therefore normalised, so that short ones
    # are not lost. Rounding may make the zero eigenvalues of a rank-deficient matrix negative.
    values, vectors = np.linalg.eigh((gram + gram.T) / 2 / lengths / lengths[:, None])
    factor = vectors * np.sqrt(values.clip(min=0)) * (lengths / lengths.min())[:, None]
    n_tasks = len(gram)
    shares, _ = nnls(np.vstack([factor.T, np.ones(n_tasks)]), np.append(np.zeros(n_tasks), 1.0), maxiter=_MAX_ITERATIONS_PER_TASK * n_tasks)
    return np.asarray(shares / shares.sum())
