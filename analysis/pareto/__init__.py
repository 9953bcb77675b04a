"""Mathematics of Pareto fronts on plain arrays. Every objective is minimised, and nothing here depends on a results folder."""
