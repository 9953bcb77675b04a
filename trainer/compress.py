"""Re-exports `trainer.compression.compress` under the import path that code outside the project uses."""

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
