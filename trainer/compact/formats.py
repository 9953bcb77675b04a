"""A compressed network in other programs' formats: ONNX, and PyTorch's own exported program."""

import io
import json
import re
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from onnx import ModelProto

BATCH = "batch"
"""Name of the one dimension that an ONNX model leaves open."""


class MissingPackageError(ImportError):
    """A format needs a package that is not installed."""


def to_onnx(network: nn.Module, sample: Tensor, names: tuple[str, ...], card: Mapping[str, Any]) -> bytes:
    """The network as an ONNX model with any batch size; its first dimension is called `batch`.

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
    _name_batch(model)
    _drop_traces(model)
    onnx.helper.set_model_props(model, {"pareto-sweep": json.dumps(dict(card), sort_keys=True)})
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def _name_batch(model: "ModelProto") -> None:
    """Rename the open dimension, which PyTorch numbers (`s85`), wherever the model names it."""
    number = re.compile(rf"\b{re.escape(model.graph.input[0].type.tensor_type.shape.dim[0].dim_param)}\b")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = number.sub(BATCH, dim.dim_param)  # it may be part of a product: `16*s85`


def _drop_traces(model: "ModelProto") -> None:
    """Drop which line of which file made each node: half of a small file, and paths of the machine that wrote it."""
    for item in (*model.graph.node, *model.graph.value_info, *model.graph.initializer):
        del item.metadata_props[:]


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
    """The network as a file that `torch.export.load` reads without this package; arguments as for `to_onnx`.

    The file is a zip archive whose records are compressed. Its example inputs are zeros of the sample's shape, never data.
    """
    exported = torch.export.export(network.eval(), (torch.zeros_like(sample),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)  # one for each step, with paths of the machine that wrote it
    # A view of another tensor's storage (MDMTN's mixing weights) would bring all of it into the file, with a warning.
    exported.state_dict.update({name: tensor.clone() for name, tensor in exported.state_dict.items()})
    stream = io.BytesIO()
    torch.export.save(exported, stream, extra_files={"card.json": json.dumps(dict(card), sort_keys=True)})
    return _deflated(stream.getvalue())


def _deflated(archive: bytes) -> bytes:
    """The zip archive with each record compressed: PyTorch stores them as they are, and the steps' JSON outweighs a small network."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(packed, "w") as target:
        for name in source.namelist():
            target.writestr(zipfile.ZipInfo(name), source.read(name), zipfile.ZIP_DEFLATED, compresslevel=9)
    return packed.getvalue()


def from_pt2(data: bytes) -> nn.Module:
    """The network of a file that `to_pt2` made."""
    return torch.export.load(io.BytesIO(data)).module()
