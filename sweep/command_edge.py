"""What every command has at its edge: a user's mistake ends in one message and exit code 2."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from sweep.terminal import echo

# An error class whose module was never imported cannot have been raised.
_USER_ERRORS = {
    "sweep.grid.errors": "ConfigError",
    "sweep.storage.errors": "StoreError",
    "sweep.outcome": "SweepError",
    "sweep.live_report": "ServeError",
    "trainer.problems.sources": "DataError",
    "trainer.own_source": "ProblemError",
    "analysis.manifest": "ResultsError",
}


def told_clearly(command: Callable[..., int | None]) -> Callable[..., None]:
    """A user's mistake ends in one message and exit code 2, an interrupt in 130; never in a traceback."""

    @wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            code = command(*args, **kwargs)
        except KeyboardInterrupt:
            code = 130
        except Exception as error:
            known = tuple(getattr(sys.modules[module], name) for module, name in _USER_ERRORS.items() if module in sys.modules)
            if not isinstance(error, known):
                raise
            text = str(error)
            echo(text if text.startswith("Error: ") else f"Error: {text}", err=True)
            code = 2
        sys.exit(code or 0)

    return wrapper
