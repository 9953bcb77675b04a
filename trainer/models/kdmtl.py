"""The network of knowledge distillation for multi-task learning: hard parameter sharing with one adaptor a task."""

from collections.abc import Sequence

from torch import Tensor, nn

from trainer.models.hps import HPS


class KDMTL(HPS):
    """HPS, whose outputs it gives; and adaptors that bring the shared features near those of each task's own teacher.

    The adaptors are for training alone: `forward` does not call them, and GrOWL does not touch them.

    Source: Li and Bilen, ECCV 2020 workshops.
    """

    def __init__(self, trunk: nn.Sequential, heads: Sequence[nn.Module], adaptors: Sequence[nn.Module]) -> None:
        super().__init__(trunk, heads)
        self.adaptors = nn.ModuleList(adaptors)

    def adapted(self, shared: Tensor) -> list[Tensor]:
        """The trunk's features, shape (n, n_features), to features of the same shape for each task, beside its teacher's."""
        return [adaptor(shared) for adaptor in self.adaptors]
