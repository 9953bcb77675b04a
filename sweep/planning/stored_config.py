"""The config that a results folder stores, to resume from it. A module that it names is imported only when the user trusts the folder."""

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
    """Refuse a stored config whose problem is a module of the user's own, before anything of it is imported.

    Args:
        config: what a results folder says was asked for, as plain values, not yet read as a grid file.
        where: the file that it comes from.
        is_trusted: the user said that this folder may name modules to import.

    Raises:
        SweepError: it names a module, and the user did not say so.
    """
    named = [name for name in _problem_names(config.get("problem")) if is_own(name)]
    if named and not is_trusted:
        raise SweepError(
            f"{where}: problem {one_line(named[0])} is a Python module, which a results folder may not name by itself\n"
            "  hint: name the grid file yourself, `--grid FILE` (and `--override FILE`, where the run had one); or add `--trust`, "
            "if nobody else could write to this folder"
        )


def _problem_names(problem: object) -> list[str]:
    """Of one problem or a list of them, each a name or a mapping with one."""
    entries = problem if isinstance(problem, list) else [problem]
    names = [entry.get("name") if isinstance(entry, Mapping) else entry for entry in entries]
    return [name for name in names if isinstance(name, str)]


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
