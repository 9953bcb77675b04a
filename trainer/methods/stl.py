"""Single-task learning: one network for each task, trained side by side and combined into one row."""

from torch import Generator, Tensor, nn

from trainer.methods.one_phase import OnePhase
from trainer.models.stl import STL
from trainer.problems.problem import Problem
from trainer.training.trial import TrialSpec


class SingleTask(OnePhase):
    """Trains the model `stl` on the plain sum of the losses; its networks share nothing, so each one trains on its own task only.

    Each task's network is kept from its own best epoch. Training them together changes nothing, because Adam updates every number
    independently, and gradient descent is linear.
    """

    def _backward(self, inputs: Tensor, targets: Tensor, generator: Generator) -> Tensor:
        return self.pack.backward_of_sum(inputs, targets)

    @classmethod
    def _network(cls, spec: TrialSpec, problem: Problem) -> nn.Module:
        network = super()._network(spec, problem)
        if not isinstance(network, STL):
            raise ValueError(f"method stl expects the model stl (trainer.models.stl.STL), found {type(network).__name__}")
        return network

    def _parts(self) -> tuple[str, ...]:
        each = range(len(self._problem.tasks))
        return tuple(f"{kind}.{t}." for t in each for kind in ("trunks", "heads"))

    def _scores(self, losses: Tensor, metrics: Tensor) -> list[Tensor]:
        by_accuracy = self._settings.selection == "accuracy"
        of_task = [metrics[:, t] if by_accuracy and self._classifies[t] else -losses[:, t] for t in range(losses.shape[1])]
        return [score for score in of_task for _ in ("trunks", "heads")]
