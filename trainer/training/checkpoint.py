"""State as bytes: safetensors for tensors, JSON for everything else. Nothing is ever unpickled."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

_FORMAT = "1"


class CheckpointError(ValueError):
    """Bytes that are not a state of this trainer."""


@dataclass(frozen=True)
class State:
    """Everything that a training needs to go on.

    `tensors` are stacked: the first dimension of each runs over `trial_ids`. `scalars` is JSON.
    """

    trial_ids: tuple[str, ...]
    epoch: int
    tensors: dict[str, Tensor]
    scalars: dict[str, Any]


def to_bytes(state: State) -> bytes:
    """Serialise. The file's metadata name the trials and the epoch, so that a planner reads them without torch."""
    metadata = {
        "format": _FORMAT,
        "trial_ids": json.dumps(state.trial_ids),
        "epoch": str(state.epoch),
        "scalars": json.dumps(state.scalars),
    }
    data: bytes = save({name: tensor.contiguous() for name, tensor in state.tensors.items()}, metadata)
    return data


def from_bytes(data: bytes) -> State:
    """The state that `to_bytes` wrote.

    Raises:
        CheckpointError: the bytes are torn, or of another format.
    """
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        if header["format"] != _FORMAT:
            raise CheckpointError(f"checkpoint expects format {_FORMAT}, found {header['format']}")
        return State(
            tuple(json.loads(header["trial_ids"])),
            int(header["epoch"]),
            dict(load(data)),
            json.loads(header["scalars"]),
        )
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"not a checkpoint: {error}") from error


def model_file(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> bytes:
    """One trained model as a safetensors file; its metadata is one JSON object under the key `pareto-sweep`.

    One key only: safetensors writes several in no fixed order, and the same model must have the same SHA-256.
    """
    data: bytes = save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        {"pareto-sweep": json.dumps(dict(metadata), sort_keys=True)},
    )
    return data


def model_tensors(data: bytes) -> dict[str, Tensor]:
    """The tensors of a file that `model_file` made: parameters, buffers, and the cluster of each row as `<weight>.labels`.

    Raises:
        CheckpointError: not such a file.
    """
    try:
        return dict(load(data))
    except Exception as error:
        raise CheckpointError(f"not a model's file: {error}") from error


def nest(groups: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """{group: {name: tensor}} -> {group/name: tensor}."""
    return {f"{group}/{name}": tensor for group, tensors in groups.items() for name, tensor in tensors.items()}


def group_of(tensors: Mapping[str, Tensor], group: str, index: Sequence[int]) -> dict[str, Tensor]:
    """The tensors of one group, models `index` of each."""
    prefix = f"{group}/"
    return {name.removeprefix(prefix): tensor[list(index)] for name, tensor in tensors.items() if name.startswith(prefix)}
