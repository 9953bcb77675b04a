"""WC-AL (weighted Chebyshev by an augmented Lagrangian) with GrOWL: sparsify, cluster, retrain. `TwoPhase.step` is the algorithm.

Source: Hotegni, Berkemeier and Peitz, IJCNN 2024, Algorithm 1. We depart from it as follows: the constraint is an
inequality with t eliminated (the paper's penalty of 2.5e-8 makes it a weighted sum); k0 affects the network's weights through the prox,
whose step is scaled by the weight of the sparsity objective; suppressed rows stay suppressed; tied rows are one parameter; the kept model
is chosen by its scalarised validation value, and all measurements belong to it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from trainer.objectives.certificate import MAX_VARIABLES, StatedProblem, improvement
from trainer.objectives.growl import growl_penalty, prox_growl, row_norms, scale_rows
from trainer.objectives.lagrangian import lagrangian_of
from trainer.objectives.prox_step import ProxStep
from trainer.objectives.scalarization import chebyshev_values, scalarized
from trainer.objectives.structure import in_groups
from trainer.objectives.tying import large_allocations_mapped
from trainer.pack.cuda_graph import StepGraph, recorder_for
from trainer.pack.device import Place, exclusive_use
from trainer.pack.loop import load_starts
from trainer.pack.optimizer import PackOptimiser
from trainer.problems.problem import Part, Problem
from trainer.settings import TrainingSettings
from trainer.training.base import PackTraining
from trainer.training.best_epoch import Kept
from trainer.training.checkpoint import State, group_of, nest
from trainer.training.result import Lagrange
from trainer.training.trial import EpochMeasurements, TrialSpec

_N_PROBED = 5
"""Number of steps after which a step has been recorded and replayed (trainer/pack/cuda_graph.py)."""


@dataclass(frozen=True)
class Phase:
    """A sequence of outer iterations with one set of objectives."""

    name: str
    n_epochs: int
    epochs_per_outer: int
    """Epochs in an outer iteration, that is, between two updates of the multipliers."""
    has_sparsity: bool
    """Whether the sparsity objective is active."""


def phases_of(settings: TrainingSettings, is_dense: bool) -> tuple[Phase, ...]:
    """Return the phases of a trial; a dense trial (k0 = 0) trains for the same number of epochs in one phase.

    Args:
        settings: the settings of the trial.
        is_dense: whether k0 = 0.
    """
    first, second = settings.sparsify, settings.retrain
    n_first, n_second = first.outer_iterations * first.epochs, second.outer_iterations * second.epochs
    if is_dense:
        return (Phase("dense", n_first + n_second, second.epochs, has_sparsity=False),)
    sparsify = Phase("sparsify", n_first, first.epochs, has_sparsity=True)
    retrain = Phase("retrain", n_second, second.epochs, has_sparsity=second.objectives == "all")
    return (sparsify, retrain) if n_second else (sparsify,)


class TwoPhase(PackTraining):
    """The training of one pack in two phases. Every call of `step` trains one epoch.

    Args:
        specs: the trials of the pack: same model, seed, settings, scaling and reference point, and either all or none of them are dense.
        problem: data and networks.
        place: device and backend.
        state: an earlier `state_dict()` whose trials include these; None to start from the beginning.
        starts: the network that each trial starts from, or None for the initial network; None instead of the sequence if all trials start
            from the initial network. The anchors are always those of the initial network.
    """

    def __init__(
        self,
        specs: Sequence[TrialSpec],
        problem: Problem,
        place: Place,
        state: State | None = None,
        starts: Sequence[Mapping[str, Tensor] | None] | None = None,
    ) -> None:
        super().__init__(specs, problem, place)
        if starts is not None:
            load_starts(self.pack, starts)
        first = specs[0]
        self._phases = self._phases_of(first)
        self.n_epochs = sum(phase.n_epochs for phase in self._phases)
        point = first.reference_point or [0.0] * len(self._anchors)
        self._reference_point = torch.tensor(point, dtype=self._dtype, device=self._device)
        self._preference = torch.tensor([spec.preference for spec in specs], dtype=self._dtype, device=self._device)
        self._losses = torch.zeros(len(specs), len(problem.tasks), device=self._device, dtype=self._dtype)
        self._steps = StepGraph(recorder_for(self._device))
        self._has_converged = torch.ones(len(specs), dtype=torch.bool)
        self._has_reached = torch.ones(len(specs), dtype=torch.bool)
        self._sparsity_multiplier = torch.zeros(len(specs), dtype=torch.float64)
        self._begin(0)
        if state is not None:
            self._load(state)

    def step(self) -> None:
        """Train one epoch; update the multipliers at the end of an outer iteration, and cluster the rows at the end of phase 1."""
        phase, outer = self._phases[self._phase], self._outer
        with exclusive_use(self._device):
            with self._usage.on(phase.name):
                self._train_and_measure(phase)
            if self._epoch_of_phase < phase.n_epochs and self._outer != outer:
                self._optimiser.set_learning_rate(self._learning_rate())
        if self._epoch_of_phase == self._phases[self._phase].n_epochs:
            self._end_phase()

    def take_steps(self, n: int, n_samples: int | None = None) -> None:
        """Take optimizer steps and nothing else, to measure their speed and memory; the training is unusable afterwards.

        Args:
            n: number of steps.
            n_samples: number of samples of each minibatch; None for whole ones.
        """
        self.pack.begin_epoch()
        batches = cycle(list(islice(self._batches(*self._epoch_order()), 4)))
        for inputs, targets in islice(batches, n):
            self._steps.run("step", "measured", self._take_step, inputs[:n_samples], targets[:n_samples])

    def take_up_memory(self) -> None:
        """Take up as much memory as a training does, to measure it; the training is unusable afterwards.

        Steps on whole and on last minibatches and evaluations run often enough to be recorded on a GPU.
        """
        n_last = len(self._train) % self._settings.batch_size
        for n_samples in (None, n_last or None):
            self.take_steps(_N_PROBED, n_samples)
        for _ in range(_N_PROBED):
            self._measure(self._validation)

    def first_gradients(self) -> dict[str, Tensor]:
        """Return the gradients of the sum of the task losses on the first minibatch, by parameter name; used to compare backends."""
        self.pack.begin_epoch()
        self.pack.clear_gradients()
        inputs, targets = next(self._batches(*self._epoch_order()))
        self.pack.backward_of_sum(inputs, targets)
        gradients = {name: leaf.grad.clone() for name, leaf in self.pack.parameters.items() if leaf.grad is not None}
        self.pack.clear_gradients()
        return gradients

    def _train_and_measure(self, phase: Phase) -> None:
        losses = self._train_epoch()
        if phase.name == "sparsify" and not self._balances:
            if self._settings.growl.prox == "epoch":
                self._shrink()
            self.structure.mask_zero_rows(self._fixes_masks)
        self.epoch += 1
        self._evaluate_and_keep(losses)
        self._epoch_of_phase += 1
        if self._epoch_of_phase % phase.epochs_per_outer == 0:
            self._lagrangian.update()

    def _phases_of(self, first: TrialSpec) -> tuple[Phase, ...]:
        return phases_of(first.settings, first.is_dense)

    @property
    def _phase_name(self) -> str:
        return self._phases[self._phase].name

    @property
    def _own_notes(self) -> tuple[str, ...]:
        return self._steps.notes

    @property
    def _sparsity_reached(self) -> Tensor:
        return self._has_reached

    @property
    def _tying_converged(self) -> Tensor:
        return self._has_converged

    def _best_epochs(self) -> list[int]:
        return [int(epoch) for epoch in self._kept.epoch]

    def _measure(self, part: Part) -> tuple[Tensor, Tensor]:
        return self.pack.evaluate(part, self._steps)

    def _lagrange(self, trial: int) -> Lagrange:
        kept = self._kept.tensors
        multipliers, has_sparsity = kept["#multipliers"][trial].double().cpu(), self._phases[-1].has_sparsity
        return Lagrange(multipliers, float(kept["#penalty"][trial]), has_sparsity, float(self._sparsity_multiplier[trial]))

    def _improvement(self, trial: int) -> float | None:
        if self._problem.has_data or self._settings.scalarization != "chebyshev_al" or not self.pack.alive[trial]:
            return None
        leaves = {name: value[trial].detach().cpu().double() for name, value in self.pack.parameters.items()}
        n_variables = sum(value.numel() for value in leaves.values())
        if n_variables > MAX_VARIABLES:
            return None
        return improvement(self.stated_problem(trial, leaves), torch.cat([value.flatten() for value in leaves.values()]))

    def stated_problem(self, trial: int, leaves: Mapping[str, Tensor]) -> StatedProblem:
        """Return the problem as stated of a trial whose losses do not depend on data, over the vector of all its parameters.

        Args:
            trial: index of the trial in the pack.
            leaves: name -> parameter of its network, float64, on the CPU; only names, order and shapes are used.
        """
        preference, anchors, reference = (value.double().cpu() for value in (self._preference[trial], self._anchors, self._reference_point))
        network = self._fresh_network(self.specs[trial], self._whole_problem, self._seed).double().eval()
        augmentation = self._settings.augmentation
        buffers = {name: value[trial].cpu() for name, value in self.pack.buffers.items()}
        inputs, targets = (value.cpu() for value in self._validation.first(1))
        last = self._kept.tensors["#multipliers"][trial].double().cpu()[-len(self._problem.tasks) :]
        shares = last / last.sum() if last.sum() > 0 else torch.full_like(last, 1 / len(last))

        def parts(x: Tensor) -> dict[str, Tensor]:
            pieces = x.split([value.numel() for value in leaves.values()])
            return {name: piece.view(value.shape) for (name, value), piece in zip(leaves.items(), pieces, strict=True)}

        def rows(x: Tensor) -> dict[str, Tensor]:
            own = parts(x)
            return {name: in_groups(own[name][None], layer.group_size) for name, layer in self.structure.layers.items()}

        def values(x: Tensor) -> Tensor:
            outputs = functional_call(network, {**parts(x), **buffers}, (inputs,))
            losses = torch.stack(
                [task.loss(output, targets[:, t]) for t, (task, output) in enumerate(zip(self._problem.tasks, outputs, strict=True))]
            )
            layers = self.structure.layers
            norms = (
                growl_penalty(row_norms(weight.detach()), layers[name].theta.cpu(), layers[name].is_spike)
                for name, weight in rows(x).items()
            )
            l0 = sum(norms, losses.new_zeros(1))
            return chebyshev_values(torch.cat([l0, losses]) / anchors, preference, reference, augmentation)

        def shrink(x: Tensor, step: float) -> Tensor:
            moved = x.clone()
            for name, weight in rows(moved).items():
                norms = row_norms(weight)
                shrunk = prox_growl(norms, self.structure.layers[name].theta.cpu(), norms.new_tensor([step]))
                scale_rows(weight, shrunk / norms.where(norms > 0, 1.0))
            return moved

        def slope(x: Tensor, p0: float) -> tuple[Tensor, float]:
            place = x.clone().requires_grad_()
            weights = torch.cat([shares.new_tensor([p0]), (1 - p0) * shares])
            (gradient,) = torch.autograd.grad(weights @ values(place), place)
            return gradient, float((weights[0] * preference[0] + augmentation * weights @ preference) / anchors[0])

        bounds = [self._bounds.get(name, (-math.inf, math.inf)) for name in leaves]
        sizes = [value.numel() for value in leaves.values()]
        low, high = (np.repeat([bound[side] for bound in bounds], sizes) for side in (0, 1))
        if preference[0] == 0 or not self.structure.layers:
            return StatedProblem(values, low, high)
        return StatedProblem(values, low, high, shrink, slope)

    # One epoch

    def _train_epoch(self) -> Tensor:
        """Train one epoch and return the mean training loss of each model and task, shape (n_models, n_tasks)."""
        phase = self._phases[self._phase]
        shrinks_per_step = phase.name == "sparsify" and self._settings.growl.prox == "step" and not self._balances
        if phase.name == "sparsify" and self._balances and self._epoch_of_phase:
            self._balance()
        self.pack.begin_epoch()
        self._losses.zero_()
        order, generator = self._epoch_order()
        constants = (self._phase, self.structure.n_changes, self.pack.constants)
        n_steps = 0
        for inputs, targets in self._batches(order, generator):
            n_steps += 1
            self._steps.run("step", constants, self._take_step, inputs, targets)
            self._lagrangian.count_step()
            if shrinks_per_step:
                self._shrink()
        return self._losses / n_steps

    def _take_step(self, inputs: Tensor, targets: Tensor) -> None:
        """Take one step of every model, in place and only on tensors, so that it can be recorded on a GPU (trainer/pack/cuda_graph.py)."""
        phase, learning_rate = self._phases[self._phase], self._optimiser.learning_rate
        self.pack.drop_gradients()
        if phase.has_sparsity:
            self._sparsity = self.structure.penalty()
            self._sparsity_weight = torch.zeros_like(self._sparsity)
        self.pack.backward(inputs, targets, self._scalarize)
        if phase.name == "retrain" and phase.has_sparsity:
            self.structure.add_penalty_gradient(self._sparsity_weight)
        self.structure.share_gradients()
        self._optimiser.step()
        self._lagrangian.end_step(learning_rate)
        self.structure.enforce()
        self.pack.keep_within(self._bounds)
        if phase.name == "sparsify":
            self._prox_step.add(learning_rate, self._sparsity_weight)

    def _scalarize(self, members: slice, losses: Tensor) -> Tensor:
        """Return sum_i p_i g_i, the scalar whose gradient updates these members."""
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
        """Apply the prox that stands for the optimizer's steps on L0 since the last prox (trainer/objectives/prox_step.py)."""
        needs_moments, correction = self._prox_step.needs_moments, self._optimiser.correction
        steps = {
            name: self._prox_step.of_layer(
                [in_groups(moment, layer.group_size) for moment in self._optimiser.second_moments(name)] if needs_moments else [],
                correction,
            )
            for name, layer in self.structure.layers.items()
        }
        self._prox_step.reset()
        an_outer = self._settings.growl.layer_sparsity_max / self._settings.sparsify.outer_iterations
        self.structure.shrink(steps, an_outer * (self._outer + 1), an_outer / self._settings.sparsify.epochs)

    @property
    def _balances(self) -> bool:
        return self._settings.growl.removal == "balance"

    @property
    def _fixes_masks(self) -> bool:
        return self._balances or self._settings.growl.masks == "epoch"

    def _balance(self) -> None:
        """Remove the shortest rows until k0 L0 is no larger than the largest weighted task loss, which is what a Chebyshev optimum asks.

        The task losses are running means over the last minibatches. Early in training they are large and nothing is removed; the lower
        they become, the more rows go, and where a removal raises them, the next one is smaller. The limit of a layer rises evenly
        over phase 1.
        """
        largest = self._lagrangian.running_mean[:, 1:].amax(dim=1)
        level = self._anchors[0] * (self._reference_point[0] + largest / self._active_preference[:, 0])
        progress = (self._epoch_of_phase + 1) / self._phases[self._phase].n_epochs
        self.structure.remove_shortest(level, self._settings.growl.layer_sparsity_max * progress)
        self.structure.mask_zero_rows(is_fixed=True)

    def _evaluate_and_keep(self, train_losses: Tensor) -> None:
        phase = self._phases[self._phase]
        losses, metrics = self._measure(self._validation)
        sparsity, train_losses = self.structure.penalty().double().cpu(), train_losses.cpu()
        finite = losses.isfinite().all(dim=1) & train_losses.isfinite().all(dim=1) & sparsity.isfinite()
        self.pack.alive &= finite
        value = self._scalarized(losses, sparsity)
        rate = self.structure.n_suppressed().double().cpu() / max(1, self._n_rows)
        reached = (rate >= self._settings.growl.sparsity_min) if phase.name == "sparsify" else torch.ones_like(finite)
        score = metrics[:, self._classifies].mean(dim=1) if self._settings.selection == "accuracy" else -value
        if phase.name == "sparsify" and self._balances:  # every removal raises the losses at first, so the least value would stop it
            score = torch.full_like(score, self.epoch)
        self._kept.offer(self.epoch, torch.where(finite, score, torch.nan), reached, self._current())
        multipliers = self._lagrangian.multipliers.cpu()
        for i, records in enumerate(self._records):
            records.append(
                EpochMeasurements(
                    epoch=self.epoch,
                    phase=phase.name,
                    outer_iteration=self._outer + 1,
                    sparsity=float(sparsity[i]),
                    sparsity_rate=float(rate[i]),
                    train_losses=train_losses[i].tolist(),
                    validation_losses=losses[i].tolist(),
                    validation_metrics=metrics[i].tolist(),
                    scalarized=float(value[i]),
                    learning_rate=self._learning_rate(),
                    penalty=self._lagrangian.penalty,
                    multipliers=multipliers[i].tolist(),
                )
            )

    def _scalarized(self, losses: Tensor, sparsity: Tensor) -> Tensor:
        """Return the value that is minimised over the phase's active objectives, shape (n_models,), float64, on the CPU."""
        objectives = torch.cat([sparsity[:, None], losses], dim=1)[:, self._first_active :] / self._active(self._anchors).double().cpu()
        values = chebyshev_values(
            objectives,
            self._active_preference.double().cpu(),
            self._active(self._reference_point).double().cpu(),
            self._settings.augmentation,
        )
        return scalarized(self._settings.scalarization, values, self._lagrangian.penalty)

    # Transitions between phases

    def _begin(self, phase: int) -> None:
        """Start a phase: reset multipliers, penalty, moments, learning rate and best model, and restrict the preference to the phase."""
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
        if self._phases[phase].name == "sparsify" and self._fixes_masks and self.pack.is_on_gpu:
            self.structure.expect_masks()  # so that one recording is enough for the phase

    def _end_phase(self) -> None:
        self.pack.load(self._kept.group("parameters"), self._kept.group("buffers"))
        self.structure.load(self._kept.group("masks"))
        if self._phases[self._phase].name == "sparsify":
            self._has_reached = self._kept.reached.clone()
        if self._phases[self._phase].has_sparsity:
            self._sparsity_multiplier = self._kept.tensors["#multipliers"][:, 0].double().cpu()
        if self._phase + 1 < len(self._phases):
            with self._usage.on("tying", uses_device=self._device.type == "cpu"):
                with large_allocations_mapped():
                    self._has_converged = self.structure.cluster(self._settings.tying, self._seed, self.pack.alive, self._place.n_threads)
                self.structure.tie()
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

    # State

    def state_dict(self) -> State:
        """Return everything that is needed to continue after the last finished epoch, to the bit on a CPU."""
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
                "tying_converged": self._has_converged,
                "sparsity_reached": self._has_reached,
                "sparsity_multiplier": self._sparsity_multiplier,
            },
        }
        scalars = {
            "phase": self._phase,
            "epoch_of_phase": self._epoch_of_phase,
            "n_steps": self._optimiser.n_steps,
            "lagrangian": self._lagrangian.scalars(),
            "records": self._records_as_json(),
            **self._usage.scalars(),
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
        self._optimiser.load({kind: group(kind) for kind in self._optimiser.kinds}, state.scalars["n_steps"])
        if not self.done:
            self._optimiser.set_learning_rate(self._learning_rate())
        is_fixed = self._phases[self._phase].name != "sparsify" or self._fixes_masks
        self.structure.load(group("masks"), group("labels"), is_fixed)
        self._lagrangian.load({name: value.to(self._device) for name, value in group("lagrangian").items()}, state.scalars["lagrangian"])
        self._kept.load(group("kept"))
        pack = group("pack")
        self.pack.alive = pack["alive"]
        self._prox_step.length = pack["step_length"].to(self._device)
        self._has_converged, self._has_reached = pack["tying_converged"], pack["sparsity_reached"]
        # Checkpoints of earlier versions lack it; then the residual of the problem as stated is not known.
        self._sparsity_multiplier = pack.get("sparsity_multiplier", torch.full((len(self.specs),), torch.nan, dtype=torch.float64))
        self._records = self._stored_records(state, index)
        self._usage.load(state.scalars, len(state.trial_ids))
