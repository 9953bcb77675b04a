"""The parts of the data: resident in memory (`Split`), or read while they are used (`Stream`).

Both give the same minibatches to the bit: inputs and targets on the part's device, images in channels-last order (the
fastest layout of small convolutions on a CPU).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader

_FIRST_BATCH = 256
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Split:
    """One part of the data, resident in memory."""

    inputs: Tensor
    """Shape (n_samples, ...); what the network reads."""
    targets: Tensor
    """Shape (n_samples, n_tasks); column t is what task t's loss and metric read. Whole numbers, or floats if a task needs them."""

    def __len__(self) -> int:
        return len(self.inputs)

    def on(self, device: torch.device) -> "Split":
        """The same data on the device, in the layout that batches have."""
        return Split(channels_last(self.inputs.to(device)), self.targets.to(device))

    def shuffled(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets of the samples `order`, shape (n_samples,), in minibatches of `batch_size`; the last may be smaller."""
        for index in order.to(self.inputs.device).split(batch_size):
            yield channels_last(self.inputs[index]), self.targets[index]

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets of all samples, as they are stored, in minibatches."""
        for start in range(0, len(self), batch_size):
            yield self.inputs[start : start + batch_size], self.targets[start : start + batch_size]

    def first(self, n_samples: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the first samples, in one tensor each; images in plain order."""
        return _plain(self.inputs[:n_samples]), self.targets[:n_samples]


class Samples(Protocol):
    """A map-style `torch.utils.data.Dataset`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Any, Any]:
        """Inputs of a sample and its targets, shape (n_tasks,): tensors, or arrays that torch can stack."""


@dataclass(frozen=True)
class Stream:
    """One part of the data that does not fit into memory: a `torch.utils.data.DataLoader` reads it while it is used.

    An epoch starts the loader's workers anew. Results do not depend on their number, and are those of a `Split` of the
    same samples, to the bit.
    """

    dataset: Samples
    """Gives sample i the same each time it is asked: what is random belongs into `Problem.augment`."""
    n_workers: int = 0
    """Processes that read ahead; 0 reads in the training process."""
    device: torch.device = _CPU
    """Where the batches go."""

    def __post_init__(self) -> None:
        if self.n_workers < 0:
            raise ValueError(f"Stream expects n_workers >= 0, found n_workers = {self.n_workers}")

    def __len__(self) -> int:
        return len(self.dataset)

    def on(self, device: torch.device) -> "Stream":
        """The same data, with batches on the device."""
        return replace(self, device=device)

    def shuffled(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """As `Split.shuffled`."""
        for inputs, targets in self._read(order, batch_size):
            yield channels_last(inputs.to(self.device, non_blocking=True)), targets.to(self.device, non_blocking=True)

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """As `Split.in_order`."""
        return self.shuffled(torch.arange(len(self)), batch_size)

    def first(self, n_samples: int) -> tuple[Tensor, Tensor]:
        """As `Split.first`."""
        parts = list(self._read(torch.arange(min(n_samples, len(self))), _FIRST_BATCH))
        inputs, targets = (torch.cat(column) for column in zip(*parts, strict=True))
        return _plain(inputs), targets

    def _read(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches as the loader stacks them."""
        loader: DataLoader[Any] = DataLoader(
            self.dataset,  # type: ignore[arg-type]
            batch_sampler=[index.tolist() for index in order.split(batch_size)],
            num_workers=self.n_workers,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # without it the loader draws from the global random state
        )
        yield from loader


Part = Split | Stream


def first_share(part: Part, share: float) -> Part:
    """The first `share` of a part, in (0, 1], at least one sample."""
    n = max(1, round(share * len(part)))
    if n == len(part):
        return part
    if isinstance(part, Split):
        return Split(part.inputs[:n], part.targets[:n])
    return replace(part, dataset=_First(part.dataset, n))


@dataclass(frozen=True)
class _First:
    """The first samples of a data set."""

    dataset: Samples
    n_samples: int

    def __len__(self) -> int:
        return self.n_samples

    def __getitem__(self, index: int, /) -> tuple[Any, Any]:
        return self.dataset[index]


def channels_last(inputs: Tensor) -> Tensor:
    """Images, shape (n, channels, height, width), in channels-last order; anything else as it is.

    Also the strides of dimensions of size 1 are set, which `contiguous` leaves as they are: convolutions choose their
    way of computing by them, so the last bits would depend on how a tensor was made.
    """
    if inputs.dim() != 4:
        return inputs
    _, n_channels, height, width = inputs.shape
    packed = inputs.contiguous(memory_format=torch.channels_last)
    return packed.as_strided(packed.shape, (height * width * n_channels, 1, width * n_channels, n_channels))


def _plain(inputs: Tensor) -> Tensor:
    """Images in the order (channels, height, width), with all strides set; anything else as it is."""
    if inputs.dim() != 4:
        return inputs
    _, n_channels, height, width = inputs.shape
    packed = inputs.contiguous()
    return packed.as_strided(packed.shape, (n_channels * height * width, height * width, width, 1))
