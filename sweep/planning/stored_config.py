"""The config that is stored in a results folder and from which a sweep can be resumed.

A module that the config names is imported only if the user trusts the folder.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweep.errors import SweepError
from sweep.grid.load import ConfigError, GridText, SweepConfig, parse_config, read_grid
from sweep.store.remote.path import StorePath, store_path
from sweep.store.store import Store, StoreError
from sweep.terminal import one_line
from trainer.problems.custom.factory import is_own


def refuse_untrusted(config: Mapping[str, Any], where: StorePath, is_trusted: bool) -> None:
    """Refuse a stored config whose problem is a user's Python module, before the module is imported.

    Args:
        config: the stored config as plain values, not yet checked.
        where: the file that contains the config, for the error message.
        is_trusted: whether the user allows this folder to name modules to import.

    Raises:
        SweepError: the config names a module, and the folder is not trusted.
    """
    named = [name for name in _problem_names(config.get("problem")) if is_own(name)]
    if named and not is_trusted:
        raise SweepError(
            f"{where}: problem {one_line(named[0])} is a Python module, and modules named by a results folder are not imported\n"
            "  hint: give the grid file by `--grid FILE` (and `--override FILE`, if the run had one); or add `--trust`, "
            "if only you can write to this folder"
        )


def _problem_names(problem: object) -> list[str]:
    """Return the names of one problem or of a list of problems, each given as a name or as a mapping with a name."""
    entries = problem if isinstance(problem, list) else [problem]
    names = [entry.get("name") if isinstance(entry, Mapping) else entry for entry in entries]
    return [name for name in names if isinstance(name, str)]


def chosen_config(folder: str | StorePath, *, grid: Path | None, override: Path | None, trust: bool) -> tuple[SweepConfig, GridText]:
    """Return the sweep of the grid file that the user names, or otherwise of the folder's last run.

    Args:
        folder: the results folder.
        grid: the grid file, or None; `-` is standard input.
        override: a file that is merged over `grid`, or None.
        trust: whether the folder may name a module to import.

    Returns:
        The sweep with this folder as its output, and the text that it comes from.

    Raises:
        ConfigError: as for `named_config`.
        StoreError: as for `stored_config`.
        SweepError: as for `named_config` and `stored_config`; also if `override` is given without `grid`.
    """
    if grid is not None:
        return named_config(grid, folder, override=override)
    if override is not None:
        raise SweepError("--override FILE is merged over a grid file, and no grid file is given\n  hint: add `--grid FILE`")
    return stored_config(folder, is_trusted=trust)


def stored_config(folder: str | StorePath, *, is_trusted: bool) -> tuple[SweepConfig, GridText]:
    """Return the sweep of the folder's last run, with this folder as its output, and the text that it came from.

    The sweep is read from the stored config rather than from the text, because the config includes `--override`, and its paths do
    not depend on the location of the grid file.

    Raises:
        StoreError: no run is recorded in the folder, or its record cannot be read.
        SweepError: the config names a module to import and the folder is not trusted, or an incompatible version wrote it.
    """
    store = Store(folder)
    plan = store.latest_plan()
    if plan is None:
        raise StoreError("no run is recorded here (no plans/<n>.json)", store.root, "start with `sweep run GRID --out DIR`")
    where = store.root / "plans" / f"{plan.get('attempt')}.json"
    stored = plan.get("config")
    if not isinstance(stored, dict):
        raise SweepError(f"{where}: `config` is missing\n  hint: give the grid file by `--grid FILE`")
    refuse_untrusted(stored, where, is_trusted)
    try:
        config = parse_config(_without_null(stored), out=str(folder))
    except ConfigError as error:
        mistakes = str(error).replace("Error: ", "")
        raise SweepError(
            f"{where}: its `config` was written by an incompatible version\n{mistakes}\n  hint: give the grid file by `--grid FILE`"
        ) from error
    merged = plan.get("override_file")
    return config, GridText(str(plan.get("grid_file", "")), None if merged is None else str(merged))


def named_config(grid: Path, folder: str | StorePath, *, override: Path | None = None) -> tuple[SweepConfig, GridText]:
    """Return the sweep of a grid file whose results belong in this folder, and the text that it comes from.

    Raises:
        ConfigError: as for `load_configs`.
        SweepError: the file lists several problems, and none of their outputs is this folder.
    """
    file = read_grid(grid, override=override)
    configs = file.configs()
    if len(configs) == 1:
        return file.config(str(folder)), file.text
    for config in configs:
        if store_path(config.output) == store_path(folder):
            return config, file.text
    raise SweepError(f"{grid}: none of its {len(configs)} sweeps has the output {folder}\n  hint: `sweep run {grid}` runs all of them")


def _without_null(value: Any) -> Any:
    """Remove null values, which stand for settings that the grid file left out."""
    if isinstance(value, Mapping):
        return {name: _without_null(item) for name, item in value.items() if item is not None}
    return [_without_null(item) for item in value] if isinstance(value, list) else value
