"""Clustering: the decomposition into components, against plain affinity propagation; ties that hold to the bit."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import AffinityPropagation

from trainer.objectives.tying import Tie, cluster_each, cluster_rows, large_allocations_mapped, similarity
from trainer.settings import TyingSettings

EXACT = settings(deadline=None, derandomize=True, max_examples=30)


def noisy_copies(n_prototypes: int, n_copies: int, noise: float, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    prototypes = torch.randn(n_prototypes, 20, generator=generator)
    rows = prototypes.repeat_interleave(n_copies, dim=0)
    return rows + noise * torch.randn(rows.shape, generator=generator)


def net_similarity(similarities: np.ndarray, labels: np.ndarray, preference: float) -> float:
    """What affinity propagation maximises: members' similarity to the best exemplar of their cluster, plus preferences."""
    total = 0.0
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        block = similarities[np.ix_(members, members)].copy()
        np.fill_diagonal(block, preference)
        total += float(block.sum(axis=0).max())
    return total


@EXACT
@given(st.integers(0, 10_000), st.floats(0, 0.6))
def test_components_score_as_well_as_the_whole(seed: int, noise: float) -> None:
    """The optimum decomposes exactly; the heuristic's own score differs by at most 0.1 on these."""
    rows, preference = noisy_copies(8, 5, noise, seed), TyingSettings().preference
    labels, converged = cluster_rows(rows, TyingSettings(), seed=0)
    assert converged
    whole = AffinityPropagation(affinity="precomputed", preference=preference, damping=0.7, max_iter=500, random_state=0)
    similarities = similarity(rows)
    plain = whole.fit(similarities).labels_
    if (plain >= 0).all():
        assert net_similarity(similarities, labels, preference) >= net_similarity(similarities, plain, preference) - 0.1


def test_copies_are_one_cluster_and_strangers_are_alone() -> None:
    labels, converged = cluster_rows(noisy_copies(6, 4, 0.01, seed=1), TyingSettings(), seed=0)
    assert converged
    assert [len(set(labels[start : start + 4])) for start in range(0, 24, 4)] == [1] * 6
    assert len(set(labels)) == 6


def test_similarity_is_one_only_for_equal_rows() -> None:
    rows = torch.tensor([[1.0, 2.0], [1.0, 2.0], [2.0, 4.0], [-1.0, -2.0]])
    np.testing.assert_allclose(similarity(rows)[0], [1, 1, 0.5, -1])


def test_no_rows_make_no_clusters() -> None:
    labels, converged = cluster_rows(torch.zeros(0, 4), TyingSettings(), seed=0)
    assert converged
    assert len(labels) == 0


def test_a_component_that_does_not_converge_is_left_untied_and_said() -> None:
    rows = noisy_copies(1, 12, 0.35, seed=3)
    labels, converged = cluster_rows(rows, TyingSettings(max_iterations=1), seed=0)
    assert not converged
    assert len(set(labels)) == 12


def test_threads_change_nothing_and_each_network_has_its_own_verdict() -> None:
    """Among them one that does not converge, whose warning must not reach the others or the user."""
    tying = TyingSettings(max_iterations=25)
    sets = [noisy_copies(1 + seed % 4, 12, 0.35 + 0.05 * (seed % 5), seed=seed) for seed in range(24)]
    alone = [cluster_rows(rows, tying, seed=0) for rows in sets]
    assert {converged for _, converged in alone} == {True, False}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        together = cluster_each(sets, tying, seed=0, n_threads=4)
    for (labels, converged), (expected, expected_converged) in zip(together, alone, strict=True):
        assert converged == expected_converged
        np.testing.assert_array_equal(labels, expected)


def test_tied_rows_are_equal_to_the_bit_and_their_mean_stays() -> None:
    stacked = torch.rand(2, 5, 6, 2, 2)
    weight, before, other = stacked[0], stacked[0].clone(), stacked[1].clone()
    tie = Tie.from_labels(torch.tensor([[0, 1, 0, -1, 2, 0], [0, 1, 2, 3, 4, 1]]))
    assert tie is not None
    tie.average(stacked)
    assert torch.equal(stacked[1][:, [0, 2, 3, 4]], other[:, [0, 2, 3, 4]])
    torch.testing.assert_close(stacked[1][:, 5], other[:, [1, 5]].mean(dim=1))
    assert torch.equal(weight[:, 0], weight[:, 2])
    assert torch.equal(weight[:, 0], weight[:, 5])
    torch.testing.assert_close(weight[:, 0], before[:, [0, 2, 5]].mean(dim=1))
    assert torch.equal(weight[:, [1, 3, 4]], before[:, [1, 3, 4]])


