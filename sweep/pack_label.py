"""What a person reads of a pack: its id, the first of its trials with its k, and how many more."""

from collections.abc import Sequence


def pack_label(pack_id: str, trial_ids: Sequence[str], preferences: Sequence[Sequence[float] | None], method: str) -> str:
    """For example `pack-0a1b2c3d-2 4f5e6d7c8b9a0f1e k=(0.02, 0.49, 0.49) and 1 more`; a method without preferences stands by its name."""
    k = preferences[0]
    more = f" and {len(trial_ids) - 1} more" if len(trial_ids) > 1 else ""
    return f"{pack_id} {trial_ids[0]} {method if k is None else f'k={k_text(k)}'}{more}"


def k_text(preference: Sequence[float | None]) -> str:
    """Four digits are enough to tell vectors apart. A number that a damaged row lacks is `?`."""
    return f"({', '.join('?' if value is None else f'{value:.4g}' for value in preference)})"
