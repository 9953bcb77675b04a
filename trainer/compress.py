"""The public door to `trainer.compression.compress`: this import path is kept for code outside the project."""

from trainer.compression.compress import (
    TOLERANCE,
    CompactNetwork,
    Compressed,
    NotTraceableError,
    ProgramError,
    compress,
    largest_difference,
    load_compressed,
    macs_of,
    macs_of_program,
    trace,
)

__all__ = [
    "TOLERANCE",
    "CompactNetwork",
    "Compressed",
    "NotTraceableError",
    "ProgramError",
    "compress",
    "largest_difference",
    "load_compressed",
    "macs_of",
    "macs_of_program",
    "trace",
]
