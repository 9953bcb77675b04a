"""Single-task learning: one network for each task, with nothing shared."""

from collections.abc import Sequence

from torch import Tensor, nn

from trainer.models.layers import behind_the_input


class STL(nn.Module):
    """A trunk and a head for each task; the output of task t is head_t(trunk_t(x)). With one task it is a plain network.

    GrOWL may prune the layers of each trunk that do not read the input. With several tasks, only the objectives connect the networks: there
    is one preference vector and one sparsity objective.
    """

    def __init__(self, trunks: Sequence[nn.Sequential], heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.trunks = nn.ModuleList(trunks)
        self.heads = nn.ModuleList(heads)
        self.growl_layers = tuple(name for t, trunk in enumerate(trunks) for name in behind_the_input(f"trunks.{t}", trunk))

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Map inputs of shape (n, channels, height, width) to one output of shape (n, n_classes) for each task."""
        return [head(trunk(inputs)) for trunk, head in zip(self.trunks, self.heads, strict=True)]
