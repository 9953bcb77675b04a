"""Faults at random moments of real sweeps: whatever died in between, every trial is there once, and as if nothing had happened."""
