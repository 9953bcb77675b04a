"""The methods with which WC-AL with GrOWL is compared, one per file."""
