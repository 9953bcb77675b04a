"""Random rotation: torchvision's pixels, uniform angles, and nothing but training that sees it."""

import dataclasses
from typing import Any

import pytest
import torch
from trial_specs import SPARSE_K, spec

from trainer.api import Problem, TrainingSettings, from_bytes, start, to_bytes, train
from trainer.problems.images.downloads import import_torchvision
from trainer.problems.images.rotation import RandomRotation, rotated

BLACK = (-1.0, -2.0, -3.0)


def degrees(*angles: float) -> torch.Tensor:
    return torch.tensor(angles, dtype=torch.float64)


def numbered(n: int, n_channels: int, height: int, width: int) -> torch.Tensor:
    """Images whose pixels are all different, in channels-last order like those of the trainer."""
    return torch.arange(n * n_channels * height * width, dtype=torch.float32).reshape(n, height, width, n_channels).permute(0, 3, 1, 2)


@pytest.mark.parametrize(("shape", "largest"), [((3, 32, 32), 20), ((1, 28, 28), 180), ((2, 9, 12), 180), ((1, 5, 5), 45)])
def test_it_turns_as_torchvision_does(shape: tuple[int, int, int], largest: float) -> None:
    import_torchvision()
    from torchvision.transforms.functional import rotate

    angles = (2 * torch.rand(40, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 1) * largest
    images, fill = numbered(len(angles), *shape), BLACK[: shape[0]]
    found = rotated(images, angles, fill)
    expected = torch.stack([rotate(image, float(angle), fill=list(fill)) for image, angle in zip(images, angles, strict=True)])
    # Where a point lies in the middle between two pixels, the last bit decides which of them is nearest.
    assert (found != expected).double().mean() < 1e-3


def test_a_quarter_turn_made_by_hand() -> None:
    image = numbered(1, 3, 4, 4)
    assert torch.equal(rotated(image, degrees(90), BLACK), image.rot90(1, (2, 3)))
    assert torch.equal(rotated(image, degrees(-90), BLACK), image.rot90(-1, (2, 3)))
    assert torch.equal(rotated(image, degrees(0), BLACK), image)
    turned = rotated(image, degrees(45), BLACK)
    for channel, value in enumerate(BLACK):
        corners = turned[0, channel, [0, 0, -1, -1], [0, -1, 0, -1]]
        assert corners.tolist() == [value] * 4, "nothing of the image lies there"


def test_each_image_gets_its_own_angle_from_the_generator() -> None:
    images, turn = numbered(1, 1, 28, 28).expand(64, -1, -1, -1), RandomRotation(20, (0.0,))
    first, second, other = (turn(images, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert len({image.numpy().tobytes() for image in first}) > 32
    state = torch.random.get_rng_state()
    turn(images, torch.Generator())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_angles_are_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def record(images: torch.Tensor, angles: torch.Tensor, fill: Any) -> torch.Tensor:
        seen.append(angles)
        return images

    monkeypatch.setattr("trainer.problems.images.rotation.rotated", record)
    RandomRotation(20, (0.0,))(torch.zeros(20_000, 1, 1, 1), torch.Generator().manual_seed(0))
    counts = torch.histc(seen[0].float(), bins=10, min=-20, max=20)
    assert int(counts.sum()) == 20_000
    assert counts.min() > 1850
    assert counts.max() < 2150


@pytest.fixture
def turned(problem: Problem) -> Problem:
    return dataclasses.replace(problem, augment=RandomRotation(20, (0.0,)))


@pytest.mark.full
def test_training_sees_it_and_evaluation_does_not(problem: Problem, short: TrainingSettings) -> None:
    seen: list[torch.Tensor] = []

    def record(inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        seen.append(inputs)
        return inputs

    (plain,) = train([spec(SPARSE_K[0], short)], problem)
    (same,) = train([spec(SPARSE_K[0], short)], dataclasses.replace(problem, augment=record))
    assert same.weights == plain.weights, "an augmentation that does nothing"
    n_epochs, n_batches = 4, 4
    assert len(seen) == n_epochs * n_batches, "validation, training losses at the end and LSUV read the data as it is"
    (other,) = train([spec(SPARSE_K[0], short)], dataclasses.replace(problem, augment=RandomRotation(20, (0.0,))))
    assert other.state == "ok"
    assert other.weights != plain.weights


@pytest.mark.full
def test_every_epoch_turns_anew(problem: Problem, short: TrainingSettings) -> None:
    drawn: list[float] = []

    def record(inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        drawn.append(float(torch.rand((), generator=generator)))
        return inputs

    train([spec(SPARSE_K[0], short)], dataclasses.replace(problem, augment=record))
    assert len(set(drawn)) == len(drawn) == 16


@pytest.mark.full
def test_a_pack_and_a_resumed_run_see_the_same(turned: Problem, short: TrainingSettings) -> None:
    specs = [spec(k, short, str(i), "hps") for i, k in enumerate(SPARSE_K)]
    whole = train(specs, turned)
    (alone,) = train(specs[2:3], turned)
    assert alone.epochs == whole[2].epochs
    assert alone.weights == whole[2].weights
    for stop in (1, 3):
        training = start(specs, turned)
        for _ in range(stop):
            training.step()
        resumed = start(specs, turned, state=from_bytes(to_bytes(training.state_dict())))
        while not resumed.done:
            resumed.step()
        assert [result.weights for result in resumed.results()] == [result.weights for result in whole]
