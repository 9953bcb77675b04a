"""From a grid to trials and packs: ids, the manifest, what studies inherit from each other."""
