"""Error handling for all commands: an error that the user can fix ends in one message and exit code 2, without a traceback."""

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


def reports_errors(command: Callable[..., int | None]) -> Callable[..., None]:
    """Wrap a command so that it prints one message and exits with code 2 after a user's mistake, and with 130 after an interrupt."""

    @wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            code = command(*args, **kwargs)
        except KeyboardInterrupt:
            code = 130
        except (UserError, AnalysisError, TrainerError) as error:
            code = _report(str(error), error.hint)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # the reader has closed our output; click exits silently
            code = _report(*_system_message(error))
        sys.exit(code or 0)

    return wrapper


def _report(text: str, hint: str | None) -> int:
    """Print an error, with its hint unless the text already contains it, and return the exit code."""
    whole = text if hint is None or hint in text else f"{text}\n  hint: {hint}"
    echo(whole if whole.startswith("Error: ") else f"Error: {whole}", err=True)
    return 2


def _system_message(error: OSError) -> tuple[str, str]:
    """Return the problem and a hint for a system error that no other code has explained."""
    if error.filename is None and not _has_working_folder():
        return "the working directory no longer exists", "change into an existing folder"
    places = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    start = f"{' -> '.join(places)}: " if places else ""
    return f"{start}cannot be used: {error.strerror or error}", "check the path, its owner and permissions, and the disk, then run again"


def _has_working_folder() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True
