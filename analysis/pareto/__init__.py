"""Mathematics of Pareto fronts on plain arrays: every objective is minimised, and nothing here knows a results folder."""
