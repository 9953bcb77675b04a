"""Text with positions: YAML nodes, the file's encoding, mistakes that name file, line and column, CSV of preferences."""
