"""The augmented Lagrangian reaches exact Chebyshev points, on non-convex fronts too."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from trainer.objectives.lagrangian import EqualityLagrangian, Lagrangian, convergence, lagrangian_of
from trainer.objectives.scalarization import chebyshev_values
from trainer.settings import LagrangianSettings

N_VARIABLES = 5
K1 = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
K = torch.stack([K1, 1 - K1], dim=1)


def zdt1(x: Tensor) -> Tensor:
    """Convex front f2 = 1 - sqrt(f1). Source: Zitzler, Deb and Thiele 2000."""
    g = 1 + 9 * x[:, 1:].mean(dim=1)
    return torch.stack([x[:, 0], g * (1 - (x[:, 0] / g).sqrt())], dim=1)


def zdt2(x: Tensor) -> Tensor:
    """Non-convex front f2 = 1 - f1^2. Source: Zitzler, Deb and Thiele 2000."""
    g = 1 + 9 * x[:, 1:].mean(dim=1)
    return torch.stack([x[:, 0], g * (1 - (x[:, 0] / g).square())], dim=1)


def best_zdt1(k: Tensor) -> Tensor:
    """k1 f1 = k2 f2 on the front: a quadratic equation in sqrt(f1)."""
    root = (-k[:, 1] + (k[:, 1].square() + 4 * k[:, 0] * k[:, 1]).sqrt()) / (2 * k[:, 0])
    return k[:, 0] * root.square()


def best_zdt2(k: Tensor) -> Tensor:
    """k1 f1 = k2 f2 on the front: a quadratic equation in f1."""
    return k[:, 0] * (-k[:, 0] + (k[:, 0].square() + 4 * k[:, 1].square()).sqrt()) / (2 * k[:, 1])


def solve(problem: Callable[[Tensor], Tensor], scalarization: str) -> tuple[Tensor, Lagrangian]:
    """Projected gradient descent from the middle: 60 outer iterations of 50 steps, penalty 4 growing by 1.1 to 32."""
    settings = LagrangianSettings(penalty=4.0, penalty_growth=1.1, penalty_max=32.0, mean_decay=0.0)
    lagrangian = Lagrangian(settings, scalarization, len(K), 2, torch.device("cpu"), dtype=torch.float64)
    x = torch.full((len(K), N_VARIABLES), 0.5, dtype=torch.float64, requires_grad=True)
    everyone, rate = slice(0, len(K)), 0.02
    for _ in range(60):
        for _ in range(50):
            values = chebyshev_values(problem(x), K, torch.zeros(2, dtype=torch.float64), 0.0)
            weights = lagrangian.weigh(everyone, values.detach())
            lagrangian.count_step()
            (gradient,) = torch.autograd.grad((weights * values).sum(), x)
            with torch.no_grad():
                x -= rate * gradient
                x.clamp_(0, 1)
        lagrangian.update()
        rate *= 0.95
    return problem(x).detach(), lagrangian


@pytest.mark.parametrize(("problem", "best"), [(zdt1, best_zdt1), (zdt2, best_zdt2)])
def test_every_preference_reaches_its_exact_point(problem: Callable[[Tensor], Tensor], best: Callable[[Tensor], Tensor]) -> None:
    """19 interior k, convex and non-convex front: the scalarised value is the optimum to 1e-3, relative."""
    objectives, lagrangian = solve(problem, "chebyshev_al")
    error = ((K * objectives).amax(dim=1) - best(K)).abs() / best(K)
    assert float(error.max()) < 1e-3
    residual, spread = convergence(K * objectives, lagrangian.multipliers, lagrangian.penalty)
    assert float(residual.max()) < 1e-3
    assert float(spread.max()) < 1e-3
    torch.testing.assert_close(lagrangian.multipliers.sum(dim=1), torch.ones(len(K), dtype=torch.float64))


@pytest.mark.full
def test_the_weighted_sum_misses_the_whole_interior_of_a_nonconvex_front() -> None:
    """The same code with equal weights ends in a corner for every k."""
    objectives, _ = solve(zdt2, "weighted_sum")
    assert (objectives.amin(dim=1) < 1e-3).all()


def test_the_residual_vanishes_at_a_solution_only() -> None:
    multipliers = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64)
    solved = torch.tensor([[0.4, 0.4, 0.1]], dtype=torch.float64)
    residual, spread = convergence(solved, multipliers, 2.0)
    assert float(residual) == pytest.approx(0, abs=1e-12)
    assert float(spread) == pytest.approx(0, abs=1e-12)
    unsolved = torch.tensor([[0.4, 0.6, 0.1]], dtype=torch.float64)
    residual, spread = convergence(unsolved, multipliers, 2.0)
    assert float(residual) > 0.05
    assert float(spread) == pytest.approx(0.2)


def test_multipliers_move_once_an_outer_iteration_and_the_penalty_stops_growing() -> None:
    lagrangian = Lagrangian(LagrangianSettings(penalty=1, penalty_growth=4, penalty_max=8), "chebyshev_al", 1, 2, torch.device("cpu"))
    before = lagrangian.multipliers.clone()
    for value in (0.0, 0.5):
        lagrangian.weigh(slice(0, 1), torch.tensor([[value, 0.0]]))
        lagrangian.count_step()
        assert torch.equal(lagrangian.multipliers, before)
    lagrangian.update()
    assert lagrangian.multipliers.tolist() == [[0.625, 0.375]]
    assert lagrangian.penalty == 4
    lagrangian.weigh(slice(0, 1), torch.zeros(1, 2))
    lagrangian.count_step()
    lagrangian.update()
    assert lagrangian.penalty == 8


CPU = torch.device("cpu")


def test_the_weights_of_a_step_follow_a_running_mean_of_each_model_by_itself() -> None:
    """The first values are the mean; then 3/4 of it stays. With penalty 2: Proj((1/2, 1/2) + 2 mean)."""
    lagrangian = Lagrangian(LagrangianSettings(penalty=2, mean_decay=0.75), "chebyshev_al", 3, 2, CPU, torch.float64)
    assert lagrangian.multipliers.tolist() == [[0.5, 0.5]] * 3
    first = lagrangian.weigh(slice(1, 3), torch.tensor([[0.125, 0.0], [0.0, 0.25]], dtype=torch.float64))
    assert first.tolist() == [[0.625, 0.375], [0.25, 0.75]]
    second = lagrangian.weigh(slice(1, 2), torch.tensor([[0.625, 0.0]], dtype=torch.float64))
    assert second.tolist() == [[0.75, 0.25]], "3/4 of 1/8 and 1/4 of 5/8 is 1/4"
    alone = lagrangian.weigh(slice(0, 1), torch.tensor([[0.5, 0.0]], dtype=torch.float64))
    assert alone.tolist() == [[1.0, 0.0]], "a model that begins later begins with its own values"
    assert not second.requires_grad


def test_the_mean_of_an_outer_iteration_begins_anew_with_each() -> None:
    lagrangian = Lagrangian(LagrangianSettings(penalty=1, penalty_growth=1), "chebyshev_al", 1, 2, CPU, torch.float64)
    for value in (0.5, 0.25):
        lagrangian.weigh(slice(0, 1), torch.tensor([[value, 0.0]], dtype=torch.float64))
        lagrangian.count_step()
        lagrangian.update()
    assert lagrangian.multipliers.tolist() == [[0.875, 0.125]], "1/2 + 1/4 + 1/8"


@pytest.mark.parametrize("scalarization", ["weighted_sum", "smooth_chebyshev"])
def test_only_the_augmented_lagrangian_moves_its_multipliers_and_penalty(scalarization: str) -> None:
    lagrangian = lagrangian_of(LagrangianSettings(penalty=2), scalarization, 1, 2, CPU)
    lagrangian.weigh(slice(0, 1), torch.tensor([[3.0, 1.0]]))
    lagrangian.count_step()
    lagrangian.update()
    assert lagrangian.multipliers.tolist() == [[0.5, 0.5]]
    assert lagrangian.penalty == 2
    assert lagrangian.scalars()["n_steps"] == 0
    assert lagrangian.tensors()["total"].tolist() == [[0.0, 0.0]]


def test_a_scalarization_names_its_lagrangian() -> None:
    paper = lagrangian_of(LagrangianSettings(), "paper", 2, 3, CPU, torch.float64)
    assert type(paper) is EqualityLagrangian
    assert paper.multipliers.shape == (2, 3)
    assert paper.multipliers.dtype == torch.float64
    plain = lagrangian_of(LagrangianSettings(), "chebyshev_al", 2, 3, CPU, torch.float64)
    assert type(plain) is Lagrangian
    assert plain.multipliers.dtype == torch.float64
    assert lagrangian_of(LagrangianSettings(), "chebyshev_al", 2, 3, CPU).multipliers.dtype == torch.float32
    assert lagrangian_of(LagrangianSettings(), "paper", 2, 3, CPU).multipliers.dtype == torch.float32


@pytest.mark.parametrize("scalarization", ["chebyshev_al", "paper"])
def test_a_stored_state_goes_on_as_if_it_had_never_been_stored(scalarization: str) -> None:
    def step(lagrangian: Lagrangian, value: float) -> Tensor:
        weights = lagrangian.weigh(slice(0, 1), torch.tensor([[value, 0.25]]))
        lagrangian.end_step(0.5)
        lagrangian.count_step()
        return weights

    settings = LagrangianSettings(penalty=0.5, mean_decay=0.5)
    first, second = (lagrangian_of(settings, scalarization, 1, 2, CPU) for _ in range(2))
    step(first, 0.5)
    first.update()
    step(first, 0.75)
    second.load({name: value.clone() for name, value in first.tensors().items()}, first.scalars())
    assert second.penalty == first.penalty == 1.0
    for value in (0.0, 1.0):
        assert torch.equal(step(first, value), step(second, value))
    first.update()
    second.update()
    assert torch.equal(first.multipliers, second.multipliers)
    for name, value in first.tensors().items():
        assert torch.equal(value, second.tensors()[name]), name
    assert first.scalars() == second.scalars()


def test_the_papers_lagrangian_by_hand() -> None:
    """t starts at the largest g; weights are 1/2 + 2 (g - t); t falls by the rate times 1 - their sum; multipliers follow the mean."""
    lagrangian = EqualityLagrangian(LagrangianSettings(penalty=2, penalty_growth=4, penalty_max=5), 1, 2, CPU, torch.float64)
    assert lagrangian.weigh(slice(0, 1), torch.tensor([[1.0, 0.5]], dtype=torch.float64)).tolist() == [[0.5, -0.5]]
    lagrangian.end_step(0.25)
    lagrangian.count_step()
    assert lagrangian.tensors()["t"].tolist() == [[0.75]]
    assert lagrangian.weigh(slice(0, 1), torch.tensor([[1.0, 1.0]], dtype=torch.float64)).tolist() == [[1.0, 1.0]]
    lagrangian.end_step(0.25)
    lagrangian.count_step()
    assert lagrangian.tensors()["t"].tolist() == [[1.0]]
    lagrangian.update()
    assert lagrangian.multipliers.tolist() == [[0.5, 0.0]], "the mean of g is (1, 3/4)"
    assert lagrangian.penalty == 5, "the largest penalty"
    assert lagrangian.scalars() == {"penalty": 5, "n_steps": 0}
    assert lagrangian.tensors()["total"].tolist() == [[0.0, 0.0]]


def test_each_model_of_a_pack_has_its_own_t_in_the_papers_lagrangian() -> None:
    """A pack of two is two packs of one."""
    settings = LagrangianSettings(penalty=2, penalty_growth=4)
    values = torch.tensor([[1.0, 0.5], [3.0, 2.5]], dtype=torch.float64)
    both = EqualityLagrangian(settings, 2, 2, CPU, torch.float64)
    alone = [EqualityLagrangian(settings, 1, 2, CPU, torch.float64) for _ in range(2)]
    for scale in (1.0, 0.5, 0.75):
        weights = both.weigh(slice(0, 2), scale * values)
        assert torch.equal(weights, torch.cat([one.weigh(slice(0, 1), scale * values[i : i + 1]) for i, one in enumerate(alone)]))
        for lagrangian in (both, *alone):
            lagrangian.end_step(0.25)
            lagrangian.count_step()
    assert torch.equal(both.tensors()["t"], torch.cat([one.tensors()["t"] for one in alone]))


def test_the_residual_by_hand_for_each_model() -> None:
    """Weights are Proj(multipliers + 2 g); t is their threshold divided by 2."""
    values = torch.tensor([[0.5, 0.25, -1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    multipliers = torch.tensor([[0.25, 0.25, 0.5], [1.0, 0.0, 0.0]], dtype=torch.float64)
    residual, spread = convergence(values, multipliers, 2.0)
    t = (1.25 + 0.75 - 1) / 2 / 2
    assert residual.tolist() == pytest.approx([max(0.5 - t, 0.25), 0.0])
    assert spread.tolist() == pytest.approx([0.25, 0.0]), "among the two that carry weight"