def test_tied_rows_are_one_parameter() -> None:
    """Their gradient is that of one shared row (by autograd), and a copy makes them equal to the bit again."""
    tie = Tie.from_labels(torch.tensor([[0, 1, 0, -1, 2, 0]]))
    assert tie is not None
    weight = torch.rand(5, 6, dtype=torch.float64)
    tie.average(weight[None])
    inputs = torch.rand(7, 6, dtype=torch.float64)
    separate = weight.clone().requires_grad_()
    (inputs @ separate.T).square().sum().backward()
    shared = weight[:, [0, 1, 3, 4]].clone().requires_grad_()
    (inputs @ shared[:, [0, 1, 0, 2, 3, 0]].T).square().sum().backward()
    assert separate.grad is not None
    assert shared.grad is not None
    tie.share_gradient(separate.grad[None])
    torch.testing.assert_close(separate.grad[:, [0, 1, 3, 4]], shared.grad)
    assert torch.equal(separate.grad[:, 0], separate.grad[:, 5])
    weight[:, 5] += 1e-7
    tie.copy(weight[None])
    assert torch.equal(weight[:, 0], weight[:, 5])
    assert torch.equal(weight[:, 0], weight[:, 2])


def test_single_rows_need_no_tie() -> None:
    assert Tie.from_labels(torch.tensor([[0, 1, 2, -1], [0, -1, -1, 1]])) is None


def test_labels_count_clusters_from_zero_over_all_components() -> None:
    """Two rows alone, a pair, and a component of four that propagation parts by itself."""
    rows = torch.tensor([[5.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0], [0.0, 0.0, 3.0], *[[-1.0, -1.0, 0.0]] * 4])
    labels, converged = cluster_rows(rows, TyingSettings(), seed=0)
    assert converged
    assert labels.dtype == np.int64
    assert labels[2] == labels[3]
    assert len(set(labels[4:])) == 1
    assert sorted(set(labels.tolist())) == [0, 1, 2, 3]


def test_rows_whose_similarity_is_the_preference_itself_are_apart() -> None:
    rows = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    assert cluster_rows(rows, TyingSettings(preference=0.5), seed=0)[0].tolist() == [0, 1]
    assert cluster_rows(rows, TyingSettings(preference=0.49), seed=0)[0].tolist() == [0, 0]


def test_similarity_never_leaves_its_range() -> None:
    rows = torch.randn(40, 7, generator=torch.Generator().manual_seed(0)).repeat(2, 1)
    matrix = similarity(torch.cat([rows, -rows]))
    assert matrix.dtype == np.float64
    assert (matrix.min(), matrix.max()) == (-1, 1)


def test_a_component_is_parted_exactly_when_it_converged() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [cluster_rows(noisy_copies(1, 12, 0.35, seed), TyingSettings(damping=0.5, max_iterations=200), 0) for seed in range(8)]
    assert all(converged == (len(set(labels.tolist())) < 12) for labels, converged in found)


def test_a_tie_names_each_models_rows_and_clusters_of_its_own() -> None:
    tie = Tie.from_labels(torch.tensor([[0, 1, 0, -1], [1, 1, 0, 0], [-1, 0, -1, 1]]))
    assert tie is not None
    assert tie.models.tolist() == [0, 0, 1, 1, 1, 1]
    assert tie.rows.tolist() == [0, 2, 0, 1, 2, 3]
    assert tie.cluster.tolist() == [0, 0, 2, 2, 1, 1]
    assert tie.sizes.tolist() == [2, 2, 2]


