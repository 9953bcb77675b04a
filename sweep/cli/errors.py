"""What every command has at its edge: what a user can mend ends in one message and exit code 2, and no system error ends in a traceback."""

import errno
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from analysis.errors import AnalysisError
from sweep.errors import UserError
from sweep.terminal import echo
from trainer.errors import TrainerError


def told_clearly(command: Callable[..., int | None]) -> Callable[..., None]:
    """A user's mistake ends in one message and exit code 2, an interrupt in 130; never in a traceback."""

    @wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            code = command(*args, **kwargs)
        except KeyboardInterrupt:
            code = 130
        except (UserError, AnalysisError, TrainerError) as error:
            code = _told(str(error), error.hint)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # the reader of our output is gone: click ends quietly
            code = _told(*_system_message(error))
        sys.exit(code or 0)

    return wrapper


def _told(text: str, hint: str | None) -> int:
    """Print an error, with its hint where the text does not have it yet; returns the exit code."""
    whole = text if hint is None or hint in text else f"{text}\n  hint: {hint}"
    echo(whole if whole.startswith("Error: ") else f"Error: {whole}", err=True)
    return 2


def _system_message(error: OSError) -> tuple[str, str]:
    """What is wrong and what to do, for an error of the system that nobody below has explained: the last net."""
    if error.filename is None and not _has_working_folder():
        return "the working directory is gone", "change into a folder that exists"
    places = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    start = f"{' -> '.join(places)}: " if places else ""
    return f"{start}cannot be used: {error.strerror or error}", "check the path, its owner and permissions, and the disk, then run again"


def _has_working_folder() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True
