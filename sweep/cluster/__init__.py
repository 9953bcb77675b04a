"""All code that imports Ray: the driver of an attempt, its workers, and their scheduling."""
