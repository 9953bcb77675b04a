"""Problems: data, tasks, networks that fit, losses and metrics."""
