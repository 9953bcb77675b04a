"""Reading, checking and explaining grid files. `sweep.config` is the public interface."""
