"""A network as a list of steps, the form in which compressed networks are stored and run without the code that created them.

A step calls one operator of ATen, PyTorch's library, from a fixed list; a file cannot name any other function.
"""

import itertools
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class ProgramError(ValueError):
    """A list of steps cannot be read or run."""


@dataclass(frozen=True)
class Value:
    """The output of an earlier step, or the network's input."""

    name: str


@dataclass(frozen=True)
class Stored:
    """A tensor that is stored with the program."""

    name: str


Argument = Any
"""`Value`, `Stored`, a number, a string, a torch.dtype, None, or a list of those."""

INPUT = "inputs"
PYTHON_OPS: Mapping[str, Callable[..., Any]] = {
    f"python.{name}": getattr(operator, name) for name in ("getitem", "add", "sub", "mul", "floordiv")
}
ATEN_OPS = frozenset(
    f"aten.{name}"
    for name in """
    linear.default conv1d.default conv1d.padding conv2d.default conv2d.padding conv3d.default conv3d.padding
    conv_transpose2d.input addmm.default mm.default bmm.default matmul.default baddbmm.default einsum.default
    batch_norm.default layer_norm.default group_norm.default instance_norm.default
    relu.default relu6.default sigmoid.default tanh.default gelu.default silu.default elu.default selu.default celu.default
    leaky_relu.default prelu.default hardtanh.default hardswish.default hardsigmoid.default softplus.default mish.default
    log_sigmoid.default softmax.int log_softmax.int glu.default softsign.default
    max_pool1d.default max_pool2d.default max_pool3d.default avg_pool1d.default avg_pool2d.default avg_pool3d.default
    adaptive_avg_pool1d.default adaptive_avg_pool2d.default adaptive_max_pool2d.default
    upsample_nearest2d.vec upsample_bilinear2d.vec pixel_shuffle.default
    flatten.using_ints unflatten.int view.default reshape.default permute.default transpose.int unsqueeze.default squeeze.dim
    squeeze.dims expand.default select.int slice.Tensor index_select.default index_add.default narrow.default
    cat.default stack.default split.Tensor split_with_sizes.default chunk.default unbind.int repeat.default
    add.Tensor add.Scalar sub.Tensor sub.Scalar rsub.Scalar mul.Tensor mul.Scalar div.Tensor div.Scalar neg.default
    pow.Tensor_Scalar sqrt.default rsqrt.default exp.default log.default abs.default sin.default cos.default erf.default
    reciprocal.default square.default clamp.default clamp_min.default clamp_max.default minimum.default maximum.default
    mean.dim mean.default sum.dim_IntList amax.default amin.default var.correction max.dim min.dim
    constant_pad_nd.default pad.default zeros_like.default ones_like.default where.self
    eq.Scalar ne.Scalar lt.Scalar gt.Scalar le.Scalar ge.Scalar
    scaled_dot_product_attention.default embedding.default
    contiguous.default clone.default detach.default alias.default dropout.default feature_dropout.default sym_size.int
    t.default _to_copy.default new_zeros.default new_ones.default new_full.default full_like.default
    fill.Scalar fill.Tensor copy.default masked_fill.Scalar masked_fill.Tensor where.ScalarOther where.ScalarSelf where.Scalar
    slice_scatter.default select_scatter.default index.Tensor index_put.default
    """.split()  # noqa: SIM905 - a table
)
"""Operators that compute a value from values and have no side effects.

The last two lines are the functional form of assignments to a part of a tensor (`y[:, 0] = x`).
"""


@dataclass(frozen=True)
class Step:
    """One call of an operator.

    `shape` is the shape of its output without the batch; None if the output is not a tensor with the batch as first dimension.
    """

    name: str
    op: str
    args: tuple[Argument, ...]
    kwargs: Mapping[str, Argument] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.op not in ATEN_OPS and self.op not in PYTHON_OPS:
            raise ProgramError(f"step {self.name}: {self.op} is not an operator that a compressed network may use")


@dataclass(frozen=True)
class Program:
    """A network with one input, an ordered list of steps, and one output for each task."""

    input_shape: tuple[int, ...]
    """The shape of one sample."""
    steps: tuple[Step, ...]
    outputs: tuple[Argument, ...]
    tensors: Mapping[str, Tensor]

    @property
    def n_parameters(self) -> int:
        """The number of stored values, without index tensors."""
        return sum(tensor.numel() for tensor in self.tensors.values() if tensor.is_floating_point())


def values_of(argument: Argument) -> list[str]:
    """Return the names of the values in an argument."""
    if isinstance(argument, Value):
        return [argument.name]
    if isinstance(argument, list | tuple):
        return [name for item in argument for name in values_of(item)]
    return []


