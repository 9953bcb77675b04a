"""Reads the results of a sweep and draws them; runs on a laptop without ray or torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.attainment import attainment_difference as attainment_difference
    from analysis.attainment import attainment_surface as attainment_surface
    from analysis.attainment import attainment_surfaces as attainment_surfaces
    from analysis.attainment_figures import attainment_figure as attainment_figure
    from analysis.bootstrap import bootstrap_difference as bootstrap_difference
    from analysis.bootstrap import bootstrap_mean as bootstrap_mean
    from analysis.comparing import Comparison as Comparison
    from analysis.comparing import compare as compare
    from analysis.conflict import task_conflict as task_conflict
    from analysis.convergence import is_unconverged as is_unconverged
    from analysis.convergence import residual_share as residual_share
    from analysis.costs import Costs as Costs
    from analysis.deciding import decision_fronts as decision_fronts
    from analysis.deciding import quantities as quantities
    from analysis.exactness import gaps as gaps
    from analysis.exchange import trade_offs as trade_offs
    from analysis.figure_drawing import draw_figure as draw_figure
    from analysis.figure_files import write_figure as write_figure
    from analysis.figures import front_2d_projection as front_2d_projection
    from analysis.figures import front_2d_staircase as front_2d_staircase
    from analysis.figures import front_3d as front_3d
    from analysis.figures import loss_against_sparsity as loss_against_sparsity
    from analysis.findings import summary as summary
    from analysis.front import eps_nondominated as eps_nondominated
    from analysis.front import nondominated as nondominated
    from analysis.front import slack as slack
    from analysis.front import sparsity_clusters as sparsity_clusters
    from analysis.front import thin_front as thin_front
    from analysis.indicators import epsilon_additive as epsilon_additive
    from analysis.indicators import hypervolume as hypervolume
    from analysis.indicators import igd_plus as igd_plus
    from analysis.indicators import spread as spread
    from analysis.labels import cluster_table as cluster_table
    from analysis.labels import label_points as label_points
    from analysis.landmarks import compromise as compromise
    from analysis.landmarks import knee as knee
    from analysis.many_objectives import parallel_objectives as parallel_objectives
    from analysis.many_objectives import scatter_matrix as scatter_matrix
    from analysis.method_formats import method_text as method_text
    from analysis.method_table import MethodTable as MethodTable
    from analysis.picking import Pick as Pick
    from analysis.picking import pick as pick
    from analysis.report import write_report as write_report
    from analysis.second_study import second_study_caption as second_study_caption
    from analysis.second_study import second_study_figure as second_study_figure
    from analysis.study_fronts import study_indicators as study_indicators
    from analysis.suggesting import suggest as suggest
    from analysis.table import ResultsError as ResultsError
    from analysis.table import ResultTable as ResultTable
    from analysis.table import read_results as read_results

_ROOM_OF = {
    "bootstrap_mean": "bootstrap",
    "bootstrap_difference": "bootstrap",
    "attainment_surface": "attainment",
    "attainment_surfaces": "attainment",
    "attainment_difference": "attainment",
    "attainment_figure": "attainment_figures",
    "residual_share": "convergence",
    "is_unconverged": "convergence",
    "decision_fronts": "deciding",
    "quantities": "deciding",
    "trade_offs": "exchange",
    "epsilon_additive": "indicators",
    "spread": "indicators",
    "knee": "landmarks",
    "compromise": "landmarks",
    "study_indicators": "study_fronts",
    "pick": "picking",
    "Pick": "picking",
    "compare": "comparing",
    "Comparison": "comparing",
    "suggest": "suggesting",
    "front_2d_projection": "figures",
    "front_2d_staircase": "figures",
    "front_3d": "figures",
    "loss_against_sparsity": "figures",
    "task_conflict": "conflict",
    "draw_figure": "figure_drawing",
    "write_figure": "figure_files",
    "Costs": "costs",
    "gaps": "exactness",
    "parallel_objectives": "many_objectives",
    "scatter_matrix": "many_objectives",
    "eps_nondominated": "front",
    "nondominated": "front",
    "slack": "front",
    "sparsity_clusters": "front",
    "thin_front": "front",
    "hypervolume": "indicators",
    "igd_plus": "indicators",
    "cluster_table": "labels",
    "label_points": "labels",
    "MethodTable": "method_table",
    "method_text": "method_formats",
    "second_study_figure": "second_study",
    "second_study_caption": "second_study",
    "write_report": "report",
    "summary": "findings",
    "ResultsError": "table",
    "ResultTable": "table",
    "read_results": "table",
}

__all__ = sorted(_ROOM_OF)


def __getattr__(name: str) -> Any:
    """Import a public name's file at its first use, so that `import analysis` is instant."""
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    return getattr(import_module(f"analysis.{_ROOM_OF[name]}"), name)
