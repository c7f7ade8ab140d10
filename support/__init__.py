"""Plumbing that knows nothing of training. Every script imports it before torch, which make lint checks: how threads
wait for each other is settled here, as OpenMP reads it once, when torch loads it."""

import os

# Threads of a training wait for each other a hundred times a step. Left alone they spin, and beside another busy
# process spin away the very time that the thread they wait for needs. 10,000 turns of a loop, chosen by timing on two
# cores of an AMD EPYC with AVX-512 and of one with AVX2 alone; docs/speed.md has the measurements.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # GNU's OpenMP, of torch on Linux
os.environ.setdefault("KMP_BLOCKTIME", "0")  # milliseconds: LLVM's OpenMP, of torch on macOS


MAX_BYTES = 200 * 2**20  # of a file of data: more is no data set of ours


class UserError(ValueError):
    """What a person can mend: the text says what, where, what was expected, and the remedy. Scripts print it as one
    line; any other exception is a fault of the program, or of a model that is being written, and keeps its
    traceback."""
