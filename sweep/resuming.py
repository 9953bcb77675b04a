"""`sweep resume`: the sweeps that a results folder, or a grid file that the user names, asks for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweep.config import ConfigError, GridText, SweepConfig, parse_config, read_grid
from sweep.outcome import SweepError
from sweep.storage.remote import StorePath, store_path
from sweep.store import Store, StoreError
from sweep.trust import refuse_untrusted


def chosen_config(folder: str | StorePath, *, grid: Path | None, override: Path | None, trust: bool) -> tuple[SweepConfig, GridText]:
    """The sweep of the grid file that the user names, or else what the folder's last run asked for.

    Args:
        folder: of the results.
        grid: the grid file, or None; `-` is standard input.
        override: a file merged over it.
        trust: the folder may name a module to import.

    Returns:
        Its config with this folder as its output, and the text that it comes from.

    Raises:
        As for `named_config` and `stored_config`.
    """
    if grid is not None:
        return named_config(grid, folder, override=override)
    if override is not None:
        raise SweepError("--override FILE is merged over a grid file, and none is named\n  hint: name it too, `--grid FILE`")
    return stored_config(folder, is_trusted=trust)


def stored_config(folder: str | StorePath, *, is_trusted: bool) -> tuple[SweepConfig, GridText]:
    """The config of the folder's last run, with this folder as its output, and the text that it came from.

    The config rather than the text: it has `--override` in it, and paths that do not depend on where the grid file lay.

    Raises:
        StoreError: no run is recorded here, or its record cannot be read.
        SweepError: it names a module to import and is not trusted, or is no config of this version.
    """
    store = Store(folder)
    plan = store.latest_plan()
    if plan is None:
        raise StoreError("no run is recorded here (no plans/<n>.json)", store.root, "start with `sweep run GRID --out DIR`")
    where = store.root / "plans" / f"{plan.get('attempt')}.json"
    stored = plan.get("config")
    if not isinstance(stored, dict):
        raise SweepError(f"{where}: no `config` in it\n  hint: name the grid file, `--grid FILE`")
    refuse_untrusted(stored, where, is_trusted)
    try:
        config = parse_config(_without_null(stored), out=str(folder))
    except ConfigError as error:
        mistakes = str(error).replace("Error: ", "")
        raise SweepError(f"{where}: its `config` is none of this version\n{mistakes}\n  hint: name the grid file, `--grid FILE`") from error
    merged = plan.get("override_file")
    return config, GridText(str(plan.get("grid_file", "")), None if merged is None else str(merged))


def named_config(grid: Path, folder: str | StorePath, *, override: Path | None = None) -> tuple[SweepConfig, GridText]:
    """The sweep of a grid file that goes into this folder, and the text that it comes from.

    Raises:
        ConfigError: as for `load_configs`.
        SweepError: the file lists several problems, and none has this folder.
    """
    file = read_grid(grid, override=override)
    configs = file.configs()
    if len(configs) == 1:
        return file.config(str(folder)), file.text
    for config in configs:
        if store_path(config.output) == store_path(folder):
            return config, file.text
    raise SweepError(f"{grid}: none of its {len(configs)} sweeps goes to {folder}\n  hint: `sweep run {grid}` runs all of them")


def _without_null(value: Any) -> Any:
    """Settings that were not given are null in the record, and absent in a grid file."""
    if isinstance(value, Mapping):
        return {name: _without_null(item) for name, item in value.items() if item is not None}
    return [_without_null(item) for item in value] if isinstance(value, list) else value
