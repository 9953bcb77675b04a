"""Numbers that others have published, to stand beside ours; every one with its source."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedHypervolume:
    """A method's hypervolume on a two-task data set, as published."""

    method: str
    value: float
    """Of test cross-entropy below (2, 2), in nats squared."""


GMOOAR = (
    "Chen and Kwok, Multi-Objective Deep Learning with Adaptive Reference Vectors, NeurIPS 2022 (LeNet, mean of 10 seeds); "
    "their data, those of Lin et al., Pareto Multi-Task Learning, NeurIPS 2019, were never released as a script"
)
"""Where all of `PUBLISHED_HYPERVOLUMES` is from."""
PUBLISHED_HYPERVOLUMES: dict[str, tuple[PublishedHypervolume, ...]] = {
    "multifashion": (
        PublishedHypervolume("single task", 2.22),
        PublishedHypervolume("EPO", 2.31),
        PublishedHypervolume("PHN-EPO", 2.16),
        PublishedHypervolume("COSMOS", 2.31),
        PublishedHypervolume("GMOOAR", 2.33),
    ),
    "multimnist": (
        PublishedHypervolume("EPO", 2.95),
        PublishedHypervolume("COSMOS", 2.95),
        PublishedHypervolume("GMOOAR", 3.02),
    ),
}
"""Problem's name -> what was published for data made by the same protocol."""
