"""The Ray that a run uses, a local one or a cluster that it joins, and what the cluster's job page shows about the run."""

import os
from collections.abc import Mapping, Sequence

from sweep.errors import SweepError
from sweep.execution.sweep_run import Member

LOCAL = "local"
_ADDRESS, _JOB = "RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR"
# Where Ray unpacks what a job was submitted with, on every node by itself; it is removed when the job has ended.
_UNPACKED = "working_dir_files"


def cluster_address(given: str | None, environment: Mapping[str, str] | None = None) -> str | None:
    """The address of the cluster that a run joins; None where it starts a local Ray.

    Without an address, Ray's own variable RAY_ADDRESS counts: in a submitted job it names the cluster that the job runs in. A
    dashboard's URL, which the variable holds for the `ray job` commands, names no cluster to join.

    Args:
        given: `--address`: None, `local`, `auto` or `host:port`.
        environment: variables; None: this process's.

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
    """A message for the user where RAY_ADDRESS, not the command, decides that a cluster is joined; else None."""
    environment = os.environ if environment is None else environment
    address = cluster_address(given, environment)
    if given is not None or address is None:
        return None
    why = "a submitted job" if _JOB in environment else "RAY_ADDRESS is set"
    return f"{why}: joining the cluster at {address} (--address local starts a Ray here)"


def refuse_job_folder(root: str, environment: Mapping[str, str] | None = None) -> None:
    """Refuse a results folder inside a submitted job's working directory, which each node has for itself and which Ray removes.

    Raises:
        SweepError: `root` lies there.
    """
    if _JOB in (os.environ if environment is None else environment) and _UNPACKED in root.split(os.sep):
        raise SweepError(
            f"{root}: the results would lie in the submitted job's temporary folder, which Ray removes\n"
            "  hint: name a folder that every node sees by an absolute path: `output` in the grid file, or --out"
        )


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
