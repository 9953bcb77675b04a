"""How a run is carried out, whatever it trains."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RunOptions:
    """What a user decides for one run; nothing here changes a result. The grid file says what is trained."""

    address: str | None = None
    """`auto` or `host:port` joins a Ray cluster, `local` starts a Ray here; None joins the one that RAY_ADDRESS names, if any."""
    limit: int | None = None
    """Train only the first so many trials of each sweep."""
    has_dashboard: bool = True
    """Start Ray's dashboard (on loopback) with a local Ray."""
    fails_fast: bool = False
    """Stop when the first trial has failed, or a pack whose retries have failed; running epochs end and are kept."""
    is_quiet: bool = False
    """Show no progress and no summary."""
    notify: str | None = None
    """Web address that is sent a message when a trial fails for good and when a sweep ends."""
