"""Re-exports `trainer.problems.problem` under the import path that code outside the project uses."""

from trainer.problems.problem import Part, Problem, Split, Stream, Task, classification, regression

__all__ = [
    "Part",
    "Problem",
    "Split",
    "Stream",
    "Task",
    "classification",
    "regression",
]
