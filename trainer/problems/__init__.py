"""Problems: data, the network sizes for it, a loss and a metric per task."""
