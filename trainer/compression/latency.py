"""The latency of networks on one core."""

import statistics
import time

import torch
from torch import Tensor, nn

_LEAST_S = 0.2
_MOST_CALLS = 200


@torch.inference_mode()
def latencies(networks: dict[str, nn.Module], batch: Tensor, least_s: float = _LEAST_S) -> dict[str, float]:
    """Measure the median time of a call of each network on one thread, in seconds.

    The networks are called in turn, so that other load on the machine affects all of them equally.

    Args:
        networks: name -> network; each is put into evaluation mode.
        batch: the inputs of a call, shape (n, *input_shape).
        least_s: the least number of seconds for which each network is called, unless 200 calls take less; it is called at least three
            times.

    Returns:
        Name -> median seconds of a call.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds: dict[str, list[float]] = {name: [] for name in networks}
        for network in networks.values():
            network.eval()
            network(batch)
        while (min(sum(times) for times in seconds.values()) < least_s and len(next(iter(seconds.values()))) < _MOST_CALLS) or _few(
            seconds
        ):
            for name, network in networks.items():
                started = time.perf_counter()
                network(batch)
                seconds[name].append(time.perf_counter() - started)
        return {name: statistics.median(times) for name, times in seconds.items()}
    finally:
        torch.set_num_threads(n_threads)


def _few(seconds: dict[str, list[float]]) -> bool:
    return min(len(times) for times in seconds.values()) < 3
