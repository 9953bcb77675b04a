"""The propagation of units through operators: constant outputs, needed inputs, and the smaller step.

An operator without a rule reads all units of its inputs and keeps all its outputs, which is always correct but never smaller.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainer.compression.builder import Builder
from trainer.compression.program import Step, Stored, Value, call, inputs_of
from trainer.compression.units import Units

KnownUnits = Mapping[str, Units]
Tensors = Mapping[str, Tensor]


class Rule(ABC):
    """The propagation of units through one kind of step.

    `wanted` marks the units of the output that later steps read, without constants.
    """

    has_all = False
    """Whether every unit of the inputs is read, whatever outputs are wanted."""

    @abstractmethod
    def units(self, step: Step, known: KnownUnits, tensors: Tensors) -> Units | None:
        """Return the units of the output; None if this rule does not apply to the step."""

    @abstractmethod
    def needs(self, step: Step, wanted: Tensor, known: KnownUnits, tensors: Tensors) -> dict[str, Tensor]:
        """Return a mapping input -> mask of the units that are read, shape (n_units,), bool."""

    @abstractmethod
    def write(self, step: Step, wanted: Tensor, builder: Builder, tensors: Tensors) -> None:
        """Add the smaller step to the builder."""


class NoRule(Rule):
    """Keeps a step unchanged."""

    has_all = True

    def units(self, step: Step, known: KnownUnits, tensors: Tensors) -> Units | None:
        return Units.free(step.shape) if step.shape else None

    def needs(self, step: Step, wanted: Tensor, known: KnownUnits, tensors: Tensors) -> dict[str, Tensor]:
        return {name: torch.ones_like(known[name].is_constant) for name in inputs_of(step) if name in known}

    def write(self, step: Step, wanted: Tensor, builder: Builder, tensors: Tensors) -> None:
        args = tuple(builder.as_it_was(argument) for argument in step.args)
        kwargs = {name: builder.as_it_was(argument) for name, argument in step.kwargs.items()}
        layout = torch.arange(step.shape[0]) if step.shape else None
        builder.add(Step(step.name, step.op, args, kwargs, step.shape), layout)


class Weighted(Rule):
    """Linear layers and convolutions: every output reads the inputs whose weights are not all zero.

    The contribution of a constant input is folded into the bias; if a convolution pads with zeros, this is possible only for the constant
    0. Inputs with equal weights for all remaining outputs (tied rows) are summed first, and their weights are kept once.
    """

    def units(self, step: Step, known: KnownUnits, tensors: Tensors) -> Units | None:
        parts = self._read(step, known, tensors)
        if parts is None or step.shape is None:
            return None
        inputs, weight, bias = parts
        folded = self._folded(step, known[inputs])
        is_constant = ~_is_used(weight[:, ~folded]).any(dim=1)
        return Units.of(is_constant, self._bias(weight, bias, folded, known[inputs]), step.shape)

    def needs(self, step: Step, wanted: Tensor, known: KnownUnits, tensors: Tensors) -> dict[str, Tensor]:
        inputs, weight, _ = self._known(step, known, tensors)
        return {inputs: _is_used(weight[wanted]).any(dim=0) & ~self._folded(step, known[inputs])}

    def write(self, step: Step, wanted: Tensor, builder: Builder, tensors: Tensors) -> None:
        inputs, weight, bias = self._known(step, builder.units, tensors)
        known, outputs = builder.units[inputs], wanted.nonzero().flatten()
        rows = self.needs(step, wanted, builder.units, tensors)[inputs].nonzero().flatten()
        new_bias = self._bias(weight, bias, self._folded(step, known), known)[outputs]
        value, new_weight = builder.arranged(inputs, rows), weight[outputs][:, rows]
        if builder.ties:
            value, new_weight = _tied(value, new_weight, builder)
        name = step.args[1].name
        has_bias = bias is not None or bool(new_bias.any())
        args: list[Any] = [value, builder.keep(name, new_weight), builder.keep_computed(f"{name}.bias", new_bias) if has_bias else None]
        builder.add(Step(step.name, step.op, (*args, *step.args[3:]), step.kwargs, step.shape), outputs)

    def _known(self, step: Step, known: KnownUnits, tensors: Tensors) -> tuple[str, Tensor, Tensor | None]:
        parts = self._read(step, known, tensors)
        assert parts is not None
        return parts

    def _read(self, step: Step, known: KnownUnits, tensors: Tensors) -> tuple[str, Tensor, Tensor | None] | None:
        """Return input, weight and bias; None if this rule does not support their dimensions."""
        inputs, weight, bias = (*step.args[:2], step.args[2] if len(step.args) > 2 else None)
        if (
            not isinstance(inputs, Value)
            or not isinstance(weight, Stored)
            or inputs.name not in known
            or isinstance(bias, Value)
            or step.kwargs
        ):
            return None
        tensor, shape = tensors[weight.name], known[inputs.name].shape
        is_plain = step.op != "aten.linear.default" or len(shape) == 1
        is_whole = len(step.args) < 7 or step.args[6] == 1  # groups
        if not (is_plain and is_whole and tensor.dim() == len(shape) + 1 and tensor.shape[1] == shape[0]):
            return None
        return inputs.name, tensor, tensors[bias.name] if isinstance(bias, Stored) else None

    def _folded(self, step: Step, inputs: Units) -> Tensor:
        padding = step.args[4] if len(step.args) > 4 else 0
        pads = padding == "same" or (not isinstance(padding, str) and any(padding if isinstance(padding, list) else [padding]))
        return inputs.is_constant & (inputs.constant == 0) if pads else inputs.is_constant

    def _bias(self, weight: Tensor, bias: Tensor | None, folded: Tensor, inputs: Units) -> Tensor:
        total = weight[:, folded].double().flatten(2).sum(dim=2) if weight.dim() > 2 else weight[:, folded].double()
        start = torch.zeros(len(weight), dtype=torch.float64) if bias is None else bias.double()
        return start + total @ inputs.constant[folded]


class Unitwise(Rule):
    """Activations, pooling, batch normalisation: each unit is computed separately, and constants stay constant."""

    def __init__(self, keeps_value: bool = False) -> None:
        self._keeps_value = keeps_value

    def units(self, step: Step, known: KnownUnits, tensors: Tensors) -> Units | None:
        inputs = self._input(step, known)
        if inputs is None or not step.shape or step.shape[0] != known[inputs].shape[0] or not self._holds(step, known[inputs], tensors):
            return None
        old = known[inputs]
        value = old.constant if self._keeps_value else self._computed(step, old, tensors)
        return Units.of(old.is_constant, value, step.shape)

    def needs(self, step: Step, wanted: Tensor, known: KnownUnits, tensors: Tensors) -> dict[str, Tensor]:
        return {inputs_of(step)[0]: wanted}

    def write(self, step: Step, wanted: Tensor, builder: Builder, tensors: Tensors) -> None:
        layout = builder.layouts[inputs_of(step)[0]]
        args = tuple(self._cut(argument, layout, builder) for argument in step.args)
        builder.add(Step(step.name, step.op, args, step.kwargs, step.shape), layout)

    def _input(self, step: Step, known: KnownUnits) -> str | None:
        names = inputs_of(step)
        return names[0] if len(names) == 1 and names[0] in known else None

    def _holds(self, step: Step, inputs: Units, tensors: Tensors) -> bool:
        return not any(isinstance(argument, Stored) and tensors[argument.name].numel() != 1 for argument in step.args)

    def _computed(self, step: Step, old: Units, tensors: Tensors) -> Tensor:
        def put_in(argument: Any) -> Any:
            if isinstance(argument, Value):
                return old.as_sample()
            return tensors[argument.name].double() if isinstance(argument, Stored) else argument

        outputs: Tensor = call(step.op, [put_in(argument) for argument in step.args], step.kwargs)
        return outputs.flatten()

    def _cut(self, argument: Any, layout: Tensor, builder: Builder) -> Any:
        if not isinstance(argument, Stored):
            return argument
        tensor = builder.original(argument.name)
        return builder.keep(argument.name, tensor[layout] if tensor.dim() and tensor.numel() != 1 else tensor)


class Scaled(Unitwise):
    """Arithmetic with a value and a single number, such as addition or multiplication; a product with 0 is constant."""

    def units(self, step: Step, known: KnownUnits, tensors: Tensors) -> Units | None:
        units = super().units(step, known, tensors)
        if units is None or not step.op.startswith("aten.mul"):
            return units
        factors = [argument for argument in step.args if not isinstance(argument, Value)]
        number = float(tensors[factors[0].name]) if isinstance(factors[0], Stored) else factors[0]
        return Units.of(torch.ones_like(units.is_constant), torch.zeros(len(units.constant)), units.shape) if number == 0 else units


class BatchNorm(Unitwise):
    """Batch normalisation in evaluation mode, which scales and shifts each channel."""

    def _holds(self, step: Step, inputs: Units, tensors: Tensors) -> bool:
        return step.args[5] is False and all(argument is None or isinstance(argument, Stored) for argument in step.args[1:5])


class Pooled(Unitwise):
    """Pooling; averages that include padded zeros are not constant."""

    def __init__(self) -> None:
        super().__init__(keeps_value=True)

    def _holds(self, step: Step, inputs: Units, tensors: Tensors) -> bool:
        if step.op.startswith("aten.mean"):
            n_dims = 1 + len(inputs.shape)
            return bool(step.args[1]) and all(dim % n_dims > 1 for dim in step.args[1])
        if step.op.startswith("aten.avg_pool") and step.args[6:7] not in ((), (None,)):
            return False  # with another divisor, the average of equal numbers is a different number
        padding = step.args[3] if step.op.startswith("aten.avg_pool") and len(step.args) > 3 else 0
        return not any(padding if isinstance(padding, list) else [padding])


class Flattened(Rule):
    """Channels become features: unit c becomes the units c n_places ... (c + 1) n_places - 1."""

    def units(self, step: Step, known: KnownUnits, tensors: Tensors) -> Units | None:
        names = [argument.name for argument in step.args[:1] if isinstance(argument, Value)]
        if not names or names[0] not in known or step.shape is None or len(step.shape) != 1:
            return None
        old = known[names[0]]
        if old.shape[0] * old.n_places != step.shape[0] or (step.op == "aten.flatten.using_ints" and step.args[1:2] != (1,)):
            return None
        return Units.of(old.is_constant.repeat_interleave(old.n_places), old.constant.repeat_interleave(old.n_places), step.shape)

    def needs(self, step: Step, wanted: Tensor, known: KnownUnits, tensors: Tensors) -> dict[str, Tensor]:
        name = step.args[0].name
        return {name: wanted.reshape(known[name].shape[0], -1).any(dim=1)}

    def write(self, step: Step, wanted: Tensor, builder: Builder, tensors: Tensors) -> None:
        name = step.args[0].name
        n, old = builder.units[name].n_places, builder.layouts[name]
        layout = (old[:, None] * n + torch.arange(n)).flatten()
        builder.add(Step(step.name, "aten.flatten.using_ints", (step.args[0], 1), {}, step.shape), layout)


class Paired(Rule):
    """Addition, subtraction and product of two values, unit by unit; a product with a constant 0 is constant."""

    def units(self, step: Step, known: KnownUnits, tensors: Tensors) -> Units | None:
        names = [argument.name for argument in step.args if isinstance(argument, Value)]
        if len(names) != 2 or len(step.args) != 2 or not all(name in known for name in names) or step.kwargs:
            return None
        a, b = (known[name] for name in names)
        if step.shape is None or not (len(a.shape) == len(b.shape) == len(step.shape) and a.shape[0] == b.shape[0] == step.shape[0]):
            return None
        value = call(step.op, [a.constant, b.constant], {})
        both = a.is_constant & b.is_constant
        if step.op.startswith("aten.mul"):
            both = both | (a.is_constant & (a.constant == 0)) | (b.is_constant & (b.constant == 0))
        return Units.of(both, value, step.shape)

    def needs(self, step: Step, wanted: Tensor, known: KnownUnits, tensors: Tensors) -> dict[str, Tensor]:
        return dict.fromkeys(inputs_of(step), wanted)

    def write(self, step: Step, wanted: Tensor, builder: Builder, tensors: Tensors) -> None:
        names = inputs_of(step)
        layout, other = (builder.layouts[name] for name in names)
        if not torch.equal(layout, other) or not bool(torch.isin(wanted.nonzero().flatten(), layout).all()):
            layout = wanted.nonzero().flatten()
        args = tuple(builder.arranged(name, layout) for name in names)
        builder.add(Step(step.name, step.op, args, {}, step.shape), layout)


class Concatenated(Rule):
    """Concatenation of values along their units."""

    def units(self, step: Step, known: KnownUnits, tensors: Tensors) -> Units | None:
        parts = step.args[0]
        dim = step.args[1] if len(step.args) > 1 else 0
        is_known = all(isinstance(part, Value) and part.name in known for part in parts)
        if step.shape is None or dim not in (1, -len(step.shape)) or not is_known:
            return None
        old = [known[part.name] for part in parts]
        return Units.of(torch.cat([units.is_constant for units in old]), torch.cat([units.constant for units in old]), step.shape)

    def needs(self, step: Step, wanted: Tensor, known: KnownUnits, tensors: Tensors) -> dict[str, Tensor]:
        names = inputs_of(step)
        needed: dict[str, Tensor] = {}
        for name, part in zip(names, wanted.split([known[name].shape[0] for name in names]), strict=True):
            needed[name] = needed[name] | part if name in needed else part
        return needed

    def write(self, step: Step, wanted: Tensor, builder: Builder, tensors: Tensors) -> None:
        start, values, layouts = 0, [], []
        for name in inputs_of(step):
            if len(builder.layouts[name]):
                values.append(Value(name))
                layouts.append(builder.layouts[name] + start)
            start += builder.units[name].shape[0]
        builder.add(Step(step.name, step.op, (values, 1), {}, step.shape), torch.cat(layouts))


def _is_used(weight: Tensor) -> Tensor:
    """Return whether each output reads each input, shape (n_outputs, n_inputs), bool."""
    return weight.flatten(2).ne(0).any(dim=2) if weight.dim() > 2 else weight.ne(0)


def _tied(value: Value, weight: Tensor, builder: Builder) -> tuple[Value, Tensor]:
    """Sum the units that have equal weights, and keep those weights once."""
    rows = weight.transpose(0, 1).flatten(1)
    _, cluster = torch.unique(rows, dim=0, return_inverse=True)
    n_clusters = int(cluster.max()) + 1 if len(cluster) else 0
    if n_clusters == len(rows):
        return value, weight
    first = torch.full((n_clusters,), len(rows)).scatter_reduce(0, cluster, torch.arange(len(rows)), "amin")
    order = first.argsort()  # clusters in the order in which they first appear
    first, number = first[order], order.argsort()[cluster]
    others = torch.ones(len(rows), dtype=torch.bool)
    others[first] = False
    rest = others.nonzero().flatten()
    sums = builder.make(
        "aten.index_add.default", builder.selected(value, first), 1, builder.keep_places(number[rest]), builder.selected(value, rest)
    )
    return sums, weight[:, first]


_ACTIVATIONS = """relu.default relu6.default sigmoid.default tanh.default gelu.default silu.default elu.default selu.default celu.default
leaky_relu.default hardtanh.default hardswish.default hardsigmoid.default softplus.default mish.default log_sigmoid.default softsign.default
neg.default pow.Tensor_Scalar sqrt.default rsqrt.default exp.default abs.default sin.default cos.default erf.default square.default
clamp.default clamp_min.default clamp_max.default contiguous.default clone.default detach.default alias.default dropout.default
feature_dropout.default""".split()  # noqa: SIM905 - a table
_POOLING = """max_pool1d.default max_pool2d.default max_pool3d.default avg_pool1d.default avg_pool2d.default avg_pool3d.default
adaptive_avg_pool1d.default adaptive_avg_pool2d.default mean.dim upsample_nearest2d.vec""".split()  # noqa: SIM905 - a table
_SCALED = ("add.Tensor", "add.Scalar", "sub.Tensor", "sub.Scalar", "rsub.Scalar", "mul.Tensor", "mul.Scalar", "div.Tensor", "div.Scalar")
NO_RULE = NoRule()
_RULES: dict[str, tuple[Rule, ...]] = {
    **dict.fromkeys((f"aten.{name}" for name in _ACTIVATIONS), (Unitwise(),)),
    **dict.fromkeys((f"aten.{name}" for name in _POOLING), (Pooled(),)),
    **dict.fromkeys((f"aten.{name}" for name in _SCALED), (Scaled(), Paired())),
    **dict.fromkeys(("aten.flatten.using_ints", "aten.view.default", "aten.reshape.default"), (Flattened(),)),
    "aten.batch_norm.default": (BatchNorm(),),
    "aten.cat.default": (Concatenated(),),
    **dict.fromkeys(
        (f"aten.{name}" for name in ("linear.default", "conv1d.default", "conv2d.default", "conv3d.default", "conv2d.padding")),
        (Weighted(),),
    ),
}


def rule_of(step: Step, known: KnownUnits, tensors: Tensors) -> tuple[Rule, Units | None]:
    """Return the first rule that applies to a step, and the units of its output."""
    for rule in _RULES.get(step.op, ()):
        units = rule.units(step, known, tensors)
        if units is not None:
            return rule, units
    return NO_RULE, NO_RULE.units(step, known, tensors)
