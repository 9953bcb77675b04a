"""How long a network takes on one core."""

import statistics
import time

import torch
from torch import Tensor, nn

_LEAST_S = 0.2
_MOST_CALLS = 200


@torch.inference_mode()
def latencies(networks: dict[str, nn.Module], batch: Tensor, least_s: float = _LEAST_S) -> dict[str, float]:
    """Median seconds of a call of each network, on one thread; they take turns, so that a busy machine is as busy for all.

    Args:
        networks: name -> network; each is put into evaluation mode.
        batch: the inputs of a call.
        least_s: each network is called for so long at least, or 200 times, and three times in any case.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        taken: dict[str, list[float]] = {name: [] for name in networks}
        for network in networks.values():
            network.eval()
            network(batch)
        while (min(sum(times) for times in taken.values()) < least_s and len(next(iter(taken.values()))) < _MOST_CALLS) or _few(taken):
            for name, network in networks.items():
                started = time.perf_counter()
                network(batch)
                taken[name].append(time.perf_counter() - started)
        return {name: statistics.median(times) for name, times in taken.items()}
    finally:
        torch.set_num_threads(n_threads)


def _few(taken: dict[str, list[float]]) -> bool:
    return min(len(times) for times in taken.values()) < 3
