"""The public door to `trainer.problems.facts`: this import path is kept for code outside the project."""

from trainer.problems.facts import SPARSITY, ProblemFacts

__all__ = [
    "SPARSITY",
    "ProblemFacts",
]
