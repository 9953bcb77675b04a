"""The sparsity and the parameter sharing of a trained network, in rows and in parameters."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.objectives.growl import row_matrix


def weight_names(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the weight tensors whose rows are counted: all Linear and Conv2d layers, including heads and input layers."""
    return tuple(f"{name}.weight" for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear))


def n_parameters(model: nn.Module) -> int:
    """Count the parameters of a network, except those named in its `mixing_parameters` (MDMTN's alpha: two numbers for each task)."""
    left_out = set(getattr(model, "mixing_parameters", ()))
    return sum(value.numel() for name, value in model.named_parameters() if name not in left_out)


@dataclass(frozen=True)
class SparsityMetrics:
    """Sparsity rate (SR), compression rate (CR) and parameter sharing (PS) of one model; PS = CR (1 - SR) holds exactly."""

    sparsity_rate: float
    """SR = zero rows / rows, a fraction."""
    compression_rate: float
    """CR = rows / unique rows; all zero rows of a layer count as one unique row."""
    parameter_sharing: float
    """PS = non-zero rows / unique rows."""
    sparsity_rate_params: float
    compression_rate_params: float
    parameter_sharing_params: float
    n_rows: int


def sparsity_metrics(weights: Mapping[str, Tensor]) -> SparsityMetrics:
    """Compute the sparsity and sharing rates of one model, in rows and in parameters.

    Args:
        weights: name -> Linear weight (out, in) or Conv2d weight (out, in, height, width); a row is one input unit.

    Source: Zhang et al., ICLR 2018, section 4; Hotegni, Berkemeier and Peitz, IJCNN 2024, Table I.
    """
    n_rows = n_zero = n_unique = 0
    n_params = n_zero_params = n_unique_params = 0
    for weight in weights.values():
        rows = row_matrix(weight[None])[0]
        zero = int((rows == 0).all(dim=1).sum())
        unique = len(torch.unique(rows, dim=0))
        n_rows, n_zero, n_unique = n_rows + len(rows), n_zero + zero, n_unique + unique
        length = rows.shape[1]
        n_params, n_zero_params, n_unique_params = n_params + rows.numel(), n_zero_params + zero * length, n_unique_params + unique * length
    return SparsityMetrics(
        sparsity_rate=n_zero / n_rows,
        compression_rate=n_rows / n_unique,
        parameter_sharing=(n_rows - n_zero) / n_unique,
        sparsity_rate_params=n_zero_params / n_params,
        compression_rate_params=n_params / n_unique_params,
        parameter_sharing_params=(n_params - n_zero_params) / n_unique_params,
        n_rows=n_rows,
    )


def layer_sparsity(weights: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the fraction of zero rows in each weight tensor, as a mapping name -> fraction."""
    return {name: float((row_matrix(weight[None])[0] == 0).all(dim=1).double().mean()) for name, weight in weights.items()}
