"""MOEA/D on the weights of a network, which the paper omits because evolution does not scale to so many variables."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.methods.evolution import Evolution
from trainer.pack.device import Place, exclusive_use
from trainer.problems.data import Split
from trainer.problems.problem import Problem
from trainer.training.base import PackTraining
from trainer.training.checkpoint import State, nest
from trainer.training.trial import EpochMeasurements, TrialSpec

_JITTER = 0.1  # noise of the first individuals, in units of the radius; without it, all would be equal and crossover would have no effect


class Evolved(PackTraining):
    """Evolves one individual for each preference vector, without gradients; an epoch is a generation.

    All individuals start near the weights of a trained network. The objectives are the task losses on the first training samples. No best
    epoch is selected: each vector keeps the individual with the smallest Chebyshev value so far.

    Args:
        specs, problem, place: as for `PackTraining`; k0 = 0. The trials form one population.
        state: an earlier `state_dict()` of the same trials; None to start from the beginning.
        given: parameters and buffers of the network to start from.

    Source: Zhang and Li 2007; pymoo's implementation.
    """

    def __init__(
        self, specs: Sequence[TrialSpec], problem: Problem, place: Place, state: State | None, given: Mapping[str, Tensor]
    ) -> None:
        super().__init__(specs, problem, place)
        own = self._settings.evolution
        self.n_epochs = own.generations
        self._names = list(self.pack.parameters)
        for target in (self.pack.parameters, self.pack.buffers):
            for name, leaf in target.items():
                leaf.detach().copy_(given[name].to(leaf))
        start = torch.cat([given[name].detach().double().flatten() for name in self._names]).numpy()
        reach = own.radius * np.concatenate([np.full(given[name].numel(), _spread(given[name])) for name in self._names])
        inputs, targets = self._train.first(own.n_samples)
        self._sample = Split(inputs, targets).on(self._device)
        preferences = np.array([spec.preference[1:] for spec in specs if spec.preference is not None])
        if state is None:
            noise = np.random.default_rng(self._seed).uniform(-1, 1, size=(len(specs), len(start)))
            noise[0] = 0
            first, values, generation = start + _JITTER * noise * reach, None, 0
        else:
            index = [state.trial_ids.index(spec.trial_id) for spec in specs]
            first, values = (state.tensors[f"population/{name}"][index].numpy() for name in ("positions", "values"))
            generation = self.epoch = state.epoch
            self._records = self._stored_records(state, index)
            self._usage.load(state.scalars, len(state.trial_ids))
        self._evolution = Evolution(
            preferences, first, start - reach, start + reach, self._seed, self._losses_of, values=values, generation=generation
        )
        self._load_individuals(self._evolution.positions)

    def step(self) -> None:
        """Advance the population by one generation."""
        with exclusive_use(self._device), self._usage.on("dense"):
            self._next_generation()

    def _next_generation(self) -> None:
        self._evolution.step()
        self._load_individuals(self._evolution.positions)
        self.epoch += 1
        losses, metrics = self._measure(self._validation)
        penalty = self.structure.penalty().double().cpu()
        for i, (records, spec) in enumerate(zip(self._records, self.specs, strict=True)):
            assert spec.preference is not None
            records.append(
                EpochMeasurements(
                    epoch=self.epoch,
                    phase=self._phase_name,
                    outer_iteration=self.epoch,
                    sparsity=float(penalty[i]),
                    sparsity_rate=0.0,
                    train_losses=self._evolution.values[i].tolist(),
                    validation_losses=losses[i].tolist(),
                    validation_metrics=metrics[i].tolist(),
                    scalarized=max(k * loss for k, loss in zip(spec.preference[1:], losses[i].tolist(), strict=True)),
                )
            )

    def state_dict(self) -> State:
        """Return the population, its values and its generation, which are the whole state."""
        population = {
            "positions": torch.from_numpy(self._evolution.positions.copy()),
            "values": torch.from_numpy(self._evolution.values.copy()),
        }
        scalars = {"records": self._records_as_json(), **self._usage.scalars()}
        return State(tuple(spec.trial_id for spec in self.specs), self.epoch, nest({"population": population}), scalars)

    @property
    def _phase_name(self) -> str:
        return "evolve"

    def _best_epochs(self) -> list[int]:
        return [self.epoch] * len(self.specs)

    def _losses_of(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the task losses of at most n_trials individuals on the sample, shape (n, n_tasks)."""
        alive = self.pack.alive.clone()
        self.pack.alive = torch.arange(len(self.specs)) < len(positions)
        self._load_individuals(positions)
        losses = self.pack.evaluate(self._sample)[0][: len(positions)]
        self.pack.alive = alive
        return losses.numpy()

    @torch.no_grad()
    def _load_individuals(self, positions: NDArray[np.float64]) -> None:
        """Copy individuals into the first networks of the pack."""
        values = torch.from_numpy(positions).to(self._device, self._dtype)
        sizes = [self.pack.parameters[name][0].numel() for name in self._names]
        for name, part in zip(self._names, values.split(sizes, dim=1), strict=True):
            leaf = self.pack.parameters[name]
            leaf[: len(values)] = part.reshape(-1, *leaf.shape[1:])


def _spread(tensor: Tensor) -> float:
    """Return the standard deviation of a tensor's numbers; if it is 0 or undefined, their largest absolute value, or 1."""
    deviation = float(tensor.double().std()) if tensor.numel() > 1 else 0.0
    return deviation or float(tensor.double().abs().max()) or 1.0
