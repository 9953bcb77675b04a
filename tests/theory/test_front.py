"""What the filters promise, against the definition written out. Integers and powers of two keep arithmetic exact."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.pareto.dominance import eps_nondominated, nondominated, slack, sparsity_clusters, thin_front, unit_of_eps

exact = settings(deadline=None, derandomize=True, max_examples=3 * settings().max_examples // 2)
integers = st.integers(-8, 8).map(float)
broken = st.sampled_from([np.nan, np.inf, -np.inf])
tolerances = st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0])


def points(elements=integers):
    """Shape (1 to 24 points, 1 to 4 objectives), many ties and duplicates."""
    return hnp.arrays(np.float64, st.tuples(st.integers(1, 24), st.integers(1, 4)), elements=elements)


def dropped_by_definition(values, eps):
    """Row i is dropped when some j differs from it and F_j <= F_i - eps in every objective."""
    return np.array([any((other <= row - eps).all() and (other != row).any() for other in values) for row in values], dtype=bool)


@exact
@given(values=points())
def test_nondominated_is_the_definition(values):
    expected = [not any((other <= row).all() and (other < row).any() for other in values) for row in values]
    assert nondominated(values).tolist() == expected


@exact
@given(values=points(), eps=tolerances)
def test_eps_nondominated_is_the_definition(values, eps):
    assert (eps_nondominated(values, eps) == ~dropped_by_definition(values, eps)).all()


@pytest.mark.full
@exact
@given(values=points(), data=st.data())
def test_eps_per_objective_is_the_definition(values, data):
    eps = np.array([data.draw(tolerances) for _ in range(values.shape[1])])
    assert (eps_nondominated(values, eps) == ~dropped_by_definition(values, eps)).all()


@pytest.mark.full
@exact
@given(values=points())
def test_no_tolerance_is_the_exact_front(values):
    for mode in ("absolute", "ideal", "range"):
        assert (eps_nondominated(values, 0.0, mode) == nondominated(values)).all()


@pytest.mark.full
@exact
@given(values=points(), eps=tolerances, mode=st.sampled_from(["absolute", "ideal", "range"]))
def test_never_empty(values, eps, mode):
    assert eps_nondominated(values, eps, mode).any()


@pytest.mark.full
@exact
@given(values=points(st.floats(-4, 4)), eps=tolerances, more=tolerances, mode=st.sampled_from(["absolute", "ideal", "range"]))
def test_larger_eps_never_drops_a_point(values, eps, more, mode):
    """For any floats: subtraction and division round monotonically."""
    assert not (eps_nondominated(values, eps, mode) & ~eps_nondominated(values, eps + more, mode)).any()


@pytest.mark.full
@exact
@given(values=points(st.floats(-4, 4)), eps=st.floats(0, 8), mode=st.sampled_from(["absolute", "ideal", "range"]))
def test_slack_is_the_filter(values, eps, mode):
    """A slider in a report is a comparison, exactly and for any floats."""
    assert ((slack(values, mode) <= eps) == eps_nondominated(values, eps, mode)).all()


@pytest.mark.full
@exact
@given(values=points(st.floats(-4, 4)))
def test_slack_is_the_least_eps_that_keeps_a_point(values):
    slacks = slack(values)
    for i in np.flatnonzero((slacks > 0) & np.isfinite(slacks)):
        assert eps_nondominated(values, slacks[i])[i]
        assert not eps_nondominated(values, np.nextafter(slacks[i], 0))[i]


@exact
@given(values=points())
def test_slack_is_zero_exactly_on_the_front(values):
    assert ((slack(values) == 0) == nondominated(values)).all()


@pytest.mark.full
@exact
@given(values=points(), scale=st.sampled_from([0.25, 0.5, 2.0, 4.0]))
def test_slack_counts_in_units(values, scale):
    kept = slack(values, unit=np.full(values.shape[1], scale)) <= 1.0
    assert (kept == eps_nondominated(values, scale)).all()


@pytest.mark.full
@exact
@given(values=points(), eps=tolerances, data=st.data())
def test_row_order_does_not_matter(values, eps, data):
    order = np.array(data.draw(st.permutations(range(len(values)))))
    assert (eps_nondominated(values[order], eps) == eps_nondominated(values, eps)[order]).all()
    assert (slack(values[order]) == slack(values)[order]).all()
    assert (thin_front(values[order], eps) == thin_front(values, eps)[order]).all()


@pytest.mark.full
@exact
@given(values=points(), eps=tolerances)
def test_duplicates_share_their_fate(values, eps):
    for mask in (nondominated, lambda both: eps_nondominated(both, eps), lambda both: thin_front(both, eps)):
        twice = mask(np.vstack([values, values]))
        assert (twice[: len(values)] == twice[len(values) :]).all()
        assert (twice[: len(values)] == mask(values)).all()


@pytest.mark.full
@exact
@given(values=points(st.one_of(integers, integers, integers, broken)), eps=tolerances)
def test_rows_that_are_not_finite_do_not_matter(values, eps):
    """moocore alone gives wrong answers for other rows here."""
    finite = np.isfinite(values).all(axis=1)
    for function in (nondominated, lambda rows: eps_nondominated(rows, eps), lambda rows: thin_front(rows, eps)):
        assert not function(values)[~finite].any()
        assert (function(values)[finite] == function(values[finite])).all()
    assert np.isinf(slack(values)[~finite]).all()
    assert (slack(values)[finite] == slack(values[finite])).all()


@pytest.mark.full
@exact
@given(values=points(), eps=tolerances)
def test_thin_front_is_a_sparse_selection_of_the_front(values, eps):
    """A subset, never empty, at most one distinct point a box; without a box it is the whole front."""
    thin = thin_front(values, eps)
    assert thin.any()
    assert not (thin & ~nondominated(values)).any()
    if eps == 0:
        assert (thin == nondominated(values)).all()
    else:
        kept = np.unique(values[thin], axis=0)
        assert len(np.unique(np.floor(kept / eps), axis=0)) == len(kept)


@pytest.mark.full
@exact
@given(values=points(), eps=st.sampled_from([0.5, 1.0, 2.0, 4.0]))
def test_thin_front_covers_what_it_leaves_out(values, eps):
    """Every point is beaten, up to eps in each objective, by one that stays."""
    kept = values[thin_front(values, eps)]
    assert all((kept <= row + eps).all(axis=1).any() for row in values)


@pytest.mark.full
@exact
@given(rates=st.lists(st.integers(0, 64).map(lambda i: i / 64), max_size=30), data=st.data())
def test_clusters_are_one_partition_whatever_the_order(rates, data):
    labels = sparsity_clusters(rates, width=2 / 64)
    order = data.draw(st.permutations(range(len(rates))))
    assert sparsity_clusters([rates[i] for i in order], width=2 / 64).tolist() == labels[list(order)].tolist()
    ordered = sorted(zip(rates, labels, strict=True))
    for (rate, label), (next_rate, next_label) in itertools.pairwise(ordered):
        assert next_label - label == (next_rate - rate > 2 / 64)
    assert not rates or labels.min() == 0


def test_clusters_set_unknown_rates_aside():
    assert sparsity_clusters([0.5, np.nan, 0.1, 0.51]).tolist() == [1, -1, 0, 1]


def test_without_a_range_an_objective_has_no_tolerance():
    values = np.array([[1.0, 0.0], [2.0, 0.0], [2.0, 1.0]])
    assert unit_of_eps(values, "range").tolist() == [0.0, 0.0]
    assert eps_nondominated(values, 100.0, "range").tolist() == [True, False, False]
    assert np.isinf(slack(values, "range")[1:]).all()


@pytest.mark.parametrize("shape", [(0, 1), (0, 3)])
def test_no_points(shape):
    values = np.zeros(shape)
    assert nondominated(values).shape == eps_nondominated(values, 1.0).shape == slack(values).shape == thin_front(values, 1.0).shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: eps_nondominated([[1.0]], -0.5), r"eps >= 0 and finite, found eps = -0\.5"),
        (lambda: eps_nondominated([[1.0]], np.nan), "found eps = nan"),
        (lambda: eps_nondominated([[1.0, 2.0]], [0.1, 0.2, 0.3]), r"of shape \(2,\), found shape = \(3,\)"),
        (lambda: eps_nondominated([[1.0]], 0.0, "relative"), "found mode = 'relative'"),
        (lambda: nondominated([1.0, 2.0]), r"found shape = \(2,\)"),
        (lambda: nondominated(np.zeros((3, 0))), r"found shape = \(3, 0\)"),
        (lambda: slack([[1.0]], unit=[-1.0]), "unit >= 0"),
        (lambda: sparsity_clusters([0.1], width=0.0), r"width > 0, found width = 0\.0"),
    ],
)
def test_errors_name_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("n_objectives", [2, 3])
def test_the_two_ways_to_the_same_slack_agree(n_objectives):
    """Two objectives are solved by bisection; a third constant one takes the general way."""
    rng = np.random.default_rng(0)
    values = rng.random((500, 2))
    padded = np.hstack([values, np.zeros((500, n_objectives - 2))])
    unit = [1.0, 1.0, 0.0][:n_objectives]
    assert (slack(padded, unit=unit) == slack(values)).all()


@pytest.mark.parametrize("n_objectives", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["floats", "few values", "thick front"])
def test_the_filter_and_the_slack_agree_on_large_fronts(kind, n_objectives):
    """The filter looks a point up among the sorted front; slack compares it with every front point."""
    rng = np.random.default_rng(n_objectives)
    values = rng.random((700, n_objectives))
    if kind == "few values":
        values = np.round(8 * values) / 8
    if kind == "thick front":
        values = (
            1 - values / np.linalg.norm(values, axis=1, keepdims=True) * np.where(np.arange(700) % 3, rng.uniform(0.8, 1, 700), 1)[:, None]
        )
    for mode in ("absolute", "ideal", "range"):
        slacks = slack(values, mode)
        for eps in (0.0, 1e-300, 0.125, *rng.choice(slacks, 20)):
            if np.isfinite(eps):
                assert ((slacks <= eps) == eps_nondominated(values, eps, mode)).all()


@exact
@given(values=points(st.floats(-4, 4)), data=st.data())
def test_eps_per_objective_is_the_comparison_of_all_pairs(values, data):
    """For any floats, also denormal ones, F_i - F_j >= eps is meant as it is computed."""
    eps = np.array([data.draw(st.floats(0, 4)) for _ in range(values.shape[1])])
    eps[eps > 0] = 2.0 ** np.round(np.log2(np.maximum(eps[eps > 0], 2.0**-20)))  # a division by a power of two is exact
    leads = (values[:, None, :] - values[None, :, :] >= eps).all(axis=2)
    differs = (values[:, None, :] != values[None, :, :]).any(axis=2)
    assert (eps_nondominated(values, eps) == ~(leads & differs).any(axis=1)).all()


@pytest.mark.parametrize("n_objectives", [3, 4, 6])
@pytest.mark.parametrize("unit", [(1.0,) * 6, (1.0, 4.0, 0.25, 1.0, 2.0, 1.0), (1.0, 0.0, 1.0, 1.0, 1.0, 1.0)])
def test_slack_is_the_largest_lead_of_all_pairs(n_objectives, unit):
    """Many more points than one block; blocks that cannot lead by more are skipped, which must not show."""
    rng = np.random.default_rng(n_objectives)
    for values in (rng.random((900, n_objectives)) * 2.0 ** np.arange(n_objectives), rng.integers(0, 9, (900, n_objectives)) / 4.0):
        with np.errstate(divide="ignore", invalid="ignore"):
            leads = (values[:, None, :] - values[None, :, :]) / np.array(unit[:n_objectives])
        leads[np.isnan(leads)] = np.inf  # no unit and no difference: enough for every eps
        largest = leads.min(axis=2).max(axis=1)
        expected = np.where(nondominated(values), 0.0, np.nextafter(np.maximum(largest, 0.0), np.inf))
        assert (slack(values, unit=unit[:n_objectives]) == expected).all()
