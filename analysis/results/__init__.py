"""Reading a results folder as a table, without trusting any of its files."""
