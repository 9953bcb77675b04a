"""MTAN, the multi-task attention network: one trunk, and for each task gates that select among its features."""

from collections.abc import Sequence

from torch import Tensor, nn

from trainer.models.layers import before_the_gate, behind_the_input, weighted_layers

N_BLOCKS = 3


class Attention(nn.Module):
    """The two gates of one task, with values in (0, 1) for every feature of the trunk's second and last block."""

    def __init__(self, second: nn.Sequential, last: nn.Sequential) -> None:
        super().__init__()
        self.second = second
        self.last = last

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Compute the gate of the trunk's last block, (n, n_features), from the outputs of its first and (flattened) second block."""
        gated = second * self.second(first).flatten(1)
        return self.last(gated)  # type: ignore[no-any-return]


class MTAN(nn.Module):
    """A trunk S of three blocks S1, S2, S3 and gates A_t, B_t for each task: head t reads S * B_t(S2 * A_t(S1)).

    GrOWL may prune the trunk, except the layer that reads the input, and each gate, except the layer whose output enters the sigmoid. That
    layer, like the heads, is not pruned, because a gate without weights is a constant. The gates read the same channels as the trunk, so a
    channel can be removed only if all its readers have suppressed it.

    Source: Liu, Johns and Davison, CVPR 2019; the layers follow Hotegni, Berkemeier and Peitz (IJCNN 2024, figure 6),
    but each task has its own gates (in their code all tasks share one set).
    """

    def __init__(self, trunk: nn.Sequential, attentions: Sequence[Attention], heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.trunk = trunk
        self.attentions = nn.ModuleList(attentions)
        self.heads = nn.ModuleList(heads)
        starts = [int(name) for name in weighted_layers(trunk)]
        if len(starts) != N_BLOCKS:
            raise ValueError(f"MTAN expects a trunk of {N_BLOCKS} Conv2d and Linear layers, found {len(starts)}")
        self._ends = (*starts[1:], len(trunk))
        self.growl_layers = behind_the_input("trunk", trunk) + tuple(
            name
            for t, attention in enumerate(attentions)
            for gate in ("second", "last")
            for name in before_the_gate(f"attentions.{t}.{gate}", getattr(attention, gate))
        )

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Map inputs of shape (n, channels, height, width) to one output of shape (n, n_classes) for each task."""
        output, blocks = inputs, []
        for number, layer in enumerate(self.trunk, start=1):
            output = layer(output)
            if number in self._ends:
                blocks.append(output)
        first, second, shared = blocks
        return [head(shared * attention(first, second.flatten(1))) for head, attention in zip(self.heads, self.attentions, strict=True)]
