"""The choice of the backend that computes a pack's forward and backward passes. The rest of the trainer is the same for all backends."""

from torch import nn

from trainer.pack.device import BACKENDS, Place
from trainer.pack.kernels.library import why_missing
from trainer.pack.loop import KernelPack, Pack
from trainer.pack.packed import FusedPackedPack, PackedPack, PooledPackedPack, ProductsPack
from trainer.pack.stacked import VectorisedPack
from trainer.problems.problem import Problem

_KINDS = (Pack, KernelPack, VectorisedPack, PackedPack, ProductsPack, PooledPackedPack, FusedPackedPack)
_PACKS: dict[str, type[Pack]] = {pack.backend: pack for pack in _KINDS}


def pack_of(initial: nn.Module, n_models: int, problem: Problem, place: Place) -> Pack:
    """Create a pack of copies of a network.

    Args:
        initial: the network that all models start from.
        n_models: number of copies.
        problem: data and tasks.
        place: device and backend.

    Raises:
        ValueError: the backend does not exist; the message names it.
        BackendMissingError: the backend is not available on this machine or device.
    """
    name = backend_of(problem, place)
    if name not in _PACKS:
        raise ValueError(f"backend expects auto or one of {', '.join(BACKENDS)}, found {name}")
    return _PACKS[name](initial, n_models, problem, place.device)


def backend_of(problem: Problem, place: Place) -> str:
    """Return the backend of a place. `auto` does not measure anything, because on a CPU a timed choice would not be reproducible.

    Args:
        problem: data and tasks.
        place: device and backend.
    """
    if place.backend != "auto":
        return place.backend
    if problem.is_small:
        return "vmap"
    if place.device.type == "cpu":
        return "loop" if why_missing() else "loop+kernel"
    return "packed"
