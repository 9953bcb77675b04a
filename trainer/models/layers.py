"""The layers of a stack that GrOWL may prune."""

from torch import nn


def weighted_layers(stack: nn.Sequential) -> list[str]:
    """Return the names of the Linear and Conv2d layers of `stack`, in their order."""
    return [name for name, layer in stack.named_children() if isinstance(layer, nn.Conv2d | nn.Linear)]


def behind_the_input(prefix: str, stack: nn.Sequential) -> tuple[str, ...]:
    """Return the names of the Linear and Conv2d layers of `stack` except the first, which reads the input."""
    return tuple(f"{prefix}.{name}" for name in weighted_layers(stack)[1:])


def before_the_gate(prefix: str, stack: nn.Sequential) -> tuple[str, ...]:
    """Return the names of the Linear and Conv2d layers of `stack` except the last, whose output is the input of a sigmoid."""
    return tuple(f"{prefix}.{name}" for name in weighted_layers(stack)[:-1])
