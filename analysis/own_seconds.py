"""How long a trial took by itself: its share of the seconds of the pack that it was trained in."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

PHASES = ("sparsify", "tying", "retrain")
TOTAL = "device_s"


def own_seconds(frame: pd.DataFrame) -> pd.DataFrame:
    """A trial's own seconds, in total and by phase.

    Args:
        frame: rows of a `ResultTable`, with `device_s` (a trial's share of its pack's seconds), `wall_s` and
            `wall_s_<phase>` (the pack's seconds).

    Returns:
        `device_s` and `device_s_<phase>` (= wall_s_<phase> * device_s / wall_s), one row a row of the frame, in seconds;
        NaN where it was not measured. Methods of one phase and dense trials have all of it in `retrain`.
    """
    own, wall = _numbers(frame, TOTAL), _numbers(frame, "wall_s")
    share = np.divide(own, wall, out=np.full(len(frame), np.nan), where=wall > 0)
    seconds = {f"{TOTAL}_{phase}": _numbers(frame, f"wall_s_{phase}") * share for phase in PHASES}
    return pd.DataFrame({**seconds, TOTAL: own}, index=frame.index)


def _numbers(frame: pd.DataFrame, column: str) -> NDArray[np.float64]:
    return frame[column].to_numpy(dtype=np.float64, na_value=np.nan)
