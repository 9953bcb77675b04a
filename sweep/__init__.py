"""Run sweeps over preference vectors: `from sweep import load_config, plan, run`.

The names are loaded when they are first used, so that `import sweep` and `sweep --help` are instant.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.api import plan, run
    from sweep.config import ConfigError, SweepConfig, load_config, parse_config

__all__ = ["ConfigError", "SweepConfig", "load_config", "parse_config", "plan", "run"]

_HOME = {"plan": "sweep.api", "run": "sweep.api"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'sweep' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME.get(name, "sweep.config")), name)
