"""Analytic objectives as problems without data and with one network, called `point`."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from trainer.problems.analytic.options import PREFIX, AnalyticOptions, OwlOptions

if TYPE_CHECKING:
    from torch import Tensor

    from trainer.problems.problem import Problem, Split, Task
    from trainer.settings import GrowlSettings

MODEL = "point"
_CONSTRUCTION = 1


def fingerprint(options: AnalyticOptions | OwlOptions) -> str:
    """Return the SHA-256 of the name, the options and the version of the formulas."""
    facts = [options.function, _CONSTRUCTION, asdict(options)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def build(options: AnalyticOptions) -> "Problem":
    """Build a problem whose tasks are the objectives; an epoch has `n_steps` empty samples."""
    from trainer.problems.analytic.exact import optimum
    from trainer.problems.analytic.networks import NETWORKS
    from trainer.problems.problem import Problem

    network: Any = NETWORKS[options.function]
    tasks = options.facts().tasks
    return Problem(
        name=PREFIX + options.function,
        tasks=tuple(_value(name, options.worst) for name in tasks),
        networks={MODEL: lambda: network(options)},
        train=_empty(options.n_steps, len(tasks)),
        validation=_empty(1, len(tasks)),
        test=_empty(1, len(tasks)),
        is_small=True,
        has_data=False,
        optimum=lambda preference, growl: optimum(options.function, preference[1:]),
    )


def build_owl(options: OwlOptions) -> "Problem":
    """Build a problem with one task, the distance to B, and sparsity."""
    import numpy as np
    import torch

    from trainer.objectives.structure import theta_of
    from trainer.problems.analytic import owl
    from trainer.problems.analytic.networks import Owl
    from trainer.problems.problem import Problem

    targets = owl.targets(options.n_rows, options.row_length)
    lengths = np.sort(np.linalg.norm(targets, axis=1))[::-1]

    def optimum(preference: Sequence[float], growl: "GrowlSettings") -> float:
        return owl.optimum(lengths, theta_of(growl, options.n_rows).numpy(), *preference)

    return Problem(
        name=PREFIX + options.function,
        tasks=(_value("distance", owl.distance_at_zero(options.n_rows, options.row_length)),),
        networks={MODEL: lambda: Owl(torch.from_numpy(targets))},
        train=_empty(options.n_steps, 1),
        validation=_empty(1, 1),
        test=_empty(1, 1),
        is_small=True,
        has_data=False,
        optimum=optimum,
    )


def _value(name: str, worst: float) -> "Task":
    """Create a task whose output is its loss."""
    from trainer.problems.problem import Task

    def loss(output: "Tensor", target: "Tensor") -> "Tensor":
        return output.mean()

    def metric(output: "Tensor", target: "Tensor") -> "Tensor":
        return output

    return Task(name, loss, metric, "value", worst)


def _empty(n_samples: int, n_tasks: int) -> "Split":
    import torch

    from trainer.problems.problem import Split

    return Split(torch.zeros(n_samples, 1), torch.zeros(n_samples, n_tasks))
