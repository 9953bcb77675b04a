"""Results folders in object stores: their addresses, and paths that work like `pathlib.Path`."""
