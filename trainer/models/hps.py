"""Hard parameter sharing (Caruana 1997): one trunk that all tasks share, and one head for each task."""

from collections.abc import Sequence

from torch import Tensor, nn

from trainer.models.layers import behind_the_input


class HPS(nn.Module):
    """A shared trunk S; the output of task t is head_t(S(x))."""

    def __init__(self, trunk: nn.Sequential, heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ModuleList(heads)
        self.growl_layers = behind_the_input("trunk", trunk)

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Map inputs of shape (n, channels, height, width) to one output of shape (n, n_classes) for each task."""
        shared = self.trunk(inputs)
        return [head(shared) for head in self.heads]
