"""Energy counters of the hardware: what a stretch of training used, in joules."""
