"""Safe reading of pickles that contain numpy arrays and Python's own containers, but no code."""

import pickle
from typing import Any, BinaryIO


class NotPlainError(ValueError):
    """The pickle is damaged, or contains something that is neither an array nor one of Python's own values."""


def load_plain(stream: BinaryIO) -> Any:
    """Unpickle arrays, strings, numbers, lists and dictionaries, also if Python 2 wrote them.

    Raises:
        NotPlainError: the pickle contains anything else, of which nothing is called.
    """
    try:
        return _PlainUnpickler(stream, encoding="latin1").load()
    except NotPlainError:
        raise
    # A damaged pickle can raise any of these; the documentation of `pickle` leaves the list open.
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        KeyError,
        MemoryError,
        OverflowError,
    ) as error:
        raise NotPlainError(f"{type(error).__name__}: {error}") from error


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return one of numpy's three names for arrays, under the module names of numpy 1 and 2; refuse all others."""
        import numpy as np

        reconstruct = np.empty(0, np.uint8).__reduce__()[0]
        allowed = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("numpy.core.multiarray", "_reconstruct"): reconstruct,
            ("numpy._core.multiarray", "_reconstruct"): reconstruct,
        }
        if (module, name) not in allowed:
            raise NotPlainError(f"the name {module}.{name}")
        return allowed[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """Refuse references to objects outside the pickle."""
        raise NotPlainError(f"a reference to {pid!r}")
