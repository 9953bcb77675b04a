"""Shrinking a network without changing its outputs: unused units are removed, constant units are folded, tied rows are kept once."""

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.compression.builder import Builder
from trainer.compression.program import INPUT, Program, inputs_of, stored_of, values_of
from trainer.compression.rules import NO_RULE, Rule, rule_of
from trainer.compression.trace import fold, pruned
from trainer.compression.units import Units


@dataclass(frozen=True)
class Shrunk:
    """The smaller program, and the reasons why it is not smaller still."""

    program: Program
    notes: tuple[str, ...]
    """Sentences on operators without a rule, which read units that could otherwise be removed."""


def shrink(program: Program, ties: bool = True) -> Shrunk:
    """Make a traced network smaller by removing its zero rows and merging its equal rows.

    Args:
        program: a result of `trace`, float32 or float64, finite.
        ties: whether to keep equal rows once and sum their inputs.

    Raises:
        ValueError: a weight of a layer that could be made smaller is not finite.
    """
    program = fold(program)
    best = _Shrinking(program, frozenset()).shrunk(ties)
    reused = _reused(program)
    if reused:
        # Each use of a weight may be cut differently; if these parts together are larger than the weight, it is kept whole.
        other = _Shrinking(program, reused).shrunk(ties)
        best = min(best, other, key=lambda shrunk: shrunk.program.n_parameters)
    return best


def _reused(program: Program) -> frozenset[str]:
    """Return the stored tensors of more than one number that several steps read."""
    n_uses = Counter(name for step in program.steps for name in set(stored_of([*step.args, *step.kwargs.values()])))
    return frozenset(name for name, n in n_uses.items() if n > 1 and program.tensors[name].numel() > 1)


class _Shrinking:
    def __init__(self, program: Program, whole: frozenset[str]) -> None:
        """Analyse a program; `whole` names the stored tensors that are not cut."""
        self._program = program
        self._tensors = program.tensors
        self._units: dict[str, Units] = {INPUT: Units.free(program.input_shape)} if program.input_shape else {}
        self._rules: dict[str, Rule] = {}
        for step in program.steps:
            stored = stored_of([*step.args, *step.kwargs.values()])
            if whole.isdisjoint(stored):
                rule, units = rule_of(step, self._units, self._tensors)
            else:
                rule, units = NO_RULE, NO_RULE.units(step, self._units, self._tensors)
            if rule is not NO_RULE:
                self._refuse_unless_finite(stored)
            self._rules[step.name] = rule
            if units is not None:
                self._units[step.name] = units

    def _refuse_unless_finite(self, names: list[str]) -> None:
        for name in names:
            if self._tensors[name].is_floating_point() and not bool(self._tensors[name].isfinite().all()):
                raise ValueError(f"shrink expects finite weights, found a number in {name} that is not")

    def shrunk(self, ties: bool) -> Shrunk:
        program = self._program
        needed, is_used = self._needed(self._rules)
        dtype = next((t.dtype for t in program.tensors.values() if t.is_floating_point()), torch.float32)
        builder = Builder(program, self._units, dtype, ties)
        for step in program.steps:
            if step.name not in self._units:
                if step.name in is_used:
                    self._rules[step.name].write(step, torch.empty(0), builder, self._tensors)
            else:
                wanted = needed[step.name]
                if bool(wanted.any()):
                    self._rules[step.name].write(step, wanted, builder, self._tensors)
                else:
                    builder.layouts[step.name] = torch.empty(0, dtype=torch.int64)
        outputs = tuple(builder.as_it_was(output) for output in program.outputs)
        return Shrunk(pruned(builder.program(outputs)), self._notes(needed))

    def _needed(self, rules: dict[str, Rule]) -> tuple[dict[str, Tensor], set[str]]:
        """Return value -> mask of the units that must be computed, and all values that are read, including those without units."""
        needed = {name: torch.zeros_like(units.is_constant) for name, units in self._units.items()}
        is_used = set(values_of(self._program.outputs))
        for name in is_used & needed.keys():
            needed[name] = torch.ones_like(needed[name])
        for step in reversed(self._program.steps):
            if step.name in self._units:
                needed[step.name] = needed[step.name] & ~self._units[step.name].is_constant
                if not bool(needed[step.name].any()):
                    continue
            elif step.name not in is_used:
                continue
            is_used.update(inputs_of(step))
            wanted = needed.get(step.name, torch.empty(0))
            for name, mask in rules[step.name].needs(step, wanted, self._units, self._tensors).items():
                needed[name] = needed[name] | mask
        return needed, is_used

    def _notes(self, needed: dict[str, Tensor]) -> tuple[str, ...]:
        """Return notes on the steps without a rule that prevent the removal of units."""
        notes = []
        for step in self._program.steps:
            inputs = [name for name in inputs_of(step) if name in self._units and name != INPUT]
            if self._rules[step.name] is not NO_RULE or step.op.startswith("aten.sym_size") or not inputs:
                continue
            n_units = sum(int(needed[name].sum()) for name in inputs)
            notes.append(f"{step.name}: {step.op.split('.')[1]} reads all {n_units} units before it, none of them could be removed")
        return tuple(notes)
