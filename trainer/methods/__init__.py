"""The methods that users compare WC-AL with GrOWL to, one in each file."""
