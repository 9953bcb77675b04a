"""The public door to `trainer.problems.problem`: this import path is kept for code outside the project."""

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
