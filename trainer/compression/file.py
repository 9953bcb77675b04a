"""Files of compressed networks: this product's format, and the formats of other programs."""

import io
import json
import re
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from trainer.compression.program import INPUT, Program, ProgramError, Step, Stored, Value, inputs_of, stored_of, values_of

if TYPE_CHECKING:
    from onnx import ModelProto


FORMAT = 1
_KEY = "pareto-sweep-network"


def to_bytes(program: Program, card: Mapping[str, Any]) -> bytes:
    """Serialise a program.

    Args:
        program: the program. Index tensors are stored in the smallest integer type that can represent them.
        card: a JSON object that describes the network and its origin.
    """
    described = {
        "format": FORMAT,
        "input_shape": program.input_shape,
        "steps": [
            [step.name, step.op, _plain(step.args), {key: _plain(item) for key, item in step.kwargs.items()}] for step in program.steps
        ],
        "outputs": _plain(program.outputs),
        "card": dict(card),
    }
    tensors = {name: _narrow(tensor.detach().cpu()).contiguous() for name, tensor in program.tensors.items()}
    data: bytes = save(tensors, {_KEY: json.dumps(described, sort_keys=True, allow_nan=False)})
    return data


def from_bytes(data: bytes) -> tuple[Program, dict[str, Any]]:
    """Read the program and the card that `to_bytes` wrote.

    Raises:
        ProgramError: the file is damaged, has another format or version, or contains a step that is not allowed.
    """
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        described = json.loads(header["__metadata__"][_KEY])
        if described["format"] != FORMAT:
            raise ProgramError(f"a compressed network of format {FORMAT} expected, found {described['format']}")
        tensors = {name: tensor.long() if tensor.dtype in _INTEGERS else tensor for name, tensor in load(data).items()}
        steps = tuple(
            Step(name, op, tuple(_argument(a) for a in args), {k: _argument(a) for k, a in kwargs.items()})
            for name, op, args, kwargs in described["steps"]
        )
        outputs = tuple(_argument(output) for output in described["outputs"])
        program = Program(tuple(int(n) for n in described["input_shape"]), steps, outputs, tensors)
        _check(program)
        return program, dict(described["card"])
    except ProgramError:
        raise
    except Exception as error:  # a damaged or foreign file may cause any error
        raise ProgramError(f"not a compressed network: {error!r}") from error


_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
        torch.bool,
        torch.uint8,
        *(torch.int8, torch.int16, torch.int32, torch.int64),
    )
}
_INTEGERS = (torch.uint8, torch.int16, torch.int32, torch.int64)


def _check(program: Program) -> None:
    """Check that every name that a step reads is defined before it."""
    known = {INPUT}
    for step in program.steps:
        missing = [name for name in inputs_of(step) if name not in known]
        missing += [name for name in stored_of([*step.args, *step.kwargs.values()]) if name not in program.tensors]
        if missing:
            raise ProgramError(f"step {step.name} reads {missing[0]}, which is not defined")
        known.add(step.name)
    if any(name not in known for name in values_of(program.outputs)) or any(
        name not in program.tensors for name in stored_of(program.outputs)
    ):
        raise ProgramError("an output is not defined")


def _narrow(tensor: Tensor) -> Tensor:
    if tensor.dtype != torch.int64 or not tensor.numel():
        return tensor
    low, high = int(tensor.min()), int(tensor.max())
    fitting = (kind for kind in _INTEGERS if torch.iinfo(kind).min <= low and high <= torch.iinfo(kind).max)
    return tensor.to(next(fitting))


def _plain(argument: Any) -> Any:
    if isinstance(argument, Value):
        return {"value": argument.name}
    if isinstance(argument, Stored):
        return {"tensor": argument.name}
    if isinstance(argument, torch.dtype):
        return {"dtype": str(argument).removeprefix("torch.")}
    if isinstance(argument, list | tuple):
        return [_plain(item) for item in argument]
    return argument


def _argument(item: Any) -> Any:
    if isinstance(item, dict):
        ((kind, name),) = item.items()
        return {"value": Value, "tensor": Stored, "dtype": _DTYPES.__getitem__}[kind](str(name))
    return [_argument(part) for part in item] if isinstance(item, list) else item


BATCH = "batch"
"""The name of the only variable dimension of an ONNX model."""


class MissingPackageError(ImportError):
    """The package that a format needs is not installed."""


def to_onnx(network: nn.Module, sample: Tensor, names: tuple[str, ...], card: Mapping[str, Any]) -> bytes:
    """Convert a network to an ONNX model for any batch size, whose first dimension is called `batch`.

    Args:
        network: a network with one output for each task, compressed with `ties=False`: runtimes disagree on ONNX's scattered additions with
            repeated indices.
        sample: shape (n, *input_shape), n >= 2.
        names: the names of the outputs.
        card: a JSON object, which is stored in the model's metadata.

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
    """Rename the variable dimension, which PyTorch numbers (`s85`), in the whole model."""
    number = re.compile(rf"\b{re.escape(model.graph.input[0].type.tensor_type.shape.dim[0].dim_param)}\b")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = number.sub(BATCH, dim.dim_param)  # it may be part of a product: `16*s85`


def _drop_traces(model: "ModelProto") -> None:
    """Remove the source lines of each node: they make up half of a small file, and contain paths of the machine that wrote it."""
    for item in (*model.graph.node, *model.graph.value_info, *model.graph.initializer):
        del item.metadata_props[:]


class OnnxNetwork(nn.Module):
    """An ONNX model, run by onnxruntime on one thread.

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
        """Map inputs of shape (n, *input_shape) to one output for each task."""
        (name,) = (item.name for item in self._session.get_inputs())
        return [torch.from_numpy(output) for output in self._session.run(None, {name: inputs.contiguous().numpy()})]


def to_pt2(network: nn.Module, sample: Tensor, card: Mapping[str, Any]) -> bytes:
    """Serialise a network for `torch.export.load`, which reads it without this package; arguments as for `to_onnx`.

    The file is a zip archive with compressed records. Its example inputs are zeros in the shape of the sample, never data.
    """
    exported = torch.export.export(network.eval(), (torch.zeros_like(sample),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)  # each step has a stack trace, with paths of the machine that wrote the file
    # A view of another tensor's storage (MDMTN's mixing weights) would store the whole storage, with a warning.
    exported.state_dict.update({name: tensor.clone() for name, tensor in exported.state_dict.items()})
    stream = io.BytesIO()
    torch.export.save(exported, stream, extra_files={"card.json": json.dumps(dict(card), sort_keys=True)})
    return _deflated(stream.getvalue())


def _deflated(archive: bytes) -> bytes:
    """Compress each record of a zip archive.

    PyTorch stores them uncompressed, and for a small network the JSON of the steps is larger than the weights.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(packed, "w") as target:
        for name in source.namelist():
            target.writestr(zipfile.ZipInfo(name), source.read(name), zipfile.ZIP_DEFLATED, compresslevel=9)
    return packed.getvalue()


def from_pt2(data: bytes) -> nn.Module:
    """Read the network from a file that `to_pt2` wrote."""
    return torch.export.load(io.BytesIO(data)).module()
