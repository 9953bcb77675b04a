"""A compressed network in other programs' formats: ONNX, and PyTorch's own exported program."""

import io
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class MissingPackageError(ImportError):
    """A format needs a package that is not installed."""


def to_onnx(network: nn.Module, sample: Tensor, names: tuple[str, ...], card: Mapping[str, Any]) -> bytes:
    """The network as an ONNX model with any batch size.

    Args:
        network: one output a task. (Sums over tied rows are left to the caller: `compress(..., ties=False)`. ONNX's
            scattered additions with repeated places are not computed alike everywhere.)
        sample: shape (n, *input_shape), n >= 2.
        names: of the outputs.
        card: kept in the model's metadata as JSON.

    Raises:
        MissingPackageError: onnx or onnxscript is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch.onnx.export needs it
    except ImportError as error:
        raise MissingPackageError(f"ONNX needs the package {error.name}") from error
    exported = torch.onnx.export(
        network.eval(),
        (sample,),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        input_names=["inputs"],
        output_names=list(names),
        verbose=False,
    )
    assert exported is not None
    model = exported.model_proto
    onnx.helper.set_model_props(model, {"pareto-sweep": json.dumps(dict(card), sort_keys=True)})
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


class OnnxNetwork(nn.Module):
    """An ONNX model that onnxruntime runs on one thread.

    Raises:
        MissingPackageError: onnxruntime is not installed.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__()
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingPackageError(f"running an ONNX model needs the package {error.name}") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Inputs of shape (n, *input_shape) to one output a task."""
        (name,) = (item.name for item in self._session.get_inputs())
        return [torch.from_numpy(output) for output in self._session.run(None, {name: inputs.contiguous().numpy()})]


def to_pt2(network: nn.Module, sample: Tensor, card: Mapping[str, Any]) -> bytes:
    """The network as a file that `torch.export.load` reads without this package; arguments as for `to_onnx`."""
    exported = torch.export.export(network.eval(), (sample,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    stream = io.BytesIO()
    torch.export.save(exported, stream, extra_files={"card.json": json.dumps(dict(card), sort_keys=True)})
    return stream.getvalue()


def from_pt2(data: bytes) -> nn.Module:
    """The network of a file that `to_pt2` made."""
    return torch.export.load(io.BytesIO(data)).module()
