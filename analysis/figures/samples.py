"""The paper's Figure 5: images of a problem, with each task's label."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from analysis.figures.base import new_figure
from analysis.formatting import as_text
from analysis.results.table import ResultTable

_CELL, _MARGIN, _LINE = 150, 12, 18  # pixels
_PER_ROW = 5
_SHARP = 300
"""Approximate smallest size of an image in pixels."""


@dataclass(frozen=True)
class Samples:
    """Some images of a problem."""

    pictures: NDArray[np.uint8]
    """Shape (n, height, width, 3)."""
    labels: Mapping[str, Sequence[str]]
    """Task -> the text that says what each image shows."""


def samples_figure(table: ResultTable, samples: Samples | None) -> go.Figure:
    """Draw images in rows of five, each with the labels of all tasks below it.

    Args:
        table: the table of the sweep, which supplies its name.
        samples: the images to show.

    Raises:
        ValueError: there are no samples, or the number of labels differs from the number of images.
    """
    if samples is None or not len(samples.pictures):
        raise ValueError("samples_figure expects images, found none: the problem has none to show")
    n = len(samples.pictures)
    if any(len(texts) != n for texts in samples.labels.values()):
        raise ValueError(f"samples_figure expects {n} labels a task, found {[len(texts) for texts in samples.labels.values()]}")
    n_columns = min(n, _PER_ROW)
    n_rows = -(-n // n_columns)
    step_x, step_y = _CELL + _MARGIN, _CELL + _MARGIN + _LINE * len(samples.labels)
    width, height = n_columns * step_x + _MARGIN, n_rows * step_y + _MARGIN
    figure = new_figure()
    for i, picture in enumerate(samples.pictures):
        x, y = _MARGIN + (i % n_columns) * step_x, _MARGIN + (i // n_columns) * step_y
        figure.add_layout_image(
            source=_data_uri(picture), x=x, y=-y, sizex=_CELL, sizey=_CELL, xref="x", yref="y", sizing="contain", layer="above"
        )
        text = "<br>".join(f"{as_text(task)}: <b>{as_text(texts[i])}</b>" for task, texts in samples.labels.items())
        figure.add_annotation(x=x + _CELL / 2, y=-(y + _CELL), text=text, showarrow=False, yanchor="top", font={"size": 13})
    hidden = {"visible": False, "fixedrange": True}
    figure.update_layout(
        xaxis={**hidden, "range": [0, width]},
        yaxis={**hidden, "range": [-height, 0]},
        width=width,
        height=height,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        meta={"caption": f"The first {n} training samples of {table.name}, with the label of each task."},
    )
    return figure


def _data_uri(picture: NDArray[np.uint8]) -> str:
    """Encode the image as PNG, enlarged by a whole factor so that browsers do not blur its pixels."""
    from PIL import Image

    times = max(1, _SHARP // max(picture.shape[:2]))
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture.repeat(times, axis=0).repeat(times, axis=1))).save(data, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
