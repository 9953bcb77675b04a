"""Results folders in object stores: addresses, and paths that work like `pathlib.Path`."""
