"""What each architecture computes, which of its layers GrOWL may prune, and that the trainer trains it."""

import pytest
import torch
from torch import nn
from trial_specs import SPARSE_K, spec

from trainer.api import Problem, TrainingSettings, from_bytes, start, to_bytes, train
from trainer.catalog import MODELS, resolve
from trainer.models.family import Layers
from trainer.models.layers import weighted_layers
from trainer.models.mtan import MTAN
from trainer.models.published import CIFAR10MNIST, MULTIMNIST

TEN_TWICE = (10, 10)
PUBLISHED = [(MULTIMNIST, (1, 28, 28)), (CIFAR10MNIST, (3, 32, 32))]
MADE_BY_MANY = ["mdmtn", "hps", "mtan", "stl"]


def readers(network: nn.Module, inputs: torch.Tensor) -> tuple[set[str], list[str]]:
    """Names of the layers that read the inputs themselves, and of those whose output a sigmoid reads next."""
    reads, order = set(), []

    def hook(name: str) -> object:
        def called(_module: nn.Module, arguments: tuple[torch.Tensor, ...], _output: object) -> None:
            order.append(name)
            if isinstance(network.get_submodule(name), nn.Conv2d | nn.Linear) and arguments[0] is inputs:
                reads.add(name)

        return called

    leaves = [name for name, layer in network.named_modules() if not list(layer.children())]
    handles = [network.get_submodule(name).register_forward_hook(hook(name)) for name in leaves]  # type: ignore[arg-type]
    network(inputs)
    for handle in handles:
        handle.remove()
    gates, last = [], ""
    for name in order:
        layer = network.get_submodule(name)
        if isinstance(layer, nn.Sigmoid):
            gates.append(last)
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            last = name
    return reads, gates


@pytest.mark.parametrize(("layers", "shape"), PUBLISHED)
@pytest.mark.parametrize("model", MADE_BY_MANY)
def test_growl_touches_all_but_input_layers_gates_and_heads(layers: Layers, shape: tuple[int, ...], model: str) -> None:
    network = layers.networks(TEN_TWICE)[model]().eval()
    reads, gates = readers(network, torch.zeros(2, *shape))
    weighted = {name for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
    heads = {name for name in weighted if name.startswith("heads.")}
    assert len(heads) == 2
    assert len(gates) == (4 if model == "mtan" else 0)
    assert set(network.growl_layers) == weighted - heads - reads - set(gates)  # type: ignore[arg-type]


def test_the_catalog_names_the_classes() -> None:
    networks = MULTIMNIST.networks(TEN_TWICE)
    assert set(networks) == {*MADE_BY_MANY, "kdmtl"}
    for name, make in networks.items():
        assert type(make()) is resolve(MODELS[name])


@pytest.mark.parametrize(("layers", "shape"), PUBLISHED)
def test_mtan_by_hand(layers: Layers, shape: tuple[int, ...]) -> None:
    """Head t reads S times the gate of S, which reads S2 times its gate, which reads S1."""
    torch.manual_seed(0)
    network = layers.networks(TEN_TWICE)["mtan"]().eval()
    assert isinstance(network, MTAN)
    inputs = torch.randn(4, *shape)
    first, second, last = (int(name) for name in weighted_layers(network.trunk))
    s1 = network.trunk[first:second](inputs)
    s2 = network.trunk[second : last - 1](s1)  # without Flatten
    s3 = network.trunk[last:](s2.flatten(1))
    assert s1.dim() == s2.dim() == 4
    for output, attention, head in zip(network(inputs), network.attentions, network.heads, strict=True):
        a = attention.second(s1)  # type: ignore[union-attr, operator]
        assert a.shape == s2.shape
        assert 0 < float(a.detach().min()) < float(a.detach().max()) < 1
        b = attention.last((a * s2).flatten(1))  # type: ignore[union-attr, operator]
        assert b.shape == s3.shape
        torch.testing.assert_close(output, head(b * s3))


def test_open_gates_make_mtan_hps() -> None:
    networks = MULTIMNIST.networks(TEN_TWICE)
    mtan, hps = networks["mtan"](), networks["hps"]()
    hps.load_state_dict({name: value for name, value in mtan.state_dict().items() if name in hps.state_dict()})
    with torch.no_grad():
        for name, value in mtan.named_parameters():
            if name.startswith("attentions"):
                value.fill_(0 if name.endswith("weight") else 100)  # sigmoid(100) is 1 in float32
    inputs = torch.randn(4, 1, 28, 28)
    for from_mtan, from_hps in zip(mtan(inputs), hps(inputs), strict=True):
        torch.testing.assert_close(from_mtan, from_hps)


def test_mtan_needs_three_blocks() -> None:
    with pytest.raises(ValueError, match="MTAN expects a trunk of 3 Conv2d and Linear layers, found 2"):
        MTAN(MULTIMNIST.monitor(), [MULTIMNIST.attention()], MULTIMNIST.heads((10,)))


def test_single_task_networks_share_nothing() -> None:
    network = MULTIMNIST.networks(TEN_TWICE)["stl"]()
    network(torch.randn(4, 1, 28, 28))[0].sum().backward()
    for name, value in network.named_parameters():
        _, task, *_ = name.split(".")
        assert (value.grad is not None) is (task == "0"), name


def test_the_network_of_distillation_gives_the_outputs_of_hps() -> None:
    kdmtl, hps = MULTIMNIST.networks(TEN_TWICE)["kdmtl"](), MULTIMNIST.networks(TEN_TWICE)["hps"]()
    hps.load_state_dict({name: value for name, value in kdmtl.state_dict().items() if name in hps.state_dict()})
    inputs = torch.randn(4, 1, 28, 28)
    for from_kdmtl, from_hps in zip(kdmtl(inputs), hps(inputs), strict=True):
        assert torch.equal(from_kdmtl, from_hps)
    shared = kdmtl.trunk(inputs)
    adapted = kdmtl.adapted(shared)
    assert [features.shape for features in adapted] == [shared.shape] * 2
    assert torch.equal(adapted[1], kdmtl.adaptors[1](shared))
    assert kdmtl.growl_layers == hps.growl_layers


@pytest.mark.full
@pytest.mark.parametrize("model", ["mtan", "stl"])
def test_it_trains_sparsifies_and_resumes_to_the_bit(problem: Problem, short: TrainingSettings, model: str) -> None:
    specs = [spec(k, short, str(i), model) for i, k in enumerate(SPARSE_K[:2])]
    whole = train(specs, problem)
    for result in whole:
        assert result.state == "ok"
        assert result.measurements.rows.sparsity_rate > 0
        spared = {name for name, share in result.measurements.layer_sparsity.items() if share == 0}
        assert {"heads.0.weight", "heads.1.weight"} < spared
    training = start(specs, problem)
    training.step()
    training.step()
    resumed = start(specs[1:], problem, state=from_bytes(to_bytes(training.state_dict())))
    while not resumed.done:
        resumed.step()
    (found,) = resumed.results()
    assert found.epochs == whole[1].epochs
    assert found.weights == whole[1].weights
