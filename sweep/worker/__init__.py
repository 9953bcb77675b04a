"""What happens inside a worker: a pack is trained, errors are sorted, the installation is checked."""
