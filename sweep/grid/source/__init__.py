"""Reading of grid files with positions: encoding, YAML nodes, CSV of preferences, and mistakes that name file, line and column."""
