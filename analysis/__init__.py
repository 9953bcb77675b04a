"""Reads and draws the results of a sweep; runs on a laptop without ray or torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.decide.compare import Comparison as Comparison
    from analysis.decide.compare import compare as compare
    from analysis.decide.pick import Pick as Pick
    from analysis.decide.pick import pick as pick
    from analysis.decide.suggest import suggest as suggest
    from analysis.figures.attainment import attainment_figure as attainment_figure
    from analysis.figures.export import draw_figure as draw_figure
    from analysis.figures.export import write_figure as write_figure
    from analysis.figures.front import front_2d_projection as front_2d_projection
    from analysis.figures.front import front_2d_staircase as front_2d_staircase
    from analysis.figures.front import front_3d as front_3d
    from analysis.figures.front import loss_against_sparsity as loss_against_sparsity
    from analysis.figures.many_objectives import parallel_objectives as parallel_objectives
    from analysis.figures.many_objectives import scatter_matrix as scatter_matrix
    from analysis.figures.second_study import second_study_caption as second_study_caption
    from analysis.figures.second_study import second_study_figure as second_study_figure
    from analysis.measures.attainment import attainment_surfaces as attainment_surfaces
    from analysis.measures.conflict import task_conflict as task_conflict
    from analysis.measures.convergence import gaps as gaps
    from analysis.measures.convergence import is_unconverged as is_unconverged
    from analysis.measures.convergence import residual_share as residual_share
    from analysis.measures.costs import Costs as Costs
    from analysis.measures.decision_front import decision_fronts as decision_fronts
    from analysis.measures.decision_front import quantities as quantities
    from analysis.measures.decision_front import trade_offs as trade_offs
    from analysis.measures.labels import cluster_table as cluster_table
    from analysis.measures.labels import label_points as label_points
    from analysis.measures.study_indicators import box_of as box_of
    from analysis.measures.study_indicators import compared_values as compared_values
    from analysis.measures.study_indicators import study_indicators as study_indicators
    from analysis.measures.summary import summary as summary
    from analysis.method_table.formats import method_text as method_text
    from analysis.method_table.table import MethodTable as MethodTable
    from analysis.pareto.attainment import attainment_difference as attainment_difference
    from analysis.pareto.attainment import attainment_surface as attainment_surface
    from analysis.pareto.dominance import eps_nondominated as eps_nondominated
    from analysis.pareto.dominance import nondominated as nondominated
    from analysis.pareto.dominance import slack as slack
    from analysis.pareto.dominance import sparsity_clusters as sparsity_clusters
    from analysis.pareto.dominance import thin_front as thin_front
    from analysis.pareto.indicators import Box as Box
    from analysis.pareto.indicators import epsilon_additive as epsilon_additive
    from analysis.pareto.indicators import hypervolume as hypervolume
    from analysis.pareto.indicators import igd_plus as igd_plus
    from analysis.pareto.indicators import spread as spread
    from analysis.pareto.intervals import bootstrap_difference as bootstrap_difference
    from analysis.pareto.intervals import bootstrap_mean as bootstrap_mean
    from analysis.pareto.knee import compromise as compromise
    from analysis.pareto.knee import knee as knee
    from analysis.report.page import write_report as write_report
    from analysis.results.table import ResultsError as ResultsError
    from analysis.results.table import ResultTable as ResultTable
    from analysis.results.table import read_results as read_results

_ROOM_OF = {
    "bootstrap_mean": "pareto.intervals",
    "bootstrap_difference": "pareto.intervals",
    "attainment_surface": "pareto.attainment",
    "attainment_surfaces": "measures.attainment",
    "attainment_difference": "pareto.attainment",
    "attainment_figure": "figures.attainment",
    "residual_share": "measures.convergence",
    "is_unconverged": "measures.convergence",
    "decision_fronts": "measures.decision_front",
    "quantities": "measures.decision_front",
    "trade_offs": "measures.decision_front",
    "epsilon_additive": "pareto.indicators",
    "spread": "pareto.indicators",
    "knee": "pareto.knee",
    "compromise": "pareto.knee",
    "Box": "pareto.indicators",
    "box_of": "measures.study_indicators",
    "compared_values": "measures.study_indicators",
    "study_indicators": "measures.study_indicators",
    "pick": "decide.pick",
    "Pick": "decide.pick",
    "compare": "decide.compare",
    "Comparison": "decide.compare",
    "suggest": "decide.suggest",
    "front_2d_projection": "figures.front",
    "front_2d_staircase": "figures.front",
    "front_3d": "figures.front",
    "loss_against_sparsity": "figures.front",
    "task_conflict": "measures.conflict",
    "draw_figure": "figures.export",
    "write_figure": "figures.export",
    "Costs": "measures.costs",
    "gaps": "measures.convergence",
    "parallel_objectives": "figures.many_objectives",
    "scatter_matrix": "figures.many_objectives",
    "eps_nondominated": "pareto.dominance",
    "nondominated": "pareto.dominance",
    "slack": "pareto.dominance",
    "sparsity_clusters": "pareto.dominance",
    "thin_front": "pareto.dominance",
    "hypervolume": "pareto.indicators",
    "igd_plus": "pareto.indicators",
    "cluster_table": "measures.labels",
    "label_points": "measures.labels",
    "MethodTable": "method_table.table",
    "method_text": "method_table.formats",
    "second_study_figure": "figures.second_study",
    "second_study_caption": "figures.second_study",
    "write_report": "report.page",
    "summary": "measures.summary",
    "ResultsError": "results.table",
    "ResultTable": "results.table",
    "read_results": "results.table",
}

__all__ = sorted(_ROOM_OF)


def __getattr__(name: str) -> Any:
    """Import a public name's module on first use, so that `import analysis` is instant."""
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    return getattr(import_module(f"analysis.{_ROOM_OF[name]}"), name)
