"""A program as bytes: one safetensors file, its steps as JSON in the metadata. Nothing is ever unpickled or imported."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from trainer.compact.program import INPUT, Program, ProgramError, Step, Stored, Value, inputs_of, stored_of, values_of

FORMAT = 1
_KEY = "pareto-sweep-network"


def to_bytes(program: Program, card: Mapping[str, Any]) -> bytes:
    """A file of a program.

    Args:
        program: what to keep. Index tensors take the least integer type that holds them.
        card: a JSON object kept beside it: what the network is, where it comes from.
    """
    described = {
        "format": FORMAT,
        "input_shape": program.input_shape,
        "steps": [
            [step.name, step.op, _plain(step.args), {key: _plain(item) for key, item in step.kwargs.items()}] for step in program.steps
        ],
        "outputs": _plain(program.outputs),
        "card": dict(card),
    }
    tensors = {name: _narrow(tensor.detach().cpu()).contiguous() for name, tensor in program.tensors.items()}
    data: bytes = save(tensors, {_KEY: json.dumps(described, sort_keys=True, allow_nan=False)})
    return data


def from_bytes(data: bytes) -> tuple[Program, dict[str, Any]]:
    """The program and card that `to_bytes` wrote.

    Raises:
        ProgramError: torn, of another kind or version, or a step that no program may have.
    """
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        described = json.loads(header["__metadata__"][_KEY])
        if described["format"] != FORMAT:
            raise ProgramError(f"a compressed network of format {FORMAT} expected, found {described['format']}")
        tensors = {name: tensor.long() if tensor.dtype in _INTEGERS else tensor for name, tensor in load(data).items()}
        steps = tuple(
            Step(name, op, tuple(_argument(a) for a in args), {k: _argument(a) for k, a in kwargs.items()})
            for name, op, args, kwargs in described["steps"]
        )
        outputs = tuple(_argument(output) for output in described["outputs"])
        program = Program(tuple(int(n) for n in described["input_shape"]), steps, outputs, tensors)
        _check(program)
        return program, dict(described["card"])
    except ProgramError:
        raise
    except Exception as error:  # whatever a torn or foreign file makes of itself
        raise ProgramError(f"not a compressed network: {error!r}") from error


_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
        torch.bool,
        torch.uint8,
        *(torch.int8, torch.int16, torch.int32, torch.int64),
    )
}
_INTEGERS = (torch.uint8, torch.int16, torch.int32, torch.int64)


def _check(program: Program) -> None:
    """Every name that a step reads is there before it."""
    known = {INPUT}
    for step in program.steps:
        missing = [name for name in inputs_of(step) if name not in known]
        missing += [name for name in stored_of([*step.args, *step.kwargs.values()]) if name not in program.tensors]
        if missing:
            raise ProgramError(f"step {step.name} reads {missing[0]}, which is not there")
        known.add(step.name)
    if any(name not in known for name in values_of(program.outputs)) or any(
        name not in program.tensors for name in stored_of(program.outputs)
    ):
        raise ProgramError("an output is not there")


def _narrow(tensor: Tensor) -> Tensor:
    if tensor.dtype != torch.int64 or not tensor.numel():
        return tensor
    low, high = int(tensor.min()), int(tensor.max())
    fitting = (kind for kind in _INTEGERS if torch.iinfo(kind).min <= low and high <= torch.iinfo(kind).max)
    return tensor.to(next(fitting))


def _plain(argument: Any) -> Any:
    if isinstance(argument, Value):
        return {"value": argument.name}
    if isinstance(argument, Stored):
        return {"tensor": argument.name}
    if isinstance(argument, torch.dtype):
        return {"dtype": str(argument).removeprefix("torch.")}
    if isinstance(argument, list | tuple):
        return [_plain(item) for item in argument]
    return argument


def _argument(item: Any) -> Any:
    if isinstance(item, dict):
        ((kind, name),) = item.items()
        return {"value": Value, "tensor": Stored, "dtype": _DTYPES.__getitem__}[kind](str(name))
    return [_argument(part) for part in item] if isinstance(item, list) else item
