"""The sweep that is disturbed (many small packs, a checkpoint after every epoch), and what it must leave behind."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.grid.load import load_config
from sweep.planning.trials import trials_of
from sweep.store.store import Store
from tests.integration.sweep_process import REPOSITORY, SweepProcess, sweep_process, trained, write_grid

HOOKS = Path(__file__).parent / "hooks"
RUN = ("run", "grid.yaml", "--no-dashboard")
GONE_WITHIN_S = 30.0
PATIENCE_S = 600.0
"""Limit for a run that takes 20 s, on a machine that is busy with other work."""
GRID: dict[str, Any] = {
    "name": "chaos",
    "problem": {"name": "multidigits", "n_train": 512, "n_validation": 128, "n_test": 128},
    "training": {
        "batch_size": 128,
        "learning_rate": 5e-3,
        "learning_rate_decay": 0.9,
        "sparsify": {"outer_iterations": 2, "epochs": 8},
        "retrain": {"outer_iterations": 2, "epochs": 10},
        "growl": {"sparsity_min": 0},
        "lsuv": {"n_samples": 256},
    },
    "resources": {"checkpoint_s": 0, "pack": 2},
    "output": "out",
}


def preferences(n_trials: int) -> list[list[float]]:
    """Return vectors from dense to sparse, each with different shares of the tasks."""
    levels = (0.0, 0.02, 0.05, 0.1)
    shares = [(i + 1) / (n_trials + 1) for i in range(n_trials)]
    return [[k0, (1 - k0) * share, (1 - k0) * (1 - share)] for k0, share in zip(levels * n_trials, shares, strict=False)]


@dataclass(frozen=True)
class Workplace:
    """A folder with a grid file, its results in `out`, and its own temporary files."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, n_trials: int, **changes: Any) -> "Workplace":
        """Write the grid file."""
        folder.mkdir(parents=True)
        write_grid(folder / "grid.yaml", **(GRID | {"preferences": {"list": preferences(n_trials)}} | changes))
        return cls(folder)

    @property
    def out(self) -> Path:
        """The results folder."""
        return self.folder / "out"

    @property
    def journal(self) -> Path:
        """The file with one line for each beginning and end of an epoch."""
        return self.folder / "journal"

    @property
    def temporary(self) -> Path:
        """The folder for temporary files of its processes, except Ray's sockets and logs."""
        return self.folder / "tmp"

    @property
    def trial_ids(self) -> list[str]:
        """The ids of all trials that the grid asks for."""
        return [trial.trial_id for trial in trials_of(load_config(self.folder / "grid.yaml"))]

    @contextlib.contextmanager
    def run(self, *arguments: str, **environment: str) -> Iterator[SweepProcess]:
        """Start `sweep run` here; it is ended at the latest with the block."""
        with short_folder() as temporary:
            self.temporary.mkdir(exist_ok=True)
            own = {
                "TMPDIR": str(self.temporary),
                "PYTHONPATH": os.pathsep.join((str(HOOKS), str(REPOSITORY))),
                "CHAOS_JOURNAL": str(self.journal),
                "RAY_TMPDIR": str(temporary),
                "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
            }
            with sweep_process(*RUN, *arguments, folder=self.folder, **(own | environment)) as process:
                yield process

    def leftovers(self) -> list[str]:
        """Return what a complete sweep should not have left behind."""
        store = Store(self.out)
        found = [f"checkpoint {checkpoint.path.name}" for checkpoint in store.checkpoints()]
        found += [f"live pack {live['pack_id']}" for live in store.live()]
        found += [f"temporary {path.name}" for path in self.temporary.iterdir() if not path.name.startswith("torchinductor_")]  # a cache
        found += ["lock"] if (self.out / "lock.json").exists() else []
        found += ["stop request"] if store.control.stop_requested() else []
        found += [f"{finding.path.name}: {finding.problem}" for finding in store.verify()]
        return found

    def differences(self, reference: dict[str, dict[str, Any]]) -> list[str]:
        """Return the trials that are missing, superfluous, or different from those of an undisturbed run."""
        rows = trained(self.out)
        found = [f"{trial_id}: no row" for trial_id in reference if trial_id not in rows]
        found += [f"{trial_id}: nobody asked for it" for trial_id in rows if trial_id not in reference]
        n_rows = Store(self.out).read_rows().num_rows
        found += [f"{n_rows} rows of {len(rows)} trials"] if n_rows != len(rows) else []
        for trial_id in rows.keys() & reference.keys():
            columns = [name for name, value in reference[trial_id].items() if rows[trial_id][name] != value]
            found += [f"{trial_id}: {', '.join(columns)} differ"] if columns else []
        return found


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """Yield a folder with a short path for Ray, whose sockets do not allow long paths."""
    folder = Path(tempfile.mkdtemp(prefix="c-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def undisturbed(folder: Path, n_trials: int, **changes: Any) -> dict[str, dict[str, Any]]:
    """Return trial_id -> the result of its training without faults."""
    place = Workplace.make(folder, n_trials, **changes)
    with place.run() as process:
        ended = process.wait(PATIENCE_S)
        process.until_all_are_gone(GONE_WITHIN_S)
    if ended.code != 0 or place.leftovers():
        raise AssertionError(f"the undisturbed run ended with {ended.code}: {place.leftovers()}\n{ended.stderr}")
    return trained(place.out)
