"""Faults at random moments of real sweeps: whatever died, every trial exists once in the end, with the same result as without faults."""
