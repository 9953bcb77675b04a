"""Measurements on a network after its training. If one fails, its value is missing from the row; the trial is not affected otherwise."""

from collections.abc import Callable
from typing import TypeVar

import torch

from trainer.pack.device_errors import is_device_error

_MAX_REASON = 200  # characters
Value = TypeVar("Value")


class Measurements:
    """Takes the measurements of one trial after its training, and records those that fail.

    A row in state `ok` always has the sparsity objective, and the losses and metrics on the three parts of the data. These are therefore
    not measured here, and their errors are raised. All other values may be missing: sizes, gradient cosines, output ranges, sparsity rates,
    convergence, the known optimum, the file with the weights.

    Attributes:
        notes: one sentence for each measurement that failed, to be stored in the row.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []

    def take(self, measure: Callable[[], Value], otherwise: Value, failure: str) -> Value:
        """Take a measurement, and continue without its value if it fails.

        Args:
            measure: the measurement. It may run code of the user's own problem.
            otherwise: the value to continue with if it fails.
            failure: the note for the row in that case; the class and the first line of the error are appended.

        Returns:
            The value of `measure()`, or `otherwise`.

        Raises:
            MemoryError, torch.OutOfMemoryError, OSError: the machine failed; another attempt may succeed.
            RuntimeError: the device is no longer usable (trainer/pack/device_errors.py).
        """
        try:
            return measure()
        except (MemoryError, torch.OutOfMemoryError, OSError):
            raise
        except Exception as error:  # whatever a measurement raises, the trained network is kept
            if is_device_error(error):
                raise
            note = f"{failure}: {reason_of(error)}"
            if note not in self.notes:
                self.notes.append(note)
            return otherwise


def reason_of(error: BaseException) -> str:
    """Return the class of an error and the first line of its message, in at most 200 characters."""
    lines = storable(str(error)).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
    return text if len(text) <= _MAX_REASON else f"{text[: _MAX_REASON - 3]}..."


def storable(text: str) -> str:
    """Return a text that can be encoded as UTF-8, with escapes such as `\\udc80` for code points (from file names) that cannot."""
    return text.encode(errors="backslashreplace").decode()