def stored_of(argument: Argument) -> list[str]:
    """Return the names of the stored tensors in an argument."""
    if isinstance(argument, Stored):
        return [argument.name]
    if isinstance(argument, list | tuple):
        return [name for item in argument for name in stored_of(item)]
    return []


def inputs_of(step: Step) -> list[str]:
    """Return the names of the values that a step reads."""
    return values_of([*step.args, *step.kwargs.values()])


def unused_name(name: str, taken: Collection[str]) -> str:
    """Return `name`, or the first of `name#2`, `name#3` ... that is not taken."""
    names = (f"{name}#{number}" if number > 1 else name for number in itertools.count(1))
    return next(candidate for candidate in names if candidate not in taken)


def function_of(op: str) -> Callable[..., Any]:
    """Return the operator with this name.

    Raises:
        ProgramError: this version of PyTorch does not have the operator.
    """
    if op in PYTHON_OPS:
        return PYTHON_OPS[op]
    _, name, overload = op.split(".")
    try:
        function: Callable[..., Any] = getattr(getattr(torch.ops.aten, name), overload)
    except AttributeError as error:
        raise ProgramError(f"the operator {op} is not in PyTorch {torch.__version__}") from error
    return function


def call(op: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call an operator by its name."""
    return function_of(op)(*args, **kwargs)


def replaced(argument: Argument, value: Callable[[str], Any], stored: Callable[[str], Any]) -> Any:
    """Replace the values and stored tensors in an argument.

    Args:
        argument: an argument of a step, possibly a nested list.
        value: maps the name of a value to its replacement.
        stored: maps the name of a stored tensor to its replacement.
    """
    if isinstance(argument, Value):
        return value(argument.name)
    if isinstance(argument, Stored):
        return stored(argument.name)
    if isinstance(argument, list | tuple):
        return [replaced(item, value, stored) for item in argument]
    return argument


class CompactNetwork(nn.Module):
    """Runs a program as a module, which maps inputs of shape (n, *input_shape) to a list with one output for each task.

    With one sample a step takes a few microseconds. Names are therefore resolved once: every value, tensor and constant
    has an index in one list, and a call refers to indices.
    """

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program
        names = {name: f"tensor_{number}" for number, name in enumerate(program.tensors)}
        for name, tensor in program.tensors.items():
            self.register_buffer(names[name], tensor)
        places = _Places(program)
        self._held = [(place, names[name]) for name, place in places.of_tensors.items()]
        self._calls, self._outputs, self._at_first = places.calls, places.outputs, places.at_first

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Run the steps one after the other."""
        values = self._at_first.copy()
        values[0] = inputs
        for place, name in self._held:
            values[place] = self._buffers[name]
        for function, args, kwargs, place in self._calls:
            given = [values[i] for i in args]
            values[place] = function(*given, **{name: values[i] for name, i in kwargs}) if kwargs else function(*given)
        return [values[i] for i in self._outputs]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the operators, which cannot be pickled."""
        return {name: item for name, item in self.__dict__.items() if name != "_calls"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._calls = _Places(self.program).calls


class _Call(NamedTuple):
    """One call; its arguments and its result are indices in the list of all values."""

    function: Callable[..., Any]
    args: tuple[int, ...]
    kwargs: tuple[tuple[str, int], ...]
    place: int


class _Places:
    """Assigns an index in one list to everything that a program stores or computes; index 0 is the input."""

    def __init__(self, program: Program) -> None:
        self.at_first: list[Any] = [None]
        """The list before the first step: constants, and None elsewhere."""
        self.of_tensors = {name: self._new() for name in program.tensors}
        self._of_values = {INPUT: 0}
        self.calls: list[_Call] = []
        for step in program.steps:
            args = tuple(map(self._of, step.args))
            kwargs = tuple((name, self._of(argument)) for name, argument in step.kwargs.items())
            self._of_values[step.name] = self._called(function_of(step.op), args, kwargs)
        self.outputs = [self._of(output) for output in program.outputs]

    def _of(self, argument: Argument) -> int:
        if isinstance(argument, Value):
            return self._of_values[argument.name]
        if isinstance(argument, Stored):
            return self.of_tensors[argument.name]
        if isinstance(argument, list | tuple) and (values_of(argument) or stored_of(argument)):
            return self._called(_as_list, tuple(map(self._of, argument)))
        return self._new(list(argument) if isinstance(argument, list | tuple) else argument)

    def _called(self, function: Callable[..., Any], args: tuple[int, ...], kwargs: tuple[tuple[str, int], ...] = ()) -> int:
        place = self._new()
        self.calls.append(_Call(function, args, kwargs, place))
        return place

    def _new(self, at_first: Any = None) -> int:
        self.at_first.append(at_first)
        return len(self.at_first) - 1


def _as_list(*items: Any) -> list[Any]:
    return list(items)
