"""The smaller network that computes the same: units that nothing reads are left out, constant ones folded, tied rows kept once."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.compact.builder import Builder
from trainer.compact.program import INPUT, Program, Step, Value, inputs_of, values_of
from trainer.compact.rules import NO_RULE, Rule, rule_of
from trainer.compact.trace import fold, pruned
from trainer.compact.units import Units


@dataclass(frozen=True)
class Shrunk:
    """The smaller program, and what stood in the way of a smaller one."""

    program: Program
    notes: tuple[str, ...]
    """Operators without a rule that read units which could otherwise have been left out, for people."""


def shrink(program: Program, ties: bool = True) -> Shrunk:
    """Make a traced network smaller; its numbers say which rows are zero and which are equal.

    Args:
        program: from `trace`, float32 or float64, finite.
        ties: keep equal rows once, and sum what they read.

    Raises:
        ValueError: a weight is not finite.
    """
    program = fold(program)
    for name, tensor in program.tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError(f"shrink expects finite weights, found a number in {name} that is not")
    return _Shrinking(program).shrunk(ties)


class _Shrinking:
    def __init__(self, program: Program) -> None:
        self._program = program
        self._tensors = program.tensors
        self._units: dict[str, Units] = {INPUT: Units.free(program.input_shape)} if program.input_shape else {}
        self._rules: dict[str, Rule] = {}
        for step in program.steps:
            rule, units = rule_of(step, self._units, self._tensors)
            self._rules[step.name] = rule
            if units is not None:
                self._units[step.name] = units

    def shrunk(self, ties: bool) -> Shrunk:
        program = self._program
        needed = self._needed(self._rules)
        dtype = next((t.dtype for t in program.tensors.values() if t.is_floating_point()), torch.float32)
        builder = Builder(program, self._units, dtype, ties)
        for step in program.steps:
            if step.op == "aten.sym_size.int" and step.args[1] == 0:
                builder.add(Step(step.name, step.op, (Value(INPUT), 0)), None)
            elif step.name not in self._units:
                self._rules[step.name].write(step, torch.empty(0), builder, self._tensors)
            else:
                wanted = needed[step.name]
                if bool(wanted.any()):
                    self._rules[step.name].write(step, wanted, builder, self._tensors)
                else:
                    builder.layouts[step.name] = torch.empty(0, dtype=torch.int64)
        outputs = tuple(builder.as_it_was(output) for output in program.outputs)
        return Shrunk(pruned(builder.program(outputs)), self._notes(needed))

    def _needed(self, rules: dict[str, Rule]) -> dict[str, Tensor]:
        """Value -> which units have to be computed."""
        needed = {name: torch.zeros_like(units.is_constant) for name, units in self._units.items()}
        for name in values_of(self._program.outputs):
            needed[name] = torch.ones_like(needed[name])
        is_used = set(values_of(self._program.outputs))
        for step in reversed(self._program.steps):
            if step.name in self._units:
                needed[step.name] = needed[step.name] & ~self._units[step.name].is_constant
                if not bool(needed[step.name].any()):
                    continue
            elif step.name not in is_used:
                continue
            if step.op == "aten.sym_size.int" and step.args[1] == 0:
                continue
            is_used.update(inputs_of(step))
            wanted = needed.get(step.name, torch.empty(0))
            for name, mask in rules[step.name].needs(step, wanted, self._units, self._tensors).items():
                needed[name] = needed[name] | mask
        return needed

    def _notes(self, needed: dict[str, Tensor]) -> tuple[str, ...]:
        """Which steps without a rule keep units alive that nothing else needs."""
        notes = []
        for step in self._program.steps:
            inputs = [name for name in inputs_of(step) if name in self._units and name != INPUT]
            if self._rules[step.name] is not NO_RULE or step.op.startswith("aten.sym_size") or not inputs:
                continue
            n_units = sum(int(needed[name].sum()) for name in inputs)
            notes.append(f"{step.name}: {step.op.split('.')[1]} reads all {n_units} units before it, none of them could be removed")
        return tuple(notes)
