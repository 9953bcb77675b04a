"""One network conditioned on the preference, whose single training yields the whole front of the tasks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.methods.conditioning import Conditioned, condition_on
from trainer.methods.one_phase import OnePhase
from trainer.pack.device import Place
from trainer.problems.data import Part
from trainer.problems.problem import Problem
from trainer.training.checkpoint import State
from trainer.training.gradient_cosine import Cosines
from trainer.training.trial import TrialSpec


class COSMOS(OnePhase):
    """Trains one network that reads the preference with each input; every minibatch draws a preference from a Dirichlet distribution.

    The loss of a minibatch is sum_t k_t L_t - cosine * cos(r, L): the second term draws the losses towards the ray r on which all k_t L_t
    are equal, so that the points spread along the front. The authors use cos(k, L), which increases the loss of a task with its weight and
    so opposes the first term; here a larger k_t always means a smaller L_t, as in every other method.

    The trials of the pack share the network, which is measured under the preference of each trial. The best epoch is the one with the
    smallest sum_t k_t L_t (or the highest accuracy), averaged over the trials.

    Source: Ruchte and Grabocka, ICDM 2021.
    """

    def __init__(self, specs: Sequence[TrialSpec], problem: Problem, place: Place, state: State | None = None) -> None:
        super().__init__(specs, problem, place, None)
        preferences = [spec.preference[1:] for spec in specs if spec.preference is not None]
        self._preferences = torch.tensor(preferences, dtype=self._dtype, device=self._device)
        if state is not None:
            self._load(state)

    @property
    def _n_networks(self) -> int:
        return 1

    @classmethod
    def _network(cls, spec: TrialSpec, problem: Problem) -> nn.Module:
        network = super()._network(spec, problem)
        example, _ = problem.train.first(2)
        n_tasks = len(problem.tasks)
        conditioned = condition_on(network, example.to(next(network.parameters()).dtype), n_tasks)
        conditioned.condition = torch.full((n_tasks,), 1 / n_tasks)  # used by calls without a condition
        return conditioned

    def _backward(self, inputs: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        network = self._conditioned()
        preference = self._draw_preference(generator)
        outputs = network(inputs, preference)
        losses = torch.stack(
            [task.loss(output, targets[:, t]) for t, (task, output) in enumerate(zip(self._problem.tasks, outputs, strict=True))]
        )
        total = (preference * losses).sum() - self._settings.cosmos.cosine * F.cosine_similarity(equal_ray(preference), losses, dim=0)
        total.backward()
        return losses.detach()[None]

    def _draw_preference(self, generator: torch.Generator) -> Tensor:
        """Draw a preference over the tasks, shape (n_tasks,)."""
        concentration = torch.full((len(self._problem.tasks),), self._settings.cosmos.concentration, dtype=torch.float64)
        gamma = torch._standard_gamma(concentration, generator=generator)
        return (gamma / gamma.sum()).to(self._device, self._dtype)

    def _conditioned(self) -> Conditioned:
        (network,) = self.pack.members
        assert isinstance(network, Conditioned)
        return network

    def _measure(self, part: Part) -> tuple[Tensor, Tensor]:
        measured = []
        for preference in self._preferences:
            with _under(self._conditioned(), preference):
                measured.append(self.pack.evaluate(part))
        losses, metrics = (torch.cat(column) for column in zip(*measured, strict=True))
        return losses, metrics

    def _gradient_cosines(self, trial: int) -> Cosines | None:
        with _under(self._conditioned(), self._preferences[trial]):
            return self._cosines_of(0)

    def _scores(self, losses: Tensor, metrics: Tensor) -> list[Tensor]:
        if self._settings.selection == "accuracy":
            return [metrics[:, self._classifies].mean().reshape(1)]
        return [-(self._preferences.double().cpu() * losses).sum(dim=1).mean().reshape(1)]


def equal_ray(preference: Tensor) -> Tensor:
    """Return a direction in which all preference_t * loss_t are equal, shape (n_tasks,): 1 / preference up to scale, and always finite."""
    n_tasks = len(preference)
    others = preference.expand(n_tasks, n_tasks).masked_fill(torch.eye(n_tasks, dtype=torch.bool, device=preference.device), 1)
    return others.prod(dim=1)


@contextmanager
def _under(network: Conditioned, preference: Tensor) -> Iterator[None]:
    """Set the network's preference within the context."""
    before, network.condition = network.condition, preference
    try:
        yield
    finally:
        network.condition = before
