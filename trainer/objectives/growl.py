"""The group ordered weighted l1 penalty (GrOWL): the rows of a layer, their norms, the penalty and its proximal operator.

A row is one input unit of a layer. Weights are stacked over a pack: Linear (n_models, out, in), Conv2d
(n_models, out, in, height, width); dimension 2 runs over the rows. Rows of equal norm are ranked by their index: without a
stable sort their order would depend on the processor.
"""

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

_ROW_DIM = 2


def theta_pattern(pattern: str, n_rows: int, beta1: float, beta2: float, pld_share: float = 0.5) -> Tensor:
    """Compute the sorted weights theta of a layer, largest first.

    Args:
        pattern: `spike` (beta1 + beta2, then beta2), `linear` (OSCAR: decreasing evenly from beta1 + beta2 to beta2) or `pld`
            (piecewise linear decay: decreasing over the first rows, then beta2).
        n_rows: number of rows of the layer, >= 1.
        beta1: weight of the ordered part, >= 0; unit: loss per unit of row norm.
        beta2: weight of every row, >= 0; unit: loss per unit of row norm.
        pld_share: share of the rows over which `pld` decreases, in (0, 1].

    Returns:
        theta, shape (n_rows,), float64, non-increasing.

    Source: Zhang et al., ICLR 2018 (GrOWL-spike); Bondell and Reich 2008 (OSCAR); the piecewise linear decay of Zhang et
    al.'s experiments.
    """
    n_decreasing = {"spike": 1, "linear": n_rows, "pld": max(1, round(pld_share * n_rows))}[pattern]
    theta = torch.full((n_rows,), beta2, dtype=torch.float64)
    theta[:n_decreasing] += beta1 * torch.linspace(1, 0, n_decreasing, dtype=torch.float64)
    return theta


def row_norms(weight: Tensor) -> Tensor:
    """Return the Euclidean norm of each row of a stacked weight, shape (n_models, n_rows)."""
    others = [dim for dim in range(1, weight.dim()) if dim != _ROW_DIM]
    return weight.square().sum(dim=others).sqrt()


def row_matrix(weight: Tensor) -> Tensor:
    """Return the rows of a stacked weight, shape (n_models, n_rows, row_length)."""
    return weight.transpose(1, _ROW_DIM).flatten(2)


def scale_rows(weight: Tensor, scale: Tensor) -> None:
    """Multiply each row of `weight`, in place, by `scale` of shape (n_models, n_rows).

    Args:
        weight: a stacked weight (see the module's docstring).
        scale: shape (n_models, n_rows); False counts as 0 and True as 1.
    """
    weight.mul_(scale.reshape(scale.shape[0], 1, scale.shape[1], *[1] * (weight.dim() - 3)))


def is_spike(theta: Tensor) -> bool:
    """Return whether all weights except the first are equal."""
    return bool((theta[1:] == theta[-1]).all())


def growl_penalty(norms: Tensor, theta: Tensor, spike: bool | None = None) -> Tensor:
    """Compute the penalty sum_i theta_i ||w_[i]||, with the rows sorted by norm, largest first.

    Args:
        norms: shape (n_models, n_rows).
        theta: shape (n_rows,), non-increasing.
        spike: `is_spike(theta)` if already known, because computing it makes the CPU wait for a GPU.

    Returns:
        Shape (n_models,).
    """
    if is_spike(theta) if spike is None else spike:
        return theta[-1].to(norms) * norms.sum(dim=1) + (theta[0] - theta[-1]).to(norms) * norms.amax(dim=1)
    return norms.sort(dim=1, descending=True).values @ theta.to(norms)


