"""A cell of a results table as JSON has it."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.column_types import MAPPINGS


def plain_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row as JSON has it: its cells as `plain` has them, the JSON text of mappings as objects."""
    return {str(name): json.loads(cell) if name in MAPPINGS and isinstance(cell, str) else plain(cell) for name, cell in row.items()}


def plain(value: Any) -> Any:
    """A cell as JSON has it, lists too; what is not known or not finite is None, a time its ISO text."""
    if hasattr(value, "__len__") and not isinstance(value, str):
        pairs = len(value) > 0 and all(isinstance(item, tuple) and len(item) == 2 for item in value)
        return {str(key): plain(item) for key, item in value} if pairs else [plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return value.isoformat() if hasattr(value, "isoformat") and value == value else None
