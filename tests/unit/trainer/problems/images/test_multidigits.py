"""MultiDigits: disjoint images, the same pairs every time, networks of the documented size."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from trainer.catalog import MODELS, PROBLEMS
from trainer.objectives.sparsity_metrics import n_parameters
from trainer.problems.images.multidigits import MultiDigitsOptions, fingerprint

ENTRY = PROBLEMS["multidigits"]


def left_digits(inputs: torch.Tensor) -> set[bytes]:
    """The part of each canvas that only the left digit covers, as bytes."""
    return {np.ascontiguousarray(canvas[0, :8, :4]).tobytes() for canvas in inputs.numpy()}


def test_shapes_ranges_and_sizes() -> None:
    problem = ENTRY.build(MultiDigitsOptions(n_train=300, n_validation=50, n_test=60))
    assert (len(problem.train), len(problem.validation), len(problem.test)) == (300, 50, 60)
    assert problem.train.inputs.shape == (300, 1, 12, 12)
    assert problem.train.inputs.min() >= 0
    assert problem.train.inputs.max() <= 1
    assert problem.train.targets.shape == (300, 2)
    assert set(problem.train.targets.unique().tolist()) == set(range(10))
    assert tuple(task.name for task in problem.tasks) == ENTRY.options().facts().tasks
    assert tuple(task.guess_loss for task in problem.tasks) == pytest.approx(ENTRY.options().facts().guess_losses)


def test_no_image_of_one_split_is_in_another() -> None:
    """Every left digit of a split comes from that split's own images: the sets of visible parts do not meet beyond
    what scikit-learn's own images have in common."""
    problem = ENTRY.build(MultiDigitsOptions(n_train=5000, n_validation=2000, n_test=2000))
    seen = [left_digits(split.inputs) for split in (problem.train, problem.validation, problem.test)]
    images = load_digits().images.astype(np.float32) / 16
    parts, counts = np.unique(images[:, :, :4].reshape(len(images), -1), axis=0, return_counts=True)
    twice = {part.reshape(8, 4).tobytes() for part in parts[counts > 1]}
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert seen[first] & seen[second] <= twice
    assert sum(map(len, seen)) > 1500


def test_the_pairs_depend_on_the_options_alone() -> None:
    options = MultiDigitsOptions(n_train=64, n_validation=16, n_test=16)
    first, second = ENTRY.build(options), ENTRY.build(options)
    other = ENTRY.build(dataclasses.replace(options, data_seed=1))
    assert torch.equal(first.train.inputs, second.train.inputs)
    assert not torch.equal(first.train.inputs, other.train.inputs)


def test_the_fingerprint_names_data_and_options() -> None:
    options = MultiDigitsOptions()
    assert fingerprint(options) == fingerprint(MultiDigitsOptions())
    assert fingerprint(options) != fingerprint(dataclasses.replace(options, n_train=2999))
    assert len(fingerprint(options)) == 64


def test_a_wrong_option_names_rule_and_value() -> None:
    with pytest.raises(ValueError, match=r"n_train to be a number >= 1, found n_train = 0"):
        MultiDigitsOptions(n_train=0)


@pytest.mark.parametrize(
    ("model", "n_rows", "n_growl", "n_params"),
    [("mdmtn", 1293, 4, 62_490), ("hps", 291, 2, 11_990), ("mtan", 1051, 6, 99_110), ("stl", 482, 4, 22_960)],
)
def test_networks_have_the_documented_rows(model: str, n_rows: int, n_growl: int, n_params: int) -> None:
    problem = ENTRY.build(MultiDigitsOptions(n_train=8, n_validation=8, n_test=8))
    network = problem.networks[model]()
    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)]
    assert sum(layer.weight.shape[1] for layer in layers) == n_rows
    assert len(network.growl_layers) == n_growl
    assert n_parameters(network) == n_params
    outputs = network(problem.train.inputs)
    assert [tuple(output.shape) for output in outputs] == [(8, 10), (8, 10)]


def test_every_model_of_the_catalog_is_built() -> None:
    problem = ENTRY.build(MultiDigitsOptions(n_train=8, n_validation=8, n_test=8))
    assert set(problem.networks) == set(ENTRY.models) <= set(MODELS)


def test_an_mdmtn_without_its_monitors_is_hps() -> None:
    """alpha starts at (1, 0): the heads then read the trunk alone."""
    problem = ENTRY.build(MultiDigitsOptions(n_train=8, n_validation=8, n_test=8))
    mdmtn, hps = problem.networks["mdmtn"](), problem.networks["hps"]()
    shared = {name: value for name, value in mdmtn.state_dict().items() if name in hps.state_dict()}
    hps.load_state_dict(shared)
    for from_mdmtn, from_hps in zip(mdmtn(problem.train.inputs), hps(problem.train.inputs), strict=True):
        torch.testing.assert_close(from_mdmtn, from_hps)
