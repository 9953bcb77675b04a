"""The Ray that a run uses, either a local one or a cluster, and the metadata that the cluster's job page shows about the run."""

import os
from collections.abc import Mapping, Sequence

from sweep.errors import SweepError
from sweep.execution.sweep_run import SweepRun

LOCAL = "local"
_ADDRESS, _JOB = "RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR"
# The folder into which Ray unpacks the files of a submitted job. Each node has its own, and Ray removes it after the job.
_UNPACKED = "working_dir_files"


def cluster_address(given: str | None, environment: Mapping[str, str] | None = None) -> str | None:
    """Return the address of the cluster that a run joins, or None if it starts a local Ray.

    If no address is given, Ray's own variable RAY_ADDRESS is used. In a submitted job it names the cluster in which the job runs.
    If the variable holds a dashboard URL, as for the `ray job` commands, it is ignored, since a run cannot join a URL.

    Args:
        given: the value of `--address`: None, `local`, `auto` or `host:port`.
        environment: environment variables; None means those of this process.

    Raises:
        SweepError: RAY_ADDRESS asks for Ray Client, which cannot carry a sweep.
    """
    if given is not None:
        return None if given == LOCAL else given
    address = (os.environ if environment is None else environment).get(_ADDRESS, "").strip()
    if address.startswith("ray://"):
        raise SweepError(
            f"RAY_ADDRESS={address}: a sweep cannot run through Ray Client\n"
            "  hint: `ray job submit -- sweep run ...`, or --address HOST:PORT of the cluster's head, or --address local"
        )
    return None if address in ("", LOCAL) or address.startswith(("http://", "https://")) else address


def joining_note(given: str | None, environment: Mapping[str, str] | None = None) -> str | None:
    """Return a message for the user if RAY_ADDRESS, not the command, makes the run join a cluster; otherwise None."""
    environment = os.environ if environment is None else environment
    address = cluster_address(given, environment)
    if given is not None or address is None:
        return None
    why = "a submitted job" if _JOB in environment else "RAY_ADDRESS is set"
    return f"{why}: joining the cluster at {address} (--address local starts a Ray here)"


def refuse_job_folder(root: str, environment: Mapping[str, str] | None = None) -> None:
    """Refuse a results folder inside a submitted job's working directory, which is local to each node and which Ray removes.

    Raises:
        SweepError: `root` is inside that directory.
    """
    if _JOB in (os.environ if environment is None else environment) and _UNPACKED in root.split(os.sep):
        raise SweepError(
            f"{root}: the results would lie in the submitted job's temporary folder, which Ray removes\n"
            "  hint: name a folder that every node sees by an absolute path: `output` in the grid file, or --out"
        )


def job_metadata(members: Sequence[SweepRun], attempt: int, n_packs: int) -> dict[str, str]:
    """Return the sweeps, folders and counts of an attempt as metadata for Ray; the page shows `job_name` in its Name column.

    A submitted job (`ray job submit`) keeps its own metadata, and these are added to it.

    Args:
        members: the sweeps of the attempt.
        attempt: number of the attempt.
        n_packs: number of packs that the attempt trains.
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
