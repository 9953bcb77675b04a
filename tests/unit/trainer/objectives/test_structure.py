"""Masks and ties of a pack's layers: what shrinks, what stays zero, what moves together."""

import math

import pytest
import torch
from torch import Tensor

from trainer.objectives import tying
from trainer.objectives.growl import growl_gradient, growl_penalty, row_norms, theta_pattern
from trainer.objectives.structure import UNTIED, Layer, Structure, in_groups, theta_of
from trainer.settings import GrowlSettings, TyingSettings

CPU = torch.device("cpu")
SPIKE = GrowlSettings(beta1=0.8, beta2=0.2)


def rows_of_lengths(*lengths: float) -> Tensor:
    """One model's Linear weight, shape (1, 2, n_rows), whose rows have these norms."""
    return torch.tensor([[3.0, 4.0]]).T[None] / 5 * torch.tensor(lengths)


def structure_of(weight: Tensor, settings: GrowlSettings = SPIKE, **groups: int) -> Structure:
    return Structure({"w": weight}, settings, len(weight), CPU, groups)


def lengths_of(weight: Tensor) -> list[list[float]]:
    return [pytest.approx(lengths, abs=1e-6) for lengths in row_norms(weight).tolist()]


def test_theta_of_a_group_weighs_the_root_of_its_size_times_as_much() -> None:
    settings = GrowlSettings(pattern="pld", beta1=0.7, beta2=0.1, pld_share=0.8)
    assert theta_of(settings, 5).tolist() == theta_pattern("pld", 5, 0.7, 0.1, 0.8).tolist()
    torch.testing.assert_close(theta_of(settings, 5, 9), 3 * theta_of(settings, 5))


def test_groups_are_neighbouring_units_in_the_same_memory() -> None:
    weight = torch.arange(24.0).reshape(1, 2, 12)
    grouped = in_groups(weight, 4)
    assert grouped.shape == (1, 2, 3, 4)
    assert grouped[0, 1, 2].tolist() == weight[0, 1, 8:12].tolist()
    grouped[0, 1, 2, 3] = -1
    assert weight[0, 1, 11] == -1
    assert in_groups(weight, 1) is weight


def test_a_layer_knows_its_weights_theta_and_writes_into_the_owners_gradient() -> None:
    owner = torch.ones(2, 3, 4, requires_grad=True)
    layer = Layer.of(owner, SPIKE, 2)
    assert (layer.group_size, layer.is_spike, layer.owner is owner) == (2, True, True)
    assert layer.weight.shape == (2, 3, 2, 2)
    assert not layer.weight.requires_grad
    assert layer.theta.dtype == owner.dtype
    torch.testing.assert_close(layer.theta, (math.sqrt(2) * torch.tensor([1.0, 0.2])))
    owner.grad = torch.zeros_like(owner)
    layer.gradient.add_(1)
    assert owner.grad.sum() == owner.numel()
    single = Layer.of(owner, GrowlSettings(pattern="linear"))
    assert (single.group_size, single.is_spike, single.weight is owner) == (1, False, True)


def test_at_first_nothing_is_suppressed_or_tied() -> None:
    structure = Structure({"a": torch.ones(2, 3, 4), "b": torch.ones(2, 3, 6)}, SPIKE, 2, CPU, {"b": 3})
    assert {name: mask.tolist() for name, mask in structure.masks.items()} == {"a": [[True] * 4] * 2, "b": [[True] * 2] * 2}
    assert {name: labels.tolist() for name, labels in structure.labels.items()} == {"a": [[-1] * 4] * 2, "b": [[-1] * 2] * 2}
    assert structure.labels["a"].dtype == torch.int64
    assert structure.n_changes == 0
    assert structure.n_suppressed().tolist() == [0, 0]


