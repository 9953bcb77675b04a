"""A pack whose parameters are stacked along a first axis and whose models run one after the other; warm starts of a pack."""

import copy
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice

import torch
from torch import Tensor, nn

from trainer.pack.cuda_graph import StepGraph
from trainer.pack.device import BackendMissingError
from trainer.pack.kernels.conv_pool import fuse
from trainer.pack.kernels.library import why_missing
from trainer.problems.problem import Part, Problem

N_COMPARED_BATCHES = 2
"""Number of batches used to find out whether the outputs depend on the input."""
ROUNDING_UNITS = 128
"""Outputs that differ by at most this many rounding units of the largest one count as equal: a matrix product rounds equal
rows of a batch differently at different positions, in a way that depends on the processor."""
_CACHE_LINE = 64  # bytes


class Pack:
    """Stacked parameters and buffers of `n_models` networks, and one module per model with views of them.

    The modules' parameters and gradients are views of the stacked tensors: a forward and backward pass through each model fills
    the stacked gradients, and an optimizer over the modules' parameters updates the stacked tensors.

    Attributes:
        parameters: name -> shape (n_models, ...).
        buffers: name -> shape (n_models, ...).
        alive: shape (n_models,), bool, on the CPU; False for a diverged model, which takes part in no pass.
    """

    backend = "loop"
    """The name of the backend."""
    evaluation_batch = 512
    """Number of samples in a batch of an evaluation."""
    is_stacked = False
    """Whether an optimizer updates one stacked tensor for each parameter, instead of one tensor for each model."""

    def __init__(self, initial: nn.Module, n_models: int, problem: Problem, device: torch.device) -> None:
        self._tasks = problem.tasks
        self._device = device
        initial = self._prepared(initial.to(device))
        self.parameters = {name: self._stack(value.detach(), n_models) for name, value in initial.named_parameters()}
        self.buffers = {name: self._stack(value, n_models) for name, value in initial.named_buffers()}
        for name, value in initial.named_parameters():
            self.parameters[name].grad = self._stack(torch.zeros_like(value.detach()), n_models)
        self.members = [copy.deepcopy(initial) for _ in range(n_models)]
        self.alive = torch.ones(n_models, dtype=torch.bool)
        self._link()

    def _prepared(self, network: nn.Module) -> nn.Module:
        """Adapt a network to this backend; the names and values of its parameters do not change."""
        return network

    def _stack(self, value: Tensor, n_models: int) -> Tensor:
        return _aligned_stack(value, n_models)

    def __len__(self) -> int:
        return len(self.members)

    @torch.no_grad()
    def load(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> None:
        """Copy values in the shapes of `parameters` and `buffers` into the pack."""
        for target, source in ((self.parameters, parameters), (self.buffers, buffers)):
            for name, leaf in target.items():
                leaf.copy_(source[name])

    def optimised(self, name: str) -> list[Tensor]:
        """Return the tensors that an optimizer updates for a parameter: one for each model.

        They are not one stacked tensor, because a fused update rounds its last elements differently; the last bits of a model would then
        depend on the size of its pack.
        """
        return [member.get_parameter(name) for member in self.members]

    def pieces(self, stacked: Tensor) -> list[Tensor]:
        """Divide a tensor of shape (n_models, ...), such as stored moments, in the same way as `optimised`."""
        return list(stacked.unbind(0))

    def stack(self, pieces: Sequence[Tensor]) -> Tensor:
        """Combine the pieces of `pieces` into one tensor of shape (n_models, ...)."""
        return torch.stack(list(pieces))

    @torch.no_grad()
    def keep_within(self, bounds: Mapping[str, tuple[float, float]]) -> None:
        """Clip parameters to their bounds, name -> (smallest, largest value)."""
        for name, (low, high) in bounds.items():
            self.parameters[name].clamp_(low, high)

    @property
    def is_on_gpu(self) -> bool:
        """Whether the tensors of the pack are on a CUDA device."""
        return self._device.type == "cuda"

    def begin_epoch(self) -> None:
        """Prepare an epoch before its first step; `alive` does not change until the epoch ends."""

    @property
    def constants(self) -> Hashable:
        """The constants of a recorded `backward` (trainer/pack/cuda_graph.py): the models that take part in it."""
        return tuple(self.alive.tolist())

    def clear_gradients(self) -> None:
        """Set the stacked gradients to zero in place, since the modules have views of them."""
        for leaf in self.parameters.values():
            leaf.grad.zero_()  # type: ignore[union-attr]

    def drop_gradients(self) -> None:
        """Clear the gradients before a `backward`; the modules may lose their views of them."""
        self.clear_gradients()

    def backward(self, inputs: Tensor, targets: Tensor, scalarize: Callable[[slice, Tensor], Tensor]) -> None:
        """Run the forward and backward pass of every living model on one minibatch, and add to the stacked gradients.

        Args:
            inputs: shape (n, ...), the same for all models.
            targets: shape (n, n_tasks).
            scalarize: (members, losses of shape (n_members, n_tasks)) -> the scalar that is differentiated.
        """
        for index, member in self.living():
            outputs = member(inputs)
            losses = torch.stack(
                [task.loss(output, targets[:, t]) for t, (task, output) in enumerate(zip(self._tasks, outputs, strict=True))]
            )
            scalarize(slice(index, index + 1), losses[None]).backward()

    def backward_of_sum(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Run `backward` for the plain sum of the task losses, and return the losses, shape (n_models, n_tasks), detached."""
        all_losses = inputs.new_zeros(len(self), len(self._tasks))

        def total(members: slice, losses: Tensor) -> Tensor:
            all_losses[members] = losses.detach()
            return losses.sum()

        self.backward(inputs, targets, total)
        return all_losses

    @torch.no_grad()
    def evaluate(self, part: Part, graph: StepGraph | None = None) -> tuple[Tensor, Tensor]:
        """Compute the mean loss and the mean metric of each model and task over a part of the data.

        Args:
            part: a part of the data.
            graph: may record the evaluation of a batch, if the networks compute the same operations each time; None records nothing.

        Returns:
            Two tensors of shape (n_models, n_tasks), float64; NaN for diverged models.
        """
        living = dict(self.living())
        totals = {index: torch.zeros(2, len(self._tasks), dtype=torch.float64, device=self._device) for index in living}
        with evaluating(living.values()):
            for inputs, targets in part.in_order(self.evaluation_batch):
                for index, member in living.items():
                    for t, (task, output) in enumerate(zip(self._tasks, member(inputs), strict=True)):
                        totals[index][0, t] += task.loss(output, targets[:, t]).double() * len(inputs)
                        totals[index][1, t] += task.metric(output, targets[:, t]).double().sum()
        means = torch.full((2, len(self), len(self._tasks)), torch.nan, dtype=torch.float64)
        for index, total in totals.items():
            means[:, index] = (total / len(part)).cpu()
        return means[0], means[1]

    @torch.no_grad()
    def output_ranges(self, part: Part) -> Tensor:
        """Compute the largest difference between two of a part's first samples, in any component of each model's outputs.

        Returns:
            Shape (n_models, n_tasks), float64; 0 where the outputs are equal up to rounding (`ROUNDING_UNITS`), NaN for diverged models.
        """
        living = dict(self.living())
        bounds: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        with evaluating(living.values()):
            for inputs, _ in islice(part.in_order(self.evaluation_batch), N_COMPARED_BATCHES):
                for index, member in living.items():
                    for t, output in enumerate(member(inputs)):
                        low, high = bounds.get((index, t), (output[0], output[0]))
                        bounds[index, t] = torch.minimum(low, output.amin(dim=0)), torch.maximum(high, output.amax(dim=0))
        ranges = torch.full((len(self), len(self._tasks)), torch.nan, dtype=torch.float64)
        for (index, t), (low, high) in bounds.items():
            ranges[index, t] = float(widest_range(low.flatten(), high.flatten()))
        return ranges

    def alone(self, index: int) -> nn.Module:
        """Return a module that computes one model when it is called with its tensors (`torch.func.functional_call`)."""
        return self.members[index]

    def living(self) -> Iterator[tuple[int, nn.Module]]:
        """Yield the index and the module of each model that has not diverged."""
        return ((index, member) for index, member in enumerate(self.members) if self.alive[index])

    def _link(self) -> None:
        for index, member in enumerate(self.members):
            for name, parameter in member.named_parameters():
                leaf = self.parameters[name]
                parameter.data = leaf.detach()[index]
                parameter.grad = leaf.grad[index]  # type: ignore[index]
            for name in self.buffers:
                owner, _, key = name.rpartition(".")
                member.get_submodule(owner)._buffers[key] = self.buffers[name][index]


def widest_range(low: Tensor, high: Tensor) -> Tensor:
    """Compute the largest difference between bounds, 0 where they are equal up to rounding.

    Args:
        low: shape (..., n_components), the smallest outputs, in the unit of the outputs.
        high: shape (..., n_components), the largest outputs.

    Returns:
        Shape (...), float64; exactly 0 where no component varies by more than `ROUNDING_UNITS` rounding units of the largest
        absolute output, and where there are no components.
    """
    if not low.shape[-1]:
        return low.new_zeros(low.shape[:-1], dtype=torch.float64)
    widest, size = (high - low).amax(dim=-1), torch.maximum(low.abs(), high.abs()).amax(dim=-1)
    is_rounding = widest.isfinite() & (widest <= ROUNDING_UNITS * torch.finfo(low.dtype).eps * size)
    return torch.where(is_rounding, 0, widest).double()


def _aligned_stack(value: Tensor, n_models: int) -> Tensor:
    """Stack copies of `value` along a new first dimension.

    Each copy begins on a cache line: matrix products round differently at other alignments, and the last bits of a model must
    not depend on its index in the pack. Convolution weights are stored in channels-last order.
    """
    ordered = value.permute(0, 2, 3, 1) if value.dim() == 4 else value
    per_line = max(1, _CACHE_LINE // value.element_size())
    length = -(-max(1, value.numel()) // per_line) * per_line
    room = torch.zeros(n_models, length, dtype=value.dtype, device=value.device)
    stacked = room[:, : value.numel()].unflatten(1, ordered.shape) if value.dim() else room[:, 0]
    stacked.copy_(ordered.expand(n_models, *ordered.shape))
    return stacked.permute(0, 1, 4, 2, 3) if value.dim() == 4 else stacked


@contextmanager
def evaluating(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Put the modules into evaluation mode within the context."""
    were_training = [(module, module.training) for module in modules]
    for module, _ in were_training:
        module.eval()
    try:
        yield
    finally:
        for module, was_training in were_training:
            module.train(was_training)


class KernelPack(Pack):
    """A pack whose networks use the fused CPU kernel for the layers that it supports.

    Raises:
        BackendMissingError: this machine has no kernel, or the device is not a CPU.
    """

    backend = "loop+kernel"
    evaluation_batch = 256  # small enough that the activations stay in the processor's cache

    def _prepared(self, network: nn.Module) -> nn.Module:
        if self._device.type != "cpu":
            raise BackendMissingError(
                f"backend loop+kernel is for CPUs, found device = {self._device}; backend: auto chooses one that fits"
            )
        missing = why_missing()
        if missing is not None:
            raise BackendMissingError(f"backend loop+kernel is not available: {missing}; backend: auto chooses an available one")
        if not fuse(network):
            self.backend = "loop"  # the kernel supports no layer of this network
        return network


def load_starts(pack: Pack, starts: Sequence[Mapping[str, Tensor] | None]) -> None:
    """Start each model of a pack from the parameters and buffers of another network.

    Args:
        pack: the pack, whose parameters and buffers are overwritten.
        starts: for each model, a mapping name -> tensor in the shape of one model (other names are ignored), or None to keep its own
            values.

    Raises:
        ValueError: a tensor is missing or has another shape, or there is not one entry for each model.
    """
    if len(starts) != len(pack):
        raise ValueError(f"load_starts expects one network or None for each of {len(pack)} models, found {len(starts)}")
    with torch.no_grad():
        for own in (pack.parameters, pack.buffers):
            for name, leaf in own.items():
                for model, start in enumerate(starts):
                    if start is None:
                        continue
                    if name not in start or start[name].shape != leaf.shape[1:]:
                        found = tuple(start[name].shape) if name in start else None
                        raise ValueError(f"{name}: shape {tuple(leaf.shape[1:])} expected of the network to start from, found {found}")
                    leaf.detach()[model] = start[name].to(leaf)
