"""A network that reads a condition, such as a preference, in addition to its input."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_IMAGE_DIMS = 4


class Conditioned(nn.Module):
    """A network whose inputs have the condition appended: one constant plane per number for images, one feature per number otherwise.

    Attributes:
        network: the network, with wider layers at its input.
        condition: the condition that `forward` uses by default, shape (n_conditions,); not part of the state.
        growl_layers, mixing_parameters, bounds: the network's attributes, with names as in this module; empty if it has none. See
            `trainer.problems.problem.Problem`.
    """

    def __init__(self, network: nn.Module, n_conditions: int) -> None:
        super().__init__()
        self.network = network
        self.n_conditions = n_conditions
        self.condition: Tensor | None = None
        self.growl_layers = tuple(f"network.{name}" for name in getattr(network, "growl_layers", ()))
        self.mixing_parameters = tuple(f"network.{name}" for name in getattr(network, "mixing_parameters", ()))
        bounds: Mapping[str, tuple[float, float]] = getattr(network, "bounds", {})
        self.bounds = {f"network.{name}": bound for name, bound in bounds.items()}

    def forward(self, inputs: Tensor, condition: Tensor | None = None) -> Any:
        """Compute the network's outputs under one condition for all samples.

        Args:
            inputs: shape (n, channels, height, width) or (n, ..., n_features).
            condition: shape (n_conditions,); None for the attribute `condition`.

        Raises:
            ValueError: there is no condition, or it has another shape.
        """
        condition = self.condition if condition is None else condition
        if condition is None or condition.shape != (self.n_conditions,):
            found = "none" if condition is None else f"shape {tuple(condition.shape)}"
            raise ValueError(f"Conditioned expects a condition of shape ({self.n_conditions},), found {found}")
        condition = condition.to(inputs)
        if inputs.dim() == _IMAGE_DIMS:
            planes = condition[None, :, None, None].expand(len(inputs), -1, *inputs.shape[2:])
            return self.network(torch.cat([inputs, planes], dim=1))
        features = condition.expand(*inputs.shape[:-1], -1)
        return self.network(torch.cat([inputs, features], dim=-1))


def condition_on(network: nn.Module, example: Tensor, n_conditions: int) -> Conditioned:
    """Copy a network so that it reads `n_conditions` more numbers wherever it reads its input.

    Every Conv2d (images) or Linear (features) layer that reads the input itself gets `n_conditions` more input channels or
    features after the existing ones. Their weights are initially 0, so the copy computes the same as the network until they are
    trained or initialised again. These layers are found by one forward pass of the example.

    Args:
        network: not modified; the copy is in the same mode (training or evaluation).
        example: an input, shape (n, channels, height, width) or (n, ..., n_features), as `network` takes it.
        n_conditions: >= 1.

    Returns:
        The network, which is called with (inputs, condition).

    Raises:
        ValueError: no layer reads the input, or something else also does, such as a Flatten, a Conv1d, a grouped convolution
            or an operation in a forward method. The message names the layer.

    Source: Ruchte and Grabocka, ICDM 2021 (COSMOS), where the preference is appended to the input of the network. They pass
    it through two transposed convolutions before it is appended to an image; here each number is a constant plane.
    """
    if n_conditions < 1:
        raise ValueError(f"condition_on expects n_conditions >= 1, found n_conditions = {n_conditions}")
    conditioned = Conditioned(copy.deepcopy(network), n_conditions)
    with torch.no_grad(), _evaluating(conditioned):
        readers, before = _readers(conditioned.network, example)
        for layer in readers.values():
            _widen(layer, n_conditions)
        # The condition is not 0, which reveals other readers of the input: an operation in a `forward` method calls no layer.
        _compare(conditioned, example, before, ", ".join(readers))
    return conditioned


def _readers(network: nn.Module, example: Tensor) -> tuple[dict[str, nn.Module], Any]:
    """Return the layers that read the input itself, by name and in order, and the network's outputs for the example.

    Raises:
        ValueError: one of these layers cannot be widened, or there is none.
    """
    readers, views, others, handles = {}, {}, set(), []
    example = example.clone()  # a layer may modify it in place
    storage = example.untyped_storage().data_ptr()

    def hook(name: str) -> Any:
        def see(layer: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            tensors = [value for value in (*arguments, *keywords.values()) if isinstance(value, Tensor)]
            reads = [value for value in tensors if value.untyped_storage().data_ptr() == storage]
            if reads:
                readers[name] = layer
            else:
                others.add(name)
            for value in reads:
                if (value.shape, value.stride()) != (example.shape, example.stride()):
                    views[name] = tuple(value.shape)

        return see

    for name, layer in network.named_modules():
        is_layer = isinstance(layer, nn.Conv2d | nn.Linear)
        is_leaf = layer is not network and not any(True for _ in layer.children())  # a network without any layers does not count
        if is_layer or (is_leaf and not isinstance(layer, nn.Identity)):
            handles.append(layer.register_forward_pre_hook(hook(name), with_kwargs=True))
    try:
        outputs = network(example)
    finally:
        for handle in handles:
            handle.remove()
    if not readers:
        raise ValueError("condition_on expects a layer that reads the network's input itself, found none")
    for name, layer in readers.items():
        obstacle = _obstacle(network, layer, example)
        if obstacle is None and name in views:
            obstacle = f"reads the input in another shape, {views[name]}"
        if obstacle is None and name in others:
            obstacle = "reads the input and also something else"
        if obstacle is not None:
            raise ValueError(f"condition_on: layer {name} ({type(layer).__name__}) {obstacle}; it cannot be widened")
    return readers, outputs


def _obstacle(network: nn.Module, layer: nn.Module, example: Tensor) -> str | None:
    """Return why a layer that reads the input cannot be widened; None if it can."""
    fitting, kind = (nn.Conv2d, "Conv2d") if example.dim() == _IMAGE_DIMS else (nn.Linear, "Linear")
    if not isinstance(layer, fitting):
        return f"reads the input of shape {tuple(example.shape)}, which a {kind} is expected to"
    if isinstance(layer, nn.Conv2d) and layer.groups != 1:
        return f"reads the input in {layer.groups} groups"
    if "weight" not in dict(layer.named_parameters(recurse=False)):
        return "reads the input and computes its weight"
    sharing = [name for name, parameter in network.named_parameters(remove_duplicate=False) if parameter is layer.weight]
    return f"reads the input and shares its weight ({', '.join(sharing)})" if len(sharing) > 1 else None


def _widen(layer: nn.Module, n_more: int) -> None:
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    weight = layer.weight
    more = weight.new_zeros(weight.shape[0], n_more, *weight.shape[2:])
    layer.weight = nn.Parameter(torch.cat([weight, more], dim=1), requires_grad=weight.requires_grad)
    if isinstance(layer, nn.Conv2d):
        layer.in_channels += n_more
    else:
        layer.in_features += n_more


def _compare(conditioned: Conditioned, example: Tensor, before: Any, readers: str) -> None:
    """Raise ValueError if the copy, with zero weights for a non-zero condition, does not compute the same as the network."""
    try:
        after = conditioned(example.clone(), torch.ones(conditioned.n_conditions))
    except (RuntimeError, ValueError, IndexError) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"condition_on: with wider {readers} the network fails, so something else reads the input too: {text}") from error
    for old, new in zip(_tensors(before), _tensors(after), strict=True):
        if old.shape != new.shape or not torch.allclose(old, new, rtol=1e-3, atol=1e-5, equal_nan=True):
            raise ValueError(f"condition_on: something else than {readers} reads the input, and it cannot be widened")


def _tensors(outputs: Any) -> list[Tensor]:
    """Return the outputs of a network that returns one tensor or several."""
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    were_training = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, was_training in were_training:
            part.training = was_training
