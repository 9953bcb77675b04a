"""The network of knowledge distillation for multi-task learning: hard parameter sharing with one adaptor for each task."""

from collections.abc import Sequence

from torch import Tensor, nn

from trainer.models.hps import HPS


class KDMTL(HPS):
    """HPS with adaptors that map the shared features to those of each task's teacher.

    The adaptors are used only in training: `forward` does not call them, and GrOWL does not prune them.

    Source: Li and Bilen, ECCV 2020 workshops.
    """

    def __init__(self, trunk: nn.Sequential, heads: Sequence[nn.Module], adaptors: Sequence[nn.Module]) -> None:
        super().__init__(trunk, heads)
        self.adaptors = nn.ModuleList(adaptors)

    def adapted(self, shared: Tensor) -> list[Tensor]:
        """Map the trunk's features, shape (n, n_features), to one tensor of that shape for each task, to be compared with its teacher."""
        return [adaptor(shared) for adaptor in self.adaptors]