def test_the_penalty_is_the_sum_over_the_layers_for_each_model() -> None:
    a, b = torch.rand(2, 3, 4), torch.rand(2, 3, 2, 2, 2)
    structure = Structure({"a": a, "b": b}, GrowlSettings(pattern="linear"), 2, CPU)
    wanted = sum(growl_penalty(row_norms(weight), theta_pattern("linear", weight.shape[2], 0.8, 0.2)) for weight in (a, b))
    torch.testing.assert_close(structure.penalty(), wanted)
    assert Structure({}, SPIKE, 2, CPU).penalty().tolist() == [0, 0]


def test_the_penaltys_gradient_is_added_with_each_models_factor() -> None:
    weight = torch.rand(2, 3, 4, 2, 2, requires_grad=True)
    weight.grad = torch.ones_like(weight)
    structure_of(weight).add_penalty_gradient(torch.tensor([2.0, 0.5]))
    added = growl_gradient(weight.detach(), theta_pattern("spike", 4, 0.8, 0.2))
    torch.testing.assert_close(weight.grad, 1 + added * torch.tensor([2.0, 0.5])[:, None, None, None, None])


def test_a_prox_shrinks_rows_by_their_theta_and_keeps_their_direction() -> None:
    weight = rows_of_lengths(3.0, 2.0, 1.0, 0.125)
    structure = structure_of(weight)
    structure.shrink({"w": (torch.tensor([1.0]), None)}, 0.75, 0.75)
    assert lengths_of(weight) == [[2.0, 1.8, 0.8, 0.0]]
    torch.testing.assert_close(weight[0, :, 0], torch.tensor([1.2, 1.6]))
    assert structure.masks["w"].all(), "shrinking masks nothing by itself"


def test_a_step_of_nothing_and_one_that_is_not_finite_change_nothing() -> None:
    weight = rows_of_lengths(3.0, 2.0, 1.0).repeat(3, 1, 1)
    before = weight.clone()
    structure_of(weight).shrink({"w": (torch.tensor([0.0, torch.nan, torch.inf]), None)}, 0.5, 0.5)
    assert torch.equal(weight, before)


def test_a_model_with_a_broken_row_shrinks_no_other_and_harms_no_other_model() -> None:
    weight = rows_of_lengths(3.0, 2.0, 1.0).repeat(2, 1, 1)
    weight[0, :, 1] = torch.nan
    structure_of(weight).shrink({"w": (torch.tensor([1.0, 1.0]), None)}, 0.5, 0.5)
    assert weight[0, :, 1].isnan().all()
    assert lengths_of(weight[:1, :, [0, 2]]) == [[3.0, 1.0]]
    assert lengths_of(weight[1:]) == [[2.0, 1.8, 0.8]]


def test_a_row_that_is_zero_stays_zero_and_finite() -> None:
    weight = rows_of_lengths(3.0, 0.0, 1.0)
    structure_of(weight).shrink({"w": (torch.tensor([0.5]), None)}, 0.5, 0.5)
    assert lengths_of(weight) == [[2.5, 0.0, 0.9]]


@pytest.mark.parametrize(
    ("n_masked", "share", "epoch_share", "n_zero"),
    [
        (0, 0.8, 0.8, 4),
        (0, 0.8, 0.4, 2),  # 0.8 * 5 / 2 is 1.9999999
        (0, 0.8, 0.2, 1),
        (0, 0.8, 0.1, 1),  # half a row in an epoch is one row
        (1, 0.8, 0.2, 2),
        (2, 0.4, 0.4, 2),
        (0, 0.0, 0.5, 0),
        (0, 0.8 * 3 / 4, 1.0, 3),
        (0, 0.55, 1.0, 2),  # a layer keeps the row that the limit cuts in half
    ],
)
def test_a_layer_loses_no_more_rows_than_its_shares_allow(n_masked: int, share: float, epoch_share: float, n_zero: int) -> None:
    lengths = [1.0, 2.0, 3.0, 4.0, 5.0]
    lengths[:n_masked] = [0.0] * n_masked
    weight = rows_of_lengths(*lengths)
    structure = structure_of(weight)
    structure.mask_zero_rows(is_fixed=True)
    structure.shrink({"w": (torch.tensor([1e6]), None)}, share, epoch_share)
    assert (row_norms(weight)[0] == 0).tolist() == [row < n_zero for row in range(5)], "the shortest rows go first"
    assert lengths_of(weight) == [[0.0] * n_zero + lengths[n_zero:]]


