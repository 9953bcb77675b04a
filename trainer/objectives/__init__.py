"""The mathematics of what is minimised: scalarizations, the augmented Lagrangian, GrOWL and its prox, ties, and sparsity."""
