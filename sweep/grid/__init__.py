"""The grid file: read, checked and explained. The door is `sweep.config`."""
