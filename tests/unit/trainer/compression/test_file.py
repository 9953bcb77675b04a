"""A compressed network in other programs' formats: what the files hold, and that they compute the same for any batch."""

import io
import json
import zipfile
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import trainer
from trainer.compression.compress import compress
from trainer.compression.file import to_onnx, to_pt2
from trainer.compression.program import CompactNetwork

CARD = {"trial_id": "0a1b", "verified": True}
PRODUCT = str(Path(trainer.__file__).parent).encode()


class TwoHeads(nn.Module):
    """A network whose weights are few, so that all else in a file counts."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(13, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU())
        self.heads = nn.ModuleList([nn.Linear(16, 3), nn.Linear(16, 1)])

    def forward(self, inputs: Tensor) -> list[Tensor]:
        shared = self.trunk(inputs)
        return [head(shared) for head in self.heads]


class Convolutions(nn.Module):
    """One convolution whose channels are flattened, some of them removed."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.heads = nn.ModuleList([nn.Linear(54, 3), nn.Linear(54, 1)])
        self.mix = nn.Parameter(torch.tensor([0.5, 0.25]))
        for head in self.heads:
            head.weight.data[:, 9:25] = 0.0

    def forward(self, inputs: Tensor) -> list[Tensor]:
        shared = self.trunk(inputs)
        return [head(shared) * weight for head, weight in zip(self.heads, self.mix, strict=True)]


@pytest.fixture(scope="module", params=[TwoHeads, Convolutions])
def small(request: pytest.FixtureRequest) -> tuple[CompactNetwork, Tensor, int]:
    """A compressed network, a sample of its inputs, and the bytes of its weights."""
    torch.manual_seed(0)
    sample = torch.randn(2, 13) if request.param is TwoHeads else torch.randn(2, 1, 8, 8)
    found = compress(request.param().eval(), sample, ties=False)
    return found.network.eval(), sample, sum(tensor.nbytes for tensor in found.program.tensors.values())


@pytest.mark.filterwarnings("error:No complete tensor")
def test_a_pt2_file_is_its_weights_and_little_else(small: tuple[CompactNetwork, Tensor, int]) -> None:
    network, sample, weight_bytes = small
    data = to_pt2(network, sample, CARD)
    assert len(data) < weight_bytes + 12_000
    records = {name: zipfile.ZipFile(io.BytesIO(data)).read(name) for name in zipfile.ZipFile(io.BytesIO(data)).namelist()}
    assert not [name for name, content in records.items() if PRODUCT in content], "no path of the machine that wrote it"
    card = {"card.json": ""}
    loaded = torch.export.load(io.BytesIO(data), extra_files=card)
    assert json.loads(card["card.json"]) == CARD
    assert loaded.example_inputs is not None
    (example,) = loaded.example_inputs[0]
    assert example.shape == sample.shape
    assert not example.any(), "no sample of anybody's data"
    for n in (1, 3, 256):
        inputs = torch.randn(n, *sample.shape[1:])
        assert all(torch.equal(a, b) for a, b in zip(network(inputs), loaded.module()(inputs), strict=True))


def test_a_pt2_file_on_a_disk_loads(small: tuple[CompactNetwork, Tensor, int], tmp_path: Path) -> None:
    network, sample, _ = small
    path = tmp_path / "model.pt2"
    path.write_bytes(to_pt2(network, sample, CARD))
    assert all(torch.equal(a, b) for a, b in zip(network(sample), torch.export.load(path).module()(sample), strict=True))


@pytest.mark.full
def test_an_onnx_model_takes_any_batch_and_calls_it_batch(small: tuple[CompactNetwork, Tensor, int]) -> None:
    network, sample, weight_bytes = small
    data = to_onnx(network, sample, ("left", "right"), CARD)
    assert len(data) < weight_bytes + 12_000
    assert PRODUCT not in data
    graph = onnx.load_from_string(data).graph
    named = {dim.dim_param for value in (*graph.input, *graph.output, *graph.value_info) for dim in value.type.tensor_type.shape.dim}
    assert named - {""} == {"batch"}
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    assert [item.shape for item in session.get_inputs()] == [["batch", *sample.shape[1:]]]
    assert [(item.name, item.shape[0]) for item in session.get_outputs()] == [("left", "batch"), ("right", "batch")]
    for n in (1, 3, 256):
        inputs = torch.randn(n, *sample.shape[1:])
        found = session.run(None, {"inputs": inputs.numpy()})
        assert all(torch.allclose(a, torch.from_numpy(b), atol=1e-5) for a, b in zip(network(inputs), found, strict=True))
