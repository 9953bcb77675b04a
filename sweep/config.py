"""Re-exports of `sweep.grid.load` under an import path that is kept for code outside the project."""

from sweep.grid.load import (
    ConfigError,
    GridFile,
    GridText,
    Mistake,
    ProblemConfig,
    Resources,
    Study,
    StudyConfig,
    SweepConfig,
    dump_config,
    json_schema,
    load_config,
    load_configs,
    parse_config,
    parse_configs,
    read_grid,
)

__all__ = [
    "ConfigError",
    "GridFile",
    "GridText",
    "Mistake",
    "ProblemConfig",
    "Resources",
    "Study",
    "StudyConfig",
    "SweepConfig",
    "dump_config",
    "json_schema",
    "load_config",
    "load_configs",
    "parse_config",
    "parse_configs",
    "read_grid",
]
