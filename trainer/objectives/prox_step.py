"""The step length of the prox, which stands for all optimizer steps on the sparsity objective since the last prox.

With stochastic gradient descent, the length is the sum of learning rate times the weight of L0, and a prox after each step is exact. Adam
moves a weight by learning rate times gradient / rms(gradient), so with Adam a rule adapts the length.

The default, `layer_rms` with one prox per epoch, is the best of five variants by the hypervolume of (1 - SR, test losses) below (1, 1.5,
1.5). The table shows mean and standard deviation over seeds for MDMTN with ten k0 from 2e-3 to 4e-2, each with two task preferences.
`levels` counts sparsity rates between 5 and 75 % that are 5 points apart (`python -m tests.bench.switches step_rules`):

| rule, prox per | MultiDigits, 3,000 pairs, 3 seeds | levels | Multi-Fashion, 2,000 pairs | seeds | levels |
|---|---|---|---|---|---|
| layer_rms, epoch | 1.441 +- 0.003 | 4.2 | 0.464 +- 0.006 | 3 | 3.5 |
| layer_rms, step | 1.416 +- 0.017 | 5.0 | 0.426 +- 0.001 | 3 | 4.3 |
| row_rms_root, epoch | 1.417 +- 0.006 | 5.0 | 0.381 +- 0.010 | 2 | 3.8 |
| row_rms, epoch | 1.402 +- 0.006 | 6.0 | 0.373 +- 0.030 | 2 | 3.2 |
| row_rms, step | 1.388 +- 0.022 | 5.8 | 0.333 +- 0.026 | 2 | 3.0 |

All five were measured while each layer's limit applied per outer iteration, and rows were ranked for it in the rule's own scale. Since
then, the longest rows are restored (row_rms, epoch: 1.432 on two seeds), and a layer loses at most an equal part of the limit in each epoch
(`Structure.shrink`): layer_rms, epoch then has 1.446 +- 0.008 and 5.8 levels on MultiDigits for ten k0 from 5e-3 to 4e-2, the range in
which its sparsity rate changes (1.422 and 4.3 before, from 4e-3 to 3e-2). With Adam, `plain` prunes nothing for any of ten k0 from 0.1 to
0.9.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trainer.objectives.growl import row_matrix

_TINY = 1e-12


def layer_rms(step: Tensor, second_moments: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Divide the step of a layer by the root of the mean of its second moments, so that all its rows shrink equally.

    Args:
        step: shape (n_models,), the sum of learning rate times weight of L0.
        second_moments: Adam's second moments of the layer's weight, one tensor (out, in, ...) for each model.

    Returns:
        The step, shape (n_models,), and no row scale.
    """
    return step / (torch.stack([moment.mean() for moment in second_moments]).sqrt() + _TINY), None


def row_rms(step: Tensor, second_moments: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Scale the step as `layer_rms` does, and measure each row in units of its gradients, so that rows with small gradients shrink first.

    Arguments as for `layer_rms`.

    Returns:
        The step, shape (n_models,), and each row's scale, its rms divided by the layer's, shape (n_models, n_rows).
    """
    per_row = torch.stack([row_matrix(moment[None])[0].mean(dim=1) for moment in second_moments]).sqrt()
    layer = per_row.square().mean(dim=1, keepdim=True).sqrt() + _TINY
    return step / layer[:, 0], per_row / layer + _TINY


def row_rms_root(step: Tensor, second_moments: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Interpolate between `layer_rms` and `row_rms` by the root of the row's scale. Arguments and result as for `row_rms`."""
    step, scale = row_rms(step, second_moments)
    return step, None if scale is None else scale.sqrt()


def plain(step: Tensor, second_moments: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Return the step of stochastic gradient descent, for any optimizer. Arguments and result as for `layer_rms`."""
    return step, None


STEP_RULES: dict[str, Callable[[Tensor, Sequence[Tensor]], tuple[Tensor, Tensor | None]]] = {
    "layer_rms": layer_rms,
    "row_rms": row_rms,
    "row_rms_root": row_rms_root,
    "plain": plain,
}


class ProxStep:
    """The step length that has accumulated since the last prox, for each model.

    Attributes:
        length: shape (n_models,), sum over the optimizer's steps of learning rate times weight of L0.
    """

    def __init__(self, rule: str, n_models: int, device: torch.device, dtype: torch.dtype) -> None:
        self._rule = STEP_RULES[rule]
        self.needs_moments = rule != "plain"
        self.length = torch.zeros(n_models, device=device, dtype=dtype)

    def add(self, learning_rate: float | Tensor, sparsity_weight: Tensor) -> None:
        """Add one optimizer step; `sparsity_weight` is the weight of L0, shape (n_models,)."""
        self.length += learning_rate * sparsity_weight

    def of_layer(self, second_moments: Sequence[Tensor], correction: float) -> tuple[Tensor, Tensor | None]:
        """Compute the step and the row scale of a layer by the rule.

        Args:
            second_moments: Adam's uncorrected second moments, as for `layer_rms`; empty for the rule `plain`.
            correction: their bias correction 1 - beta2^t; without it, the step would be 7 times too long after 20 steps.

        Returns:
            The step, shape (n_models,), and the scale of each row, shape (n_models, n_rows), or None.
        """
        return self._rule(self.length * (correction**0.5 if second_moments else 1.0), second_moments)

    def reset(self) -> None:
        """Set the length to zero after a prox."""
        self.length.zero_()
