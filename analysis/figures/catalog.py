"""The figures that `sweep figure` knows by name, and the function that draws each.

This module imports none of those functions; one line adds a figure.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class FigureEntry:
    """The function that draws a figure."""

    path: str
    """`module:function`; the function takes the table (and what `takes` says) and returns a plotly figure."""
    about: str
    """What it shows, in a few words."""
    takes: Literal["trial", "samples"] | None = None
    """What the function needs besides the table: a trial's id, or images of the problem."""


FIGURES = {
    "front": FigureEntry(
        "analysis.figures.front:front_panels", "the front in 3-D, seen from above, and the table of its clusters (Figure 2)"
    ),
    "front-3d": FigureEntry("analysis.figures.front:front_3d", "the front in three objectives, by sparsity cluster (Figure 2, left)"),
    "front-2d": FigureEntry("analysis.figures.front:front_2d_projection", "the same seen from above, k0 = 0 in black (Figure 2, middle)"),
    "clusters": FigureEntry("analysis.figures.front:cluster_figure", "the table of sparsity clusters (Figure 2, right)"),
    "sparse-dense": FigureEntry("analysis.figures.front:sparse_and_dense", "all k0 > 0 in one colour, k0 = 0 in black (Figure 3)"),
    "second-study": FigureEntry(
        "analysis.figures.second_study:second_study_figure", "sparse networks retrained from scratch, and their originals (Figure 4)"
    ),
    "samples": FigureEntry(
        "analysis.figures.samples:samples_figure", "images of the problem with their labels (Figure 5)", takes="samples"
    ),
    "similarity": FigureEntry("analysis.figures.similarity:similarity_figure", "rows of a trial's pruned layers (Figure 7)", takes="trial"),
    "conflict": FigureEntry("analysis.figures.conflict:conflict_figure", "where the tasks begin to conflict, over sparsity"),
    "attainment": FigureEntry("analysis.figures.attainment:attainment_figure", "attainment surfaces over seeds (25, 50, 75 %)"),
    "staircase": FigureEntry("analysis.figures.front:front_2d_staircase", "the front of the first two task losses alone"),
}
"""Name -> figure. Numbers in brackets are figure numbers in Hotegni, Berkemeier and Peitz, IJCNN 2024, whose Figures 1 and 6 are
drawings."""


def figure_list() -> str:
    """List the figures, one line each: the name and what it shows."""
    width = max(map(len, FIGURES))
    return "\n".join(f"{name:<{width}}  {entry.about}" for name, entry in FIGURES.items())