def test_rows_that_were_zero_for_good_leave_the_epochs_share_to_others() -> None:
    weight = rows_of_lengths(0.0, 0.0, 3.0, 4.0, 5.0)
    structure = structure_of(weight)
    structure.mask_zero_rows(is_fixed=True)
    structure.shrink({"w": (torch.tensor([1e6]), None)}, 0.8, 0.2)
    assert lengths_of(weight) == [[0.0, 0.0, 0.0, 4.0, 5.0]]


def test_a_scale_measures_rows_and_the_longest_still_come_back() -> None:
    """In its scale the second row is the shorter one: it shrinks by more. A row's share of its length is that of its measure."""
    weight = rows_of_lengths(2.0, 2.0, 2.0)
    scale = torch.tensor([[2.0, 0.5, torch.nan]])
    structure_of(weight, GrowlSettings(beta1=0.0, beta2=0.5)).shrink({"w": (torch.tensor([1.0]), scale)}, 0.9, 0.9)
    assert lengths_of(weight) == [[2 * 3.5 / 4, 2 * 0.5 / 1, 2 * 1.5 / 2]]
    weight = rows_of_lengths(1.0, 3.0, 2.0)
    scale = torch.tensor([[100.0, 1.0, 1.0]])
    structure_of(weight).shrink({"w": (torch.tensor([1e6]), scale)}, 0.7, 0.7)
    assert lengths_of(weight) == [[0.0, 3.0, 0.0]]


def test_fixed_masks_only_lose_rows_and_free_ones_follow_the_weights() -> None:
    weight = rows_of_lengths(1.0, 0.0, torch.nan)
    structure = structure_of(weight)
    structure.mask_zero_rows(is_fixed=False)
    assert structure.masks["w"].tolist() == [[True, False, True]], "what is not a number is not zero"
    weight[0, :, 1], weight[0, :, 0] = 1.0, 0.0
    structure.mask_zero_rows(is_fixed=False)
    assert structure.masks["w"].tolist() == [[False, True, True]]
    structure.enforce()
    assert weight[0, 0, 1] == 1, "a mask that is not fixed holds nothing down"
    structure.mask_zero_rows(is_fixed=True)
    weight[0, :, 0] = 1.0
    structure.mask_zero_rows(is_fixed=True)
    assert structure.masks["w"].tolist() == [[False, True, True]]
    structure.enforce()
    assert weight[0, :, :2].tolist() == [[0.0, 1.0], [0.0, 1.0]]


def test_stored_masks_and_labels_are_copied_and_hold() -> None:
    weight = torch.rand(2, 3, 4)
    structure = structure_of(weight)
    masks, labels = torch.tensor([[True, False, True, True]] * 2), torch.tensor([[0, -1, 1, 1], [0, -1, 1, 2]], dtype=torch.int32)
    structure.load({"w": masks}, {"w": labels})
    masks[:], labels[:] = True, 0
    assert structure.masks["w"].tolist() == [[True, False, True, True]] * 2
    assert structure.labels["w"].tolist() == [[0, -1, 1, 1], [0, -1, 1, 2]]
    assert structure.labels["w"].dtype == torch.int64
    second = weight[1].clone()
    structure.enforce()
    assert (weight[:, :, 1] == 0).all()
    assert torch.equal(weight[0, :, 3], weight[0, :, 2])
    assert torch.equal(weight[1, :, [0, 2, 3]], second[:, [0, 2, 3]])
    structure.load({"w": torch.tensor([[True, False, True, True]] * 2)}, is_fixed=False)
    assert structure.labels["w"][0].tolist() == [0, -1, 1, 1], "labels that are not given stay"
    weight[:, :, 1] = 1.0
    structure.enforce()
    assert (weight[:, :, 1] == 1).all()


