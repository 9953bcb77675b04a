"""Construction of the steps of the smaller network."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainer.compression.program import INPUT, Program, Step, Stored, Value, unused_name
from trainer.compression.units import Units


class Builder:
    """Collects the steps of the smaller network, and for each value the units of the original value that it contains, in order."""

    def __init__(self, source: Program, units: Mapping[str, Units], dtype: torch.dtype, ties: bool) -> None:
        self.layouts: dict[str, Tensor] = {INPUT: torch.arange(source.input_shape[0])} if source.input_shape else {}
        self.units = units
        self.ties = ties
        self._source = source
        self._dtype = dtype
        self._steps: list[Step] = []
        self._tensors: dict[str, Tensor] = {}
        self._kept: dict[str, list[str]] = {}
        self._n_made = self._n_indices = 0
        self._arranged: dict[tuple[str, tuple[int, ...]], str] = {}

    def program(self, outputs: tuple[Any, ...]) -> Program:
        return Program(self._source.input_shape, tuple(self._steps), outputs, self._tensors)

    def keep(self, name: str, tensor: Tensor) -> Stored:
        """Store a tensor under this name or a similar one; equal tensors that are used several times are stored once.

        A weight that several steps read may be cut differently for each of them.
        """
        kept = self._kept.setdefault(name, [])
        for known in kept:
            if _is_same(self._tensors[known], tensor):
                return Stored(known)
        unused = unused_name(name, self._tensors)
        self._tensors[unused] = tensor.contiguous()
        kept.append(unused)
        return Stored(unused)

    def keep_computed(self, name: str, tensor: Tensor) -> Stored:
        """Store numbers that were computed in double precision, converted to the network's type."""
        return self.keep(name, tensor.to(self._dtype))

    def original(self, name: str) -> Tensor:
        """Return a tensor of the original network."""
        return self._source.tensors[name]

    def add(self, step: Step, layout: Tensor | None) -> None:
        """Add a step whose output contains these units of the original value with the same name; None for values without units."""
        self._steps.append(step)
        if layout is not None:
            self.layouts[step.name] = layout

    def make(self, op: str, *args: Any) -> Value:
        """Add a step that the original network does not have."""
        self._n_made += 1
        name = f"compact_{self._n_made}"
        self._steps.append(Step(name, op, args))
        return Value(name)

    def as_it_was(self, argument: Any) -> Any:
        """Return an argument for a step without a rule: every value has all its units, and every tensor is whole."""
        if isinstance(argument, Value):
            units = self.units.get(argument.name)
            return argument if units is None else self.arranged(argument.name, torch.arange(len(units.is_constant)))
        if isinstance(argument, Stored):
            return self.keep(argument.name, self.original(argument.name))
        if isinstance(argument, list | tuple):
            return [self.as_it_was(item) for item in argument]
        return argument

    def arranged(self, name: str, wanted: Tensor) -> Value:
        """Return a value with exactly these units in this order: computed units are selected, constant ones are filled in."""
        layout = self.layouts[name]
        if torch.equal(layout, wanted):
            return Value(name)
        key = (name, tuple(wanted.tolist()))
        if key not in self._arranged:
            self._arranged[key] = self._arrange(name, layout, wanted).name
        return Value(self._arranged[key])

    def _arrange(self, name: str, layout: Tensor, wanted: Tensor) -> Value:
        units = self.units[name]
        place = torch.full((len(units.is_constant),), -1)
        place[layout] = torch.arange(len(layout))
        places = place[wanted]
        is_missing = places < 0
        if not bool(is_missing.any()):
            return self.selected(Value(name), places)
        assert bool(units.is_constant[wanted[is_missing]].all()), f"{name} lacks units that are not constant"
        constants = torch.where(is_missing, units.constant[wanted], 0.0).reshape(-1, *[1] * (len(units.shape) - 1))
        offset = self.keep_computed(f"constants_{self._n_made + 1}", constants)
        if len(layout):
            # one unit of zeros, appended after the others, takes the place of the constants
            padded = self.make("aten.constant_pad_nd.default", Value(name), [0, 0] * (len(units.shape) - 1) + [0, 1])
            return self.make("aten.add.Tensor", self.selected(padded, torch.where(is_missing, len(layout), places)), offset)
        first = self.make("aten.flatten.using_ints", Value(INPUT), 1)
        zero = self.make("aten.zeros_like.default", self.selected(first, torch.zeros(1, dtype=torch.int64)))
        for _ in units.shape[1:]:
            zero = self.make("aten.unsqueeze.default", zero, -1)
        spread = self.make("aten.expand.default", zero, [-1, 1, *units.shape[1:]])
        return self.make("aten.add.Tensor", spread, offset)

    def selected(self, value: Value, places: Tensor) -> Value:
        """Return a value that has some of the units of another value."""
        return self.make("aten.index_select.default", value, 1, self.keep_places(places))

    def keep_places(self, places: Tensor) -> Stored:
        """Store a tensor of indices."""
        self._n_indices += 1
        return self.keep(f"places_{self._n_indices}", places)


def _is_same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
