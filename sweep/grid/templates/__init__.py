"""The grid file that `sweep init` writes."""
