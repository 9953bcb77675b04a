"""How long does clustering take, and how good is it compared with plain affinity propagation?

    python -m tests.bench.clustering

The rows imitate those of the layers that GrOWL prunes in MDMTN after phase 1: 2,880 rows of length 50 (28x28 images) and 7,200
of length 32 (32x32 images), with groups of similar rows (a shared direction plus noise) among unrelated rows. For each size and
noise level the script prints the seconds on one thread, the numbers of clusters and components, the size of the largest
component, and whether the clustering converged. Where plain affinity propagation is fast enough (up to 600 rows), it also prints
its seconds, the difference of the net similarity that both maximise (0: equally good; larger: ours is better), and the adjusted
Rand index of the labels (1: the same clusters).
"""

import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import scipy.sparse
import torch
from sklearn.cluster import AffinityPropagation
from sklearn.metrics import adjusted_rand_score

from trainer.objectives.tying import cluster_rows, similarity
from trainer.settings import TyingSettings

SETTINGS = TyingSettings()
PLAIN_MOST_ROWS = 600


def made_rows(n_rows: int, length: int, noise: float, seed: int = 0) -> torch.Tensor:
    """Make rows of which half are in groups of 2 to 40 around one direction each and the others are alone; lengths vary by a third."""
    generator = np.random.default_rng(seed)
    rows: list[np.ndarray] = []
    while len(rows) < n_rows // 2:
        centre = generator.normal(size=length)
        rows += [centre + noise * generator.normal(size=length) for _ in range(generator.integers(2, 41))]
    rows += list(generator.normal(size=(n_rows - len(rows), length)))
    matrix = np.array(rows[:n_rows]) * generator.uniform(0.8, 1.2, size=(n_rows, 1))
    return torch.from_numpy(matrix[generator.permutation(n_rows)]).float()


def net_similarity(similarities: np.ndarray, labels: np.ndarray) -> float:
    """Return what affinity propagation maximises: the similarities to the best exemplar of each cluster, plus the preference of each."""
    total = 0.0
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        block = similarities[np.ix_(members, members)].copy()
        np.fill_diagonal(block, SETTINGS.preference)
        total += float(block.sum(axis=0).max())
    return total


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'rows':>6s} {'noise':>5s} {'s':>6s} {'clusters':>8s} {'parts':>6s} {'largest':>7s} {'conv.':>5s}  plain: s, gain, Rand index")
    for n_rows, length in ((300, 50), (600, 50), (2880, 50), (7200, 32)):
        for noise in (0.05, 0.2, 0.35, 0.5):
            rows = made_rows(n_rows, length, noise)
            started = time.perf_counter()
            labels, converged = cluster_rows(rows, SETTINGS, seed=0)
            seconds = time.perf_counter() - started
            similarities = similarity(rows)
            n_parts, part = scipy.sparse.csgraph.connected_components(scipy.sparse.csr_array(similarities > SETTINGS.preference))
            line = (
                f"{n_rows:6d} {noise:5.2f} {seconds:6.2f} {labels.max() + 1:8d} {n_parts:6d} {np.bincount(part).max():7d} {converged!s:>5s}"
            )
            if n_rows <= PLAIN_MOST_ROWS:
                started = time.perf_counter()
                plain = AffinityPropagation(
                    affinity="precomputed", preference=SETTINGS.preference, damping=SETTINGS.damping, max_iter=500, random_state=0
                )
                found = plain.fit(similarities).labels_
                seconds = time.perf_counter() - started
                if (found < 0).any():
                    line += f"  {seconds:.2f}, did not converge"
                else:
                    gain = net_similarity(similarities, labels) - net_similarity(similarities, found)
                    line += f"  {seconds:.2f}, {gain:+.3f}, {adjusted_rand_score(found, labels):.3f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
