"""The base of the gradient methods that train in one phase: one optimizer, one schedule, and the best epoch is kept."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.pack.device import Place, exclusive_use
from trainer.pack.optimizer import PackOptimiser, ParameterGroup
from trainer.problems.problem import Problem
from trainer.training.base import PackTraining
from trainer.training.best_epoch import Kept
from trainer.training.checkpoint import State, group_of, nest
from trainer.training.trial import EpochMeasurements, TrialSpec


class OnePhase(PackTraining):
    """Trains the whole networks from the first epoch to the last; a subclass defines how a minibatch results in gradients.

    Args:
        specs, problem, place: as for `PackTraining`.
        state: an earlier `state_dict()` whose trials include these; None to start from the beginning.
    """

    def __init__(self, specs: Sequence[TrialSpec], problem: Problem, place: Place, state: State | None = None) -> None:
        super().__init__(specs, problem, place)
        settings = self._settings
        self.n_epochs = settings.one_phase.epochs
        self._optimiser = PackOptimiser(
            settings.optimizer, self.pack, settings.learning_rate, settings.one_phase.momentum, self._own_group()
        )
        self._kept = [Kept(self._current(part)) for part in self._parts()]
        if state is not None:
            self._load(state)

    @abstractmethod
    def _backward(self, inputs: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        """Add the gradients of a minibatch to those of the pack.

        Args:
            inputs: shape (n, ...).
            targets: shape (n, n_tasks).
            generator: the random generator of the epoch.

        Returns:
            The losses of each network and task, shape (n_networks, n_tasks), detached.
        """

    def _own_group(self) -> ParameterGroup | None:
        """Return the parameters with a learning rate of their own, if any."""
        return None

    def _parts(self) -> tuple[str, ...]:
        """Return the prefixes of parameter names, each of which has its own best epoch; an empty prefix covers the whole network."""
        return ("",)

    def _scores(self, losses: Tensor, metrics: Tensor) -> list[Tensor]:
        """Score each part of each network on validation data: one tensor of shape (n_networks,) per part; higher is better.

        Args:
            losses, metrics: values of each trial and task, shape (n_trials, n_tasks), float64.
        """
        if self._settings.selection == "accuracy":
            return [metrics[:, self._classifies].mean(dim=1)]
        return [-losses.mean(dim=1)]

    def step(self) -> None:
        """Train one epoch, measure the networks, and keep each network for which this epoch is the best so far."""
        with exclusive_use(self._device), self._usage.on("dense"):
            self._train_and_measure()

    def _train_and_measure(self) -> None:
        self._optimiser.set_learning_rate(self._learning_rate())
        train_losses = self._train_epoch()
        losses, metrics = self._measure(self._validation)
        self._mark_diverged(train_losses, losses)
        scores = self._scores(losses, metrics)
        everywhere = torch.ones(self._n_networks, dtype=torch.bool)
        self._record(train_losses, losses, metrics, scores)
        self.epoch += 1
        for kept, part, score in zip(self._kept, self._parts(), scores, strict=True):
            kept.offer(self.epoch, torch.where(self.pack.alive, score, torch.nan), everywhere, self._current(part))
        if self.done:
            for kept in self._kept:
                self._restore(kept)

    @property
    def _phase_name(self) -> str:
        return "train"

    def _best_epochs(self) -> list[int]:
        return torch.stack([kept.epoch for kept in self._kept]).amax(dim=0).tolist()

    def _learning_rate(self) -> float:
        return self._settings.learning_rate * self._settings.learning_rate_decay ** (self.epoch // self._settings.one_phase.decay_every)

    def _train_epoch(self) -> Tensor:
        """Train one epoch and return the mean training loss of each network and task, shape (n_networks, n_tasks)."""
        order, generator = self._epoch_order()
        self.pack.begin_epoch()
        total, n_steps = torch.zeros(self._n_networks, len(self._problem.tasks), device=self._device, dtype=self._dtype), 0
        for inputs, targets in self._batches(order, generator):
            n_steps += 1
            self.pack.clear_gradients()
            total += self._backward(inputs, targets, generator)
            self._optimiser.step()
            self.pack.keep_within(self._bounds)
        return total / n_steps

    def _mark_diverged(self, train_losses: Tensor, losses: Tensor) -> None:
        """Stop training networks with a loss that is not finite."""
        finite = losses.isfinite().all(dim=1).reshape(-1, self._n_networks).all(dim=0)
        self.pack.alive &= finite & train_losses.isfinite().all(dim=1).cpu()

    def _record(self, train_losses: Tensor, losses: Tensor, metrics: Tensor, scores: list[Tensor]) -> None:
        penalty, train_losses = self.structure.penalty().double().cpu(), train_losses.cpu()
        for n, records in enumerate(self._records):
            records.append(
                EpochMeasurements(
                    epoch=self.epoch + 1,
                    phase=self._phase_name,
                    outer_iteration=self.epoch // self._settings.one_phase.decay_every + 1,
                    sparsity=float(penalty[n]),
                    sparsity_rate=0.0,
                    train_losses=train_losses[n].tolist(),
                    validation_losses=losses[n].tolist(),
                    validation_metrics=metrics[n].tolist(),
                    scalarized=-float(torch.stack([score[n] for score in scores]).mean()),
                    learning_rate=self._learning_rate(),
                )
            )

    def _current(self, part: str) -> dict[str, Tensor]:
        groups = {"parameters": self.pack.parameters, "buffers": self.pack.buffers}
        selected = {group: {name: value for name, value in tensors.items() if name.startswith(part)} for group, tensors in groups.items()}
        return nest(selected)

    def _restore(self, kept: Kept) -> None:
        """Restore the networks of the kept epochs."""
        parameters, buffers = kept.group("parameters"), kept.group("buffers")
        self.pack.load({**self.pack.parameters, **parameters}, {**self.pack.buffers, **buffers})

    def state_dict(self) -> State:
        """Return everything that is needed to continue after the last finished epoch, to the bit on a CPU."""
        groups: dict[str, dict[str, Tensor]] = {
            "parameters": {name: leaf.detach() for name, leaf in self.pack.parameters.items()},
            "buffers": self.pack.buffers,
            **self._optimiser.moments(),
            **{f"kept{number}": {name: value.clone() for name, value in kept.state().items()} for number, kept in enumerate(self._kept)},
            "pack": {"alive": self.pack.alive},
        }
        scalars = {"n_steps": self._optimiser.n_steps, "records": self._records_as_json(), **self._usage.scalars()}
        return State(tuple(spec.trial_id for spec in self.specs), self.epoch, nest(groups), scalars)

    def _load(self, state: State) -> None:
        trials = [state.trial_ids.index(spec.trial_id) for spec in self.specs]
        n_stored = len(state.scalars["records"])  # one per network; all trials of a pack may share a network
        index = list(dict.fromkeys(i % n_stored for i in trials))

        def group(name: str) -> dict[str, Tensor]:
            return group_of(state.tensors, name, index)

        self.epoch = state.epoch
        self.pack.load(group("parameters"), group("buffers"))
        self._optimiser.load({kind: group(kind) for kind in self._optimiser.kinds}, state.scalars["n_steps"])
        for number, kept in enumerate(self._kept):
            kept.load(group(f"kept{number}"))
        self.pack.alive = group("pack")["alive"]
        self._records = self._stored_records(state, index)
        self._usage.load(state.scalars, len(state.trial_ids))
