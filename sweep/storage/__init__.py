"""The parts of a results folder. The door is `sweep.store`."""
