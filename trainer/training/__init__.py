"""Training one pack: WC-AL with GrOWL in two phases, and what every method's training shares."""
