"""Conversion of values to JSON, for the cells of a table and for data inside a page's script element."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.results.parquet import MAPPINGS


def plain_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Convert a row for JSON: cells with `plain`, and the JSON text of mappings to objects."""
    return {str(name): json.loads(cell) if name in MAPPINGS and isinstance(cell, str) else plain(cell) for name, cell in row.items()}


def plain(value: Any) -> Any:
    """Convert a cell or a list for JSON; unknown or non-finite values become None, and times become ISO text."""
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


def script_json(value: Any) -> str:
    """Write JSON that is safe inside a script element: `<`, `>` and `&` are escaped; NaN and infinity become null."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError):
        text = json.dumps(json_value(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def json_value(value: Any) -> Any:
    """Convert a value for JSON at full precision; non-finite and missing values become None."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return [json_value(item) for item in value.tolist()]
    if isinstance(value, (list, tuple)):
        pairs = bool(value) and all(isinstance(item, tuple) and len(item) == 2 for item in value)
        return {str(key): json_value(item) for key, item in value} if pairs else [json_value(item) for item in value]
    return value.isoformat() if isinstance(value, pd.Timestamp) else str(value)
