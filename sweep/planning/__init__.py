"""Planning, from a grid to trials and packs: trial ids, the manifest, and what studies inherit from each other."""
