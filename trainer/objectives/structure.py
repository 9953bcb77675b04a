"""The structure of a pack's networks: which rows are suppressed, which are tied, and how phase 1 finds them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.objectives.growl import (
    growl_gradient,
    growl_penalty,
    is_spike,
    limit_suppression,
    prox_growl,
    row_matrix,
    row_norms,
    scale_rows,
    theta_pattern,
)
from trainer.objectives.tying import Tie, cluster_each
from trainer.settings import GrowlSettings, TyingSettings

UNTIED = -1
_TINY = 1e-12


def theta_of(settings: GrowlSettings, n_rows: int, group_size: int = 1) -> Tensor:
    """The GrOWL weights of a layer with so many rows, shape (n_rows,), float64.

    A group of rows weighs the root of its size times as much, as in the group lasso: its norm is as many times as long.
    """
    return theta_pattern(settings.pattern, n_rows, settings.beta1, settings.beta2, settings.pld_share) * math.sqrt(group_size)


def in_groups(weight: Tensor, group_size: int) -> Tensor:
    """A view of a Linear weight, shape (..., out, in), whose rows are groups of neighbours: (..., out, in / group_size, group_size)."""
    if group_size == 1:
        return weight
    grouped: Tensor = weight.view(*weight.shape[:-1], weight.shape[-1] // group_size, group_size)
    return grouped


@dataclass(frozen=True)
class Layer:
    """One regularised layer of the pack."""

    weight: Tensor
    """Stacked, shape (n_models, out, n_rows, ...): the pack's own tensor, or a view of it whose rows are groups."""
    owner: Tensor
    """The pack's own tensor."""
    group_size: int
    """Input units that are one row here: the positions of a channel with `growl.groups: channel`, else 1."""
    theta: Tensor
    """Shape (n_rows,)."""
    is_spike: bool
    """Whether all weights of theta but the first are equal."""

    @staticmethod
    def of(owner: Tensor, settings: GrowlSettings, group_size: int = 1) -> "Layer":
        """The layer with the weights theta that the settings give it."""
        weight = in_groups(owner.detach(), group_size) if group_size > 1 else owner
        theta = theta_of(settings, weight.shape[2], group_size)
        return Layer(weight, owner, group_size, theta.to(weight), is_spike(theta))

    @property
    def gradient(self) -> Tensor:
        """Of `weight`, in the memory of the pack's own gradient."""
        assert self.owner.grad is not None
        return in_groups(self.owner.grad, self.group_size)


