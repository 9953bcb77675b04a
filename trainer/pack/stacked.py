"""Packs with one forward and backward pass for all models, over stacked tensors."""

from abc import abstractmethod
from collections.abc import Callable, Hashable, Sequence
from itertools import islice

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from trainer.pack.cuda_graph import StepGraph
from trainer.pack.loop import N_COMPARED_BATCHES, Pack, evaluating, widest_range
from trainer.problems.problem import Part, Problem


class StackedPack(Pack):
    """A pack in which one forward pass computes the outputs of all models, and one backward pass all gradients.

    The results agree with those of `Pack`, and between packs of different sizes, up to rounding. Within a pack, the numbers of a model do
    not depend on those of other models.
    """

    is_stacked = True

    def __init__(self, initial: nn.Module, n_models: int, problem: Problem, device: torch.device) -> None:
        super().__init__(initial, n_models, problem, device)
        for leaf in self.parameters.values():
            leaf.requires_grad_()
        self._trains = torch.ones(n_models, 1, dtype=torch.bool, device=device)
        self._totals = torch.zeros(2, n_models, len(problem.tasks), dtype=torch.float64, device=device)

    @abstractmethod
    def _outputs(self, inputs: Tensor) -> Sequence[Tensor]:
        """Compute one tensor of shape (n_models, n, ...) for each task from inputs of shape (n, ...)."""

    def _stack(self, value: Tensor, n_models: int) -> Tensor:
        return value.expand(n_models, *value.shape).clone()

    def optimised(self, name: str) -> list[Tensor]:
        """Return the stacked tensor itself."""
        return [self.parameters[name]]

    def pieces(self, stacked: Tensor) -> list[Tensor]:
        """Return the tensor as one piece."""
        return [stacked]

    def stack(self, pieces: Sequence[Tensor]) -> Tensor:
        """Return the only piece."""
        return pieces[0]

    def begin_epoch(self) -> None:
        """Copy `alive` to the device, so that the steps read nothing from the CPU."""
        self._trains.copy_(self.alive[:, None])

    @property
    def constants(self) -> Hashable:
        """None, since nothing is constant: a recorded `backward` reads from the device which models take part in it."""
        return None

    def drop_gradients(self) -> None:
        """Clear the gradients before a `backward`, which on a GPU then writes them rather than adding them to zeros."""
        if not self.is_on_gpu:
            self.clear_gradients()  # so that results equal those of earlier versions to the bit: 0 + -0.0 is 0.0
            return
        for leaf in self.parameters.values():
            leaf.grad = None

    def backward(self, inputs: Tensor, targets: Tensor, scalarize: Callable[[slice, Tensor], Tensor]) -> None:
        """Run the forward and backward pass of the pack on one minibatch; arguments as for `Pack.backward`."""
        losses = self._losses(self._outputs(inputs), targets)
        scalarize(slice(0, len(self)), torch.where(self._trains, losses, 0)).backward()
        for leaf in self.parameters.values():
            if leaf.grad is None:  # no task depends on this parameter
                leaf.grad = torch.zeros_like(leaf)

    @torch.no_grad()
    def evaluate(self, part: Part, graph: StepGraph | None = None) -> tuple[Tensor, Tensor]:
        """Compute the mean loss and metric of each model and task, as `Pack.evaluate`."""
        self._totals.zero_()
        with evaluating(self.members[:1]):
            for inputs, targets in part.in_order(self.evaluation_batch):
                if graph is None:
                    self._add_batch(inputs, targets)
                else:
                    graph.run("evaluation", None, self._add_batch, inputs, targets)
        losses, metrics = torch.where(self.alive[:, None], (self._totals / len(part)).cpu(), torch.nan)
        return losses, metrics

    def _add_batch(self, inputs: Tensor, targets: Tensor) -> None:
        """Add the losses and metrics of a batch to the totals of an evaluation."""
        outputs = self._outputs(inputs)
        self._totals[0] += self._losses(outputs, targets).double() * len(inputs)
        self._totals[1] += self._metrics(outputs, targets).double()

    @torch.no_grad()
    def output_ranges(self, part: Part) -> Tensor:
        """Compute the largest difference between the first samples in any component of the outputs, as `Pack.output_ranges`."""
        bounds: list[tuple[Tensor, Tensor]] = []
        with evaluating(self.members[:1]):
            for inputs, _ in islice(part.in_order(self.evaluation_batch), N_COMPARED_BATCHES):
                of_batch = [(output.amin(dim=1), output.amax(dim=1)) for output in self._outputs(inputs)]
                pairs = zip(bounds or of_batch, of_batch, strict=True)
                bounds = [(torch.minimum(low, lower), torch.maximum(high, higher)) for (low, high), (lower, higher) in pairs]
        widest = [widest_range(low.reshape(len(self), -1), high.reshape(len(self), -1)).cpu() for low, high in bounds]
        return torch.where(self.alive[:, None], torch.stack(widest, dim=1), torch.nan)

    def _losses(self, outputs: Sequence[Tensor], targets: Tensor) -> Tensor:
        """Compute the losses on one batch, shape (n_models, n_tasks)."""
        pairs = [(task.loss, output, targets[:, t]) for t, (task, output) in enumerate(zip(self._tasks, outputs, strict=True))]
        return torch.stack([vmap(loss, in_dims=(0, None))(output, target) for loss, output, target in pairs], dim=1)

    def _metrics(self, outputs: Sequence[Tensor], targets: Tensor) -> Tensor:
        """Compute the sums of the metrics over the samples, shape (n_models, n_tasks)."""
        pairs = [(task.metric, output, targets[:, t]) for t, (task, output) in enumerate(zip(self._tasks, outputs, strict=True))]
        sums = [vmap(metric, in_dims=(0, None))(output, target).flatten(1).sum(dim=1) for metric, output, target in pairs]
        return torch.stack(sums, dim=1)


class VectorisedPack(StackedPack):
    """A pack whose forward pass is `torch.func.vmap` of any network that vmap supports; the reference for other backends."""

    backend = "vmap"

    def _outputs(self, inputs: Tensor) -> Sequence[Tensor]:
        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> tuple[Tensor, ...]:
            return tuple(functional_call(self.members[0], (parameters, buffers), (inputs,)))

        outputs: tuple[Tensor, ...] = vmap(one, randomness="different")(self.parameters, self.buffers)
        return outputs
