"""Convolution, 2x2 max-pooling and relu of a whole pack in one Triton kernel, or pooling and relu after PyTorch's convolution.

As on the CPU (`conv_pool_relu.c`), only the pooled values of the convolution's output are stored, with a byte for the position of the
largest of each four values (4: none, since relu has set it to zero). All sums run in a fixed order without atomics, so that results are
reproducible. Products are exact (`input_precision="ieee"`: no TF32).

The grid of every kernel has one dimension, because CUDA limits the other dimensions to 65,535 programs. Offsets between models are 64-bit
integers; offsets within a model are 32-bit integers if its tensors are small enough for that (`WIDE` is False). The bounds of all loops are
constants, because with numpy 2.4 Triton 3.6's interpreter cannot use an argument of the kernel as a bound.

This module imports Triton; it is imported by `trainer.pack.packed` alone, and only if Triton is installed.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

SIZES = (3, 5, 7)
_MAX_PROGRAMS = 2**31 - 1
"""Largest number of programs of one launch; a pack with more is launched in several parts."""
_MAX_OFFSET = 2**31 - 1
"""Largest offset within the tensors of one model for which 32-bit integers are used."""
_MAX_SPLITS = 64
"""Largest number of programs that share the pixels of a filter's gradient."""
_POOL_PIXELS = 512
"""Number of pooled pixels that one program of `_pool` or `_unpool` computes."""


@triton.jit
def _larger(best, place, other, other_place):  # type: ignore[no-untyped-def]
    """The larger of two and its place; the first of equals; a NaN wins and stays."""
    better = (other > best) | ((other != other) & (best == best))
    return tl.where(better, other, best), tl.where(better, other_place, place)


