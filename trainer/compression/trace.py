"""Tracing a network to a list of steps with torch.export."""

import re
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from trainer.compression.graph import GraphReader, UnreadableError, is_listed
from trainer.compression.program import Program, Step, Stored, Value, call, inputs_of, replaced, stored_of, unused_name, values_of


class NotTraceableError(ValueError):
    """The steps of a network cannot be listed: its control flow depends on values, or an operator cannot be stored in a file."""


def trace(network: nn.Module, sample: Tensor) -> Program:
    """List the steps of a network in evaluation mode.

    In-place operators and views are replaced by operators without side effects, so that no step changes a value that another one reads.

    Args:
        network: a network whose forward takes one tensor, with the batch as first dimension, and returns one output for each task.
        sample: shape (n, *input_shape), n >= 2.

    Returns:
        The program. Its tensors are the network's parameters and buffers under their names, and the constants of its code:
        tensors that are plain attributes, or that its `forward` creates.

    Raises:
        NotTraceableError: torch.export cannot trace the network, or an operator is not in `ATEN_OPS`.
    """
    was_training = network.training
    network.eval()
    try:
        return GraphReader(_exported(network, sample), sample).program()
    except UnreadableError as error:
        raise NotTraceableError(str(error)) from error
    finally:
        network.train(was_training)


def _exported(network: nn.Module, sample: Tensor) -> torch.export.ExportedProgram:
    """Return the network's graph for any batch size, in functional form.

    If plain tracing fails, the network's bytecode is analysed (`strict`): plain tracing treats `len(x)` and `int(x.shape[0])`
    as constants, so that the graph would be valid only for the sample's batch size.
    """
    first: Exception | None = None
    for strict in (False, True):
        try:
            return _functional(network, sample, strict)
        except Exception as error:  # torch.export raises whatever the network's code and its own analysis raise
            if first is not None:
                raise NotTraceableError(f"torch.export cannot trace this network: {_reason(first)}") from error
            first = error
    raise AssertionError("both ways of tracing either return or raise")


def _functional(network: nn.Module, sample: Tensor, strict: bool) -> torch.export.ExportedProgram:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec", FutureWarning)  # torch's own copying
        exported = torch.export.export(network, (sample,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), strict=strict)
        if is_listed(exported.graph):
            return exported  # no listed operator modifies a tensor, and the next call would take about a second
        # With an empty table, only operators that modify a tensor are decomposed.
        functional: torch.export.ExportedProgram = exported.run_decompositions({})
        return functional


def fold(program: Program) -> Program:
    """Evaluate all steps that depend only on stored tensors, and drop steps that no output needs."""
    known: dict[str, Any] = {}
    names: dict[str, str] = {}
    tensors = dict(program.tensors)
    kept = []

    def settled(argument: Any) -> Any:
        """Replace known values by stored tensors or plain numbers."""
        if isinstance(argument, list | tuple):
            return [settled(item) for item in argument]
        if not isinstance(argument, Value) or argument.name not in known:
            return argument
        value = known[argument.name]
        if not isinstance(value, Tensor):
            return value
        if argument.name not in names:
            names[argument.name] = unused_name(argument.name, tensors)
            tensors[names[argument.name]] = value
        return Stored(names[argument.name])

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
    """Return the program without the steps and tensors that no output needs."""
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


# In messages of torch.export, the text after these phrases is meant for PyTorch developers.
_BOILERPLATE = re.compile(
    r"For more information, run with|For extended logs|If you suspect the guard|For more debugging help|For C\+\+ stack trace|"
    r"The error above occurred|consider using data-dependent|Caused by: \(_export|Set TORCHDYNAMO_VERBOSE|"
    r"Developer debug context|Suggested fixes"
)
_SPECIALISED = re.compile(r"your code specialized it to be a constant \((\d+)\)")
_MOST_CHARACTERS = 600


def _reason(error: Exception) -> str:
    """Return the reason in one line: the message of torch.export and the line of the network's code that it names."""
    text = str(error)
    specialised = _SPECIALISED.search(text)
    if specialised:
        return (
            f"its forward uses the number of samples as a plain number ({specialised[1]} here), so that its steps would be valid "
            "for batches of that size alone; x.shape[0] without int() keeps it variable"
        )
    lines = (_BOILERPLATE.split(line.strip())[0].strip() for line in text.splitlines())
    whole = " ".join(line for line in lines if line) or type(error).__name__
    return whole if len(whole) <= _MOST_CHARACTERS else f"{whole[:_MOST_CHARACTERS]} ..."
