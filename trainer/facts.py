"""Re-exports `trainer.problems.facts` under the import path that code outside the project uses."""

from trainer.problems.facts import SPARSITY, ProblemFacts

__all__ = [
    "SPARSITY",
    "ProblemFacts",
]
