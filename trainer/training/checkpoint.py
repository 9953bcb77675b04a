"""Checkpoints as bytes: safetensors for tensors, JSON for everything else. Nothing is ever unpickled."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

_FORMAT = "1"


class CheckpointError(ValueError):
    """The bytes are not a checkpoint of this trainer."""


@dataclass(frozen=True)
class State:
    """Everything that a training needs to continue.

    Attributes:
        trial_ids: the trials of the pack.
        epoch: number of finished epochs.
        tensors: stacked; the first dimension of each runs over `trial_ids`.
        scalars: values that JSON can represent.
    """

    trial_ids: tuple[str, ...]
    epoch: int
    tensors: dict[str, Tensor]
    scalars: dict[str, Any]


def to_bytes(state: State) -> bytes:
    """Serialise a state. The file's metadata contain the trials and the epoch, so that a planner can read them without torch."""
    metadata = {
        "format": _FORMAT,
        "trial_ids": json.dumps(state.trial_ids),
        "epoch": str(state.epoch),
        "scalars": json.dumps(state.scalars),
    }
    data: bytes = save({name: tensor.contiguous() for name, tensor in state.tensors.items()}, metadata)
    return data


def from_bytes(data: bytes) -> State:
    """Read a state that `to_bytes` serialised.

    Raises:
        CheckpointError: the bytes are truncated, damaged or in another format.
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
    """Serialise one trained model as a safetensors file, whose metadata is one JSON object under the key `pareto-sweep`.

    There is only one key, because safetensors writes several keys in no fixed order, and equal models must have equal SHA-256 digests.

    Args:
        tensors: name -> tensor: parameters, buffers, and the cluster of each row as `<weight>.labels`.
        metadata: values that JSON can represent.
    """
    data: bytes = save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        {"pareto-sweep": json.dumps(dict(metadata), sort_keys=True)},
    )
    return data


def model_tensors(data: bytes) -> dict[str, Tensor]:
    """Read the tensors of a file that `model_file` wrote: parameters, buffers, and the cluster of each row as `<weight>.labels`.

    Raises:
        CheckpointError: the bytes are not such a file.
    """
    try:
        return dict(load(data))
    except Exception as error:
        raise CheckpointError(f"not a model's file: {error}") from error


def nest(groups: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Flatten {group: {name: tensor}} into {group/name: tensor}."""
    return {f"{group}/{name}": tensor for group, tensors in groups.items() for name, tensor in tensors.items()}


def group_of(tensors: Mapping[str, Tensor], group: str, index: Sequence[int]) -> dict[str, Tensor]:
    """Return the tensors of one group by name, restricted to the models `index`.

    Args:
        tensors: `<group>/<name>` -> tensor, whose first dimension runs over the models.
        group: the group's name.
        index: the models to return, in this order.
    """
    prefix = f"{group}/"
    return {name.removeprefix(prefix): tensor[list(index)] for name, tensor in tensors.items() if name.startswith(prefix)}
