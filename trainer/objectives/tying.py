"""Ties between rows of a layer: similar rows are clustered into groups that share one value, in bounded memory."""

import contextlib
import ctypes
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.settings import TyingSettings

_LAST_DAMPING = 0.95


def similarity(rows: Tensor) -> NDArray[np.float64]:
    """Compute the similarities S(i, j) = w_i . w_j / max(||w_i||^2, ||w_j||^2), which are 1 only for equal rows.

    Args:
        rows: shape (n_rows, row_length), none of them zero.

    Returns:
        Shape (n_rows, n_rows), in [-1, 1] (clipped against rounding).
    """
    exact = rows.double()
    squared = exact.square().sum(dim=1)
    products = exact @ exact.T  # from here on in place, because with 2,880 rows each copy takes 66 MB
    matrix: NDArray[np.float64] = products.div_(torch.maximum(squared[:, None], squared[None])).clamp_(-1, 1).cpu().numpy()
    return matrix


def cluster_rows(rows: Tensor, settings: TyingSettings, seed: int) -> tuple[NDArray[np.int64], bool]:
    """Cluster rows by affinity propagation, one connected component of {S > preference} at a time.

    For a row, being its own exemplar is never worse than joining an exemplar with S <= preference, so the optimum decomposes over these
    components. A component of up to three rows is one cluster. A component that does not converge even with more damping stays untied.

    Args:
        rows: shape (n_rows, row_length), none of them zero.
        settings: preference, damping, max_iterations.
        seed: seed of affinity propagation's tie-breaking noise.

    Returns:
        Labels 0 .. n_clusters - 1, shape (n_rows,), and whether every component converged.

    Source: Frey and Dueck 2007; Zhang et al., ICLR 2018 (its use for GrOWL).
    """
    n_rows = len(rows)
    if n_rows == 0:
        return np.zeros(0, np.int64), True
    similarities = similarity(rows)
    n_parts, part = scipy.sparse.csgraph.connected_components(scipy.sparse.csr_array(similarities > settings.preference), directed=False)
    members_of = [np.flatnonzero(part == index) for index in range(n_parts)]
    blocks = {index: similarities[np.ix_(members, members)] for index, members in enumerate(members_of) if len(members) > 3}
    del similarities  # a component may cover the whole matrix, and propagation needs eight times the memory of that
    labels, n_clusters, converged = np.zeros(n_rows, np.int64), 0, True
    for index, members in enumerate(members_of):
        local = np.zeros(len(members), np.int64)
        if index in blocks:
            clusters = _propagate(blocks.pop(index), settings, seed)
            converged &= clusters is not None
            local = np.arange(len(members)) if clusters is None else clusters
        labels[members] = n_clusters + local
        n_clusters += int(local.max()) + 1
    return labels, converged


