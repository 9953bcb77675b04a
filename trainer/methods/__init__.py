"""Methods that are not WC-AL with GrOWL: what users compare the front with, one a file."""
