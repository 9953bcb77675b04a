"""Reads the functional graph that torch.export produces and converts its nodes to steps.

The graph has several forms of the same operation, which are unified here: views become reshapes, copies are replaced by their source, batch
norm becomes `aten.batch_norm`, values that depend on neither the input nor the weights become stored tensors, and new tensors are created
from the input.
"""

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.export.graph_signature import OutputKind

from trainer.compression.program import ATEN_OPS, INPUT, PYTHON_OPS, Argument, Program, ProgramError, Step, Stored, Value, unused_name

_PYTHON_NAMES = {function: name for name, function in PYTHON_OPS.items()}
_RESHAPES = frozenset({"aten.view.default", "aten._unsafe_view.default"})
_COPIES = frozenset(f"aten.{name}.default" for name in ("clone", "contiguous", "detach", "alias", "lift_fresh", "lift_fresh_copy"))
_MAKERS = {
    "aten.zeros.default": "aten.new_zeros.default",
    "aten.ones.default": "aten.new_ones.default",
    "aten.full.default": "aten.new_full.default",
    "aten.empty.memory_format": "aten.new_zeros.default",  # every element is written before it is read
    "aten.new_zeros.default": "aten.new_zeros.default",
    "aten.new_ones.default": "aten.new_ones.default",
    "aten.new_full.default": "aten.new_full.default",
    "aten.new_empty.default": "aten.new_zeros.default",
}
_OTHER_NAMES = {"aten.empty_like.default": "aten.zeros_like.default"}
# Operator -> whether its arguments include running statistics, and whether it normalises by the statistics of the batch.
_BATCH_NORMS = {
    "aten._native_batch_norm_legit_no_training.default": (True, False),
    "aten._native_batch_norm_legit_functional.default": (True, True),
    "aten._native_batch_norm_legit.no_stats": (False, True),
}
_PLACES = ("device", "layout", "memory_format", "non_blocking", "pin_memory")
"""Arguments that specify where numbers are stored and do not change their values."""


class UnreadableError(ValueError):
    """A graph cannot be converted to a program; the message says why."""


