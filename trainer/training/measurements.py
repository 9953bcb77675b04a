"""What is measured on a network after its training: a measurement that fails is missing from the row, and costs the trial nothing else."""

from collections.abc import Callable
from typing import TypeVar

import torch

from trainer.pack.device_errors import is_device_error

_MAX_REASON = 200  # characters
Value = TypeVar("Value")


class Measurements:
    """Takes the measurements of one trial whose training is over, and notes those that failed.

    The losses and metrics on the three parts of the data and the sparsity objective are what a row is for: without them there is no row
    that ended `ok`, so they are not taken here, and what they raise is raised. All else may be missing: sizes, gradient cosines, output
    ranges, sparsity rates, convergence, the known optimum, the file with the weights.

    Attributes:
        notes: one sentence for each measurement that failed, for the row.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []

    def take(self, measure: Callable[[], Value], otherwise: Value, failure: str) -> Value:
        """Measure, and go on without the value where that fails.

        Args:
            measure: the measurement. It may run code of the user's own problem.
            otherwise: what to go on with where it fails.
            failure: what the reader of the row should know then; the class and the first line of the error follow it.

        Returns:
            What `measure` returned, or `otherwise`.

        Raises:
            MemoryError, torch.OutOfMemoryError, OSError: the machine's fault; measuring again may work.
            RuntimeError: of a device that cannot be used any more (trainer/pack/device_errors.py).
        """
        try:
            return measure()
        except (MemoryError, torch.OutOfMemoryError, OSError):
            raise
        except Exception as error:  # whatever a measurement raises, the training behind it is kept
            if is_device_error(error):
                raise
            note = f"{failure}: {reason_of(error)}"
            if note not in self.notes:
                self.notes.append(note)
            return otherwise


def reason_of(error: BaseException) -> str:
    """The class of an error and the first line of its message, in at most 200 characters."""
    lines = storable(str(error)).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
    return text if len(text) <= _MAX_REASON else f"{text[: _MAX_REASON - 3]}..."


def storable(text: str) -> str:
    """Text that can be written as UTF-8: what cannot, such as half a character of a file's name, as `\\udc80`."""
    return text.encode(errors="backslashreplace").decode()
