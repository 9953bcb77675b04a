"""The base of all trainings: the data, the pack, its curves, and the conversion of finished models to results."""

import copy
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from trainer.compression.channels import positions_of_channels
from trainer.compression.sizes import Sizes
from trainer.objectives.sparsity_metrics import n_parameters, weight_names
from trainer.objectives.structure import Structure
from trainer.pack.backends import pack_of
from trainer.pack.device import Place, exclusive_use
from trainer.problems.data import Part, channels_last, first_share
from trainer.problems.problem import Problem
from trainer.training.checkpoint import State
from trainer.training.gradient_cosine import Cosines, fixed_samples, gradient_cosines
from trainer.training.lsuv import initialise_lsuv
from trainer.training.measurements import Measurements
from trainer.training.notes import data_notes
from trainer.training.result import FinishedModel, Lagrange, result_of
from trainer.training.trial import EpochMeasurements, TrialResult, TrialSpec
from trainer.training.usage import Usage, UsageMeter

_ANCHOR_SEED = 0
_N_REMEMBERED = 8  # values of `_computed_once`
_remembered: list[tuple["weakref.ref[Problem]", Hashable, Any]] = []
Value = TypeVar("Value")


class PackTraining(ABC):
    """The training of one pack. Every call of `step` trains one epoch.

    Args:
        specs: the trials of the pack; they differ only in id and preference.
        problem: data and networks.
        place: the device and the backend.

    Attributes:
        epoch: number of finished epochs.
        n_epochs: number of epochs of the whole training.
        pack: one network for each trial, unless the method shares one network.
        structure: masks and ties of the networks.
    """

    n_epochs: int

    def __init__(self, specs: Sequence[TrialSpec], problem: Problem, place: Place) -> None:
        self.specs = tuple(specs)
        first = specs[0]
        self._settings, self._seed, self._device = first.settings, first.seed, place.device
        self._place, device = place, place.device
        self._whole_problem = problem
        self._problem = replace(problem, train=first_share(problem.train, first.settings.data_share))
        self._train, self._validation = self._problem.train.on(device), problem.validation.on(device)
        self.epoch = 0

        network = self.initial_network(first, problem, self._seed)
        self._dtype = next(network.parameters()).dtype
        self._bounds: Mapping[str, tuple[float, float]] = getattr(network, "bounds", {})
        self._weight_names, self._n_parameters = weight_names(network), n_parameters(network)
        self._n_rows = sum(dict(network.named_parameters())[name].shape[1] for name in self._weight_names)
        self._group_sizes = self._sizes_of_groups(network, first, problem) if first.settings.growl.groups == "channel" else {}
        self.pack = pack_of(network, self._n_networks, problem, place)  # the pack may replace layers of the network by its own
        weights = {f"{name}.weight": self.pack.parameters[f"{name}.weight"] for name in network.growl_layers}  # type: ignore[union-attr]
        self.structure = Structure(weights, first.settings.growl, self._n_networks, device, self._group_sizes)
        anchors = self._initial_anchors() if first.scaling == "anchors" else [1.0] * (1 + len(problem.tasks))
        self._anchors = torch.tensor(anchors, dtype=self._dtype, device=device)

        self._records: list[list[EpochMeasurements]] = [[] for _ in range(self._n_networks)]
        self._usage = UsageMeter(len(self.specs), place.meter)
        self._classifies = [task.metric_name == "accuracy" for task in problem.tasks]

    @abstractmethod
    def step(self) -> None:
        """Train one epoch."""

    @abstractmethod
    def state_dict(self) -> State:
        """Return everything that is needed to continue after the last finished epoch, to the bit on a CPU."""

    def _records_as_json(self) -> list[list[dict[str, Any]]]:
        """Return the curves in the form in which a checkpoint stores them."""
        return [[record.to_json() for record in records] for records in self._records]

    @staticmethod
    def _stored_records(state: State, index: Sequence[int]) -> list[list[EpochMeasurements]]:
        """Return the curves of some networks from a checkpoint."""
        return [[EpochMeasurements.from_json(record) for record in state.scalars["records"][i]] for i in index]

    @property
    def done(self) -> bool:
        """Whether the last epoch is over."""
        return self.epoch >= self.n_epochs

    def usage(self) -> Usage:
        """Return the time and energy that each trial has used so far."""
        return self._usage.usage()

    def results(self) -> list[TrialResult]:
        """Return the results of the trials in the order of the specs. Test data is read nowhere else.

        Raises:
            RuntimeError: the training has not finished.
            Exception: the machine failed, or the evaluation on a part of the data did. A measurement that may be missing from a row raises
                no error (trainer/training/measurements.py), and each trial's result is computed independently.
        """
        if not self.done:
            raise RuntimeError(f"a training expects done before results(), found epoch = {self.epoch} of {self.n_epochs}")
        with exclusive_use(self._device), self._usage.on("results"):
            parts = {"train": self._train, "validation": self._validation, "test": self._problem.test.on(self._device)}
            evaluated = {name: self._measure(part) for name, part in parts.items()}
            penalty = self.structure.penalty().double().cpu()
            pack_measurements = Measurements()
            unknown = torch.full((self._n_networks, len(self._problem.tasks)), torch.nan, dtype=torch.float64)
            ranges = pack_measurements.take(
                partial(self.pack.output_ranges, self._validation), unknown, "the ranges of the outputs are unknown"
            )
            measurements, cosines = [Measurements() for _ in self.specs], []
            for i, own in enumerate(measurements):
                cosines.append(own.take(partial(self._gradient_cosines, i), None, "the gradient cosines are unknown"))
            searches = [
                own.take(partial(self._improvement, i), None, "the search for a better point failed") for i, own in enumerate(measurements)
            ]
        best, reached, converged = self._best_epochs(), self._sparsity_reached, self._tying_converged
        # If all trials share one network, everything that does not depend on the preference exists only once.
        networks = [i % self._n_networks for i in range(len(self.specs))]
        no_labels: dict[str, Tensor] = {}
        labels = pack_measurements.take(self.structure.unit_labels, no_labels, "the clusters of rows are unknown")
        no_notes: tuple[str, ...] = ()
        about_data = pack_measurements.take(partial(data_notes, self._whole_problem), no_notes, "what is odd about the data is unknown")
        limits = self.structure.limits(self._settings.growl.layer_sparsity_max)
        sizes = Sizes(self._problem, partial(self._fresh_network, self.specs[0], self._problem, self._seed))
        return [
            result_of(
                spec,
                self._problem,
                FinishedModel(
                    alive=bool(self.pack.alive[n]),
                    weights={name: value[n].detach() for name, value in self.pack.parameters.items()},
                    buffers={name: value[n] for name, value in self.pack.buffers.items()},
                    weight_names=self._weight_names,
                    n_parameters=self._n_parameters,
                    labels={name: value[n] for name, value in labels.items()},
                    sizes=sizes,
                    losses={name: losses[i] for name, (losses, _) in evaluated.items()},
                    metrics={name: metrics[i] for name, (_, metrics) in evaluated.items()},
                    gradient_cosine=cosines[i],
                    sparsity=float(penalty[n]),
                    anchors=self._anchors.double().cpu(),
                    lagrange=self._lagrange(i),
                    improvement=searches[i],
                    best_epoch=best[n],
                    limits=limits,
                    sparsity_reached=bool(reached[n]),
                    tying_converged=bool(converged[n]),
                    output_ranges=ranges[n],
                    data_notes=(*about_data, *self._own_notes, *pack_measurements.notes),
                    backend=self.pack.backend,
                    epochs=self._records[n],
                    usage=self.usage(),
                    measurements=measurements[i],
                ),
            )
            for i, (n, spec) in enumerate(zip(networks, self.specs, strict=True))
        ]

    def progress(self) -> dict[str, float | str]:
        """Return the phase, the epoch, and the current models' best mean accuracy and mean sparsity rate."""
        last = [records[-1] for records in self._records if records]
        figures: dict[str, float | str] = {"phase": self._phase_name, "epoch": self.epoch, "n_epochs": self.n_epochs}
        if last and any(self._classifies):
            figures["best_metric"] = max(self._mean_accuracy(record.validation_metrics) for record in last)
        if last:
            figures["sparsity_rate"] = sum(record.sparsity_rate for record in last) / len(last)
        return figures

    @property
    def _n_networks(self) -> int:
        """The number of networks that the pack trains."""
        return len(self.specs)

    @property
    @abstractmethod
    def _phase_name(self) -> str:
        """The name of the current phase."""

    @abstractmethod
    def _best_epochs(self) -> list[int]:
        """Return the epoch whose model is kept, for each network."""

    @property
    def _own_notes(self) -> tuple[str, ...]:
        """Notes on the training that every row should contain."""
        return ()

    @property
    def _sparsity_reached(self) -> Tensor:
        """Return whether each network reached the minimum sparsity, shape (n_networks,), bool; True if no minimum is set."""
        return torch.ones(self._n_networks, dtype=torch.bool)

    @property
    def _tying_converged(self) -> Tensor:
        """Return whether each network's clustering converged, shape (n_networks,), bool; True if nothing is clustered."""
        return torch.ones(self._n_networks, dtype=torch.bool)

    def _lagrange(self, trial: int) -> Lagrange | None:
        """Return the multipliers and the penalty of a trial's kept epoch; None for methods without multipliers."""
        return None

    def _improvement(self, trial: int) -> float | None:
        """Return by how much a search lowers max g (trainer/objectives/certificate.py); None if a trial is not searched."""
        return None

    @classmethod
    def _network(cls, spec: TrialSpec, problem: Problem) -> nn.Module:
        """Build a new network of a trial's model."""
        return problem.networks[spec.model]()

    def _measure(self, part: Part) -> tuple[Tensor, Tensor]:
        """Return the mean losses and metrics over a part of the data, two tensors of shape (n_trials, n_tasks), float64."""
        return self.pack.evaluate(part)

    def _gradient_cosines(self, trial: int) -> Cosines | None:
        """Return the cosines between the gradients of a trial's tasks (trainer/training/gradient_cosine.py); None if the trial diverged."""
        return self._cosines_of(trial % self._n_networks)

    def _cosines_of(self, n: int) -> Cosines | None:
        """Measure one network of the pack on its own, so that the result depends neither on the backend nor on the other networks."""
        if not self.pack.alive[n]:
            return None
        return gradient_cosines(
            self.pack.alone(n),
            {name: value[n] for name, value in self.pack.parameters.items()},
            {name: value[n] for name, value in self.pack.buffers.items()},
            self._problem.tasks,
            fixed_samples(self._validation, self._settings.batch_size),
            partial(self.structure.free_gradient, n),
        )

    @classmethod
    def prepare(cls, spec: TrialSpec, problem: Problem) -> None:
        """Compute in advance what needs no GPU, so that a training that starts while it holds a GPU's lock need not compute it then.

        Args:
            spec: one of the trials that will train.
            problem: the problem, with its data and networks.
        """
        network = cls.initial_network(spec, problem, spec.seed)
        if spec.settings.growl.groups == "channel":
            cls._sizes_of_groups(network, spec, problem)
        if spec.scaling == "anchors":
            cls.initial_network(spec, problem, _ANCHOR_SEED)

    @classmethod
    def initial_network(cls, spec: TrialSpec, problem: Problem, seed: int) -> nn.Module:
        """Return the network from which every trial of a seed starts; the global random state does not change.

        A process computes it once for each combination of problem, model, seed, share of the data and LSUV settings.

        Args:
            spec: a trial, from which the model and the settings are taken.
            problem: the problem, with its data and networks.
            seed: the seed of the initial parameters, which may differ from the trial's.

        Returns:
            A copy of the network, on the CPU.
        """
        share, lsuv = spec.settings.data_share, spec.settings.lsuv

        def initialised() -> nn.Module:
            network = cls._fresh_network(spec, problem, seed)
            inputs, _ = first_share(problem.train, share).first(lsuv.n_samples)
            initialise_lsuv(network, inputs, lsuv, seed)
            return network

        key = ("initial network", cls._network.__func__, spec.model, seed, share, lsuv)  # type: ignore[attr-defined]
        return copy.deepcopy(_computed_once(problem, key, initialised))

    @classmethod
    def _fresh_network(cls, spec: TrialSpec, problem: Problem, seed: int) -> nn.Module:
        """Build a network from a seed, before anything is adapted to the data."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls._network(spec, problem)

    @classmethod
    def _sizes_of_groups(cls, network: nn.Module, spec: TrialSpec, problem: Problem) -> Mapping[str, int]:
        """Return a mapping weight name -> number of positions of each channel that the Linear layer reads, for `growl.groups: channel`."""
        key = ("sizes of groups", cls._network.__func__, spec.model)  # type: ignore[attr-defined]
        return _computed_once(problem, key, lambda: positions_of_channels(network, problem.validation.first(2)[0].cpu()))

    def _initial_anchors(self) -> list[float]:
        """Return L0 of the initial network of a fixed seed, so that all seeds share one scale, followed by the losses of a constant
        guess."""
        weights = dict(self.initial_network(self.specs[0], self._whole_problem, _ANCHOR_SEED).named_parameters())
        own = {name: weights[name].detach()[None] for name in self.structure.layers}
        structure = Structure(own, self._settings.growl, 1, torch.device("cpu"), self._group_sizes)
        return [float(structure.penalty()[0]) or 1.0, *(task.guess_loss for task in self._problem.tasks)]

    def _mean_accuracy(self, metrics: Sequence[float]) -> float:
        return sum(value for value, is_accuracy in zip(metrics, self._classifies, strict=True) if is_accuracy) / sum(self._classifies)

    def _epoch_order(self) -> tuple[Tensor, torch.Generator]:
        """Return the order of the training samples in the next epoch, and the generator for all other random numbers of that epoch."""
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self.epoch)
        return torch.randperm(len(self._train), generator=generator), generator

    def _batches(self, order: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the epoch's minibatches, augmented as the problem specifies; the whole pack reads the same batches."""
        augment = self._problem.augment
        for inputs, targets in self._train.shuffled(order, self._settings.batch_size):
            yield (inputs if augment is None else channels_last(augment(inputs, generator))), targets


def _computed_once(problem: Problem, key: Hashable, compute: Callable[[], Value]) -> Value:
    """Compute a value that depends on a problem and a key only, and return the same value when it is needed again in this process.

    On a GPU, several trainings of one problem start one after the other, for the measurements of `trainer/training/autotune.py` and for
    the packs of a halved one, while other processes wait for the device.

    Args:
        problem: the problem; two objects with equal values count as different problems.
        key: everything else that the value depends on.
        compute: computes the value.

    Returns:
        The value. It is shared, so callers must not modify it.
    """
    for known, its_key, value in _remembered:
        if known() is problem and its_key == key:
            found: Value = value
            return found
    computed = compute()
    _remembered[:] = [entry for entry in _remembered if entry[0]() is not None][1 - _N_REMEMBERED :]
    _remembered.append((weakref.ref(problem), key, computed))
    return computed
