"""The structure of a pack's networks: suppressed rows, tied rows, and how phase 1 determines them."""

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
    """Compute the GrOWL weights of a layer with `n_rows` rows, shape (n_rows,), float64.

    As in the group lasso, the weight of a group is multiplied by the root of its size, because its norm grows by this factor.

    Args:
        settings: the settings of GrOWL.
        n_rows: number of rows of the layer.
        group_size: number of input units that form one row.
    """
    return theta_pattern(settings.pattern, n_rows, settings.beta1, settings.beta2, settings.pld_share) * math.sqrt(group_size)


def in_groups(weight: Tensor, group_size: int) -> Tensor:
    """Return a view of a Linear weight (..., out, in) whose rows are groups of neighbours, (..., out, in / group_size, group_size).

    Args:
        weight: shape (..., out, in).
        group_size: number of neighbouring input units that form one row; it divides `in`.
    """
    if group_size == 1:
        return weight
    grouped: Tensor = weight.view(*weight.shape[:-1], weight.shape[-1] // group_size, group_size)
    return grouped


@dataclass(frozen=True)
class Layer:
    """One regularised layer of the pack."""

    weight: Tensor
    """Stacked, shape (n_models, out, n_rows, ...): the pack's tensor, or a view of it whose rows are groups."""
    owner: Tensor
    """The pack's tensor."""
    group_size: int
    """Number of input units that form one row: the positions of a channel with `growl.groups: channel`, otherwise 1."""
    theta: Tensor
    """Shape (n_rows,)."""
    is_spike: bool
    """Whether all weights of theta except the first are equal."""

    @staticmethod
    def of(owner: Tensor, settings: GrowlSettings, group_size: int = 1) -> "Layer":
        """Create a layer with the weights theta that follow from the settings."""
        weight = in_groups(owner.detach(), group_size) if group_size > 1 else owner
        theta = theta_of(settings, weight.shape[2], group_size)
        return Layer(weight, owner, group_size, theta.to(weight), is_spike(theta))

    @property
    def gradient(self) -> Tensor:
        """The gradient of `weight`, a view of the pack's gradient."""
        assert self.owner.grad is not None
        return in_groups(self.owner.grad, self.group_size)


class Structure:
    """Masks and ties of the regularised layers of a pack.

    Args:
        weights: weight name -> the pack's stacked tensor; its values are those of the initial network.
        settings: the settings of GrOWL.
        n_models: number of models in the pack.
        device: device of the pack.
        group_sizes: weight name -> number of neighbouring input units of a Linear layer that form one row; 1 for other names.

    Attributes:
        layers: weight name -> Layer.
        masks: weight name -> bool, shape (n_models, n_rows); False for a suppressed row, which stays zero.
        n_changes: how often the operations of a step have changed because rows became masked or tied. After `expect_masks` they change
            only when rows are tied.
        labels: weight name -> int64, shape (n_models, n_rows), the cluster of each row: -1 for a suppressed row, and for every row before
            the clustering.
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
        self._initial_lengths = {name: row_norms(layer.weight.detach()).mean(dim=1, keepdim=True) for name, layer in self.layers.items()}
        shapes = {name: layer.weight.shape for name, layer in self.layers.items()}
        self.masks = {name: torch.ones(shape[0], shape[2], dtype=torch.bool, device=device) for name, shape in shapes.items()}
        self.labels = {name: torch.full_like(mask, UNTIED, dtype=torch.int64) for name, mask in self.masks.items()}
        self._ties: dict[str, Tie] = {}
        self._is_masked = self._expects_masks = False
        self.n_changes = 0

    def load(self, masks: Mapping[str, Tensor], labels: Mapping[str, Tensor] | None = None, is_fixed: bool = True) -> None:
        """Load masks and, if given, labels, in the shapes of the attributes; if `is_fixed`, masked rows stay zero."""
        for name, mask in self.masks.items():
            mask.copy_(masks[name])
        if labels is not None:
            self.labels = {name: labels[name].to(own.device, torch.int64, copy=True) for name, own in self.labels.items()}
        self._index(is_fixed)

    def expect_masks(self) -> None:
        """Apply the masks after each step from now on, even while no row is masked, so that the operations of a step stay the same."""
        self._expects_masks = self._is_masked = True

    def penalty(self) -> Tensor:
        """Compute L0, the unscaled sum of the layers' GrOWL penalties, shape (n_models,)."""
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
        """Shrink the rows by the prox, and restore the longest ones if more rows of a layer are zero than the limit allows.

        Args:
            steps: weight name -> length of the prox's step, shape (n_models,), in units of weight per unit of L0, and the
                scale in which the rows are measured, shape (n_models, n_rows), or None. Models whose step is not finite
                do not change.
            share: the largest share of a layer's rows that may be zero at this point, in [0, 1).
            epoch_share: the largest share of rows that may become zero in one epoch. LSUV gives all rows of a layer the same initial
                length, so without this limit a layer would lose its whole share at once, and the front would have gaps.
        """
        for name, layer in self.layers.items():
            length, scale = steps[name]
            norms = row_norms(layer.weight)
            step = torch.where(length.isfinite() & norms.isfinite().all(dim=1), length, 0)
            norms = norms.nan_to_num()
            measured = norms if scale is None else norms * scale.nan_to_num(1.0)
            # 0.8 * 5 / 2 is 1.9999999: without the small term, a layer would keep one row too many.
            n_allowed, n_per_epoch = int(share * norms.shape[1] + 1e-9), math.ceil(epoch_share * norms.shape[1] - 1e-9)
            n_removable = ((~self.masks[name]).sum(dim=1) + n_per_epoch).clamp(max=n_allowed)
            shrunk = prox_growl(measured, layer.theta, step)
            # The longest rows are restored whatever the scale: ranking by the scaled length lost 2 % of the hypervolume.
            shrunk = limit_suppression(norms, shrunk if scale is None else shrunk * norms / (measured + _TINY), n_removable)
            shrunk = torch.where((step > 0)[:, None], shrunk, norms)
            scale_rows(layer.weight, shrunk / (norms + _TINY * (norms == 0)))

    @torch.no_grad()
    def remove_shortest(self, level: Tensor, share: float) -> None:
        """Set the shortest rows to zero until L0 is no larger than `level`.

        A row's length is measured in units of the mean length that the rows of its layer had in the initial network, so that layers of
        different widths compete.

        Args:
            level: the largest L0, shape (n_models,); models whose level is not finite do not change.
            share: the largest share of a layer's rows that may be zero at this point, in [0, 1).
        """
        ranks, parts, sizes = [], [], []
        for name, layer in self.layers.items():
            norms = row_norms(layer.weight).nan_to_num()
            n = norms.shape[1]
            place = norms.argsort(dim=1, descending=True, stable=True).argsort(dim=1)  # 0: the longest row
            may_go = place >= n - int(share * n + 1e-9)
            ranks.append(torch.where(may_go, norms / self._initial_lengths[name], torch.inf))
            parts.append(layer.theta.to(norms)[place] * norms)  # shorter rows may go without changing the weight theta of a longer one
            sizes.append(n)
        if not ranks:
            return
        rank, part = torch.cat(ranks, dim=1), torch.cat(parts, dim=1)
        order = rank.argsort(dim=1, stable=True)
        ordered = part.gather(1, order)
        removed_before = ordered.cumsum(dim=1) - ordered
        goes = (removed_before < (self.penalty() - level)[:, None]) & rank.gather(1, order).isfinite()
        survives = torch.ones_like(goes).scatter(1, order, ~goes)
        for layer, of_layer in zip(self.layers.values(), survives.split(sizes, dim=1), strict=True):
            scale_rows(layer.weight, of_layer)

    def limits(self, share: float) -> dict[str, float]:
        """Return the largest share of zero rows of each layer, as a mapping weight name -> whole rows / rows.

        Args:
            share: the largest share as the settings give it, in [0, 1).
        """
        return {name: int(share * mask.shape[1] + 1e-9) / mask.shape[1] for name, mask in self.masks.items()}

    @torch.no_grad()
    def mask_zero_rows(self, is_fixed: bool) -> None:
        """Mask the rows that are zero now; if `is_fixed`, they stay zero from now on."""
        for name, layer in self.layers.items():
            survives = row_norms(layer.weight) != 0  # NaN counts as surviving: a diverged model is not sparse
            self.masks[name].copy_(self.masks[name] & survives if is_fixed else survives)
        self._index(is_fixed)

    def cluster(self, settings: TyingSettings, seed: int, alive: Tensor, n_threads: int = 1) -> Tensor:
        """Cluster the surviving rows of each layer of each living model on the CPU.

        Args:
            settings: the settings of the clustering.
            seed: seed of affinity propagation's tie-breaking noise.
            alive: shape (n_models,), bool.
            n_threads: number of CPU threads; the result does not depend on it.

        Returns:
            Whether the clustering of every layer converged, shape (n_models,), bool.
        """
        converged = torch.ones(len(alive), dtype=torch.bool)
        models = torch.nonzero(alive).flatten().tolist()
        for name, layer in self.layers.items():
            rows, masks = row_matrix(layer.weight.detach()).cpu(), self.masks[name].cpu()
            labels = torch.full(masks.shape, UNTIED)
            clusters = cluster_each([rows[model, masks[model]] for model in models], settings, seed, n_threads)
            for model, (cluster, is_converged) in zip(models, clusters, strict=True):
                labels[model, masks[model]] = torch.from_numpy(cluster)
                converged[model] &= is_converged
            self.labels[name] = labels.to(self.labels[name].device)
        self._index(is_fixed=True)
        return converged

    def n_suppressed(self) -> Tensor:
        """Count the input units whose rows are masked, shape (n_models,), int64."""
        counts = [(~mask).sum(dim=1) * self.layers[name].group_size for name, mask in self.masks.items()]
        return torch.stack(counts).sum(dim=0) if counts else torch.zeros(len(self._zero), dtype=torch.int64)

    def unit_labels(self) -> dict[str, Tensor]:
        """Return `labels` for single input units; units at equal positions of tied channels are tied."""
        return {name: _of_units(labels, self.layers[name].group_size) for name, labels in self.labels.items()}

    @torch.no_grad()
    def tie(self) -> None:
        """Set suppressed rows to zero and the rows of each cluster to their mean, equal to the bit, which starts phase 2."""
        self._suppress()
        for name, tie in self._ties.items():
            tie.average(self.layers[name].weight)
            tie.copy(self.layers[name].weight)

    @torch.no_grad()
    def share_gradients(self) -> None:
        """Give each tied row the gradient of its whole cluster, so that tied rows are one parameter."""
        for name, tie in self._ties.items():
            tie.share_gradient(self.layers[name].gradient)

    def free_gradient(self, model: int, name: str, gradient: Tensor) -> Tensor:
        """Reduce a model's gradient to the free entries of a parameter: without suppressed rows, and one row for each tied cluster.

        Args:
            model: index of the model in the pack.
            name: name of the parameter; all entries of a parameter that is not regularised are free.
            gradient: the gradient, in the shape of one model's parameter.

        Returns:
            Shape (n_free_rows, row_length), or the gradient itself where all entries are free.
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
        """Set suppressed rows to zero and tied rows equal, after an optimizer step."""
        self._suppress()
        for name, tie in self._ties.items():
            tie.copy(self.layers[name].weight)

    def _suppress(self) -> None:
        if self._is_masked:
            for name, layer in self.layers.items():
                scale_rows(layer.weight, self.masks[name])

    def _index(self, is_fixed: bool) -> None:
        was_masked, had_ties = self._is_masked, bool(self._ties)
        self._is_masked = is_fixed and (self._expects_masks or any(not bool(mask.all()) for mask in self.masks.values()))
        ties = {name: Tie.from_labels(labels) for name, labels in self.labels.items()}
        self._ties = {name: tie for name, tie in ties.items() if tie is not None}
        self.n_changes += was_masked != self._is_masked or had_ties or bool(self._ties)


def _of_units(labels: Tensor, group_size: int) -> Tensor:
    positions = torch.arange(group_size, device=labels.device)
    return torch.where(labels[..., None] < 0, UNTIED, labels[..., None] * group_size + positions).flatten(1)
