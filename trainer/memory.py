"""Memory that was freed, given back to the system."""

import ctypes
import sys


def return_freed_memory() -> None:
    """Give back what the C library keeps for later.

    A worker's glibc is told never to trim its heap, because mapping and unmapping every large tensor of a step is slow. Before
    something that allocates much in large pieces (clustering: eight matrices of 66 MB for 2,880 rows), the pieces that training
    left are of no use, and both would add up. Does nothing where there is no glibc.
    """
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
