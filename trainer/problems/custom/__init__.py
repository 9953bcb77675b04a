"""A user's own problem: its factory, the factory's options, and the source files that its results depend on."""