class GraphReader:
    """Reads one exported program.

    Args:
        exported: an exported program in functional form (`ExportedProgram.run_decompositions`).
        sample: the inputs that it was exported with, shape (n, *input_shape).
    """

    def __init__(self, exported: torch.export.ExportedProgram, sample: Tensor) -> None:
        self._graph, self._specs = exported.graph, exported.graph_signature.output_specs
        self._sample = sample
        signature = exported.graph_signature
        names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
        held: Mapping[str, Tensor] = {**exported.constants, **exported.state_dict}
        self._tensors = {name: held[name].detach() for name in names.values() if name in held}
        self._known: dict[fx.Node, Argument] = {}
        """Node -> the value, stored tensor or plain number that represents it."""
        self._inputs = []
        for node in self._graph.nodes:
            if node.op == "placeholder":
                if names.get(node.name) in self._tensors:
                    self._known[node] = Stored(names[node.name])
                else:
                    self._inputs.append(node)
        constants = set(signature.inputs_to_lifted_tensor_constants.values())
        self._constant = {node for node, known in self._known.items() if isinstance(known, Stored) and known.name in constants}

    def program(self) -> Program:
        """Convert the graph to a program.

        Raises:
            UnreadableError: an operator is not allowed, or a value cannot be stored in a file.
        """
        if len(self._inputs) != 1:
            raise UnreadableError(f"a network with one input expected, found {len(self._inputs)}")
        self._known[self._inputs[0]] = Value(INPUT)
        output = next(node for node in self._graph.nodes if node.op == "output")
        # Values that `forward` writes into buffers and inputs are listed as outputs too.
        results = [item for item, spec in zip(output.args[0], self._specs, strict=True) if spec.kind is OutputKind.USER_OUTPUT]
        needed = _needed([item for item in results if isinstance(item, fx.Node)])
        steps = []
        for node in self._graph.nodes:
            if node.op == "call_function" and node in needed:
                step = self._read(node)
                if step is not None:
                    steps.append(step)
                    self._known[node] = Value(node.name)
        return Program(tuple(self._sample.shape[1:]), tuple(steps), tuple(self._argument(item) for item in results), self._tensors)

    def _read(self, node: fx.Node) -> Step | None:
        """Return the step of a node; None if an existing value represents it."""
        op = _op_of(node)
        source = self._same_as(node, op)
        if source is None and isinstance(node.target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in node.target.tags:
            raise UnreadableError(f"its forward draws random numbers ({op}), so that two calls do not agree")
        if all(source in self._constant for source in node.all_input_nodes) and _is_computable(node):
            self._keep_constant(node)
            return None
        if op in _BATCH_NORMS:
            return None  # the node of the first output becomes the step
        if source is not None:
            self._known[node] = self._known[source]
            return None
        if op == "python.getitem" and str(node.args[0].target) in _BATCH_NORMS:  # type: ignore[union-attr]
            return self._batch_norm(node)
        if op in _MAKERS:
            return self._made(node, _MAKERS[op])
        if op == "aten.sym_size.int" and node.args[1] == 0 and self._is_batch(node):
            return self._step(node, op, (self._inputs[0], 0), {})
        op = "aten.reshape.default" if op in _RESHAPES else _OTHER_NAMES.get(op, op)
        return self._step(node, op, node.args, {name: item for name, item in node.kwargs.items() if name not in _PLACES})

    def _step(self, node: fx.Node, op: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Step:
        arguments = tuple(self._argument(item) for item in args)
        named = {key: self._argument(item) for key, item in kwargs.items()}
        try:
            return Step(node.name, op, arguments, named, _shape(node))
        except ProgramError as error:
            raise UnreadableError(str(error)) from error

    def _argument(self, item: Any) -> Argument:
        if isinstance(item, fx.Node):
            return self._known[item]
        if isinstance(item, list | tuple):
            return [self._argument(part) for part in item]
        if item is None or isinstance(item, bool | int | float | str | torch.dtype):
            return item
        raise UnreadableError(f"an argument of type {type(item).__name__} cannot be kept in a file")

    def _keep_constant(self, node: fx.Node) -> None:
        """Evaluate a node that depends on neither the input nor the weights."""
        given = fx.node.map_arg((node.args, node.kwargs), lambda source: self._held(self._known[source]))
        with torch.no_grad():
            value = node.target(*given[0], **given[1])  # type: ignore[operator]
        self._constant.add(node)
        if isinstance(value, Tensor):
            if str(node.target).startswith("aten.empty"):
                value = torch.zeros_like(value)
            name = unused_name(node.name, self._tensors)
            self._tensors[name] = value
            self._known[node] = Stored(name)
        else:
            self._known[node] = value

    def _held(self, known: Argument) -> Any:
        return self._tensors[known.name] if isinstance(known, Stored) else known

    def _same_as(self, node: fx.Node, op: str) -> fx.Node | None:
        """Return the node whose value this one repeats, if any."""
        args = node.args
        if op in _COPIES or (op in ("aten.dropout.default", "aten.feature_dropout.default") and args[2] is False):
            return args[0]  # type: ignore[return-value]
        if op == "aten._to_copy.default" and _is_alike(node, args[0]):
            return args[0]  # type: ignore[return-value]
        if op == "aten.copy.default" and _is_alike(node, args[1]):
            return args[1]  # type: ignore[return-value]
        if op == "aten.slice.Tensor" and _is_whole(args[2:]):
            return args[0]  # type: ignore[return-value]
        if op == "aten.slice_scatter.default" and _is_whole(args[3:]) and _is_alike(node, args[1]):
            return args[1]  # type: ignore[return-value]
        return None

    def _batch_norm(self, node: fx.Node) -> Step:
        """Return batch norm as a network writes it, since `_native_batch_norm_legit...` also returns its statistics."""
        source = node.args[0]
        assert isinstance(source, fx.Node)
        if node.args[1] != 0:
            raise UnreadableError(f"step {node.name}: the statistics of {source.target} cannot be kept in a file")
        has_statistics, is_of_batch = _BATCH_NORMS[str(source.target)]
        inputs, weight, bias = source.args[:3]
        statistics = source.args[3:5] if has_statistics and not is_of_batch else (None, None)
        args = (inputs, weight, bias, *statistics, is_of_batch, *source.args[-2:], False)
        return self._step(node, "aten.batch_norm.default", args, {})

    def _made(self, node: fx.Node, op: str) -> Step:
        """Return the step that creates a new tensor on the device of the input, and in the input's type unless the node has another one."""
        args = node.args[1:] if str(node.target).startswith("aten.new_") else node.args
        dtype = node.meta["val"].dtype
        return self._step(node, op, (self._inputs[0], *args), {} if dtype == self._sample.dtype else {"dtype": dtype})

    def _is_batch(self, node: fx.Node) -> bool:
        """Return whether a size is the batch size itself, rather than a multiple of it."""
        size, batch = node.meta["val"], self._inputs[0].meta["val"].shape[0]
        return isinstance(size, torch.SymInt) and isinstance(batch, torch.SymInt) and size.node.expr == batch.node.expr


def is_listed(graph: fx.Graph) -> bool:
    """Return whether all operators of a graph are allowed in a program."""
    ops = {_op_of(node) for node in graph.nodes if node.op == "call_function"}
    return ops <= ATEN_OPS | PYTHON_OPS.keys()


def _op_of(node: fx.Node) -> str:
    return _PYTHON_NAMES.get(node.target) or str(node.target)  # type: ignore[arg-type]


def _needed(results: list[fx.Node]) -> set[fx.Node]:
    """Return the nodes that the results depend on; assertions are not among them."""
    needed: set[fx.Node] = set()
    left = list(results)
    while left:
        node = left.pop()
        if node not in needed:
            needed.add(node)
            left += node.all_input_nodes
    return needed


def _is_computable(node: fx.Node) -> bool:
    """Return whether the value of a node follows from the values of its inputs, that is, does not depend on the batch size."""
    value = node.meta.get("val")
    return not isinstance(value, torch.SymInt) and (not isinstance(value, Tensor) or all(type(n) is int for n in value.shape))


def _is_alike(node: fx.Node, source: Any) -> bool:
    """Return whether two nodes have the same shape and type."""
    a, b = node.meta.get("val"), source.meta.get("val") if isinstance(source, fx.Node) else None
    return isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape and a.dtype == b.dtype


def _is_whole(bounds: tuple[Any, ...]) -> bool:
    """Return whether a slice with these bounds (start, end, step) covers the whole dimension."""
    defaults: tuple[Any, ...] = (None, None, 1)
    start, end, step = bounds + defaults[len(bounds) :]
    return start in (None, 0) and (end is None or end == sys.maxsize) and step == 1


def _shape(node: fx.Node) -> tuple[int, ...] | None:
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or not value.dim():
        return None
    batch, *rest = list[Any](value.shape)
    return tuple(rest) if type(batch) is torch.SymInt and all(type(n) is int for n in rest) else None
