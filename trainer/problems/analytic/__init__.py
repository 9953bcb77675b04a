"""Problems whose Chebyshev points are known exactly: what a preference vector means can be checked on them."""
