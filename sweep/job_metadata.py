"""What Ray's dashboard says of a run on its Jobs page."""

from collections.abc import Sequence

from sweep.member import Member


def job_metadata(members: Sequence[Member], attempt: int, n_packs: int) -> dict[str, str]:
    """Sweeps, folders and counts of an attempt; `job_name` is the page's Name column.

    In a submitted job (`ray job submit`) what was submitted keeps its own metadata, and these stand beside it.

    Args:
        members: the sweeps of the attempt.
        attempt: its number.
        n_packs: packs that it trains.
    """
    names = ", ".join(member.config.name for member in members)
    return {
        "job_name": f"sweep {names}",
        "sweep": names,
        "folder": ", ".join(str(member.store.root) for member in members),
        "attempt": str(attempt),
        "trials": str(sum(len(member.trials) for member in members)),
        "trials_to_train": str(sum(member.plan.n_todo for member in members)),
        "packs": str(n_packs),
    }
