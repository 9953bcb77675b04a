"""Makes `python -m sweep` run the command `sweep`."""

from sweep.cli.commands import main

main()
