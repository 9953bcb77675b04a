"""Run sweeps over preference vectors: `from sweep import load_config, plan, run`.

The names are loaded at their first use, so that `import sweep` and `sweep --help` are instant.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.api import plan, plan_all, run, run_all
    from sweep.grid.load import ConfigError, SweepConfig, load_config, load_configs, parse_config, parse_configs

__all__ = [
    "ConfigError",
    "SweepConfig",
    "load_config",
    "load_configs",
    "parse_config",
    "parse_configs",
    "plan",
    "plan_all",
    "run",
    "run_all",
]

_HOME = dict.fromkeys(("plan", "plan_all", "run", "run_all"), "sweep.api")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'sweep' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME.get(name, "sweep.grid.load")), name)
