"""Convolution, 2x2 max-pooling and relu of a whole pack in one Triton kernel, and the gradients in two kernels.

As on the CPU (`conv_pool_relu.c`), only the pooled values of the convolution's output are stored, with a byte for the position of the
largest of each four values (4: none, since relu has set it to zero). All sums run in a fixed order without atomics, so that results are
reproducible.

This module imports Triton; it is imported by `trainer.pack.packed` alone, and only if Triton is installed.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

SIZES = (3, 5, 7)
_PIXELS, _OUTPUTS, _CHANNELS = 64, 16, 16
"""Pooled pixels, output channels and input channels of one program."""
_MAX_SPLITS = 64
"""Largest number of programs that share the pixels of a filter's gradient."""


@triton.jit
def _larger(best, place, other, other_place):  # type: ignore[no-untyped-def]
    """The larger of two and its place; the first of equals; a NaN wins and stays."""
    better = (other > best) | ((other != other) & (best == best))
    return tl.where(better, other, best), tl.where(better, other_place, place)


@triton.jit
def _forward(  # type: ignore[no-untyped-def]
    x, weight, bias, out, places, n, channels, outputs, height, width, pooled_height, pooled_width,
    stride_model, stride_sample, stride_channel, stride_row, stride_column,
    SIZE: tl.constexpr, RELU: tl.constexpr, PIXELS: tl.constexpr, OUTPUTS: tl.constexpr,
):  # fmt: skip
    model = tl.program_id(2)
    m = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    o = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    pixels = pooled_height * pooled_width
    sample, pixel = m // pixels, m % pixels
    is_pixel, is_output = m < n * pixels, o < outputs
    corner = x + model * stride_model + sample.to(tl.int64) * stride_sample
    corner += 2 * (pixel // pooled_width) * stride_row + 2 * (pixel % pooled_width) * stride_column
    zero = tl.zeros((PIXELS, OUTPUTS), dtype=out.dtype.element_ty)
    s0, s1, s2, s3 = zero, zero, zero, zero
    for c in range(channels):
        for tap in range(SIZE * SIZE):
            w = tl.load(weight + ((model * outputs + o) * channels + c) * SIZE * SIZE + tap, mask=is_output, other=0.0)[None, :]
            at = corner + c * stride_channel + (tap // SIZE) * stride_row + (tap % SIZE) * stride_column
            s0 += tl.load(at, mask=is_pixel, other=0.0)[:, None] * w
            s1 += tl.load(at + stride_column, mask=is_pixel, other=0.0)[:, None] * w
            s2 += tl.load(at + stride_row, mask=is_pixel, other=0.0)[:, None] * w
            s3 += tl.load(at + stride_row + stride_column, mask=is_pixel, other=0.0)[:, None] * w
    first = tl.zeros((PIXELS, OUTPUTS), dtype=tl.int32)
    best, place = _larger(s0, first, s1, first + 1)
    low, low_place = _larger(s2, first + 2, s3, first + 3)
    best, place = _larger(best, place, low, low_place)
    best += tl.load(bias + model * outputs + o, mask=is_output, other=0.0)[None, :]
    if RELU:
        is_dead = best <= 0
        best, place = tl.where(is_dead, 0.0, best), tl.where(is_dead, 4, place)
    to = ((model * n + sample[:, None]).to(tl.int64) * outputs + o[None, :]) * pixels + pixel[:, None]
    is_inside = is_pixel[:, None] & is_output[None, :]
    tl.store(out + to, best, mask=is_inside)
    tl.store(places + to, place.to(tl.uint8), mask=is_inside)


@triton.jit
def _of_weight(  # type: ignore[no-untyped-def]
    x, gradient, places, sums, bias_sums, n, channels, outputs, pooled_height, pooled_width, n_splits, a_split,
    stride_model, stride_sample, stride_channel, stride_row, stride_column,
    SIZE: tl.constexpr, COLUMNS: tl.constexpr, PIXELS: tl.constexpr, OUTPUTS: tl.constexpr,
):  # fmt: skip
    """One row of one channel's filters, over a part of the pixels; `sums` has shape (n_splits, models, outputs, channels, SIZE, SIZE)."""
    part = tl.program_id(2) % n_splits
    model = tl.program_id(2) // n_splits
    o = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    c, row = tl.program_id(0) // SIZE, tl.program_id(0) % SIZE
    pixels = pooled_height * pooled_width
    is_output = o < outputs
    column = tl.arange(0, COLUMNS)[None, :]
    total = tl.zeros((OUTPUTS, COLUMNS), dtype=sums.dtype.element_ty)
    bias_total = tl.zeros((OUTPUTS,), dtype=sums.dtype.element_ty)
    for start in range(part * a_split, (part + 1) * a_split, PIXELS):
        m = start + tl.arange(0, PIXELS)
        is_inside = ((m < n * pixels) & (m < (part + 1) * a_split))[:, None] & is_output[None, :]
        sample, pixel = m // pixels, m % pixels
        at = ((model * n + sample[:, None]).to(tl.int64) * outputs + o[None, :]) * pixels + pixel[:, None]
        place = tl.load(places + at, mask=is_inside, other=4).to(tl.int32)
        is_alive = place < 4
        g = tl.where(is_alive, tl.load(gradient + at, mask=is_inside, other=0.0), 0.0)
        bias_total += tl.sum(g, axis=0)
        y = 2 * (pixel // pooled_width)[:, None] + place // 2 + row
        z = 2 * (pixel % pooled_width)[:, None] + place % 2
        from_x = x + model * stride_model + sample.to(tl.int64)[:, None] * stride_sample + c * stride_channel + y * stride_row
        for k in tl.static_range(SIZE):
            value = tl.load(from_x + (z + k) * stride_column, mask=is_inside & is_alive, other=0.0)
            total += tl.where(column == k, tl.sum(g * value, axis=0)[:, None], 0.0)
    filters = (part * (tl.num_programs(2) // n_splits) + model) * outputs + o
    to = ((filters[:, None] * channels + c) * SIZE + row) * SIZE + column
    tl.store(sums + to, total, mask=is_output[:, None] & (column < SIZE))
    if tl.program_id(0) == 0:
        tl.store(bias_sums + filters, bias_total, mask=is_output)


@triton.jit
def _of_input(  # type: ignore[no-untyped-def]
    gradient, places, weight, out, n, channels, outputs, height, width, pooled_height, pooled_width,
    SIZE: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    model = tl.program_id(2)
    m = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    area = height * width
    sample, y, z = m // area, (m % area) // width, m % width
    is_pixel, is_channel = m < n * area, c < channels
    total = tl.zeros((PIXELS, CHANNELS), dtype=out.dtype.element_ty)
    for o in range(outputs):
        of_output = ((model * n + sample).to(tl.int64) * outputs + o) * pooled_height * pooled_width
        for tap in range(SIZE * SIZE):
            row, column = y - tap // SIZE, z - tap % SIZE  # in the convolution's output
            is_there = is_pixel & (row >= 0) & (column >= 0) & (row < 2 * pooled_height) & (column < 2 * pooled_width)
            at = of_output + (row // 2) * pooled_width + column // 2
            is_largest = tl.load(places + at, mask=is_there, other=4).to(tl.int32) == (row % 2) * 2 + column % 2
            g = tl.load(gradient + at, mask=is_there & is_largest, other=0.0)
            w = tl.load(weight + ((model * outputs + o) * channels + c) * SIZE * SIZE + tap, mask=is_channel, other=0.0)
            total += g[:, None] * w[None, :]
    to = ((model * n + sample[:, None]).to(tl.int64) * channels + c[None, :]) * area + (m % area)[:, None]
    tl.store(out + to, total, mask=is_pixel[:, None] & is_channel[None, :])


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
        grid = (triton.cdiv(n * pooled[0] * pooled[1], _PIXELS), triton.cdiv(outputs, _OUTPUTS), n_models)
        _forward[grid](
            inputs, weight, bias, out, places, n, channels, outputs, height, width, *pooled, *_strides(inputs),
            SIZE=size, RELU=relu, PIXELS=_PIXELS, OUTPUTS=_OUTPUTS,
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
        n_pixels = n * pooled[0] * pooled[1]
        n_splits = min(_MAX_SPLITS, max(1, n_pixels // (8 * _PIXELS)))
        a_split = triton.cdiv(triton.cdiv(n_pixels, n_splits), _PIXELS) * _PIXELS
        sums, bias_sums = weight.new_empty(n_splits, *weight.shape), weight.new_empty(n_splits, n_models, outputs)
        _of_weight[(channels * size, triton.cdiv(outputs, _OUTPUTS), n_models * n_splits)](
            inputs, gradient, places, sums, bias_sums, n, channels, outputs, *pooled, n_splits, a_split, *_strides(inputs),
            SIZE=size, COLUMNS=triton.next_power_of_2(size), PIXELS=_PIXELS, OUTPUTS=_OUTPUTS,
        )  # fmt: skip
        of_inputs = None
        if ctx.needs_input_grad[0]:
            if inputs.dim() == 4:
                raise NotImplementedError("the gradient of inputs that all models share is not implemented")
            of_inputs = inputs.new_empty(inputs.shape)
            grid = (triton.cdiv(n * height * width, _PIXELS), triton.cdiv(channels, _CHANNELS), n_models)
            _of_input[grid](
                gradient, places, weight, of_inputs, n, channels, outputs, height, width, *pooled,
                SIZE=size, PIXELS=_PIXELS, CHANNELS=_CHANNELS,
            )  # fmt: skip
        return of_inputs, sums.sum(dim=0), bias_sums.sum(dim=0), None


def _strides(inputs: Tensor) -> tuple[int, ...]:
    """Return the strides of model, sample, channel, row and column; shared inputs have the stride 0 between models."""
    return inputs.stride() if inputs.dim() == 5 else (0, *inputs.stride())
