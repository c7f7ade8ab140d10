"""Plumbing that knows nothing of training. Every script imports it before torch, which make lint checks: how threads
wait for each other is settled here, as OpenMP reads it once, when torch loads it."""

import os

# Threads of a training wait for each other a hundred times a step. Left alone they spin, and beside another busy
# process spin away the very time that the thread they wait for needs. docs/speed.md has the measurements.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # turns of a loop, some microseconds: GNU's OpenMP, of torch on Linux
os.environ.setdefault("KMP_BLOCKTIME", "0")  # milliseconds: LLVM's OpenMP, of torch on macOS


class UserError(ValueError):
    """What a person can mend: the text says what, where, what was expected, and the remedy. Scripts print it as one
    line; any other exception is a fault of the program, or of a model that is being written, and keeps its
    traceback."""
