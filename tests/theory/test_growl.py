"""The penalty and its prox: optimality, closed form against isotonic regression, and the layer cap."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import isotonic_regression
from torch import Tensor

from trainer.objectives.growl import (
    growl_gradient,
    growl_penalty,
    is_spike,
    limit_suppression,
    prox_growl,
    prox_spike,
    row_matrix,
    row_norms,
    scale_rows,
    theta_pattern,
)

EXACT = settings(deadline=None, derandomize=True)
NORMS = st.integers(1, 40).flatmap(lambda n: arrays(np.float64, n, elements=st.floats(0, 8, width=32)))
STEPS = st.floats(0, 4, width=32)


def by_isotonic_regression(norms: np.ndarray, theta: np.ndarray, step: float) -> np.ndarray:
    """The prox of the sorted l1 norm as Bogdan et al. state it, without any closed form."""
    order = np.argsort(-norms, kind="stable")
    fitted = np.clip(isotonic_regression(norms[order] - step * theta, increasing=False).x, 0, None)
    result = np.empty_like(norms)
    result[order] = fitted
    return result


@EXACT
@given(NORMS, STEPS, st.floats(0, 2), st.floats(0, 2))
def test_the_closed_form_of_the_spike_is_the_prox(norms: np.ndarray, step: float, beta1: float, beta2: float) -> None:
    theta = theta_pattern("spike", len(norms), beta1, beta2)
    found = prox_growl(torch.from_numpy(norms)[None], theta, torch.tensor([step], dtype=torch.float64))[0].numpy()
    np.testing.assert_allclose(found, by_isotonic_regression(norms, theta.numpy(), step), rtol=0, atol=1e-12)


@EXACT
@given(NORMS, STEPS, st.sampled_from(["linear", "pld"]))
def test_the_falling_patterns_go_through_isotonic_regression(norms: np.ndarray, step: float, pattern: str) -> None:
    theta = theta_pattern(pattern, len(norms), 0.8, 0.2)
    found = prox_growl(torch.from_numpy(norms)[None], theta, torch.tensor([step], dtype=torch.float64))[0].numpy()
    np.testing.assert_allclose(found, by_isotonic_regression(norms, theta.numpy(), step), rtol=0, atol=1e-12)


@EXACT
@given(NORMS, STEPS, st.integers(0, 2**31))
def test_no_other_point_has_a_lower_prox_objective(norms: np.ndarray, step: float, seed: int) -> None:
    """0.5 ||u - z||^2 + step * penalty(u) at the prox is no more than at random points around it."""
    theta = theta_pattern("linear", len(norms), 0.8, 0.2)
    z = torch.from_numpy(norms)[None]
    best = prox_growl(z, theta, torch.tensor([step], dtype=torch.float64))
    generator = torch.Generator().manual_seed(seed)
    others = (best + 0.1 * torch.randn(32, len(norms), generator=generator, dtype=torch.float64)).clamp(min=0)

    def objective(u: Tensor) -> Tensor:
        return 0.5 * (u - z).square().sum(dim=1) + step * growl_penalty(u, theta)

    assert (objective(others) >= objective(best) - 1e-9).all()


@EXACT
@given(NORMS, st.floats(0, 2, width=32), st.floats(0, 2, width=32))
def test_a_longer_step_never_lengthens_a_row(norms: np.ndarray, first: float, more: float) -> None:
    theta = theta_pattern("spike", len(norms), 0.8, 0.2)
    z = torch.from_numpy(norms)[None].repeat(2, 1)
    short, long = prox_growl(z, theta, torch.tensor([first, first + more], dtype=torch.float64))
    assert (long <= short + 1e-12).all()


def test_no_step_changes_nothing() -> None:
    norms = torch.rand(3, 50, dtype=torch.float64)
    assert torch.equal(prox_growl(norms, theta_pattern("spike", 50, 0.8, 0.2), torch.zeros(3, dtype=torch.float64)), norms)


@pytest.mark.parametrize(
    ("theta", "norms", "step", "rule"),
    [
        ([0.2, 0.8], [[1.0, 2.0]], [1.0], "non-increasing"),
        ([0.8, 0.2], [[-1.0, 2.0]], [1.0], "norms and step >= 0"),
        ([0.8, 0.2], [[1.0, 2.0]], [-1.0], "norms and step >= 0"),
        ([0.8], [[1.0, 2.0]], [1.0], r"theta \(n_rows,\)"),
    ],
)
def test_a_wrong_argument_is_named(theta: list[float], norms: list[list[float]], step: list[float], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        prox_growl(torch.tensor(norms), torch.tensor(theta), torch.tensor(step))


@EXACT
@given(NORMS, st.integers(0, 40))
def test_the_cap_brings_the_largest_rows_back(norms: np.ndarray, n_removable: int) -> None:
    """Of rows that the prox would all remove, at most n_removable stay removed, and they are the smallest."""
    z = torch.from_numpy(norms)[None]
    limited = limit_suppression(z, torch.zeros_like(z), torch.tensor([n_removable]))[0]
    removed, kept = (limited == 0) & (z[0] > 0), limited > 0
    assert int(removed.sum()) <= n_removable
    if removed.any() and kept.any():
        assert z[0][removed].max() <= z[0][kept].min()


def test_a_row_that_returns_is_no_longer_than_the_shortest_survivor() -> None:
    norms = torch.tensor([[3.0, 2.0, 1.0, 0.5]])
    shrunk = torch.tensor([[1.5, 0.0, 0.0, 0.0]])
    assert limit_suppression(norms, shrunk, torch.tensor([2])).tolist() == [[1.5, 1.5, 0.0, 0.0]]
    two, of_both = torch.cat([norms, norms]), torch.cat([shrunk, shrunk / 3])
    assert limit_suppression(two, of_both, torch.tensor([2, 2])).tolist() == [[1.5, 1.5, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]], (
        "each model's own"
    )


def test_rows_are_input_units() -> None:
    """Linear (out, in) and Conv2d (out, in, h, w): row j holds everything that reads input unit j."""
    linear, conv = torch.rand(1, 4, 6), torch.rand(1, 4, 3, 2, 2)
    assert torch.equal(row_matrix(linear)[0], linear[0].T)
    assert torch.equal(row_matrix(conv)[0, 1], conv[0, :, 1].flatten())
    for weight in (linear, conv):
        torch.testing.assert_close(row_norms(weight), row_matrix(weight).norm(dim=2))
        scaled = weight.clone()
        scale = torch.rand(1, weight.shape[2])
        scale_rows(scaled, scale)
        torch.testing.assert_close(row_matrix(scaled), row_matrix(weight) * scale[:, :, None])


@pytest.mark.parametrize(
    ("pattern", "theta"),
    [
        ("spike", [1.0, 0.25, 0.25, 0.25, 0.25]),
        ("linear", [1.0, 0.8125, 0.625, 0.4375, 0.25]),
        ("pld", [1.0, 0.625, 0.25, 0.25, 0.25]),  # falls over the first three rows, then stays
    ],
)
def test_the_patterns_by_hand(pattern: str, theta: list[float]) -> None:
    assert theta_pattern(pattern, 5, 0.75, 0.25, pld_share=0.6).tolist() == theta


def test_a_pattern_of_one_row_has_one_weight() -> None:
    assert [theta_pattern(pattern, 1, 0.75, 0.25).tolist() for pattern in ("spike", "linear", "pld")] == [[1.0]] * 3


def test_rows_behind_a_flatten_are_its_single_features() -> None:
    """Conv -> Flatten -> Linear: row j of the Linear reads pixel j in (channel, height, width) order, channels-last or not."""
    conv, linear = torch.nn.Conv2d(1, 3, 3), torch.nn.Linear(3 * 4 * 4, 2)
    inputs = torch.rand(5, 1, 6, 6)
    features = conv(inputs.contiguous(memory_format=torch.channels_last)).flatten(1)
    j = 2 * 16 + 3 * 4 + 1  # channel 2, line 3, column 1
    torch.testing.assert_close(features[:, j], conv(inputs)[:, 2, 3, 1])
    stacked = linear.weight.detach().clone()[None]
    mask = torch.ones(1, 48)
    mask[0, j] = 0
    scale_rows(stacked, mask)
    changed = features.clone()
    changed[:, j] += 100
    torch.testing.assert_close(changed @ stacked[0].T, features @ stacked[0].T)


@pytest.mark.parametrize("pattern", ["spike", "linear", "pld"])
def test_the_gradient_is_that_of_the_penalty(pattern: str) -> None:
    weight = torch.rand(2, 3, 5, 2, 2, dtype=torch.float64, requires_grad=True)
    theta = theta_pattern(pattern, 5, 0.8, 0.2)
    growl_penalty(row_norms(weight), theta).sum().backward()
    torch.testing.assert_close(growl_gradient(weight.detach(), theta), weight.grad)


def test_rows_of_equal_length_are_ranked_by_their_place() -> None:
    """On every processor: a sort that may exchange equals does so where vectors are wider, so other rows would be suppressed."""
    for n_rows in (5, 40, 300):
        norms = torch.ones(2, n_rows)
        kept = limit_suppression(norms, torch.zeros(2, n_rows), torch.tensor([3, 4]))
        assert (kept == 0).tolist() == [[row < n for row in range(n_rows)] for n in (3, 4)]
        gradient = growl_gradient(norms[:, None, :], theta_pattern("linear", n_rows, 0.8, 0.2))
        assert bool((gradient.diff(dim=2) < 0).all()), "the first row has the largest weight"


def test_half_of_the_rows_fall_in_a_piecewise_pattern_by_default() -> None:
    assert theta_pattern("pld", 4, 0.5, 0.25).tolist() == [0.75, 0.25, 0.25, 0.25]
    assert theta_pattern("pld", 6, 0.5, 0.25).tolist() == [0.75, 0.5, 0.25, 0.25, 0.25, 0.25]
    assert theta_pattern("pld", 3, 0.5, 0.25, pld_share=0.01).tolist() == [0.75, 0.25, 0.25], "at least the first row"
    assert theta_pattern("spike", 3, 0.5, 0.25).dtype == torch.float64


def test_a_spike_is_a_pattern_whose_later_weights_are_equal() -> None:
    assert [is_spike(torch.tensor(theta)) for theta in ([1.0, 0.5, 0.5], [0.5], [1.0, 0.5, 0.25], [1.0, 1.0, 0.5])] == [
        True,
        True,
        False,
        False,
    ]


def test_the_penalty_weighs_sorted_norms_whether_or_not_its_pattern_is_named() -> None:
    norms = torch.tensor([[1.0, 3.0, 2.0], [0.0, 0.0, 4.0]], dtype=torch.float64)
    spike, falling = theta_pattern("spike", 3, 0.5, 0.25), theta_pattern("linear", 3, 0.5, 0.25)
    for named in (None, True, False):
        assert growl_penalty(norms, spike, named).tolist() == [3.0, 3.0]
    for named in (None, False):
        assert growl_penalty(norms, falling, named).tolist() == [3 * 0.75 + 2 * 0.5 + 0.25, 3.0]
    assert growl_penalty(norms.float(), spike).dtype == torch.float32


def test_models_of_a_pack_shrink_by_their_own_steps() -> None:
    """Of 3, 2, 1: all fall by step / 4, the largest by step / 2 more, until it meets the second and they share."""
    norms = torch.tensor([[1.0, 3.0, 2.0]] * 4, dtype=torch.float64)
    steps = torch.tensor([0.0, 1.0, 4.0, 100.0], dtype=torch.float64)
    found = prox_growl(norms, theta_pattern("spike", 3, 0.5, 0.25), steps)
    torch.testing.assert_close(found, torch.tensor([[1, 3, 2], [0.75, 2.25, 1.75], [0, 0.5, 0.5], [0, 0, 0]], dtype=torch.float64))
    falling = prox_growl(norms, theta_pattern("linear", 3, 0.5, 0.25), steps)
    torch.testing.assert_close(falling, torch.tensor([[1, 3, 2], [0.75, 2.25, 1.5], [0, 0, 0], [0, 0, 0]], dtype=torch.float64))
    assert norms.tolist() == [[1.0, 3.0, 2.0]] * 4, "not modified"
    assert prox_growl(norms.float(), theta_pattern("linear", 3, 0.5, 0.25), steps.float()).dtype == torch.float32


def test_without_a_spike_rows_fall_by_the_same_length() -> None:
    norms = torch.tensor([[0.1, 0.7, 0.3]])
    assert torch.equal(prox_spike(norms, 0.0, 0.25, torch.tensor([0.0])), norms), "to the bit"
    torch.testing.assert_close(prox_spike(norms, 0.0, 0.25, torch.tensor([1.0])), torch.tensor([[0.0, 0.45, 0.05]]))


@pytest.mark.parametrize(
    ("theta", "norms", "step", "message"),
    [
        ([0.8, 0.2], [[1.0, 2.0]], [1.0, 1.0], r"for norms \(n_models, n_rows\), found \(2,\), \(2,\), \(1, 2\)$"),
        ([0.8, 0.2, 0.1], [[1.0, 2.0]], [1.0], r"found \(3,\), \(1,\), \(1, 2\)$"),
        ([0.5, -0.25], [[1.0, 2.0]], [1.0], r"^prox_growl expects theta >= 0 and non-increasing, found theta = \[0\.5, -0\.25\]$"),
        ([0.8, 0.2], [[-1.0, 2.0]], [1.0], r"^prox_growl expects norms and step >= 0, found least norm = -1\.0, least step = 1\.0$"),
    ],
)
def test_a_message_says_the_rule_and_what_was_found(theta: list[float], norms: list[list[float]], step: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prox_growl(torch.tensor(norms), torch.tensor(theta), torch.tensor(step))


def test_weights_norms_and_steps_of_zero_are_allowed() -> None:
    zero = torch.zeros(1, 2)
    assert prox_growl(zero, torch.zeros(2), torch.zeros(1)).tolist() == [[0.0, 0.0]]


def test_as_many_rows_as_may_be_removed_stay_removed_and_zero_rows_never_return() -> None:
    norms = torch.tensor([[0.0, 1.0, 2.0, 3.0]] * 3)
    limited = limit_suppression(norms, torch.zeros(3, 4), torch.tensor([0, 2, 4]))
    assert limited.tolist() == [[0.0, 1.0, 2.0, 3.0], [0.0, 0.0, 2.0, 3.0], [0.0, 0.0, 0.0, 0.0]]
    short = torch.tensor([[0.0, 0.0, 0.0, 1.5]])
    assert limit_suppression(norms[:1], short, torch.tensor([1])).tolist() == [[0.0, 1.0, 1.5, 1.5]], "no longer than the survivor"


def test_the_gradient_of_a_zero_row_is_zero_and_the_weight_is_left_alone() -> None:
    weight = torch.tensor([[[0.0, 3.0, 0.0], [0.0, 4.0, 1.0]]])
    before = weight.clone()
    gradient = growl_gradient(weight, theta_pattern("linear", 3, 0.5, 0.25))
    assert torch.equal(weight, before)
    torch.testing.assert_close(gradient, torch.tensor([[[0.0, 0.45, 0.0], [0.0, 0.6, 0.5]]]))
