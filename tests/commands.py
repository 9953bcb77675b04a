"""Commands in tests: how they are called in the test's own process, and how the refusal of wrong input is checked."""

import re
from typing import Protocol

from click.testing import CliRunner, Result

from sweep.cli.commands import cli


class Ended(Protocol):
    """A command that ran in a process of its own."""

    @property
    def code(self) -> int:
        """The exit code."""

    @property
    def stderr(self) -> str:
        """Everything that it wrote to standard error."""


def call(*arguments: object, text: str | bytes | None = None) -> Result:
    """Call a command in this process; exceptions that it lets through are raised here.

    Args:
        arguments: as on the command line, without `sweep`.
        text: what the command reads from standard input.
    """
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], input=text, catch_exceptions=False)


def is_refused(result: Result | Ended, *parts: str, prints: bool = False) -> None:
    """Check that a command ended with exit code 2 and exactly one message, which contains all parts.

    Args:
        result: of a command in this process or in one of its own.
        parts: texts that the message contains.
        prints: whether the command may write to standard output before it refuses.
    """
    if isinstance(result, Result):
        assert result.exit_code == 2, result.output
        assert result.stderr.startswith(("Error: ", "Usage: "))
        assert prints or result.stdout == ""
    else:
        assert result.code == 2, result.stderr
    assert len(re.findall("^Error: ", result.stderr, re.MULTILINE)) == 1
    assert "Traceback" not in result.stderr
    for part in parts:
        assert part in result.stderr