def test_phase_2_begins_with_zero_rows_and_equal_rows_and_shares_gradients() -> None:
    weight = torch.rand(1, 3, 4, requires_grad=True)
    alone = weight.detach()[0, :, 3].clone()
    structure = structure_of(weight)
    structure.load({"w": torch.tensor([[True, False, True, True]])}, {"w": torch.tensor([[0, -1, 0, 1]])})
    structure.tie()
    tied = weight.detach()[0]
    assert torch.equal(tied[:, 0], tied[:, 2])
    assert (tied[:, 0] != 0).all()
    assert (tied[:, 1] == 0).all()
    assert torch.equal(tied[:, 3], alone)
    weight.grad = torch.arange(12.0).reshape(1, 3, 4)
    structure.share_gradients()
    assert weight.grad[0].tolist() == [[2, 1, 2, 3], [10, 5, 10, 7], [18, 9, 18, 11]]


def test_phase_2_begins_with_the_means_of_the_clusters() -> None:
    weight = torch.tensor([[[1.0, 5.0, 3.0]]])
    structure = structure_of(weight)
    structure.load({"w": torch.ones(1, 3, dtype=torch.bool)}, {"w": torch.tensor([[0, 1, 0]])})
    structure.tie()
    assert weight.tolist() == [[[2.0, 5.0, 2.0]]]


def test_changes_of_what_a_step_does_are_counted() -> None:
    structure = structure_of(rows_of_lengths(1.0, 0.0, 2.0))
    structure.mask_zero_rows(is_fixed=False)
    assert structure.n_changes == 0
    structure.mask_zero_rows(is_fixed=True)
    assert structure.n_changes == 1, "rows are held at zero now"
    structure.mask_zero_rows(is_fixed=True)
    assert structure.n_changes == 1, "as before"
    masks = dict(structure.masks)
    structure.load(masks, {"w": torch.tensor([[0, -1, 0]])})
    assert structure.n_changes == 2, "rows are tied now"
    structure.load(masks, {"w": torch.tensor([[0, -1, 1]])})
    assert structure.n_changes == 3, "and no longer"
    structure.load(masks, {"w": torch.tensor([[0, -1, 1]])})
    assert structure.n_changes == 3
    structure.load({"w": torch.ones(1, 3, dtype=torch.bool)})
    assert structure.n_changes == 4, "no row is held at zero any more"


