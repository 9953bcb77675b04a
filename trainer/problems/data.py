"""The parts of the data, resident in memory (`Split`) or streamed while they are used (`Stream`).

Both yield the same minibatches to the bit: inputs and targets on the part's device, images in channels-last order (the
fastest layout for small convolutions on a CPU).
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
    """Shape (n_samples, ...); the inputs of the networks."""
    targets: Tensor
    """Shape (n_samples, n_tasks); column t holds the targets of task t. Whole numbers, or floats if a task needs them."""

    def __len__(self) -> int:
        return len(self.inputs)

    def on(self, device: torch.device) -> "Split":
        """Return the same data on a device, in the layout of batches."""
        return Split(channels_last(self.inputs.to(device)), self.targets.to(device))

    def shuffled(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield inputs and targets of the samples `order`, shape (n_samples,), in minibatches; the last may be smaller."""
        for index in order.to(self.inputs.device).split(batch_size):
            yield channels_last(self.inputs[index]), self.targets[index]

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield inputs and targets of all samples in the stored order, in minibatches."""
        for start in range(0, len(self), batch_size):
            yield self.inputs[start : start + batch_size], self.targets[start : start + batch_size]

    def first(self, n_samples: int) -> tuple[Tensor, Tensor]:
        """Return inputs and targets of the first samples, in one tensor each; images in contiguous order."""
        return _plain(self.inputs[:n_samples]), self.targets[:n_samples]


class Samples(Protocol):
    """A map-style `torch.utils.data.Dataset`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Any, Any]:
        """Return the inputs and the targets of a sample, shape (n_tasks,), as tensors or arrays that torch can stack."""


@dataclass(frozen=True)
class Stream:
    """One part of the data that does not fit into memory, streamed by a `torch.utils.data.DataLoader`.

    Every epoch restarts the loader's workers. Results do not depend on the number of workers, and are equal to those of a `Split` of
    the same samples, to the bit.
    """

    dataset: Samples
    """Returns the same sample i every time; random augmentation belongs in `Problem.augment`."""
    n_workers: int = 0
    """Number of processes that read ahead; 0 reads in the training process."""
    device: torch.device = _CPU
    """The device of the batches."""

    def __post_init__(self) -> None:
        if self.n_workers < 0:
            raise ValueError(f"Stream expects n_workers >= 0, found n_workers = {self.n_workers}")

    def __len__(self) -> int:
        return len(self.dataset)

    def on(self, device: torch.device) -> "Stream":
        """Return the same data with batches on a device."""
        return replace(self, device=device)

    def shuffled(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Split.shuffled`."""
        for inputs, targets in self._read(order, batch_size):
            yield channels_last(inputs.to(self.device, non_blocking=True)), targets.to(self.device, non_blocking=True)

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Split.in_order`."""
        return self.shuffled(torch.arange(len(self)), batch_size)

    def first(self, n_samples: int) -> tuple[Tensor, Tensor]:
        """See `Split.first`."""
        parts = list(self._read(torch.arange(min(n_samples, len(self))), _FIRST_BATCH))
        inputs, targets = (torch.cat(column) for column in zip(*parts, strict=True))
        return _plain(inputs), targets

    def _read(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of the loader."""
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
    """Return the first samples of a part, a `share` in (0, 1] of them, but at least one."""
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
    """Return images, shape (n, channels, height, width), in channels-last order; other inputs do not change.

    The strides of dimensions of size 1 are set too, which `contiguous` does not change: convolutions choose their
    algorithm by the strides, so the last bits would depend on how a tensor was created.
    """
    if inputs.dim() != 4:
        return inputs
    _, n_channels, height, width = inputs.shape
    packed = inputs.contiguous(memory_format=torch.channels_last)
    return packed.as_strided(packed.shape, (height * width * n_channels, 1, width * n_channels, n_channels))


def _plain(inputs: Tensor) -> Tensor:
    """Return images in contiguous order with all strides set; other inputs do not change."""
    if inputs.dim() != 4:
        return inputs
    _, n_channels, height, width = inputs.shape
    packed = inputs.contiguous()
    return packed.as_strided(packed.shape, (n_channels * height * width, height * width, width, 1))