class Structure:
    """Masks and ties of the regularised layers of a pack.

    Args:
        weights: weight name -> the pack's own tensor, stacked.
        settings: of GrOWL.
        n_models: of the pack.
        device: of the pack.
        group_sizes: weight name -> how many neighbouring input units of a Linear layer are one row; 1 where it is not named.

    Attributes:
        layers: weight name -> Layer.
        masks: weight name -> bool, shape (n_models, n_rows); False for a suppressed row, which stays zero for good.
        n_changes: how often what a step does has changed: rows began to be masked, or tied.
        labels: weight name -> int64, shape (n_models, n_rows); the cluster of each row, -1 for a suppressed row, and
            everywhere before clustering.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        settings: GrowlSettings,
        n_models: int,
        device: torch.device,
        group_sizes: Mapping[str, int] | None = None,
    ) -> None:
        self._zero = torch.zeros(n_models, device=device)
        self.layers = {name: Layer.of(weight, settings, (group_sizes or {}).get(name, 1)) for name, weight in weights.items()}
        shapes = {name: layer.weight.shape for name, layer in self.layers.items()}
        self.masks = {name: torch.ones(shape[0], shape[2], dtype=torch.bool, device=device) for name, shape in shapes.items()}
        self.labels = {name: torch.full_like(mask, UNTIED, dtype=torch.int64) for name, mask in self.masks.items()}
        self._ties: dict[str, Tie] = {}
        self._is_masked = False
        self.n_changes = 0

    def load(self, masks: Mapping[str, Tensor], labels: Mapping[str, Tensor] | None = None, is_fixed: bool = True) -> None:
        """Take over masks, and labels if given, of the shapes of the attributes; `is_fixed`: masked rows stay zero."""
        for name, mask in self.masks.items():
            mask.copy_(masks[name])
        if labels is not None:
            self.labels = {name: labels[name].long().clone() for name in self.layers}
        self._index(is_fixed)

    def penalty(self) -> Tensor:
        """L0 = sum over the layers of their GrOWL penalty, shape (n_models,), raw (not scaled)."""
        total = self._zero
        for layer in self.layers.values():
            total = total + growl_penalty(row_norms(layer.weight.detach()), layer.theta, layer.is_spike)
        return total

    @torch.no_grad()
    def add_penalty_gradient(self, factor: Tensor) -> None:
        """Add factor * gradient of L0 to the stacked gradients; factor of shape (n_models,)."""
        for layer in self.layers.values():
            gradient = growl_gradient(layer.weight.detach(), layer.theta)
            layer.gradient.add_(gradient * factor.reshape(-1, *[1] * (gradient.dim() - 1)))

    @torch.no_grad()
    def shrink(self, steps: Mapping[str, tuple[Tensor, Tensor | None]], share: float, epoch_share: float) -> None:
        """Shrink the rows by the prox; a limit on how many of a layer may be zero afterwards brings the longest ones back.

        Args:
            steps: weight name -> length of the prox's step, shape (n_models,), in units of weight per unit of L0, and the
                scale in which its rows are measured, shape (n_models, n_rows), or None. Models whose step is not finite
                are left alone.
            share: the largest share of a layer's rows that may be zero by now, in [0, 1).
            epoch_share: the largest share that may become zero in one epoch. LSUV starts all rows of a layer at one length,
                so without it a layer goes from none to its whole share at once, and the front has gaps.
        """
        for name, layer in self.layers.items():
            length, scale = steps[name]
            norms = row_norms(layer.weight)
            step = torch.where(length.isfinite() & norms.isfinite().all(dim=1), length, 0)
            norms = norms.nan_to_num()
            measured = norms if scale is None else norms * scale.nan_to_num(1.0)
            # 0.8 * 5 / 2 is 1.9999999: without the small term a layer would keep one row more than asked.
            n_allowed, n_an_epoch = int(share * norms.shape[1] + 1e-9), math.ceil(epoch_share * norms.shape[1] - 1e-9)
            n_removable = ((~self.masks[name]).sum(dim=1) + n_an_epoch).clamp(max=n_allowed)
            shrunk = prox_growl(measured, layer.theta, step)
            # The longest rows come back, whatever scale they were shrunk in: ranking by the scale lost 2 % of the hypervolume.
            shrunk = limit_suppression(norms, shrunk if scale is None else shrunk * norms / (measured + _TINY), n_removable)
            shrunk = torch.where((step > 0)[:, None], shrunk, norms)
            scale_rows(layer.weight, shrunk / (norms + _TINY * (norms == 0)))

    @torch.no_grad()
    def mask_zero_rows(self, is_fixed: bool) -> None:
        """Take the rows that are zero now into the masks; `is_fixed`: they stay zero from now on."""
        for name, layer in self.layers.items():
            survives = row_norms(layer.weight) != 0  # NaN survives: a broken model is not a sparse one
            self.masks[name].copy_(self.masks[name] & survives if is_fixed else survives)
        self._index(is_fixed)

    def cluster(self, settings: TyingSettings, seed: int, alive: Tensor, n_threads: int = 1) -> Tensor:
        """Find the ties among the surviving rows of each layer of each living model; needs no device while it computes.

        Returns:
            Whether the clustering of every layer converged, shape (n_models,), bool.
        """
        converged = torch.ones(len(alive), dtype=torch.bool)
        models = torch.nonzero(alive).flatten().tolist()
        for name, layer in self.layers.items():
            rows, masks = row_matrix(layer.weight.detach()).cpu(), self.masks[name].cpu()
            labels = torch.full(masks.shape, UNTIED)
            found = cluster_each([rows[model, masks[model]] for model in models], settings, seed, n_threads)
            for model, (of_rows, is_converged) in zip(models, found, strict=True):
                labels[model, masks[model]] = torch.from_numpy(of_rows)
                converged[model] &= is_converged
            self.labels[name] = labels.to(self.labels[name].device)
        self._index(is_fixed=True)
        return converged

    def n_suppressed(self) -> Tensor:
        """Input units whose rows are masked, of each model, shape (n_models,), int64."""
        counts = [(~mask).sum(dim=1) * self.layers[name].group_size for name, mask in self.masks.items()]
        return torch.stack(counts).sum(dim=0) if counts else torch.zeros(len(self._zero), dtype=torch.int64)

    def unit_labels(self) -> dict[str, Tensor]:
        """`labels` of single input units: those at the same position of channels that are tied are tied."""
        return {name: _of_units(labels, self.layers[name].group_size) for name, labels in self.labels.items()}

    @torch.no_grad()
    def tie(self) -> None:
        """Set suppressed rows to zero and the rows of each cluster to their mean: the start of phase 2."""
        self.enforce()
        for name, tie in self._ties.items():
            tie.average(self.layers[name].weight)

    @torch.no_grad()
    def share_gradients(self) -> None:
        """Make the tied rows one parameter: each gets the gradient of its whole cluster."""
        for name, tie in self._ties.items():
            tie.share_gradient(self.layers[name].gradient)

    def free_gradient(self, model: int, name: str, gradient: Tensor) -> Tensor:
        """A model's gradient over what is free to move in a parameter: suppressed rows left out, a cluster of tied rows once.

        Args:
            model: its place in the pack.
            name: of the parameter; one that is no regularised weight is free as a whole.
            gradient: shape of one model's parameter.

        Returns:
            Shape (n_free_rows, row_length), or the gradient itself.
        """
        if name not in self.masks:
            return gradient
        rows = row_matrix(in_groups(gradient[None], self.layers[name].group_size))[0]
        mask, labels = self.masks[name][model], self.labels[name][model]
        tied = mask & (labels != UNTIED)
        clusters, place = torch.unique(labels[tied], return_inverse=True)
        sums = torch.zeros(len(clusters), rows.shape[1], dtype=rows.dtype, device=rows.device).index_add_(0, place, rows[tied])
        return torch.cat([rows[mask & ~tied], sums])

    @torch.no_grad()
    def enforce(self) -> None:
        """After a step: suppressed rows are zero and tied rows equal."""
        if self._is_masked:
            for name, layer in self.layers.items():
                scale_rows(layer.weight, self.masks[name].to(layer.weight.dtype))
        for name, tie in self._ties.items():
            tie.copy(self.layers[name].weight)

    def _index(self, is_fixed: bool) -> None:
        was_masked, had_ties = self._is_masked, bool(self._ties)
        self._is_masked = is_fixed and any(not bool(mask.all()) for mask in self.masks.values())
        ties = {name: Tie.from_labels(labels) for name, labels in self.labels.items()}
        self._ties = {name: tie for name, tie in ties.items() if tie is not None}
        self.n_changes += was_masked != self._is_masked or had_ties or bool(self._ties)


def _of_units(labels: Tensor, group_size: int) -> Tensor:
    positions = torch.arange(group_size, device=labels.device)
    return torch.where(labels[..., None] < 0, UNTIED, labels[..., None] * group_size + positions).flatten(1)
