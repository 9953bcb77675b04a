"""Ties between rows of a layer: clustering of similar rows into groups that share one value, in bounded memory."""

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
    """S(i, j) = w_i . w_j / max(||w_i||^2, ||w_j||^2), 1 only for equal rows.

    Args:
        rows: shape (n_rows, row_length), none of them zero.

    Returns:
        Shape (n_rows, n_rows), in [-1, 1] (rounding beyond it is cut off).
    """
    exact = rows.double()
    squared = exact.square().sum(dim=1)
    products = exact @ exact.T  # in place from here: of 2,880 rows each copy takes 66 MB
    matrix: NDArray[np.float64] = products.div_(torch.maximum(squared[:, None], squared[None])).clamp_(-1, 1).cpu().numpy()
    return matrix


def cluster_rows(rows: Tensor, settings: TyingSettings, seed: int) -> tuple[NDArray[np.int64], bool]:
    """Affinity propagation over rows, one connected component of {S > preference} at a time.

    An exemplar of its own is never worse than joining one with S <= preference, so the optimum decomposes over these
    components; those of up to three rows are one cluster. A component that does not converge, not even with more
    damping, is left untied.

    Args:
        rows: shape (n_rows, row_length), none of them zero.
        settings: preference, damping, max_iterations.
        seed: of affinity propagation's tie-breaking noise.

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
    del similarities  # one component may be all of it, and propagation needs eight times its memory
    labels, n_clusters, converged = np.zeros(n_rows, np.int64), 0, True
    for index, members in enumerate(members_of):
        local = np.zeros(len(members), np.int64)
        if index in blocks:
            found = _propagate(blocks.pop(index), settings, seed)
            converged &= found is not None
            local = np.arange(len(members)) if found is None else found
        labels[members] = n_clusters + local
        n_clusters += int(local.max()) + 1
    return labels, converged


def cluster_each(rows: Sequence[Tensor], settings: TyingSettings, seed: int, n_threads: int = 1) -> list[tuple[NDArray[np.int64], bool]]:
    """`cluster_rows` of several networks' rows, on some threads side by side; the results do not depend on their number.

    Most of the time numpy is at work on large matrices, where threads do not wait for each other.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor(n_threads) as threads:
        warnings.simplefilter("ignore", UserWarning)  # what does not converge is said by the result
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
            copy=False,  # it writes the preference and noise of 1e-16 into the similarities; a second try begins with that noise
        )
        model.fit(similarities)
        # scikit-learn keeps its last labels when it gives up; -1 stands for "no exemplar at all". Its warning is not asked for:
        # warnings are the process's, not a thread's.
        if model.n_iter_ < settings.max_iterations and (model.labels_ >= 0).all():
            labels: NDArray[np.int64] = np.unique(model.labels_, return_inverse=True)[1].astype(np.int64)
            return labels
    return None


@dataclass(frozen=True)
class Tie:
    """The rows of one layer that share their values, in all models of a pack at once."""

    models: Tensor
    """Shape (n_tied,): the model of each row that is in a cluster of at least two."""
    rows: Tensor
    """Shape (n_tied,): its index in the layer."""
    cluster: Tensor
    """Shape (n_tied,): its cluster, 0 .. n_clusters - 1; no two models have one in common."""
    sizes: Tensor
    """Shape (n_clusters,)."""

    @staticmethod
    def from_labels(labels: Tensor) -> "Tie | None":
        """Of labels of shape (n_models, n_rows), -1 for suppressed rows; None when no two rows are tied."""
        models, rows = torch.nonzero(labels >= 0, as_tuple=True)
        apart = labels[models, rows] + models * (labels.max() + 1)
        _, cluster, sizes = apart.unique(return_inverse=True, return_counts=True)
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
        """Give, in place, each tied row the sum of its cluster's gradients: that of the one parameter they are."""
        gradient[self.models, :, self.rows] = self._sums(gradient)[self.cluster]

    @torch.no_grad()
    def copy(self, weight: Tensor) -> None:
        """Make, in place, each tied row of `weight` equal to its cluster's first, to the bit.

        Their gradients and moments are equal, so their updates are too, but for the last bits of a fused optimiser.
        """
        weight[self.models, :, self.rows] = weight[self._first_models, :, self._first_rows]

    @cached_property
    def _first(self) -> Tensor:
        """Place in `rows` of each tied row's cluster's first row, shape (n_tied,)."""
        places = torch.arange(len(self.rows), device=self.rows.device)
        return torch.full_like(self.sizes, len(self.rows)).scatter_reduce_(0, self.cluster, places, "amin")[self.cluster]

    @cached_property
    def _first_models(self) -> Tensor:
        return self.models[self._first]

    @cached_property
    def _first_rows(self) -> Tensor:
        return self.rows[self._first]

    def _sums(self, rows_of: Tensor) -> Tensor:
        """Shape (n_clusters, out, ...)."""
        rows = rows_of[self.models, :, self.rows]
        return rows.new_zeros(len(self.sizes), *rows.shape[1:]).index_add_(0, self.cluster, rows)


_M_MMAP_MAX = -4  # of glibc's mallopt
_DEFAULT_MAPPINGS = 65_536


@contextlib.contextmanager
def large_pieces_apart() -> Iterator[None]:
    """Within it, large pieces are mapped by themselves and go back to the system when they are freed.

    A worker's environment says `MALLOC_MMAP_MAX_=0`, since mapping and unmapping every large tensor of a step is slow. But
    clustering allocates a dozen matrices of 66 MB (2,880 rows) one after the other, and what training has left in the heap is of
    no use for them. So the heap is trimmed first. Does nothing where glibc is not told so.
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
