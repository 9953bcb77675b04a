"""Problems whose Chebyshev points are known exactly, so that the effect of a preference vector can be verified."""
