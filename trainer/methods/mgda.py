"""Multiple-gradient descent: the least common gradient of the tasks moves what they share."""

from trainer.methods.min_norm import min_norm_weights
from trainer.methods.task_gradients import GradientMethod, TaskGradients


class MGDA(GradientMethod):
    """Shared parameters follow the point of least norm in the hull of the tasks' gradients, a task's own its own gradient.

    That point lowers every task's loss, or is zero where no direction does. It needs no preference and finds one point.

    Source: Desideri 2012; Sener and Koltun, NeurIPS 2018, algorithm 1 (gradients as they are, not normalised).
    """

    def _combine(self, network: int, found: TaskGradients) -> None:
        shared = set(found.shared())
        weights = min_norm_weights(found.gram(sorted(shared))[None])[0].tolist()
        for p in range(len(found.parameters)):
            found.add(p, weights if p in shared else [1.0] * len(weights))
