"""How alike the rows of a layer are: what tying clusters them by."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def similarity(rows: ArrayLike) -> NDArray[np.float64]:
    """S(i, j) = w_i . w_j / max(|w_i|^2, |w_j|^2): 1 for equal rows, -1 for opposite ones.

    Args:
        rows: shape (n_rows, row_length).

    Returns:
        Shape (n_rows, n_rows), symmetric, in [-1, 1]; NaN in the rows and columns of rows of zeros.

    Source: Zhang et al., ICLR 2018, section 3.2.
    """
    matrix = np.asarray(rows, dtype=np.float64)
    inner = matrix @ matrix.T
    squares = np.diag(inner)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.clip(inner / np.maximum(squares[:, None], squares[None, :]), -1, 1)
    suppressed = (matrix == 0).all(axis=1)
    found[suppressed, :] = np.nan
    found[:, suppressed] = np.nan
    return found
