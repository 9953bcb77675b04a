"""The analytic objectives as networks, whose parameters are the variables and which ignore their input."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from trainer.problems.analytic.options import AnalyticOptions, DtlzOptions


class Point(nn.Module, ABC):
    """A point x of n variables, float64, with bounds; `forward` returns the value of each objective for every sample.

    The initial point is random, near the middle of the bounds, and drawn from torch's global generator.
    """

    start = (0.3, 0.7)
    """The interval from which the initial x is drawn uniformly."""

    def __init__(self, options: AnalyticOptions) -> None:
        super().__init__()
        low, high = self.start
        self.x = nn.Parameter(low + (high - low) * torch.rand(options.n_variables, dtype=torch.float64))
        self.bounds = {"x": (0.0, 1.0)}
        self.growl_layers = ()

    @abstractmethod
    def objectives(self, x: Tensor) -> list[Tensor]:
        """Compute the objectives at x, each a scalar tensor."""

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Return the value of each objective for every sample, shape (n,) each; the inputs, shape (n, 1), are not read."""
        return [value.expand(len(inputs)) for value in self.objectives(self.x)]


class Zdt1(Point):
    """Source: Zitzler, Deb and Thiele 2000."""

    def objectives(self, x: Tensor) -> list[Tensor]:
        """f1 = x1, f2 = g (1 - sqrt(f1 / g)); the slope of the root is limited below f1 / g = 1e-12."""
        g = 1 + 9 * x[1:].mean()
        return [x[0], g * (1 - (x[0] / g).clamp(min=1e-12).sqrt())]


class Zdt2(Point):
    """Source: Zitzler, Deb and Thiele 2000."""

    def objectives(self, x: Tensor) -> list[Tensor]:
        """f1 = x1, f2 = g (1 - (f1 / g)^2)."""
        g = 1 + 9 * x[1:].mean()
        return [x[0], g * (1 - (x[0] / g) ** 2)]


class Vlmop2(Point):
    """Source: Fonseca and Fleming 1995; Van Veldhuizen 1999."""

    start = (-0.5, 0.5)

    def __init__(self, options: AnalyticOptions) -> None:
        super().__init__(options)
        self.bounds = {"x": (-4.0, 4.0)}

    def objectives(self, x: Tensor) -> list[Tensor]:
        """Two wells at plus and minus 1 / sqrt(n) in every variable."""
        well = len(x) ** -0.5
        return [1 - (-((x - well) ** 2).sum()).exp(), 1 - (-((x + well) ** 2).sum()).exp()]


class Quadratics(Point):
    """Squared distances to the origin and to the point 1 / sqrt(n) in every variable."""

    def objectives(self, x: Tensor) -> list[Tensor]:
        """|x|^2 and |x - b|^2."""
        return [(x**2).sum(), ((x - len(x) ** -0.5) ** 2).sum()]


class Dtlz(Point):
    """`x` determines a direction, and `distance` the distance from the front in that direction.

    Source: Deb, Thiele, Laumanns and Zitzler 2002.
    """

    unit = 1.0
    """The unit of the distance variables."""

    def __init__(self, options: DtlzOptions) -> None:
        super().__init__(options)
        n_directions = options.objectives - 1
        if options.n_variables <= n_directions:
            raise ValueError(
                f"{type(self).__name__} expects n_variables >= objectives, found {options.n_variables} and {options.objectives}"
            )
        self.distance = nn.Parameter((self.x.detach()[n_directions:] - 0.5) / self.unit)
        self.x = nn.Parameter(self.x.detach()[:n_directions].clone())
        self.bounds["distance"] = (-0.5 / self.unit, 0.5 / self.unit)


class Dtlz1(Dtlz):
    """A flat front. Its distance function is steep, so the unit of its variables is 1/150, and has 11^n local minima, so the variables
    start near the best one.
    """

    unit = 1 / 150

    def __init__(self, options: DtlzOptions) -> None:
        super().__init__(options)
        self.distance.data *= 0.1  # within 0.02 of 0.5 in the usual variables; the minima are 0.1 apart

    def objectives(self, x: Tensor) -> list[Tensor]:
        """f_i = 0.5 x_1 ... x_{m-i} (1 - x_{m-i+1}) (1 + g)."""
        distance = self.distance * self.unit
        g = 100 * (distance**2 - torch.cos(20 * torch.pi * distance) + 1).sum()
        return _products(0.5 * (1 + g), x, 1 - x)


class Dtlz2(Dtlz):
    """A spherical front."""

    def objectives(self, x: Tensor) -> list[Tensor]:
        """f_i = (1 + g) cos(x_1 pi / 2) ... sin(x_{m-i+1} pi / 2)."""
        angle = x * torch.pi / 2
        return _products(1 + (self.distance**2).sum(), angle.cos(), angle.sin())


def _products(scale: Tensor, through: Tensor, turn: Tensor) -> list[Tensor]:
    """scale * through_1 ... through_{m-i} * turn_{m-i+1} for i = 1 .. m; the first product has no factor `turn`."""
    values = []
    product = scale
    for j in range(len(through)):
        values.append(product * turn[j])
        product = product * through[j]
    return [product, *reversed(values)]


class Owl(nn.Module):
    """A matrix X as the weight of a linear layer, float64, whose rows GrOWL prunes."""

    def __init__(self, targets: Tensor) -> None:
        super().__init__()
        n_rows, row_length = targets.shape
        self.matrix = nn.Linear(n_rows, row_length, bias=False, dtype=torch.float64)
        self.targets: Tensor
        self.register_buffer("targets", targets)
        self.growl_layers = ("matrix",)

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Return 0.5 |X - B|^2 for every sample, shape (n,); the inputs, shape (n, 1), are not read."""
        return [(0.5 * ((self.matrix.weight.T - self.targets) ** 2).sum()).expand(len(inputs))]


NETWORKS = {
    "zdt1": Zdt1,
    "zdt2": Zdt2,
    "vlmop2": Vlmop2,
    "quadratics": Quadratics,
    "dtlz1": Dtlz1,
    "dtlz2": Dtlz2,
}
