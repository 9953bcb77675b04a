"""From a network to its list of steps, by torch.export."""

from typing import Any

import torch
from torch import Tensor, fx, nn

from trainer.compact.program import (
    INPUT,
    PYTHON_OPS,
    Program,
    ProgramError,
    Step,
    Stored,
    Value,
    call,
    inputs_of,
    replaced,
    stored_of,
    values_of,
)

_PYTHON_NAMES = {function: name for name, function in PYTHON_OPS.items()}


class NotTraceableError(ValueError):
    """A network whose steps cannot be listed: it decides by its numbers, or uses an operator that no file can hold."""


def trace(network: nn.Module, sample: Tensor) -> Program:
    """List the steps of a network in evaluation mode.

    Args:
        network: its forward takes one tensor, the batch first, and returns one output a task.
        sample: shape (n, *input_shape), n >= 2.

    Returns:
        The program; its tensors are the network's own parameters and buffers under their names.

    Raises:
        NotTraceableError: torch.export cannot follow it, or a step is none of `ATEN_OPS`.
    """
    was_training = network.training
    network.eval()
    try:
        exported = torch.export.export(network, (sample,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    except Exception as error:  # torch.export raises whatever the network's code and its own analysis raise
        raise NotTraceableError(f"torch.export cannot follow this network: {_first_line(error)}") from error
    finally:
        network.train(was_training)
    return _Reader(exported, tuple(sample.shape[1:])).program()


def fold(program: Program) -> Program:
    """Compute once whatever depends on stored tensors alone, and leave out what no output needs."""
    known: dict[str, Any] = {}
    tensors = dict(program.tensors)
    kept = []

    def settled(argument: Any) -> Any:
        """Known values become stored tensors or plain numbers."""
        if isinstance(argument, list | tuple):
            return [settled(item) for item in argument]
        if not isinstance(argument, Value) or argument.name not in known:
            return argument
        value = known[argument.name]
        if not isinstance(value, Tensor):
            return value
        tensors[argument.name] = value
        return Stored(argument.name)

    for step in program.steps:
        if all(name in known for name in inputs_of(step)) and not step.op.startswith("aten.sym_size"):
            args, kwargs = ([replaced(item, known.__getitem__, tensors.__getitem__) for item in part] for part in _parts(step))
            with torch.no_grad():
                known[step.name] = call(step.op, args, dict(zip(step.kwargs, kwargs, strict=True)))
        else:
            args, kwargs = ([settled(item) for item in part] for part in _parts(step))
            kept.append(Step(step.name, step.op, tuple(args), dict(zip(step.kwargs, kwargs, strict=True)), step.shape))
    return pruned(Program(program.input_shape, tuple(kept), tuple(settled(output) for output in program.outputs), tensors))


def pruned(program: Program) -> Program:
    """The same without steps and tensors that no output needs."""
    used = set(values_of(program.outputs))
    steps: list[Step] = []
    for step in reversed(program.steps):
        if step.name in used:
            steps.append(step)
            used |= set(inputs_of(step))
    steps.reverse()
    stored = {name for step in steps for name in stored_of([*step.args, *step.kwargs.values()])} | set(stored_of(program.outputs))
    return Program(program.input_shape, tuple(steps), program.outputs, {n: t for n, t in program.tensors.items() if n in stored})


def _parts(step: Step) -> tuple[list[Any], list[Any]]:
    return list(step.args), list(step.kwargs.values())


class _Reader:
    """Reads an exported program."""

    def __init__(self, exported: torch.export.ExportedProgram, input_shape: tuple[int, ...]) -> None:
        self._graph = exported.graph
        self._input_shape = input_shape
        signature = exported.graph_signature
        names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
        held = {**exported.constants, **exported.state_dict}
        self._stored = {node: name for node, name in names.items() if name in held}
        self._tensors = {name: held[name].detach() for name in names.values() if name in held}
        self._inputs = [node.name for node in self._graph.nodes if node.op == "placeholder" and node.name not in self._stored]

    def program(self) -> Program:
        if len(self._inputs) != 1:
            raise NotTraceableError(f"a network with one input expected, found {len(self._inputs)}")
        needed = self._needed()
        steps, outputs = [], ()
        for node in self._graph.nodes:
            if node.op == "output":
                outputs = tuple(self._argument(item) for item in node.args[0])
            elif node.op == "call_function" and node in needed:
                steps.append(self._step(node))
        return Program(self._input_shape, tuple(steps), outputs, self._tensors)

    def _needed(self) -> set[fx.Node]:
        """Without assertions and whatever else leads to no output."""
        output = next(node for node in self._graph.nodes if node.op == "output")
        found, left = set(), list(output.all_input_nodes)
        while left:
            node = left.pop()
            if node not in found:
                found.add(node)
                left += node.all_input_nodes
        return found

    def _step(self, node: fx.Node) -> Step:
        name = _PYTHON_NAMES.get(node.target) or str(node.target)  # type: ignore[arg-type]
        try:
            kwargs = {key: self._argument(item) for key, item in node.kwargs.items()}
            return Step(node.name, name, tuple(self._argument(item) for item in node.args), kwargs, self._shape(node))
        except ProgramError as error:
            raise NotTraceableError(str(error)) from error

    def _argument(self, item: Any) -> Any:
        if isinstance(item, fx.Node):
            if item.name in self._stored:
                return Stored(self._stored[item.name])
            return Value(INPUT if item.name == self._inputs[0] else item.name)
        if isinstance(item, list | tuple):
            return [self._argument(part) for part in item]
        if item is None or isinstance(item, bool | int | float | str):
            return item
        raise ProgramError(f"an argument of type {type(item).__name__} cannot be kept in a file")

    def _shape(self, node: fx.Node) -> tuple[int, ...] | None:
        value = node.meta.get("val")
        if not isinstance(value, Tensor) or not value.dim():
            return None
        batch, *rest = list[Any](value.shape)
        return tuple(rest) if type(batch) is torch.SymInt and all(type(n) is int for n in rest) else None


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
