"""Knowledge distillation for multi-task learning: the shared features are drawn towards those of single-task networks."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.methods.one_phase import OnePhase
from trainer.models.kdmtl import KDMTL
from trainer.models.stl import STL
from trainer.pack.device import Place
from trainer.pack.optimizer import ParameterGroup
from trainer.problems.problem import Problem
from trainer.training.checkpoint import State
from trainer.training.trial import TrialSpec


class Distillation(OnePhase):
    """Minimises the task losses plus, for each task, the squared distance between the features of its adaptor and those of its teacher.

    The features of each sample are normalised to length 1. Only the teacher's features are detached: trunk and adaptors learn.

    Args:
        specs, problem, place, state: as for `OnePhase`.
        given: parameters and buffers of the teachers, a network of the model `stl`.

    Source: Li and Bilen, ECCV 2020 workshops.
    """

    def __init__(
        self, specs: Sequence[TrialSpec], problem: Problem, place: Place, state: State | None, given: Mapping[str, Tensor]
    ) -> None:
        super().__init__(specs, problem, place, state)
        teachers = problem.networks["stl"]()
        if not isinstance(teachers, STL) or not all(isinstance(network, KDMTL) for network in self.pack.members):
            raise ValueError(f"method kdmtl expects the models stl and kdmtl, found {type(teachers).__name__}")
        teachers.load_state_dict({name: given[name] for name in teachers.state_dict()})
        self._teachers = teachers.to(self._device).eval()
        n_tasks = len(problem.tasks)
        self._weights = self._settings.distillation.weights or (0.025,) * n_tasks
        if len(self._weights) != n_tasks:
            raise ValueError(f"distillation.weights has one number a task ({n_tasks}), found {self._weights}")

    def _own_group(self) -> ParameterGroup:
        own = self._settings.distillation
        return ParameterGroup("adaptors.", own.adaptor_learning_rate, own.adaptor_weight_decay)

    def _backward(self, inputs: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        losses = torch.zeros(self._n_networks, len(self._problem.tasks), device=self._device, dtype=self._dtype)
        with torch.no_grad():
            teacher_features = [F.normalize(trunk(inputs), dim=1) for trunk in self._teachers.trunks]
        for n, network in self.pack.living():
            assert isinstance(network, KDMTL)
            shared = network.trunk(inputs)
            of_tasks = [
                task.loss(head(shared), targets[:, t])
                for t, (task, head) in enumerate(zip(self._problem.tasks, network.heads, strict=True))
            ]
            distances = [distance(adapted, teacher) for adapted, teacher in zip(network.adapted(shared), teacher_features, strict=True)]
            total = sum(of_tasks) + sum(weight * value for weight, value in zip(self._weights, distances, strict=True))
            total.backward()  # type: ignore[union-attr]
            losses[n] = torch.stack(of_tasks).detach()
        return losses


def distance(adapted: Tensor, teacher: Tensor) -> Tensor:
    """Compute the mean squared distance between normalised features.

    Args:
        adapted: shape (n, n_features), rows of any length.
        teacher: shape (n, n_features), rows of length 1.

    Returns:
        A scalar in [0, 4].
    """
    return (F.normalize(adapted, dim=1) - teacher).square().sum(dim=1).mean()
