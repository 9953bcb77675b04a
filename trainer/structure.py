"""The structure of a pack's networks: which rows are suppressed, which are tied, and how phase 1 finds them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.growl import growl_gradient, growl_penalty, limit_suppression, prox_growl, row_matrix, row_norms, scale_rows, theta_pattern
from trainer.settings import GrowlSettings, TyingSettings
from trainer.tying import Tie, cluster_rows

UNTIED = -1
_TINY = 1e-12


@dataclass(frozen=True)
class Layer:
    """One regularised layer of the pack."""

    weight: Tensor
    """Stacked, shape (n_models, out, in, ...); the pack's own tensor."""
    theta: Tensor
    """Shape (n_rows,)."""


class Structure:
    """Masks and ties of the regularised layers of a pack.

    Attributes:
        layers: weight name -> Layer.
        masks: weight name -> bool, shape (n_models, n_rows); False for a suppressed row, which stays zero for good.
        labels: weight name -> int64, shape (n_models, n_rows); the cluster of each row, -1 for a suppressed row, and
            everywhere before clustering.
    """

    def __init__(self, weights: Mapping[str, Tensor], settings: GrowlSettings) -> None:
        self._settings = settings
        self.layers = {
            name: Layer(weight, theta_pattern(settings.pattern, weight.shape[2], settings.beta1, settings.beta2).to(weight))
            for name, weight in weights.items()
        }
        self.masks = {name: torch.ones(w.shape[0], w.shape[2], dtype=torch.bool, device=w.device) for name, w in weights.items()}
        self.labels = {name: torch.full_like(mask, UNTIED, dtype=torch.int64) for name, mask in self.masks.items()}
        self._ties: list[tuple[str, int, Tie]] = []
        self._is_masked = False

    def load(self, masks: Mapping[str, Tensor], labels: Mapping[str, Tensor] | None = None) -> None:
        """Take over masks, and labels if given, of the shapes of the attributes."""
        self.masks = {name: masks[name].bool().clone() for name in self.layers}
        if labels is not None:
            self.labels = {name: labels[name].long().clone() for name in self.layers}
        self._index()

    def penalty(self) -> Tensor:
        """L0 = sum over the layers of their GrOWL penalty, shape (n_models,), raw (not scaled)."""
        weight = next(iter(self.layers.values())).weight if self.layers else torch.zeros(1)
        total = torch.zeros(weight.shape[0], device=weight.device)
        for layer in self.layers.values():
            total = total + growl_penalty(row_norms(layer.weight.detach()), layer.theta)
        return total

    @torch.no_grad()
    def add_penalty_gradient(self, factor: Tensor) -> None:
        """Add factor * gradient of L0 to the stacked gradients; factor of shape (n_models,)."""
        for layer in self.layers.values():
            gradient = growl_gradient(layer.weight.detach(), layer.theta)
            layer.weight.grad += gradient * factor.reshape(-1, *[1] * (gradient.dim() - 1))  # type: ignore[operator]

    @torch.no_grad()
    def prune(self, steps: Mapping[str, Tensor], share: float) -> None:
        """Shrink the rows by the prox; rows that become zero are masked, at most `share` of a layer's rows in all.

        Args:
            steps: weight name -> length of the prox's step, shape (n_models,), in units of weight per unit of L0. Models
                whose step is not finite are left alone.
            share: the largest share of a layer's rows that may be zero by now, in [0, 1).
        """
        for name, layer in self.layers.items():
            norms = row_norms(layer.weight)
            step = torch.where(steps[name].isfinite() & norms.isfinite().all(dim=1), steps[name], 0)
            norms = norms.nan_to_num()
            # 0.8 * 5 / 2 is 1.9999999: without the small term a layer would keep one row more than asked.
            n_removable = int(share * norms.shape[1] + 1e-9)
            shrunk = limit_suppression(norms, prox_growl(norms, layer.theta, step), n_removable)
            shrunk = torch.where((step > 0)[:, None], shrunk, norms)
            scale_rows(layer.weight, shrunk / (norms + _TINY * (norms == 0)))
            self.masks[name] = self.masks[name] & (shrunk > 0)
        self._index()

    def cluster(self, settings: TyingSettings, seed: int, alive: Tensor) -> Tensor:
        """Find the ties among the surviving rows of each layer of each living model.

        Returns:
            Whether the clustering of every layer converged, shape (n_models,), bool.
        """
        converged = torch.ones(len(alive), dtype=torch.bool)
        for name, layer in self.layers.items():
            rows = row_matrix(layer.weight.detach())
            self.labels[name] = torch.full_like(self.labels[name], UNTIED)
            for model in torch.nonzero(alive).flatten().tolist():
                kept = torch.nonzero(self.masks[name][model]).flatten()
                labels, is_converged = cluster_rows(rows[model, kept], settings, seed)
                self.labels[name][model, kept] = torch.from_numpy(labels).to(kept.device)
                converged[model] &= is_converged
        self._index()
        return converged

    @torch.no_grad()
    def enforce(self) -> None:
        """Set suppressed rows to zero and tied rows to the mean of their cluster."""
        if self._is_masked:
            for name, layer in self.layers.items():
                scale_rows(layer.weight, self.masks[name].to(layer.weight.dtype))
        for name, model, tie in self._ties:
            tie.apply(self.layers[name].weight[model])

    def _index(self) -> None:
        self._is_masked = any(not bool(mask.all()) for mask in self.masks.values())
        ties = ((name, model, Tie.from_labels(line)) for name, labels in self.labels.items() for model, line in enumerate(labels))
        self._ties = [(name, model, tie) for name, model, tie in ties if tie is not None]
