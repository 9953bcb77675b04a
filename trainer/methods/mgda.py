"""Multiple-gradient descent: shared parameters follow the min-norm combination of the tasks' gradients."""

from trainer.methods.min_norm import min_norm_weights
from trainer.methods.task_gradients import GradientMethod, TaskGradients


class MGDA(GradientMethod):
    """Shared parameters follow the min-norm point in the convex hull of the tasks' gradients; each other parameter follows its own task.

    A step along the negative of that point lowers every task's loss; the point is zero if no direction does. The method needs no
    preference and finds a single point of the front.

    Source: Desideri 2012; Sener and Koltun, NeurIPS 2018, algorithm 1 (gradients as they are, not normalised).
    """

    def _combine(self, network: int, gradients: TaskGradients) -> None:
        shared = set(gradients.shared())
        weights = min_norm_weights(gradients.gram(sorted(shared))[None])[0].tolist()
        for p in range(len(gradients.parameters)):
            gradients.add(p, weights if p in shared else [1.0] * len(weights))
