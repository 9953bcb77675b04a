"""Which backend computes a pack's passes. Everything else in the trainer is the same for all of them."""

from torch import nn

from trainer.pack.device import BACKENDS, Place
from trainer.pack.kernels.library import why_missing
from trainer.pack.loop import KernelPack, Pack
from trainer.pack.packed import FusedPackedPack, PackedPack, ProductsPack
from trainer.pack.stacked import VectorisedPack
from trainer.problems.problem import Problem

_KINDS = (Pack, KernelPack, VectorisedPack, PackedPack, ProductsPack, FusedPackedPack)
_PACKS: dict[str, type[Pack]] = {pack.backend: pack for pack in _KINDS}


def pack_of(initial: nn.Module, n_models: int, problem: Problem, place: Place) -> Pack:
    """A pack of copies of a network.

    Raises:
        ValueError: no such backend; the message names it.
        BackendMissingError: not on this machine or device.
    """
    name = backend_of(problem, place)
    if name not in _PACKS:
        raise ValueError(f"backend expects auto or one of {', '.join(BACKENDS)}, found {name}")
    return _PACKS[name](initial, n_models, problem, place.device)


def backend_of(problem: Problem, place: Place) -> str:
    """The backend that a place asks for. `auto` measures nothing: on a CPU a timed choice would break repeatability."""
    if place.backend != "auto":
        return place.backend
    if problem.is_small:
        return "vmap"
    if place.device.type == "cpu":
        return "loop" if why_missing() else "loop+kernel"
    return "packed"
