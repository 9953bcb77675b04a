"""Training of one pack: WC-AL with GrOWL in two phases, and the parts that all methods share."""
