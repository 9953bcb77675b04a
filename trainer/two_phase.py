"""WC-AL with GrOWL: sparsify, cluster, retrain. The whole algorithm on one screen is `TwoPhase.step`.

Source: Hotegni, Berkemeier and Peitz, IJCNN 2024, Algorithm 1. Where we depart from it: the constraint is an
inequality with t eliminated (the paper's penalty of 2.5e-8 makes it a weighted sum); k0 reaches the weights through
the prox, whose step is scaled by the sparsity objective's own weight; suppressed rows stay suppressed; tied rows are
one parameter; the model of a row is chosen by its scalarised validation value, and all columns belong to it.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainer.checkpoint import State, group_of, nest
from trainer.data import channels_last
from trainer.lagrangian import lagrangian_of
from trainer.lsuv import initialise_lsuv
from trainer.metrics import n_parameters, stacked_sparsity_rate, weight_names
from trainer.notes import data_notes
from trainer.optimiser import PackOptimiser
from trainer.outcome import Measured, result_of
from trainer.pack import pack_of
from trainer.problem import Problem
from trainer.prox_step import ProxStep
from trainer.scalarization import chebyshev_values, scalarized
from trainer.selection import Kept
from trainer.settings import TrainingSettings
from trainer.structure import Structure
from trainer.trial import TrialResult, TrialSpec

_ANCHOR_SEED = 0


@dataclass(frozen=True)
class Phase:
    """Some outer iterations with one set of objectives."""

    name: str
    n_epochs: int
    epochs_per_outer: int
    """Epochs in an outer iteration: between two updates of the multipliers."""
    has_sparsity: bool
    """Whether the sparsity objective is among those that compete."""


def phases_of(settings: TrainingSettings, is_dense: bool) -> tuple[Phase, ...]:
    """The phases of a trial; a dense one (k0 = 0) trains the same number of epochs in one phase."""
    first, second = settings.sparsify, settings.retrain
    n_first, n_second = first.outer_iterations * first.epochs, second.outer_iterations * second.epochs
    if is_dense:
        return (Phase("dense", n_first + n_second, second.epochs, has_sparsity=False),)
    sparsify = Phase("sparsify", n_first, first.epochs, has_sparsity=True)
    retrain = Phase("retrain", n_second, second.epochs, has_sparsity=second.objectives == "all")
    return (sparsify, retrain) if n_second else (sparsify,)


class TwoPhase:
    """One pack on its way through the phases. Every call of `step` trains one epoch.

    Args:
        specs: the trials of the pack: same model, seed, settings, scaling and reference point, and all dense or none.
        problem: data and networks.
        device: where to train.
        state: of an earlier `state_dict()`, whose trials include these; None to begin.
    """

    def __init__(self, specs: Sequence[TrialSpec], problem: Problem, device: torch.device, state: State | None = None) -> None:
        self.specs = tuple(specs)
        first = specs[0]
        self._settings, self._seed, self._device = first.settings, first.seed, device
        self._phases = phases_of(first.settings, first.is_dense)
        self.n_epochs = sum(phase.n_epochs for phase in self._phases)
        self.epoch = 0
        self._problem = problem
        self._train, self._validation = problem.train.on(device), problem.validation.on(device)

        network = self._initial_network(self._seed)
        self.pack = pack_of(network, len(specs), problem, device)
        self._bounds: Mapping[str, tuple[float, float]] = getattr(network, "bounds", {})
        self._dtype = next(network.parameters()).dtype
        self._weight_names, self._n_parameters = weight_names(network), n_parameters(network)
        self._n_rows = sum(dict(network.named_parameters())[name].shape[1] for name in self._weight_names)
        weights = {f"{name}.weight": self.pack.parameters[f"{name}.weight"] for name in network.growl_layers}  # type: ignore[union-attr]
        self.structure = Structure(weights, first.settings.growl, len(specs), device)

        anchors = self._initial_anchors() if first.scaling == "anchors" else [1.0] * (1 + len(problem.tasks))
        self._anchors = torch.tensor(anchors, dtype=self._dtype, device=device)
        self._reference_point = torch.tensor(first.reference_point or [0.0] * len(anchors), dtype=self._dtype, device=device)
        self._preference = torch.tensor([spec.preference for spec in specs], dtype=self._dtype, device=device)
        self._tying_converged = torch.ones(len(specs), dtype=torch.bool)
        self._sparsity_reached = torch.ones(len(specs), dtype=torch.bool)
        self._records: list[list[dict[str, Any]]] = [[] for _ in specs]
        self._wall = {"sparsify": 0.0, "tying": 0.0, "retrain": 0.0, "dense": 0.0}
        self._classifies = [task.metric_name == "accuracy" for task in problem.tasks]
        self._data_notes = data_notes(problem)
        self._begin(0)
        if state is not None:
            self._load(state)

    @property
    def done(self) -> bool:
        """True after the last epoch of the last phase."""
        return self.epoch >= self.n_epochs

    def step(self) -> None:
        """Train one epoch; at the end of an outer iteration move the multipliers, at the end of phase 1 cluster."""
        started = time.perf_counter()
        phase, outer = self._phases[self._phase], self._outer
        losses = self._train_epoch()
        if phase.name == "sparsify":
            if self._settings.growl.prox == "epoch":
                self._shrink()
            self.structure.mask_zero_rows(is_fixed=self._settings.growl.masks == "epoch")
        self.epoch += 1
        self._evaluate_and_keep(losses)
        self._epoch_of_phase += 1
        if self._epoch_of_phase % phase.epochs_per_outer == 0:
            self._lagrangian.update()
        self._wall[phase.name] += time.perf_counter() - started
        if self._epoch_of_phase == phase.n_epochs:
            self._end_phase()
        elif self._outer != outer:
            self._optimiser.set_learning_rate(self._learning_rate())

    def results(self) -> list[TrialResult]:
        """What the trials leave, in the order of the specs; the only place where test data is read."""
        if not self.done:
            raise RuntimeError(f"TwoPhase expects done before results(), found epoch = {self.epoch} of {self.n_epochs}")
        started = time.perf_counter()
        parts = {"train": self._train, "validation": self._validation, "test": self._problem.test.on(self._device)}
        evaluated = {name: self.pack.evaluate(part) for name, part in parts.items()}
        ranges = self.pack.output_ranges(self._validation)
        penalty = self.structure.penalty().double().cpu()
        wall = self._wall | {"results": time.perf_counter() - started}
        return [
            result_of(
                spec,
                self._problem,
                Measured(
                    alive=bool(self.pack.alive[i]),
                    weights={name: value[i].detach() for name, value in self.pack.parameters.items()},
                    buffers={name: value[i] for name, value in self.pack.buffers.items()},
                    weight_names=self._weight_names,
                    n_parameters=self._n_parameters,
                    labels={name: value[i] for name, value in self.structure.labels.items()},
                    losses={name: losses[i] for name, (losses, _) in evaluated.items()},
                    metrics={name: metrics[i] for name, (_, metrics) in evaluated.items()},
                    sparsity=float(penalty[i]),
                    anchors=self._anchors.double().cpu(),
                    multipliers=self._kept.tensors["#multipliers"][i].double().cpu(),
                    penalty=float(self._kept.tensors["#penalty"][i]),
                    has_sparsity=self._phases[-1].has_sparsity,
                    best_epoch=int(self._kept.epoch[i]),
                    sparsity_reached=bool(self._sparsity_reached[i]),
                    tying_converged=bool(self._tying_converged[i]),
                    output_ranges=ranges[i],
                    data_notes=self._data_notes,
                    backend=self.pack.backend,
                    epochs=self._records[i],
                    wall=wall,
                    n_models=len(self.specs),
                ),
            )
            for i, spec in enumerate(self.specs)
        ]

    def progress(self) -> dict[str, float | str]:
        """Phase, epoch, and of the models as they are now the best mean metric and the mean sparsity rate."""
        last = [records[-1] for records in self._records if records]
        figures: dict[str, float | str] = {"phase": self._phases[self._phase].name, "epoch": self.epoch, "n_epochs": self.n_epochs}
        if last and any(self._classifies):
            figures["best_metric"] = max(self._mean_accuracy(record["metric.validation"]) for record in last)
        if last:
            figures["sparsity_rate"] = sum(record["sparsity_rate"] for record in last) / len(last)
        return figures

    def _initial_network(self, seed: int) -> nn.Module:
        """The network that every trial of a seed starts from; the global random state is left alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self._problem.networks[self.specs[0].model]()
        inputs, _ = self._problem.train.first(self._settings.lsuv.n_samples)
        initialise_lsuv(network, inputs, self._settings.lsuv, seed)
        return network

    def _initial_anchors(self) -> list[float]:
        """L0 of the initial network of one fixed seed, so that all seeds share one scale, and the losses of a guess."""
        weights = dict(self._initial_network(_ANCHOR_SEED).named_parameters())
        structure = Structure({name: weights[name].detach()[None] for name in self.structure.layers}, self._settings.growl, 1, self._device)
        return [float(structure.penalty()[0]) or 1.0, *(task.guess_loss for task in self._problem.tasks)]

    def _mean_accuracy(self, metrics: Sequence[float]) -> float:
        return sum(value for value, is_accuracy in zip(metrics, self._classifies, strict=True) if is_accuracy) / sum(self._classifies)

    # One epoch

    def _train_epoch(self) -> Tensor:
        """Returns the mean training loss of each model and task, shape (n_models, n_tasks)."""
        phase, per_step = self._phases[self._phase], self._settings.growl.prox == "step"
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self._train), generator=generator)
        self._losses = torch.zeros(len(self.specs), len(self._problem.tasks), device=self._device, dtype=self._dtype)
        n_steps = 0
        for inputs, targets in self._batches(order, generator):
            n_steps += 1
            self.pack.clear_gradients()
            if phase.has_sparsity:
                self._sparsity = self.structure.penalty()
                self._sparsity_weight = torch.zeros_like(self._sparsity)
            self.pack.backward(inputs, targets, self._scalarize)
            if phase.name == "retrain" and phase.has_sparsity:
                self.structure.add_penalty_gradient(self._sparsity_weight)
            self.structure.share_gradients()
            self._optimiser.step()
            self._lagrangian.end_step(self._learning_rate())
            self.structure.enforce()
            self.pack.keep_within(self._bounds)
            if phase.name == "sparsify":
                self._prox_step.add(self._learning_rate(), self._sparsity_weight)
                if per_step:
                    self._shrink()
        return self._losses / n_steps

    def _batches(self, order: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """The epoch's minibatches, as the problem wants them for training; the whole pack reads the same."""
        augment = self._problem.augment
        for inputs, targets in self._train.shuffled(order, self._settings.batch_size):
            yield (inputs if augment is None else channels_last(augment(inputs, generator))), targets

    def _scalarize(self, members: slice, losses: Tensor) -> Tensor:
        """The one number whose gradient moves these members: sum_i p_i g_i."""
        phase, augmentation = self._phases[self._phase], self._settings.augmentation
        self._losses[members] += losses.detach()
        objectives = torch.cat([self._sparsity[members, None], losses], dim=1) if phase.has_sparsity else losses
        preference = self._active_preference[members]
        values = chebyshev_values(objectives / self._active(self._anchors), preference, self._active(self._reference_point), augmentation)
        weights = self._lagrangian.weigh(members, values.detach())
        if phase.has_sparsity:
            share = weights[:, 0] * preference[:, 0] + augmentation * (weights * preference).sum(dim=1)
            self._sparsity_weight[members] = share / self._anchors[0]
        return (weights * values).sum()

    def _shrink(self) -> None:
        """The prox that stands for the optimiser's steps on L0 since the last one (trainer/prox_step.py)."""
        needs_moments, correction = self._prox_step.needs_moments, self._optimiser.correction
        steps = {
            name: self._prox_step.of_layer(self._optimiser.second_moments(name) if needs_moments else [], correction)
            for name in self.structure.layers
        }
        self._prox_step.reset()
        an_outer = self._settings.growl.layer_sparsity_max / self._settings.sparsify.outer_iterations
        self.structure.shrink(steps, an_outer * (self._outer + 1), an_outer / self._settings.sparsify.epochs)

    def _evaluate_and_keep(self, train_losses: Tensor) -> None:
        phase = self._phases[self._phase]
        losses, metrics = self.pack.evaluate(self._validation)
        sparsity = self.structure.penalty().double().cpu()
        finite = losses.isfinite().all(dim=1) & train_losses.isfinite().all(dim=1).cpu() & sparsity.isfinite()
        self.pack.alive &= finite
        value = self._scalarized(losses, sparsity)
        rate = stacked_sparsity_rate(self.structure.masks, self._n_rows).cpu() if self.structure.masks else torch.zeros(len(self.specs))
        reached = (rate >= self._settings.growl.sparsity_min) if phase.name == "sparsify" else torch.ones_like(finite)
        score = metrics[:, self._classifies].mean(dim=1) if self._settings.selection == "accuracy" else -value
        self._kept.offer(self.epoch, torch.where(finite, score, torch.nan), reached, self._current())
        for i, records in enumerate(self._records):
            records.append(
                {
                    "epoch": self.epoch,
                    "phase": phase.name,
                    "outer_iteration": self._outer + 1,
                    "learning_rate": self._learning_rate(),
                    "penalty": self._lagrangian.penalty,
                    "multipliers": self._lagrangian.multipliers[i].tolist(),
                    "objective.sparsity": float(sparsity[i]),
                    "sparsity_rate": float(rate[i]),
                    "loss.train": train_losses[i].tolist(),
                    "loss.validation": losses[i].tolist(),
                    "metric.validation": metrics[i].tolist(),
                    "scalarized": float(value[i]),
                }
            )

    def _scalarized(self, losses: Tensor, sparsity: Tensor) -> Tensor:
        """What is minimised, over the active objectives of a phase; shape (n_models,), float64 on the CPU."""
        objectives = torch.cat([sparsity[:, None], losses], dim=1)[:, self._first_active :] / self._active(self._anchors).double().cpu()
        values = chebyshev_values(
            objectives,
            self._active_preference.double().cpu(),
            self._active(self._reference_point).double().cpu(),
            self._settings.augmentation,
        )
        return scalarized(self._settings.scalarization, values, self._lagrangian.penalty)

    # From phase to phase

    def _begin(self, phase: int) -> None:
        """Multipliers, penalty, moments, learning rate and the best model start afresh; the preference covers the active objectives."""
        self._phase, self._epoch_of_phase = phase, 0
        self._first_active = 0 if self._phases[phase].has_sparsity else 1
        active = self._preference[:, self._first_active :]
        self._active_preference = active / active.sum(dim=1, keepdim=True)
        self._lagrangian = lagrangian_of(
            self._settings.lagrangian, self._settings.scalarization, len(self.specs), active.shape[1], self._device, self._dtype
        )
        self._optimiser = PackOptimiser(self._settings.optimizer, self.pack, self._settings.learning_rate)
        rule = self._settings.growl.step_rule if self._settings.optimizer == "adam" else "plain"
        self._prox_step = ProxStep(rule, len(self.specs), self._device, self._dtype)
        self._kept = Kept(self._current())

    def _end_phase(self) -> None:
        self.pack.load(*(self._kept_group(group) for group in ("parameters", "buffers")))
        self.structure.load(self._kept_group("masks"))
        if self._phases[self._phase].name == "sparsify":
            self._sparsity_reached = self._kept.reached.clone()
        if self._phase + 1 < len(self._phases):
            started = time.perf_counter()
            self._tying_converged = self.structure.cluster(self._settings.tying, self._seed, self.pack.alive)
            self.structure.tie()
            self._wall["tying"] += time.perf_counter() - started
            self._begin(self._phase + 1)

    @property
    def _outer(self) -> int:
        return self._epoch_of_phase // self._phases[self._phase].epochs_per_outer

    def _learning_rate(self) -> float:
        return self._settings.learning_rate * self._settings.learning_rate_decay**self._outer

    def _active(self, objectives: Tensor) -> Tensor:
        return objectives[self._first_active :]

    def _current(self) -> dict[str, Tensor]:
        penalty = torch.full((len(self.specs),), self._lagrangian.penalty, dtype=torch.float64)
        groups = {"parameters": self.pack.parameters, "buffers": self.pack.buffers, "masks": self.structure.masks}
        return nest(groups) | {"#multipliers": self._lagrangian.multipliers, "#penalty": penalty}

    def _kept_group(self, group: str) -> dict[str, Tensor]:
        return {name.removeprefix(f"{group}/"): value for name, value in self._kept.tensors.items() if name.startswith(f"{group}/")}

    # State

    def state_dict(self) -> State:
        """Everything that is needed to go on after the last finished epoch, bit for bit on a CPU."""
        groups: dict[str, dict[str, Tensor]] = {
            "parameters": {name: leaf.detach() for name, leaf in self.pack.parameters.items()},
            "buffers": self.pack.buffers,
            **self._optimiser.moments(),
            "masks": self.structure.masks,
            "labels": self.structure.labels,
            "lagrangian": self._lagrangian.tensors(),
            "kept": self._kept.state(),
            "pack": {
                "alive": self.pack.alive,
                "step_length": self._prox_step.length,
                "tying_converged": self._tying_converged,
                "sparsity_reached": self._sparsity_reached,
            },
        }
        scalars = {
            "phase": self._phase,
            "epoch_of_phase": self._epoch_of_phase,
            "n_steps": self._optimiser.n_steps,
            "lagrangian": self._lagrangian.scalars(),
            "records": self._records,
            "wall": self._wall,
        }
        return State(tuple(spec.trial_id for spec in self.specs), self.epoch, nest(groups), scalars)

    def _load(self, state: State) -> None:
        index = [state.trial_ids.index(spec.trial_id) for spec in self.specs]

        def group(name: str) -> dict[str, Tensor]:
            return group_of(state.tensors, name, index)

        self.epoch = state.epoch
        self._begin(state.scalars["phase"])
        self._epoch_of_phase = state.scalars["epoch_of_phase"]
        self.pack.load(group("parameters"), group("buffers"))
        self._optimiser.load({kind: group(kind) for kind in ("exp_avg", "exp_avg_sq")}, state.scalars["n_steps"])
        if not self.done:
            self._optimiser.set_learning_rate(self._learning_rate())
        is_fixed = self._phases[self._phase].name != "sparsify" or self._settings.growl.masks == "epoch"
        self.structure.load(group("masks"), group("labels"), is_fixed)
        self._lagrangian.load({name: value.to(self._device) for name, value in group("lagrangian").items()}, state.scalars["lagrangian"])
        self._kept.load(group("kept"))
        pack = group("pack")
        self.pack.alive = pack["alive"]
        self._prox_step.length = pack["step_length"].to(self._device)
        self._tying_converged, self._sparsity_reached = pack["tying_converged"], pack["sparsity_reached"]
        self._records = [state.scalars["records"][i] for i in index]
        self._wall = dict(state.scalars["wall"])
