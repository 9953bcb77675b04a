"""Where the C library takes memory from: a worker's glibc keeps what is freed, which is right for steps and wrong for clustering."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

_M_MMAP_MAX = -4  # of glibc's mallopt
_DEFAULT_MAPPINGS = 65_536


@contextlib.contextmanager
def large_pieces_apart() -> Iterator[None]:
    """Within it, large pieces are mapped by themselves and go back to the system when they are freed.

    A worker's environment says `MALLOC_MMAP_MAX_=0`, since mapping and unmapping every large tensor of a step is slow. But
    clustering allocates a dozen matrices of 66 MB (2,880 rows) one after the other, and what training has left in the heap is of
    no use for them. So the heap is trimmed first. Does nothing where glibc is not told so.
    """
    if not sys.platform.startswith("linux") or os.environ.get("MALLOC_MMAP_MAX_") != "0":
        yield
        return
    library = ctypes.CDLL(None)
    library.malloc_trim(0)
    library.mallopt(_M_MMAP_MAX, _DEFAULT_MAPPINGS)
    try:
        yield
    finally:
        library.mallopt(_M_MMAP_MAX, 0)