def test_copies_and_sums_are_those_of_the_first_and_of_all_rows() -> None:
    tie = Tie.from_labels(torch.tensor([[1, 0, 1, 1]]))
    assert tie is not None
    weight = torch.tensor([[[1.0, 9.0, 2.0, 6.0], [4.0, 8.0, 4.0, 1.0]]])
    gradient, copied = weight.clone(), weight.clone()
    tie.share_gradient(gradient)
    assert gradient.tolist() == [[[9.0, 9.0, 9.0, 9.0], [9.0, 8.0, 9.0, 9.0]]]
    tie.copy(copied)
    assert copied.tolist() == [[[1.0, 9.0, 1.0, 1.0], [4.0, 8.0, 4.0, 4.0]]]
    tie.average(weight)
    assert weight.tolist() == [[[3.0, 9.0, 3.0, 3.0], [3.0, 8.0, 3.0, 3.0]]]


def test_nothing_is_asked_of_the_allocator_where_the_environment_does_not_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []

    class Library:
        def __init__(self, name: object) -> None:
            calls.append(("open", name))

        def malloc_trim(self, n: int) -> None:
            calls.append(("trim", n))

        def mallopt(self, option: int, value: int) -> None:
            calls.append(("option", option, value))

    monkeypatch.setattr("trainer.objectives.tying.ctypes.CDLL", Library)
    for value in (None, "1"):
        if value is None:
            monkeypatch.delenv("MALLOC_MMAP_MAX_", raising=False)
        else:
            monkeypatch.setenv("MALLOC_MMAP_MAX_", value)
        with large_allocations_mapped():
            pass
        assert calls == []
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "0")
    monkeypatch.setattr("trainer.objectives.tying.sys.platform", "darwin")
    with large_allocations_mapped():
        assert calls == []
    monkeypatch.setattr("trainer.objectives.tying.sys.platform", "linux")
    with large_allocations_mapped():
        assert calls == [("open", None), ("trim", 0), ("option", -4, 65_536)], "large pieces are mapped, up to glibc's own limit"
    assert calls[3:] == [("option", -4, 0)], "and no longer afterwards"


def test_a_chain_of_three_is_one_cluster_and_a_chain_of_four_is_parted() -> None:
    """Unit rows 40 degrees apart: only neighbours are similar enough."""
    angles = torch.deg2rad(40 * torch.arange(4.0, dtype=torch.float64))
    rows = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert cluster_rows(rows[:3], TyingSettings(), seed=0)[0].tolist() == [0, 0, 0]
    labels, converged = cluster_rows(rows, TyingSettings(), seed=0)
    assert converged
    assert len(set(labels.tolist())) == 2
    assert cluster_rows(rows[:0], TyingSettings(), seed=0)[0].dtype == np.int64


def test_affinity_propagation_gets_the_settings_and_a_stronger_damping_in_its_second_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of two groups that never converge in the one iteration that the settings allow."""
    attempts: list[dict[str, object]] = []

    class Recorded(AffinityPropagation):
        def fit(self, X: np.ndarray, y: None = None) -> AffinityPropagation:  # noqa: N803 - scikit-learn's name
            attempts.append({name: getattr(self, name) for name in ("preference", "damping", "max_iter", "random_state")})
            return super().fit(X, y)

    monkeypatch.setattr("sklearn.cluster.AffinityPropagation", Recorded)
    tying = TyingSettings(preference=0.25, damping=0.625, max_iterations=300)
    cluster_rows(noisy_copies(3, 4, 0.5, seed=0), tying, 7)
    assert attempts[0] == {"preference": 0.25, "damping": 0.625, "max_iter": 300, "random_state": 7}
    attempts.clear()
    labels, is_converged = cluster_rows(noisy_copies(3, 4, 0.5, seed=0), dataclasses.replace(tying, max_iterations=2), 7)
    assert not is_converged
    first, second = attempts[:2]
    assert second == first | {"damping": 0.95}
    assert len(set(labels.tolist())) == 12, "where nothing converges, no rows are tied"


def test_one_component_that_does_not_converge_counts_whatever_the_next_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([None, np.zeros(4, np.int64)])
    monkeypatch.setattr("trainer.objectives.tying._propagate", lambda *_: next(answers))
    labels, is_converged = cluster_rows(torch.eye(2).repeat_interleave(4, dim=0), TyingSettings(preference=0.5), 0)
    assert not is_converged
    assert labels.tolist() == [0, 1, 2, 3, 4, 4, 4, 4]


def test_one_row_is_a_cluster_of_its_own() -> None:
    labels, is_converged = cluster_rows(torch.ones(1, 3), TyingSettings(), 0)
    assert (labels.tolist(), is_converged) == ([0], True)
