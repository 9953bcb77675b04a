"""Energy counters of the hardware, which measure the energy of a period of training in joules."""
