"""Figures, one function each; `analysis.figures.catalog` names them."""
