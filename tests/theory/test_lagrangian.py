"""The augmented Lagrangian reaches exact Chebyshev points, on non-convex fronts too."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from trainer.objectives.lagrangian import Lagrangian, convergence
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
