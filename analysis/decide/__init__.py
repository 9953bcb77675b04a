"""Decisions on the command line: the front as rows, the best trial, two fronts compared, the next preference vectors."""