@torch.no_grad()
def prox_growl(norms: Tensor, theta: Tensor, step: Tensor) -> Tensor:
    """Shrink row norms by the proximal operator of the GrOWL penalty.

    Minimises 0.5 * ||u - norms||^2 + step * sum_i theta_i * u_[i] over u >= 0, where u_[i] is the i-th largest.

    Args:
        norms: shape (n_models, n_rows), >= 0. Not modified.
        theta: shape (n_rows,), >= 0 and non-increasing; unit: loss per unit of row norm.
        step: shape (n_models,), >= 0; the length of the gradient step that this prox stands for.

    Returns:
        Shrunk norms, shape (n_models, n_rows), in the order of `norms`; suppressed rows are exactly 0.

    Raises:
        ValueError: a shape, a sign or the order is violated; the message names the value.

    Source: Zhang et al., ICLR 2018 (row reduction); Bogdan et al. 2015 (prox of the sorted l1 norm by pooling of
    adjacent violators); the spike pattern in closed form, see `prox_spike`.
    """
    if theta.shape != norms.shape[1:] or step.shape != norms.shape[:1]:
        raise ValueError(
            "prox_growl expects theta (n_rows,) and step (n_models,) for norms (n_models, n_rows), "
            f"found {tuple(theta.shape)}, {tuple(step.shape)}, {tuple(norms.shape)}"
        )
    if bool((theta < 0).any()) or bool((theta.diff() > 0).any()):
        raise ValueError(f"prox_growl expects theta >= 0 and non-increasing, found theta = {theta.tolist()}")
    if bool((norms < 0).any()) or bool((step < 0).any()):
        raise ValueError(f"prox_growl expects norms and step >= 0, found least norm = {norms.min()}, least step = {step.min()}")
    if is_spike(theta):
        return prox_spike(norms, float(theta[0] - theta[-1]), float(theta[-1]), step)
    order = norms.argsort(dim=1, descending=True, stable=True)
    shifted = (norms.gather(1, order).double() - step.double()[:, None] * theta).cpu().numpy()
    fitted = np.stack([isotonic_regression(line, increasing=False).x for line in shifted]).clip(min=0)
    return torch.zeros_like(norms).scatter(1, order, torch.from_numpy(fitted).to(norms))


def prox_spike(norms: Tensor, beta1: float, beta2: float, step: Tensor) -> Tensor:
    """Compute the prox for theta = (beta1 + beta2, beta2, beta2, ...) in closed form.

    With s = max(norms - step * beta2, 0), the remaining problem is the prox of step * beta1 * max(u). Its solution is zero if sum(s) <=
    step * beta1; otherwise it is s capped at the tau for which sum(max(s - tau, 0)) = step * beta1. (By Moreau, the residual is the
    projection of s onto the l1 ball.)

    Args:
        norms: shape (n_models, n_rows), >= 0.
        beta1, beta2: >= 0; unit: loss per unit of row norm.
        step: shape (n_models,), >= 0.

    Returns:
        Shape (n_models, n_rows).
    """
    soft = (norms - step[:, None] * beta2).clamp(min=0)
    radius = (step * beta1)[:, None]
    descending = soft.sort(dim=1, descending=True).values
    caps = (descending.cumsum(dim=1) - radius) / torch.arange(1, norms.shape[1] + 1, device=norms.device, dtype=norms.dtype)
    last = ((descending > caps).sum(dim=1, keepdim=True) - 1).clamp(min=0)
    capped = torch.minimum(soft, caps.gather(1, last).clamp(min=0))
    # Without a spike the cap is the largest norm itself, which rounding of the cumulative sum must not reduce.
    return torch.where(radius > 0, capped, soft)


def limit_suppression(norms: Tensor, shrunk: Tensor, n_removable: Tensor) -> Tensor:
    """Restore suppressed rows, the longest first, so that at most `n_removable` rows of a layer are zero.

    A restored row is no longer than the shortest surviving row; it keeps its length if no row survived.

    Args:
        norms: shape (n_models, n_rows), norms before the prox; rows that are already zero stay zero.
        shrunk: shape (n_models, n_rows), norms after the prox.
        n_removable: the number of rows that may be zero, shape (n_models,), int64.

    Returns:
        Shape (n_models, n_rows).
    """
    rank = norms.argsort(dim=1, stable=True).argsort(dim=1)
    restored = (shrunk == 0) & (rank >= n_removable[:, None]) & (norms > 0)
    shortest = shrunk.masked_fill(shrunk == 0, torch.inf).amin(dim=1, keepdim=True)
    return torch.where(restored, torch.minimum(norms, shortest), shrunk)


def growl_gradient(weight: Tensor, theta: Tensor) -> Tensor:
    """Compute the gradient of the penalty where it is smooth: theta at the row's rank times the normalised row, and 0 for zero rows.

    Args:
        weight: a stacked weight (see the module's docstring).
        theta: shape (n_rows,), non-increasing.

    Returns:
        The gradient, in the shape of `weight`.
    """
    norms = row_norms(weight)
    rank = norms.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    coefficient = torch.where(norms > 0, theta.to(norms)[rank] / norms, torch.zeros_like(norms))
    gradient = weight.clone()
    scale_rows(gradient, coefficient)
    return gradient
