"""The mathematics that is minimised: scalarizations, the augmented Lagrangian, GrOWL and its prox, ties, sparsity."""
