"""Packs that compute all models in one pass, layer by layer, on tensors that represent the whole pack; also with fused kernels."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils import _pytree as pytree

from trainer.pack.device import BackendMissingError
from trainer.pack.kernels.conv_pool import conv_pool_relu, fuse
from trainer.pack.stacked import StackedPack
from trainer.problems.problem import Problem, uses_cross_entropy

_IGNORED = -100
"""The class of samples without a target in PyTorch's losses."""

_DESCRIBED = frozenset(
    getattr(torch.Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim", "requires_grad", "is_cuda", "is_leaf", "layout")
) | {torch.Tensor.dim, torch.Tensor.size, torch.Tensor.numel, torch.Tensor.__len__, torch.Tensor.is_floating_point}


@dataclass
class Convolutions:
    """How a pack computes its convolutions, and the patches that they share in one forward pass."""

    are_products: bool = False
    """Whether convolutions are matrix products of patches and filters, rather than wide and grouped convolutions."""
    pool_apart: bool = False
    """Whether fused layers that read the shared input are computed as a product of its patches followed by a pooling kernel, rather than by
    one kernel."""
    _patches: dict[tuple[int, int, int], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def patches(self, inputs: Tensor, high: int, wide: int) -> Tensor:
        """Return the patches of inputs that all models share; layers whose filters have the same size share the patches.

        Args:
            inputs: shape (n, channels, height, width).
            high, wide: height and width of a filter.

        Returns:
            Patches, shape (n, channels * high * wide + 1, height' * width'). The last row is 1, so that a filter's bias can be its last
            weight: then neither the bias nor its gradient needs a pass over the convolution's output.
        """
        key = id(inputs), high, wide
        if key not in self._patches:
            windows = inputs.unfold(2, high, 1).unfold(3, wide, 1).permute(0, 1, 4, 5, 2, 3)
            n, channels, *_, height, width = windows.shape
            rows = inputs.new_ones(n, channels * high * wide + 1, height * width)
            rows[:, :-1].view(windows.shape).copy_(windows)
            self._patches[key] = inputs, rows  # as long as the inputs are kept, no other tensor has their id
        return self._patches[key][1]

    def forget(self) -> None:
        """Release the patches at the end of a forward pass."""
        self._patches.clear()


class PackedTensor(Tensor):
    """A tensor with the shape of one model's tensor; `stacked` holds the tensors of all models, shape (n_models, ...)."""

    stacked: Tensor
    convolutions: Convolutions

    @staticmethod
    def of(stacked: Tensor, convolutions: Convolutions) -> "PackedTensor":
        """Wrap stacked tensors of shape (n_models, ...)."""
        wrapper: PackedTensor = torch.Tensor._make_wrapper_subclass(
            PackedTensor, stacked.shape[1:], dtype=stacked.dtype, device=stacked.device
        )
        wrapper.stacked, wrapper.convolutions = stacked, convolutions
        return wrapper

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Iterable[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute an operation on packed tensors; torch calls this for every operation."""
        kwargs = kwargs or {}
        if function in _DESCRIBED:
            with torch._C.DisableTorchFunctionSubclass():
                return function(*args, **kwargs)
        leaves, _ = pytree.tree_flatten((args, kwargs))
        convolutions = next(leaf.convolutions for leaf in leaves if isinstance(leaf, PackedTensor))
        rule = RULES.get(function)
        stacked = rule(*args, **kwargs) if rule is not None else NotImplemented
        if stacked is NotImplemented:
            stacked = _one_at_a_time(function, args, kwargs)
        return pytree.tree_map_only(Tensor, lambda value: PackedTensor.of(value, convolutions), stacked)

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Refuse the operation: the wrapper holds no numbers, and `__torch_function__` handles all operations before this is called."""
        raise NotImplementedError(f"{function} found a tensor that represents a whole pack")


def _one_at_a_time(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Compute an operation that has no rule in `RULES` by vmap, and return stacked tensors."""
    leaves, spec = pytree.tree_flatten((list(args), dict(kwargs)))
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, PackedTensor)]

    def one(*values: Tensor) -> Any:
        filled = list(leaves)
        for place, value in zip(places, values, strict=True):
            filled[place] = value
        own_args, own_kwargs = pytree.tree_unflatten(filled, spec)
        return function(*own_args, **own_kwargs)

    return vmap(one, randomness="different")(*(leaves[place].stacked for place in places))


def _side_by_side(stacked: Tensor) -> Tensor:
    """Reshape (n_models, n, channels, ...) to (n, n_models * channels, ...); a view where the samples come first in memory."""
    return stacked.movedim(0, 1).flatten(1, 2)


def _apart(values: Tensor, n_models: int) -> Tensor:
    """Invert `_side_by_side`."""
    apart: Tensor = values.unflatten(1, (n_models, -1)).movedim(1, 0)
    return apart


def _pair(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value, value)


def _conv2d(inputs: Tensor, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> Any:
    if not isinstance(weight, PackedTensor) or not (bias is None or isinstance(bias, PackedTensor)) or inputs.dim() != 4:
        return NotImplemented
    n_models, filters = len(weight.stacked), weight.stacked.flatten(0, 1)
    added = None if bias is None else bias.stacked.flatten()
    is_plain = (_pair(stride), _pair(padding), _pair(dilation), groups) == ((1, 1), (0, 0), (1, 1), 1)
    is_product = is_plain and weight.convolutions.are_products
    if not isinstance(inputs, PackedTensor):
        if groups != 1:
            return NotImplemented
        if is_product:
            return _conv2d_of_shared_patches(inputs, weight, None if bias is None else bias.stacked)
        return _apart(F.conv2d(inputs, filters, added, stride, padding, dilation), n_models)
    if is_product:
        return _conv2d_as_products(inputs.stacked, weight.stacked, None if bias is None else bias.stacked)
    return _apart(F.conv2d(_side_by_side(inputs.stacked), filters, added, stride, padding, dilation, n_models * groups), n_models)


def _conv2d_of_shared_patches(inputs: Tensor, weight: PackedTensor, bias: Tensor | None) -> Tensor:
    """Compute a convolution of stride 1 without padding of inputs that all models share, as products of their patches and all filters.

    Args:
        inputs: shape (n, channels, height, width).
        weight: stands for the shape (n_models, n_outputs, channels, filter height, filter width).
        bias: shape (n_models, n_outputs), or None.

    Returns:
        Shape (n_models, n, n_outputs, height', width').
    """
    n_models, (high, wide) = len(weight.stacked), weight.shape[2:]
    filters = weight.stacked.flatten(2)
    patches = weight.convolutions.patches(inputs, high, wide)
    if bias is None:
        patches = patches[:, :-1]
    else:
        filters = torch.cat([filters, bias[:, :, None]], dim=2)
    filters = filters.flatten(0, 1).expand(len(inputs), -1, -1)
    values = torch.bmm(filters, patches).unflatten(2, (inputs.shape[2] - high + 1, inputs.shape[3] - wide + 1))
    return _apart(values, n_models)


def _conv2d_as_products(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute a convolution of stride 1 without padding as one matrix product of patches and filters for each model.

    Args:
        inputs: shape (n_models, n, channels, height, width).
        weight: shape (n_models, n_outputs, channels, filter height, filter width).
        bias: shape (n_models, n_outputs), or None.

    Returns:
        Shape (n_models, n, n_outputs, height', width').
    """
    n_models, n = inputs.shape[:2]
    high, wide = weight.shape[3:]
    patches = inputs.unfold(3, high, 1).unfold(4, wide, 1)  # (n_models, n, channels, height', width', filter height, filter width)
    height, width = patches.shape[3:5]
    rows = patches.permute(0, 1, 3, 4, 2, 5, 6).reshape(n_models, n * height * width, -1)
    filters = weight.flatten(2).mT
    values = rows @ filters if bias is None else torch.baddbmm(bias[:, None], rows, filters)
    outputs: Tensor = values.unflatten(1, (n, height, width)).permute(0, 1, 4, 2, 3)
    return outputs


def _linear(inputs: Tensor, weight: Any, bias: Any = None) -> Any:
    if not isinstance(weight, PackedTensor) or not (bias is None or isinstance(bias, PackedTensor)) or inputs.dim() != 2:
        return NotImplemented
    stacked = inputs.stacked if isinstance(inputs, PackedTensor) else inputs.expand(len(weight.stacked), *inputs.shape)
    filters = weight.stacked.mT
    return stacked @ filters if bias is None else torch.baddbmm(bias.stacked[:, None], stacked, filters)


def _pooled(pool: Callable[..., Tensor]) -> Callable[..., Any]:
    def rule(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(inputs, PackedTensor) or inputs.dim() != 4 or kwargs.get("return_indices"):
            return NotImplemented
        return _apart(pool(_side_by_side(inputs.stacked), *args, **kwargs), len(inputs.stacked))

    return rule


def _batch_norm(
    inputs: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    of_channels = [running_mean, running_var, weight, bias]
    if not all(value is None or isinstance(value, PackedTensor) for value in (inputs, *of_channels)) or inputs is None or inputs.dim() < 2:
        return NotImplemented
    # `view`, not `flatten`: the running mean and variance are updated in place.
    mean, variance, scale, shift = (None if value is None else value.stacked.view(-1) for value in of_channels)
    values = F.batch_norm(_side_by_side(inputs.stacked), mean, variance, scale, shift, training, momentum, eps)
    return _apart(values, len(inputs.stacked))


RULES: dict[Callable[..., Any], Callable[..., Any]] = {
    F.conv2d: _conv2d,
    F.linear: _linear,
    F.max_pool2d: _pooled(F.max_pool2d),  # what `nn.MaxPool2d` calls, and what arrives here; not torch.max_pool2d
    torch.max_pool2d: _pooled(torch.max_pool2d),
    F.avg_pool2d: _pooled(F.avg_pool2d),
    F.adaptive_avg_pool2d: _pooled(F.adaptive_avg_pool2d),
    F.adaptive_max_pool2d: _pooled(F.adaptive_max_pool2d),
    F.batch_norm: _batch_norm,
}
"""Function -> its rule for a pack, which takes the function's arguments and returns stacked tensors, or NotImplemented to use vmap."""


def _cross_entropies(outputs: Tensor, targets: Tensor) -> Tensor:
    """Compute the mean cross-entropy of each model.

    Args:
        outputs: shape (n_models, n, n_classes).
        targets: shape (n,), int64, the same for all models; the means leave out samples of class `_IGNORED`, as in `F.cross_entropy`.

    Returns:
        Shape (n_models,), in nats.
    """
    n_models, n = outputs.shape[:2]
    each = F.cross_entropy(outputs.flatten(0, 1), targets.expand(n_models, n).flatten(), reduction="none", ignore_index=_IGNORED)
    return each.view(n_models, n).sum(dim=1) / (targets != _IGNORED).sum()


class PackedPack(StackedPack):
    """A pack whose layers compute all models at once; convolutions after the first layer are grouped convolutions."""

    backend = "packed"

    def __init__(self, initial: nn.Module, n_models: int, problem: Problem, device: torch.device) -> None:
        super().__init__(initial, n_models, problem, device)
        self._convolutions = self._new_convolutions()
        self._packed: dict[str, Tensor] = {
            name: PackedTensor.of(value, self._convolutions) for name, value in (self.parameters | self.buffers).items()
        }

    def _new_convolutions(self) -> Convolutions:
        return Convolutions()

    def _outputs(self, inputs: Tensor) -> Sequence[Tensor]:
        try:
            outputs = functional_call(self.members[0], self._packed, (inputs,))
        finally:
            self._convolutions.forget()
        return [output.stacked if isinstance(output, PackedTensor) else output.expand(len(self), *output.shape) for output in outputs]

    def _losses(self, outputs: Sequence[Tensor], targets: Tensor) -> Tensor:
        """Compute the losses on one batch, as `StackedPack._losses` does, but cross-entropies with a quarter of the operations."""
        if not all(uses_cross_entropy(task) and output.dim() == 3 for task, output in zip(self._tasks, outputs, strict=True)):
            return super()._losses(outputs, targets)
        return torch.stack([_cross_entropies(output, targets[:, t].long()) for t, output in enumerate(outputs)], dim=1)


class ProductsPack(PackedPack):
    """A packed pack whose convolutions are matrix products, for devices on which wide or grouped convolutions are slow."""

    backend = "packed+products"

    def _new_convolutions(self) -> Convolutions:
        return Convolutions(are_products=True)


def why_missing(device: torch.device) -> str | None:
    """Return why there is no Triton kernel for a device, or None if there is one. Triton's interpreter (for tests) also runs on CPUs."""
    if find_spec("triton") is None:
        return "Triton is not installed"
    from triton.runtime.interpreter import InterpretedFunction

    from trainer.pack.kernels import gpu_conv_pool

    is_interpreted = isinstance(gpu_conv_pool._forward, InterpretedFunction)
    return None if is_interpreted or device.type == "cuda" else f"Triton is for GPUs, found device = {device}"


class FusedPackedPack(PackedPack):
    """A packed pack whose convolution kernels include the pooling and the relu that follow.

    Raises:
        BackendMissingError: Triton is not available for this device.
    """

    backend = "packed+kernel"

    def _prepared(self, network: nn.Module) -> nn.Module:
        missing = why_missing(self._device)
        if missing is not None:
            raise BackendMissingError(f"backend {self.backend} is not available: {missing}; backend: auto chooses an available one")
        self._plain = copy.deepcopy(network)
        if not fuse(network):
            self.backend = "packed"  # no layer of this network fits the kernel
        return network

    def alone(self, index: int) -> nn.Module:
        """Return the network with its original layers, because the kernel computes whole packs only."""
        return self._plain


class PooledPackedPack(FusedPackedPack):
    """A packed pack with the fused kernel, except for layers that read the shared input.

    Those layers are computed as a matrix product of patches, which all models and layers share, followed by a kernel that adds the bias,
    pools and applies relu. This moves more memory than the fused kernel does, but leaves the products to the vendor's library.
    """

    backend = "packed+pool"

    def _new_convolutions(self) -> Convolutions:
        return Convolutions(pool_apart=True)


def _conv_pool(inputs: Tensor, weight: Any, bias: Any, relu: bool) -> Tensor:
    from trainer.pack.kernels.gpu_conv_pool import PackedConvPool, PackedPool

    zero = weight.stacked.new_zeros(weight.stacked.shape[:2]) if bias is None else bias.stacked
    if isinstance(inputs, PackedTensor):
        outputs: Tensor = PackedConvPool.apply(inputs.stacked, weight.stacked, zero, relu)
    elif weight.convolutions.pool_apart:
        outputs = PackedPool.apply(_conv2d_of_shared_patches(inputs, weight, None), zero, relu)
    else:
        outputs = PackedConvPool.apply(inputs, weight.stacked, zero, relu)
    return outputs


RULES[conv_pool_relu] = _conv_pool