@triton.jit
def _largest_of_four(s0, s1, s2, s3, bias, RELU: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the largest of four values plus the bias, after relu, and its place."""
    first = tl.zeros(s0.shape, dtype=tl.int32)
    best, place = _larger(s0, first, s1, first + 1)
    low, low_place = _larger(s2, first + 2, s3, first + 3)
    best, place = _larger(best, place, low, low_place)
    best += bias
    if RELU:
        is_dead = best <= 0
        best, place = tl.where(is_dead, 0.0, best), tl.where(is_dead, 4, place)
    return best, place.to(tl.uint8)


@triton.jit
def _forward(  # type: ignore[no-untyped-def]
    x, weight, bias, out, places, first_model, n, outputs, pooled_height, pooled_width,
    stride_model, stride_sample, stride_channel, stride_row, stride_column,
    K: tl.constexpr, SIZE: tl.constexpr, RELU: tl.constexpr, WIDE: tl.constexpr,
    PIXELS: tl.constexpr, OUTPUTS: tl.constexpr, KBLOCK: tl.constexpr,
):  # fmt: skip
    """Compute four products of patches and filters, one for each value that pooling chooses from; K = channels * SIZE * SIZE."""
    pixels = pooled_height * pooled_width
    n_blocks, n_output_blocks = tl.cdiv(n * pixels, PIXELS), tl.cdiv(outputs, OUTPUTS)
    program = tl.program_id(0)
    model = first_model + (program // (n_blocks * n_output_blocks)).to(tl.int64)
    m = program // n_output_blocks % n_blocks * PIXELS + tl.arange(0, PIXELS)
    o = program % n_output_blocks * OUTPUTS + tl.arange(0, OUTPUTS)
    sample, pixel = m // pixels, m % pixels
    is_pixel, is_output = m < n * pixels, o < outputs
    k = tl.arange(0, KBLOCK)
    if WIDE:
        sample, k = sample.to(tl.int64), k.to(tl.int64)
    corner = sample * stride_sample + 2 * (pixel // pooled_width) * stride_row + 2 * (pixel % pooled_width) * stride_column
    x += model * stride_model
    weight += model * outputs * K
    s0 = tl.zeros((PIXELS, OUTPUTS), dtype=out.dtype.element_ty)
    s1, s2, s3 = s0, s0, s0
    for start in range(0, K, KBLOCK):
        tap = start + k
        is_tap = tap < K
        offset = tap // (SIZE * SIZE) * stride_channel + tap % (SIZE * SIZE) // SIZE * stride_row + tap % SIZE * stride_column
        w = tl.load(weight + (o[None, :] * K + tap[:, None]), mask=is_tap[:, None] & is_output[None, :], other=0.0)
        at = x + (corner[:, None] + offset[None, :])
        is_inside = is_pixel[:, None] & is_tap[None, :]
        s0 = tl.dot(tl.load(at, mask=is_inside, other=0.0), w, s0, input_precision="ieee", out_dtype=out.dtype.element_ty)
        s1 = tl.dot(tl.load(at + stride_column, mask=is_inside, other=0.0), w, s1, input_precision="ieee", out_dtype=out.dtype.element_ty)
        s2 = tl.dot(tl.load(at + stride_row, mask=is_inside, other=0.0), w, s2, input_precision="ieee", out_dtype=out.dtype.element_ty)
        s3 = tl.dot(
            tl.load(at + stride_row + stride_column, mask=is_inside, other=0.0),
            w,
            s3,
            input_precision="ieee",
            out_dtype=out.dtype.element_ty,
        )
    shift = tl.load(bias + model * outputs + o, mask=is_output, other=0.0)[None, :]
    best, place = _largest_of_four(s0, s1, s2, s3, shift, RELU)
    to = model * n * outputs * pixels + ((sample[:, None] * outputs + o[None, :]) * pixels + pixel[:, None])
    is_inside = is_pixel[:, None] & is_output[None, :]
    tl.store(out + to, best, mask=is_inside)
    tl.store(places + to, place, mask=is_inside)


@triton.jit
def _of_weight(  # type: ignore[no-untyped-def]
    x, gradient, places, sums, first_model, n, outputs, pooled_height, pooled_width, n_splits, n_models,
    stride_model, stride_sample, stride_channel, stride_row, stride_column,
    K: tl.constexpr, SIZE: tl.constexpr, STEPS: tl.constexpr, WIDE: tl.constexpr,
    PIXELS: tl.constexpr, OUTPUTS: tl.constexpr, KBLOCK: tl.constexpr,
):  # fmt: skip
    """Sum the gradients of some taps of some filters over STEPS blocks of pixels.

    `sums` has shape (n_splits, n_models * outputs * (K + 1)): first the taps of all filters, then their biases.
    """
    pixels = pooled_height * pooled_width
    n_tap_blocks, n_output_blocks = tl.cdiv(K, KBLOCK), tl.cdiv(outputs, OUTPUTS)
    program = tl.program_id(0)
    tap_block = program % n_tap_blocks
    part = program // (n_tap_blocks * n_output_blocks) % n_splits
    model = first_model + (program // (n_tap_blocks * n_output_blocks * n_splits)).to(tl.int64)
    o = program // n_tap_blocks % n_output_blocks * OUTPUTS + tl.arange(0, OUTPUTS)
    tap = tap_block * KBLOCK + tl.arange(0, KBLOCK)
    is_output, is_tap = o < outputs, tap < K
    if WIDE:
        tap = tap.to(tl.int64)
    offset = tap // (SIZE * SIZE) * stride_channel + tap % (SIZE * SIZE) // SIZE * stride_row + tap % SIZE * stride_column
    x += model * stride_model
    gradient += model * n * outputs * pixels
    places += model * n * outputs * pixels
    total = tl.zeros((OUTPUTS, KBLOCK), dtype=sums.dtype.element_ty)
    bias_total = tl.zeros((OUTPUTS, PIXELS), dtype=sums.dtype.element_ty)
    for step in range(STEPS):
        m = (part * STEPS + step) * PIXELS + tl.arange(0, PIXELS)
        sample, pixel, is_pixel = m // pixels, m % pixels, m < n * pixels
        if WIDE:
            sample = sample.to(tl.int64)
        is_inside = is_output[:, None] & is_pixel[None, :]
        at = (sample * outputs * pixels + pixel)[None, :] + (o * pixels)[:, None]
        place = tl.load(places + at, mask=is_inside, other=4)
        g = tl.load(gradient + at, mask=is_inside, other=0.0)
        bias_total += tl.where(place < 4, g, 0.0)
        corner = sample * stride_sample + 2 * (pixel // pooled_width) * stride_row + 2 * (pixel % pooled_width) * stride_column
        here = x + (corner[:, None] + offset[None, :])
        there = is_pixel[:, None] & is_tap[None, :]
        # only one of each four values has a gradient; with zeros for the others the four products are dense
        x0, x1 = tl.load(here, mask=there, other=0.0), tl.load(here + stride_column, mask=there, other=0.0)
        total = tl.dot(tl.where(place == 0, g, 0.0), x0, total, input_precision="ieee", out_dtype=sums.dtype.element_ty)
        total = tl.dot(tl.where(place == 1, g, 0.0), x1, total, input_precision="ieee", out_dtype=sums.dtype.element_ty)
        x2 = tl.load(here + stride_row, mask=there, other=0.0)
        x3 = tl.load(here + stride_row + stride_column, mask=there, other=0.0)
        total = tl.dot(tl.where(place == 2, g, 0.0), x2, total, input_precision="ieee", out_dtype=sums.dtype.element_ty)
        total = tl.dot(tl.where(place == 3, g, 0.0), x3, total, input_precision="ieee", out_dtype=sums.dtype.element_ty)
    sums += part.to(tl.int64) * n_models * outputs * (K + 1)
    filters = model * outputs + o
    tl.store(sums + filters[:, None] * K + tap[None, :], total, mask=is_output[:, None] & is_tap[None, :])
    if tap_block == 0:
        n_filters = tl.cast(n_models, tl.int64) * outputs
        tl.store(sums + n_filters * K + filters, tl.sum(bias_total, axis=1), mask=is_output)


@triton.jit
def _of_input(  # type: ignore[no-untyped-def]
    gradient, places, weight, out, first_model, n, channels, outputs, height, width, pooled_height, pooled_width,
    K: tl.constexpr, SIZE: tl.constexpr, WIDE: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, KBLOCK: tl.constexpr,
):  # fmt: skip
    """Compute the product of the gradients at their places and the filters; K = outputs * SIZE * SIZE."""
    area, pixels = height * width, pooled_height * pooled_width
    n_blocks, n_channel_blocks = tl.cdiv(n * area, PIXELS), tl.cdiv(channels, CHANNELS)
    program = tl.program_id(0)
    model = first_model + (program // (n_blocks * n_channel_blocks)).to(tl.int64)
    m = program // n_channel_blocks % n_blocks * PIXELS + tl.arange(0, PIXELS)
    c = program % n_channel_blocks * CHANNELS + tl.arange(0, CHANNELS)
    is_pixel, is_channel = m < n * area, c < channels
    sample, y, z = m // area, m % area // width, m % area % width
    if WIDE:
        sample = sample.to(tl.int64)
    gradient += model * n * outputs * pixels
    places += model * n * outputs * pixels
    weight += model * K * channels
    of_sample = (sample * outputs * pixels)[:, None]
    total = tl.zeros((PIXELS, CHANNELS), dtype=out.dtype.element_ty)
    for start in range(0, K, KBLOCK):
        k = start + tl.arange(0, KBLOCK)
        o, tap, is_tap = k // (SIZE * SIZE), k % (SIZE * SIZE), k < K
        row, column = y[:, None] - (tap // SIZE)[None, :], z[:, None] - (tap % SIZE)[None, :]  # in the convolution's output
        is_there = is_pixel[:, None] & is_tap[None, :] & (row >= 0) & (column >= 0)
        is_there &= (row < 2 * pooled_height) & (column < 2 * pooled_width)
        at = of_sample + ((o * pixels)[None, :] + (row >> 1) * pooled_width + (column >> 1))
        place = tl.load(places + at, mask=is_there, other=4).to(tl.int32)
        g = tl.load(gradient + at, mask=is_there, other=0.0)
        g = tl.where(place == (row & 1) * 2 + (column & 1), g, 0.0)
        from_weight = weight + ((o * channels)[:, None] + c[None, :]) * SIZE * SIZE + tap[:, None]
        w = tl.load(from_weight, mask=is_tap[:, None] & is_channel[None, :], other=0.0)
        total = tl.dot(g, w, total, input_precision="ieee", out_dtype=out.dtype.element_ty)
    to = model * n * channels * area + ((sample[:, None] * channels + c[None, :]) * area + (m % area)[:, None])
    tl.store(out + to, total, mask=is_pixel[:, None] & is_channel[None, :])


@triton.jit
def _pool(  # type: ignore[no-untyped-def]
    values, bias, out, places, first_model, n, outputs, pooled_height, pooled_width,
    stride_model, stride_sample, stride_output, stride_row, stride_column,
    RELU: tl.constexpr, WIDE: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """Compute some pooled pixels of one channel."""
    pixels = pooled_height * pooled_width
    n_blocks = tl.cdiv(n * pixels, PIXELS)
    program = tl.program_id(0)
    model = first_model + (program // (n_blocks * outputs)).to(tl.int64)
    o, m = program // n_blocks % outputs, program % n_blocks * PIXELS + tl.arange(0, PIXELS)
    sample, pixel, is_pixel = m // pixels, m % pixels, m < n * pixels
    if WIDE:
        sample, o = sample.to(tl.int64), o.to(tl.int64)
    corner = sample * stride_sample + 2 * (pixel // pooled_width) * stride_row + 2 * (pixel % pooled_width) * stride_column
    at = values + model * stride_model + (o * stride_output + corner)
    s0, s1 = tl.load(at, mask=is_pixel, other=0.0), tl.load(at + stride_column, mask=is_pixel, other=0.0)
    at += stride_row
    s2, s3 = tl.load(at, mask=is_pixel, other=0.0), tl.load(at + stride_column, mask=is_pixel, other=0.0)
    best, place = _largest_of_four(s0, s1, s2, s3, tl.load(bias + model * outputs + o), RELU)
    to = model * n * outputs * pixels + ((sample * outputs + o) * pixels + pixel)
    tl.store(out + to, best, mask=is_pixel)
    tl.store(places + to, place, mask=is_pixel)


@triton.jit
def _unpool(  # type: ignore[no-untyped-def]
    gradient, places, out, bias_sums, first_model, n, outputs, height, width, pooled_height, pooled_width,
    stride_model, stride_sample, stride_output, stride_row, stride_column,
    WIDE: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """Write the gradients of windows of one channel, and zeros at an odd edge; `bias_sums` has shape (n_models, outputs, n_blocks)."""
    pixels, rows, columns = pooled_height * pooled_width, tl.cdiv(height, 2), tl.cdiv(width, 2)
    n_blocks = tl.cdiv(n * rows * columns, PIXELS)
    program = tl.program_id(0)
    model = first_model + (program // (n_blocks * outputs)).to(tl.int64)
    block, o = program % n_blocks, program // n_blocks % outputs
    m = block * PIXELS + tl.arange(0, PIXELS)
    sample, y, z = m // (rows * columns), m % (rows * columns) // columns, m % (rows * columns) % columns
    is_window = m < n * rows * columns
    if WIDE:
        sample, o = sample.to(tl.int64), o.to(tl.int64)
    is_pooled = is_window & (y < pooled_height) & (z < pooled_width)
    at = model * n * outputs * pixels + ((sample * outputs + o) * pixels + y * pooled_width + z)
    place = tl.load(places + at, mask=is_pooled, other=4)
    g = tl.load(gradient + at, mask=is_pooled, other=0.0)
    g = tl.where(place < 4, g, 0.0)
    to = out + model * stride_model + (sample * stride_sample + o * stride_output + 2 * y * stride_row + 2 * z * stride_column)
    has_right, has_low = is_window & (2 * z + 1 < width), 2 * y + 1 < height
    tl.store(to, tl.where(place == 0, g, 0.0), mask=is_window)
    tl.store(to + stride_column, tl.where(place == 1, g, 0.0), mask=has_right)
    to += stride_row
    tl.store(to, tl.where(place == 2, g, 0.0), mask=is_window & has_low)
    tl.store(to + stride_column, tl.where(place == 3, g, 0.0), mask=has_right & has_low)
    tl.store(bias_sums + (model * outputs + o) * n_blocks + block, tl.sum(g, axis=0))


def forward_tiles(outputs: int) -> dict[str, int]:
    """Return the sizes of the tiles of `_forward` and the stages of its loop; more of either would need too many registers."""
    block = 16 if outputs <= 16 else 32
    return {"PIXELS": 1024 // block, "OUTPUTS": block, "KBLOCK": 16, "num_stages": 3}


def weight_tiles(outputs: int) -> dict[str, int]:
    """Return the sizes of the tiles of `_of_weight` and the stages of its loop."""
    return {"PIXELS": 16, "OUTPUTS": 16 if outputs <= 16 else 32, "KBLOCK": 32, "num_stages": 2}


def input_tiles() -> dict[str, int]:
    """Return the sizes of the tiles of `_of_input` and the stages of its loop."""
    return {"PIXELS": 64, "CHANNELS": 16, "KBLOCK": 16, "num_stages": 2}


class PackedConvPool(torch.autograd.Function):
    """max_pool2d(conv2d(inputs, weight, bias), 2), optionally followed by relu, for every model of a pack.

    The inputs have the shape (n, channels, height, width), shared by all models, or (n_models, n, channels, height, width), with any
    strides. The weight is (n_models, n_outputs, channels, size, size), the bias (n_models, n_outputs), and the result
    (n_models, n, n_outputs, height', width').
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
        """Compute the pooled values."""
        weight, bias = weight.contiguous(), bias.contiguous()
        n_models, outputs, channels, size = weight.shape[:4]
        n, (height, width) = inputs.shape[-4], inputs.shape[-2:]
        pooled = (height - size + 1) // 2, (width - size + 1) // 2
        out = inputs.new_empty(n_models, n, outputs, *pooled)
        places = torch.empty_like(out, dtype=torch.uint8)
        tiles = forward_tiles(outputs)
        n_programs = triton.cdiv(n * pooled[0] * pooled[1], tiles["PIXELS"]) * triton.cdiv(outputs, tiles["OUTPUTS"])
        _launch(
            _forward, n_models, n_programs,
            (inputs, weight, bias, out, places), (n, outputs, *pooled, *_strides(inputs)),
            K=channels * size * size, SIZE=size, RELU=relu, WIDE=_is_wide(inputs, out), **tiles,
        )  # fmt: skip
        ctx.save_for_backward(inputs, weight, places)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        """Compute the gradients of weight and bias, and of the inputs if they require one."""
        inputs, weight, places = ctx.saved_tensors
        gradient = gradient.contiguous()
        n_models, outputs, channels, size = weight.shape[:4]
        n, (height, width), pooled = inputs.shape[-4], inputs.shape[-2:], gradient.shape[-2:]
        k, tiles = channels * size * size, weight_tiles(outputs)
        n_splits, n_steps = _splits(n * pooled[0] * pooled[1], tiles["PIXELS"])
        sums = weight.new_empty(n_splits, n_models * outputs * (k + 1))
        _launch(
            _of_weight, n_models, n_splits * triton.cdiv(k, tiles["KBLOCK"]) * triton.cdiv(outputs, tiles["OUTPUTS"]),
            (inputs, gradient, places, sums), (n, outputs, *pooled, n_splits, n_models, *_strides(inputs)),
            K=k, SIZE=size, STEPS=n_steps, WIDE=_is_wide(inputs, gradient), **tiles,
        )  # fmt: skip
        of_inputs = None
        if ctx.needs_input_grad[0]:
            if inputs.dim() == 4:
                raise NotImplementedError("the gradient of inputs that all models share is not implemented")
            of_inputs, tiles = inputs.new_empty(inputs.shape), input_tiles()
            _launch(
                _of_input, n_models, triton.cdiv(n * height * width, tiles["PIXELS"]) * triton.cdiv(channels, tiles["CHANNELS"]),
                (gradient, places, weight, of_inputs), (n, channels, outputs, height, width, *pooled),
                K=outputs * size * size, SIZE=size, WIDE=_is_wide(of_inputs, gradient), **tiles,
            )  # fmt: skip
        total = sums[0] if n_splits == 1 else sums.sum(dim=0)
        of_weight, of_bias = total.split([n_models * outputs * k, n_models * outputs])
        return of_inputs, of_weight.view(weight.shape), of_bias.view(n_models, outputs), None


class PackedPool(torch.autograd.Function):
    """max_pool2d(values + bias, 2), optionally followed by relu, for every model of a pack, in one kernel.

    The values have the shape (n_models, n, n_outputs, height, width), with any strides that leave no gaps, the bias
    (n_models, n_outputs), and the result (n_models, n, n_outputs, height // 2, width // 2). One byte is kept for each pooled value,
    where PyTorch keeps the convolution's output and an index of eight bytes.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, bias: Tensor, relu: bool) -> Tensor:
        """Compute the pooled values."""
        n_models, n, outputs, height, width = values.shape
        out = values.new_empty(n_models, n, outputs, height // 2, width // 2)
        places = torch.empty_like(out, dtype=torch.uint8)
        _launch(
            _pool, n_models, outputs * triton.cdiv(n * (height // 2) * (width // 2), _POOL_PIXELS),
            (values, bias.contiguous(), out, places), (n, outputs, height // 2, width // 2, *values.stride()),
            RELU=relu, WIDE=_is_wide(values, out), PIXELS=_POOL_PIXELS,
        )  # fmt: skip
        ctx.save_for_backward(places)
        ctx.shape, ctx.strides = values.shape, values.stride()
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """Compute the gradients of the values and of the bias."""
        (places,) = ctx.saved_tensors
        gradient = gradient.contiguous()
        n_models, n, outputs, height, width = ctx.shape
        n_blocks = triton.cdiv(n * triton.cdiv(height, 2) * triton.cdiv(width, 2), _POOL_PIXELS)
        of_values = gradient.new_empty_strided(ctx.shape, ctx.strides)
        bias_sums = gradient.new_empty(n_models, outputs, n_blocks)
        _launch(
            _unpool, n_models, outputs * n_blocks,
            (gradient, places, of_values, bias_sums), (n, outputs, height, width, height // 2, width // 2, *ctx.strides),
            WIDE=_is_wide(of_values, gradient), PIXELS=_POOL_PIXELS,
        )  # fmt: skip
        return of_values, bias_sums.sum(dim=2), None


def _launch(
    kernel: Any, n_models: int, programs_per_model: int, tensors: tuple[Tensor, ...], numbers: tuple[int, ...], **constants: Any
) -> None:
    """Launch a kernel for all models of a pack, in several parts if one grid cannot hold them.

    Args:
        kernel: takes tensors, the first model of the launch, numbers and constants.
        n_models: number of models.
        programs_per_model: number of programs for each model.
        tensors, numbers, constants: the kernel's arguments.
    """
    at_once = max(1, _MAX_PROGRAMS // programs_per_model)
    with torch.cuda.device_of(tensors[0]):  # Triton launches on the current device
        for first in range(0, n_models, at_once):
            n_programs = min(at_once, n_models - first) * programs_per_model
            kernel[(n_programs,)](*tensors, first, *numbers, **constants, enable_fp_fusion=True)


def _splits(n_pixels: int, block: int) -> tuple[int, int]:
    """Return the number of programs that share the pixels of a filter's gradient, and the number of blocks of pixels for each of them.

    The number of blocks is a constant of the compiled kernel. As a power of two it has few values, so minibatches of different sizes need
    few compilations.
    """
    n_blocks = triton.cdiv(n_pixels, block)
    n_splits = min(_MAX_SPLITS, max(1, n_blocks // 32))
    n_steps = triton.next_power_of_2(triton.cdiv(n_blocks, n_splits))
    return triton.cdiv(n_blocks, n_steps), n_steps


def _is_wide(*tensors: Tensor) -> bool:
    """Return whether an offset within one model (the last four dimensions) exceeds 32-bit integers."""
    return any(
        sum((size - 1) * stride for size, stride in zip(tensor.shape[-4:], tensor.stride()[-4:], strict=True)) > _MAX_OFFSET
        for tensor in tensors
    )


def _strides(inputs: Tensor) -> tuple[int, ...]:
    """Return the strides of model, sample, channel, row and column; shared inputs have the stride 0 between models."""
    return inputs.stride() if inputs.dim() == 5 else (0, *inputs.stride())
