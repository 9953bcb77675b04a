"""Which layers of a stack GrOWL may prune."""

from torch import nn


def behind_the_input(prefix: str, stack: nn.Sequential) -> tuple[str, ...]:
    """Names of the Linear and Conv2d layers of `stack` except the first, which reads the input."""
    names = [f"{prefix}.{name}" for name, layer in stack.named_children() if isinstance(layer, nn.Conv2d | nn.Linear)]
    return tuple(names[1:])