def cluster_each(rows: Sequence[Tensor], settings: TyingSettings, seed: int, n_threads: int = 1) -> list[tuple[NDArray[np.int64], bool]]:
    """Cluster the rows of several networks in parallel threads; the results do not depend on the number of threads.

    Most of the time is spent in numpy on large matrices, where threads do not block each other.

    Args:
        rows: for each network, shape (n_rows, row_length), none of them zero.
        settings, seed: as for `cluster_rows`.
        n_threads: number of CPU threads.

    Returns:
        For each network, what `cluster_rows` returns.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor(n_threads) as threads:
        warnings.simplefilter("ignore", UserWarning)  # the result reports what did not converge
        return list(threads.map(lambda of_one: cluster_rows(of_one, settings, seed), rows))


def _propagate(similarities: NDArray[np.float64], settings: TyingSettings, seed: int) -> NDArray[np.int64] | None:
    from sklearn.cluster import AffinityPropagation

    for damping in (settings.damping, max(settings.damping, _LAST_DAMPING)):
        model = AffinityPropagation(
            affinity="precomputed",
            preference=settings.preference,
            damping=damping,
            max_iter=settings.max_iterations,
            random_state=seed,
            copy=False,  # this writes the preference and noise of 1e-16 into the similarities; a second attempt starts from them
        )
        model.fit(similarities)
        # scikit-learn keeps its last labels when it does not converge; -1 means that there is no exemplar. Its warning cannot be used,
        # because warnings belong to the process and not to a thread.
        if model.n_iter_ < settings.max_iterations and (model.labels_ >= 0).all():
            labels: NDArray[np.int64] = np.unique(model.labels_, return_inverse=True)[1].astype(np.int64)
            return labels
    return None


@dataclass(frozen=True)
class Tie:
    """The rows of one layer that share their values, in all models of a pack at once."""

    models: Tensor
    """Shape (n_tied,): the model of each row that is in a cluster of at least two rows."""
    rows: Tensor
    """Shape (n_tied,): the index of each such row in the layer."""
    cluster: Tensor
    """Shape (n_tied,): the cluster of each such row, 0 .. n_clusters - 1; no cluster spans two models."""
    sizes: Tensor
    """Shape (n_clusters,): the number of rows in each cluster."""

    @staticmethod
    def from_labels(labels: Tensor) -> "Tie | None":
        """Create ties from labels of shape (n_models, n_rows), -1 for suppressed rows; None if no two rows are tied."""
        models, rows = torch.nonzero(labels >= 0, as_tuple=True)
        unique_labels = labels[models, rows] + models * (labels.max() + 1)
        _, cluster, sizes = unique_labels.unique(return_inverse=True, return_counts=True)
        shared = sizes[cluster] > 1
        if not bool(shared.any()):
            return None
        _, cluster = cluster[shared].unique(return_inverse=True)
        return Tie(models[shared], rows[shared], cluster, torch.bincount(cluster))

    @torch.no_grad()
    def average(self, weight: Tensor) -> None:
        """Replace, in place, each tied row of `weight` (n_models, out, in, ...) by the mean of its cluster."""
        sizes = self.sizes.to(weight.dtype)[self.cluster]
        weight[self.models, :, self.rows] = self._sums(weight)[self.cluster] / sizes.reshape(-1, *[1] * (weight.dim() - 2))

    @torch.no_grad()
    def share_gradient(self, gradient: Tensor) -> None:
        """Replace, in place, the gradient of each tied row by the sum over its cluster, the gradient of the shared parameter."""
        gradient[self.models, :, self.rows] = self._sums(gradient)[self.cluster]

    @torch.no_grad()
    def copy(self, weight: Tensor) -> None:
        """Set each tied row of `weight`, in place, to the first row of its cluster, so that they are equal to the bit.

        Gradients and moments of tied rows are equal, and so are their updates, except for the last bits of a fused optimizer.
        """
        weight[self.models, :, self.rows] = weight[self._first_models, :, self._first_rows]

    @cached_property
    def _first(self) -> Tensor:
        """For each tied row, the index in `rows` of the first row of its cluster, shape (n_tied,)."""
        places = torch.arange(len(self.rows), device=self.rows.device)
        return torch.full_like(self.sizes, len(self.rows)).scatter_reduce_(0, self.cluster, places, "amin")[self.cluster]

    @cached_property
    def _first_models(self) -> Tensor:
        return self.models[self._first]

    @cached_property
    def _first_rows(self) -> Tensor:
        return self.rows[self._first]

    def _sums(self, rows_of: Tensor) -> Tensor:
        """Sum the rows of each cluster, shape (n_clusters, out, ...)."""
        rows = rows_of[self.models, :, self.rows]
        return rows.new_zeros(len(self.sizes), *rows.shape[1:]).index_add_(0, self.cluster, rows)


_M_MMAP_MAX = -4  # the parameter of glibc's mallopt
_DEFAULT_MAPPINGS = 65_536


@contextlib.contextmanager
def large_allocations_mapped() -> Iterator[None]:
    """Within the context, large allocations are mapped separately and returned to the system when they are freed.

    Workers run with `MALLOC_MMAP_MAX_=0`, because mapping and unmapping every large tensor of a step is slow. But clustering allocates a
    dozen matrices of 66 MB (2,880 rows) one after the other, which do not fit into the gaps that training leaves in the heap. The heap
    is therefore trimmed first. Without that environment variable, or without glibc, nothing happens.
    """
    if not sys.platform.startswith("linux") or os.environ.get("MALLOC_MMAP_MAX_") != "0":
        yield
        return
    library = ctypes.CDLL(None)
    library.malloc_trim(0)
    library.mallopt(_M_MMAP_MAX, _DEFAULT_MAPPINGS)
    try:
        yield
    finally:
        library.mallopt(_M_MMAP_MAX, 0)
