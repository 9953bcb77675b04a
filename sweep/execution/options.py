"""The options of a run, which do not affect its results."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RunOptions:
    """The options that a user sets for one run. None of them changes a result; the grid file defines what is trained."""

    address: str | None = None
    """`auto` or `host:port` joins a Ray cluster, `local` starts a Ray here; None joins the one that RAY_ADDRESS names, if any."""
    limit: int | None = None
    """Train only this many trials of each sweep, the first ones; None means all."""
    has_dashboard: bool = True
    """Start Ray's dashboard (on loopback) with a local Ray."""
    fails_fast: bool = False
    """Stop after the first failed trial, or the first pack whose retries have all failed; running epochs are finished and kept."""
    is_quiet: bool = False
    """Show no progress and no summary."""
    notify: str | None = None
    """A web address that receives a message when a trial fails permanently and when a sweep ends."""
