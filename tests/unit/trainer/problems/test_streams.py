"""Data that is read while it is used: the same batches and the same results as resident data, whatever reads it."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor
from trial_specs import SPARSE_K, comparable, spec

from trainer.api import Problem, Split, Stream, TrainingSettings, TrialResult, from_bytes, start, to_bytes, train
from trainer.catalog import PROBLEMS
from trainer.problems.images.rotation import RandomRotation

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Samples:
    """A map-style dataset: one sample after the other, each a tensor of its own (as from a file)."""

    split: Split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        inputs, targets = self.split.inputs[index], self.split.targets[index]
        return inputs.clone(memory_format=torch.contiguous_format), targets.clone()


class Arrays(Samples):
    """The same with numpy arrays."""

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[override]
        inputs, targets = super().__getitem__(index)
        return inputs.numpy(), targets.numpy()


def streamed(problem: Problem, n_workers: int = 0, kind: type[Samples] = Samples) -> Problem:
    parts = {name: Stream(kind(getattr(problem, name)), n_workers) for name in ("train", "validation", "test")}
    return dataclasses.replace(problem, **parts)  # type: ignore[arg-type]


def is_equal(first: TrialResult, second: TrialResult) -> bool:
    return comparable(first) == comparable(second) and first.weights == second.weights


def colour(n_channels: int) -> Split:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(300, n_channels, 6, 5, generator=generator)
    return Split(inputs, torch.randint(10, (300, 2), generator=generator))


def assert_same_batches(first: Iterator[tuple[Tensor, Tensor]], second: Iterator[tuple[Tensor, Tensor]]) -> list[int]:
    sizes = []
    for (inputs, targets), (others, other_targets) in zip(first, second, strict=True):
        assert torch.equal(inputs, others)
        assert inputs.stride() == others.stride(), "the layout decides how a convolution rounds"
        assert inputs.dtype == others.dtype
        assert torch.equal(targets, other_targets)
        assert targets.dtype == other_targets.dtype
        sizes.append(len(inputs))
    return sizes


@pytest.mark.parametrize(("n_workers", "n_channels"), [(0, 1), (0, 3), (2, 3), pytest.param(2, 1, marks=pytest.mark.slow)])
def test_a_stream_gives_the_batches_of_a_split(n_channels: int, n_workers: int) -> None:
    plain = colour(n_channels)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    # A split whose images lie in channels-last order already, as those of the image problems do.
    turned = Split(torch.empty(300, 6, 5, n_channels).permute(0, 3, 1, 2).copy_(plain.inputs), plain.targets)
    stream = Stream(Samples(plain), n_workers).on(CPU)
    for split in (plain.on(CPU), turned.on(CPU)):
        assert assert_same_batches(split.shuffled(order, 128), stream.shuffled(order, 128)) == [128, 128, 44]
        assert assert_same_batches(split.in_order(100), stream.in_order(100)) == [100, 100, 100]
        for n_samples in (10, 290, 1000):
            (size,) = assert_same_batches(iter([split.first(n_samples)]), iter([stream.first(n_samples)]))
            assert size == min(n_samples, 300)


@pytest.mark.full
@pytest.mark.parametrize("model", ["mdmtn", "hps"])
def test_a_trial_on_streams_is_the_trial_on_splits_to_the_bit(problem: Problem, short: TrainingSettings, model: str) -> None:
    specs = [spec(k, short, str(i), model) for i, k in enumerate(SPARSE_K[:2])]
    for result, expected in zip(train(specs, streamed(problem)), train(specs, problem), strict=True):
        assert result.state == "ok"
        assert is_equal(result, expected)


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(problem: Problem, short: TrainingSettings) -> None:
    """With an augmentation, resumed in the middle, from tensors and from arrays."""
    turned = dataclasses.replace(problem, augment=RandomRotation(20, (0.0,)))
    asked = [spec(SPARSE_K[0], short, model="hps")]
    (expected,) = train(asked, turned)
    (found,) = train(asked, streamed(turned, n_workers=2, kind=Arrays))
    assert is_equal(found, expected)
    training = start(asked, streamed(turned, n_workers=1))
    training.step()
    training.step()
    resumed = start(asked, streamed(turned), state=from_bytes(to_bytes(training.state_dict())))
    while not resumed.done:
        resumed.step()
    assert is_equal(resumed.results()[0], expected)


def test_only_the_training_data_may_be_a_stream(problem: Problem, short: TrainingSettings) -> None:
    asked = [spec(SPARSE_K[0], short, model="hps")]
    mixed = dataclasses.replace(problem, train=Stream(Samples(problem.train)))  # type: ignore[arg-type]
    assert is_equal(train(asked, mixed)[0], train(asked, problem)[0])


def test_reading_leaves_the_global_random_state_alone() -> None:
    state = torch.random.get_rng_state()
    for n_workers in (0, 1):
        stream = Stream(Samples(colour(1)), n_workers)
        assert len(list(stream.in_order(128))) == 3
        stream.first(5)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_pass_may_be_given_up_and_begun_again() -> None:
    stream = Stream(Samples(colour(1)), n_workers=2)
    for _ in range(3):
        inputs, _ = next(iter(stream.in_order(64)))
        assert len(inputs) == 64


def test_what_a_dataset_raises_is_said() -> None:
    class Torn(Samples):
        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            if index == 200:
                raise OSError("img200.png: truncated")
            return super().__getitem__(index)

    for n_workers in (0, 1):
        with pytest.raises(OSError, match=r"img200.png: truncated"):
            list(Stream(Torn(colour(1)), n_workers).in_order(64))


def test_small_networks_read_streams_too(short: TrainingSettings) -> None:
    """Packs that are one vectorised call evaluate a part as one batch."""
    entry = PROBLEMS["analytic/zdt2"]
    built = entry.build(entry.options(n_steps=5))
    settings = dataclasses.replace(short, batch_size=1, optimizer="sgd")
    asked = [spec((0.0, 0.5, 0.5), settings, model="point")]
    assert is_equal(train(asked, streamed(built))[0], train(asked, built)[0])


def test_less_than_no_worker_is_refused() -> None:
    with pytest.raises(ValueError, match="Stream expects n_workers >= 0, found n_workers = -1"):
        Stream(Samples(colour(1)), -1)