def noisy_copies(n_prototypes: int, n_copies: int, noise: float, seed: int) -> Tensor:
    """Shape (20, n_prototypes * n_copies): the weight of a Linear layer, whose rows are its columns."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n_prototypes, 20, generator=generator).repeat_interleave(n_copies, dim=0)
    return (rows + noise * torch.randn(rows.shape, generator=generator)).T


def test_clustering_labels_the_surviving_rows_of_living_models_and_says_which_converged() -> None:
    """Three similar rows are one cluster without iterations; twelve need more than one."""
    weight = torch.stack([noisy_copies(4, 3, 0.01, 1), noisy_copies(1, 12, 0.35, 3), noisy_copies(4, 3, 0.01, 2)])
    structure = structure_of(weight)
    masks = torch.ones(3, 12, dtype=torch.bool)
    masks[0, 4] = False
    structure.load({"w": masks})
    converged = structure.cluster(TyingSettings(max_iterations=1), 0, torch.tensor([True, True, False]))
    assert converged.tolist() == [True, False, True]
    labels = structure.labels["w"].tolist()
    assert labels[0][4] == UNTIED
    assert [len(set(labels[0][start : start + 3]) - {UNTIED}) for start in (0, 3, 6, 9)] == [1, 1, 1, 1]
    assert len(set(labels[0])) == 5
    assert sorted(labels[1]) == list(range(12)), "what does not converge is left untied"
    assert labels[2] == [UNTIED] * 12, "a network that diverged has no rows worth tying"
    structure.tie()
    assert torch.equal(weight[0, :, 0], weight[0, :, 2])
    assert (weight[0, :, 4] == 0).all()


def test_one_layer_that_does_not_converge_is_enough() -> None:
    weights = {"first": noisy_copies(1, 12, 0.35, 3)[None], "second": noisy_copies(4, 3, 0.01, 1)[None]}
    structure = Structure(weights, SPIKE, 1, CPU)
    assert structure.cluster(TyingSettings(max_iterations=1), 0, torch.tensor([True])).tolist() == [False]
    assert structure.labels["second"].unique().tolist() == [0, 1, 2, 3]


def test_suppressed_units_are_counted_over_all_layers() -> None:
    structure = Structure({"a": torch.ones(2, 3, 4), "b": torch.ones(2, 3, 6)}, SPIKE, 2, CPU, {"b": 3})
    structure.load({"a": torch.tensor([[True, False, False, True], [True] * 4]), "b": torch.tensor([[True, False], [False, False]])})
    assert structure.n_suppressed().tolist() == [2 + 3, 6]
    assert Structure({}, SPIKE, 2, CPU).n_suppressed().tolist() == [0, 0]


def test_units_at_the_same_position_of_tied_channels_are_tied() -> None:
    structure = structure_of(torch.ones(1, 3, 8), w=2)
    structure.load({"w": torch.tensor([[True, True, False, True]])}, {"w": torch.tensor([[1, 0, -1, 1]])})
    assert structure.unit_labels()["w"].tolist() == [[2, 3, 0, 1, -1, -1, 2, 3]]


def test_the_clustering_gets_the_seed_and_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Affinity propagation breaks ties by random numbers, so a result can be reproduced only with its seed."""
    calls: list[tuple[int, int]] = []

    def cluster_each(rows: list[Tensor], settings: TyingSettings, seed: int, n_threads: int) -> list[object]:
        calls.append((seed, n_threads))
        return tying.cluster_each(rows, settings, seed, n_threads)  # type: ignore[return-value]

    monkeypatch.setattr("trainer.objectives.structure.cluster_each", cluster_each)
    structure_of(rows_of_lengths(1.0, 2.0)).cluster(TyingSettings(), 7, torch.tensor([True]), 3)
    assert calls == [(7, 3)]


def test_the_shortest_rows_go_until_l0_is_at_most_the_level() -> None:
    """Two layers of 4 and 2 rows with theta = 1; lengths count in units of the mean initial length of the layer, 2.5 and 15."""
    norms = torch.tensor([4.0, 3, 2, 1]), torch.tensor([20.0, 10])
    weights = {f"layer{i}": one.repeat(3, 1, 1) for i, one in enumerate(norms)}
    structure = Structure(weights, GrowlSettings(beta1=0, beta2=1), 3, torch.device("cpu"))
    assert structure.penalty().tolist() == [40, 40, 40]
    structure.remove_shortest(torch.tensor([40.0, 28.5, 0]), share=0.5)
    assert structure.penalty().tolist() == [40, 27, 27]  # the lengths 1, 10 and 2 are 0.4, 0.67 and 0.8 units
    assert row_norms(weights["layer0"]).tolist() == [[4, 3, 2, 1], [4, 3, 0, 0], [4, 3, 0, 0]]
    assert row_norms(weights["layer1"]).tolist() == [[20, 10], [20, 0], [20, 0]]
    assert structure.limits(0.5) == {"layer0": 0.5, "layer1": 0.5}
    assert structure.limits(0.4) == {"layer0": 0.25, "layer1": 0}


def test_a_level_that_is_no_number_removes_nothing() -> None:
    weights = {"layer": torch.ones(2, 3, 5)}
    structure = Structure(weights, GrowlSettings(), 2, torch.device("cpu"))
    structure.remove_shortest(torch.tensor([torch.nan, torch.inf]), share=0.8)
    assert (row_norms(weights["layer"]) > 0).all()
