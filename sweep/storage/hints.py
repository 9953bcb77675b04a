"""What a user can do about a file of a results folder that cannot be read."""

from sweep.storage.folder import FOLDERS, LATER
from sweep.storage.remote import StorePath


def what_to_do(path: StorePath) -> str:
    """In one line."""
    kind = path.parent.name if path.parent.name in (*FOLDERS, *LATER) else path.name
    return {
        "rows": "delete it: the next run trains this trial again",
        "epochs": "delete it: only the curves of this trial are lost",
        "checkpoints": "delete it: its trials start from an older checkpoint, or anew",
        "blobs": "restore it from a copy, or delete it and forget its trial, which the next run trains again",
        "plans": "delete it: the results do not need it",
        "live": "delete it: the next epoch writes it again",
        "latency": "delete it: `sweep measure` measures its trial again",
        "trials.parquet": "restore it from a copy, or move it away, and the next run trains its trials again",
        "epochs.parquet": "restore it from a copy, or move it away: only curves are lost",
    }.get(kind, "delete it when no run is on")
