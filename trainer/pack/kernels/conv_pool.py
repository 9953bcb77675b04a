"""Convolution, 2x2 max-pooling and relu in one function, and the layer through which networks use it."""

import ctypes
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function

from trainer.pack.kernels.library import SIZES, TYPES, library_of, pointer


def conv_pool_relu(inputs: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    """Compute max_pool2d(conv2d(inputs, weight, bias), 2), optionally followed by relu, on a CPU; differentiable once.

    Args:
        inputs: shape (n, channels, height, width), float32 or float64, any strides.
        weight: shape (n_outputs, channels, size, size), size 3, 5 or 7.
        bias: shape (n_outputs,), or None.
        relu: whether to apply relu.

    Returns:
        Shape (n, n_outputs, (height - size + 1) // 2, (width - size + 1) // 2); the samples are the fastest dimension in memory.

    Raises:
        KernelError: there is no kernel for this type on this machine.
        MemoryError: there is not enough memory for the kernel's tiles.
    """
    if has_torch_function((inputs, weight, bias)):
        return handle_torch_function(conv_pool_relu, (inputs, weight, bias), inputs, weight, bias, relu)
    zero = weight.new_zeros(weight.shape[0]) if bias is None else bias
    outputs: Tensor = _ConvPool.apply(inputs, weight, zero, relu, torch.is_grad_enabled())
    return outputs


class _ConvPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, relu: bool, is_recorded: bool) -> Tensor:
        library = library_of(inputs.dtype)
        weight, bias = weight.contiguous(), bias.contiguous()
        n, n_outputs, size = len(inputs), len(weight), weight.shape[2]
        height, width = (inputs.shape[2] - size + 1) // 2, (inputs.shape[3] - size + 1) // 2
        outputs = inputs.new_empty(n_outputs, height, width, n).permute(3, 0, 1, 2)
        n_tiles = -(-n // library.lanes)
        is_differentiated = is_recorded and any(ctx.needs_input_grad)
        places = torch.empty(n_tiles * n_outputs * height * width * library.lanes if is_differentiated else 0, dtype=torch.uint8)
        shape = _whole(n, *inputs.shape[1:], n_outputs, size, int(relu))
        failed = library.forward(
            shape,
            *_described(inputs),
            pointer(weight),
            pointer(bias),
            *_described(outputs),
            pointer(places if is_differentiated else None),
        )
        if failed:
            raise MemoryError("no memory for a convolution's tiles")
        ctx.save_for_backward(inputs, weight, places)
        ctx.shape = shape
        return outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None, None]:
        inputs, weight, places = ctx.saved_tensors
        n, channels, height, width = inputs.shape
        of_weight, of_bias = torch.empty_like(weight), weight.new_empty(len(weight))
        of_inputs = inputs.new_empty(channels, height, width, n).permute(3, 0, 1, 2) if ctx.needs_input_grad[0] else None
        failed = library_of(inputs.dtype).backward(
            ctx.shape,
            *_described(inputs),
            pointer(weight),
            *_described(gradient),
            pointer(places),
            pointer(of_weight),
            pointer(of_bias),
            *((pointer(None), None) if of_inputs is None else _described(of_inputs)),
        )
        if failed:
            raise MemoryError("no memory for a convolution's tiles")
        return of_inputs, of_weight, of_bias, None, None


def _described(tensor: Tensor) -> tuple[ctypes.c_void_p, Any]:
    return pointer(tensor), _whole(*tensor.stride())


def _whole(*numbers: int) -> Any:
    return (ctypes.c_int64 * len(numbers))(*numbers)


class ConvPool(nn.Conv2d):
    """Replaces a convolution, takes over its parameters, and includes the pooling and the relu that followed it in its `Sequential`."""

    with_relu: bool

    @staticmethod
    def replacing(convolution: nn.Conv2d, with_relu: bool) -> "ConvPool":
        """Create a layer that shares the parameters of a convolution."""
        layer = ConvPool.__new__(ConvPool)
        layer.__dict__ = convolution.__dict__.copy()
        layer.with_relu = with_relu
        return layer

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (n, channels, height, width) to (n, n_outputs, pooled height, pooled width)."""
        return conv_pool_relu(inputs, self.weight, self.bias, self.with_relu)


def fuse(network: nn.Module) -> int:
    """Replace each sequence of Conv2d, MaxPool2d(2) and optionally ReLU in the network's `Sequential`s by a `ConvPool`.

    The names of parameters do not change; layers that `ConvPool` includes become `Identity`.

    Returns:
        The number of replaced convolutions.
    """
    n_fused = 0
    for stack in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        layers = list(stack.named_children())
        for (name, convolution), (pool_name, pool), (after_name, after) in zip(
            layers, layers[1:], [*layers[2:], ("", nn.Identity())], strict=False
        ):
            if not (isinstance(convolution, nn.Conv2d) and isinstance(pool, nn.MaxPool2d) and _fits(convolution, pool)):
                continue
            with_relu = isinstance(after, nn.ReLU)
            setattr(stack, name, ConvPool.replacing(convolution, with_relu))
            setattr(stack, pool_name, nn.Identity())
            if with_relu:
                setattr(stack, after_name, nn.Identity())
            n_fused += 1
    return n_fused


def _fits(convolution: nn.Conv2d, pool: nn.MaxPool2d) -> bool:
    is_plain = (convolution.stride, convolution.padding, convolution.dilation, convolution.groups) == ((1, 1), (0, 0), (1, 1), 1)
    size, is_halving = convolution.kernel_size, _pair(pool.kernel_size) == _pair(pool.stride) == (2, 2)
    is_bare = _pair(pool.padding) == (0, 0) and _pair(pool.dilation) == (1, 1) and not (pool.ceil_mode or pool.return_indices)
    return (
        is_plain
        and size[0] == size[1]
        and size[0] in SIZES
        and is_halving
        and is_bare
        and type(convolution) is nn.Conv2d
        and convolution.weight.dtype in TYPES
    )


def _pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)
